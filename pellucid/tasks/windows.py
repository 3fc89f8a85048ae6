"""Running text as windows of tokens, the loss on them, and what stands around documents.

Shapes: B windows, T positions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.base.config import DataConfig
from pellucid.data.batches import Indices, all_windows
from pellucid.data.store import Ids
from pellucid.tasks.framing import AnyTokenizer, pad_of
from pellucid.text.imported import ImportedTokenizer
from pellucid.training.loss import smoothed_cross_entropy
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.protocol import Stopped

TOKENS = 8192  # of windows that are scored together


def end_of_text(tokenizer: AnyTokenizer, data: DataConfig) -> int | None:
    """The token that a text ends with; ``None``: the model learnt from one running text, where nothing ends."""
    if isinstance(tokenizer, ImportedTokenizer) or _has_documents(data):
        return tokenizer.end
    return None


def _has_documents(data: DataConfig) -> bool:
    """Whether the training text is documents (JSON Lines), as far as can be told without it."""
    names = [*data.train[:1]]
    if data.directory is not None and (directory := Path(data.directory).expanduser()).is_dir():
        names = [path.name for path in directory.iterdir() if path.name.startswith("train.")]
    return any(name.removesuffix(".gz").endswith(".jsonl") for name in names)


def beginning(tokenizer: AnyTokenizer, end: int | None) -> list[int]:
    """What stands before the first token of a text.

    For an imported model what it expects there; for documents the end of the one before; in a running text a new line, since a
    line began there in training too.
    """
    if isinstance(tokenizer, ImportedTokenizer) and tokenizer.prefix:
        return list(tokenizer.prefix)
    if end is not None:
        return [end]
    line = tokenizer.encode("\n")
    known = bool(line) and not tokenizer.unknowns(line)
    return line if known else [tokenizer.start if tokenizer.start is not None else pad_of(tokenizer)]


def begun(tokenizer: AnyTokenizer, ids: list[int], end: int | None) -> list[int]:
    """Tokens that a model goes on from. An empty prompt begins a text, and so does any where the model expects that."""
    expects = isinstance(tokenizer, ImportedTokenizer) and tokenizer.prefix
    return ids if ids and not expects else [*beginning(tokenizer, end), *ids]


def around(tokenizer: AnyTokenizer, end: int | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Control tokens before and after a document; none where nothing ends."""
    if end is None:
        return (), ()
    return (tokenizer.prefix if isinstance(tokenizer, ImportedTokenizer) else ()), (end,)


def window(tokens: Ids, starts: Indices, context: int) -> tuple[Tensor, Tensor]:
    """Inputs and targets, one token later, of windows that begin at ``starts`` (B,): (B, T) each, T at most ``context``."""
    width = min(context + 1, len(tokens) - int(starts.max()))
    found = torch.from_numpy(tokens[starts[:, None] + np.arange(width)].astype(np.int64))  # (B, T + 1)
    return found[:, :-1], found[:, 1:]


def window_loss(model: nn.Module, ids: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of ``target`` (B, T), summed over its tokens."""

    def readout(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return smoothed_cross_entropy(x.flatten(0, 1), weight, target.flatten(), smoothing, bias)

    return model(ids, readout=readout)


@torch.inference_mode()
def mean_loss(model: nn.Module, tokens: Ids, context: int, stopped: Stopped = lambda: False, ranks: Ranks = ALONE) -> float:
    """Cross-entropy per token of a whole text, in nats; of what was seen until ``stopped()`` said so.

    Every token but the first is predicted once, in windows that follow each other: from 1 to ``context`` tokens before it, half
    a context on average. Of ``ranks`` each takes its part of the windows.
    """
    device = next(model.parameters()).device
    starts, rows = all_windows(len(tokens), context), max(1, TOKENS // context)
    whole = starts[starts + context < len(tokens)]
    total, count = 0.0, 0
    batches = [*(whole[first : first + rows] for first in range(0, len(whole), rows)), starts[len(whole) :]]
    for some in ranks.mine(batches):
        if stopped():
            break
        if len(some):
            ids, target = window(tokens, some, context)
            total += window_loss(model, ids.to(device), target.to(device)).item()
            count += target.numel()
    total, seen = ranks.sum(total, count)
    return total / max(seen, 1)
