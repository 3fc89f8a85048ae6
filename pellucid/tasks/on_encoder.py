"""What the tasks of an encoder that stands alone have in common: a batch, its loss, what is saved, and the using side's base.

Shapes: B texts, S positions, N targets, V vocabulary or classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.tasks.framing import AnyTokenizer, frame
from pellucid.tasks.prepared import PreparedTexts, TextEncoder
from pellucid.training.loss import smoothed_cross_entropy
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.protocol import Stopped


@dataclass(frozen=True)
class EncoderBatch:
    """Texts, padded on the right, and what is to be found out of them."""

    source: Tensor  # (B, S) framed tokens
    source_mask: Tensor | None  # (B, S) True = real token; None: no padding
    target: Tensor  # (N,) classes or tokens, row after row
    wanted: Tensor | None  # (B, S) True where they are asked for; None: one for each text

    def to(self, device: str | torch.device) -> Self:
        """The same on another device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device)

        masks = {"source_mask": move(self.source_mask), "wanted": move(self.wanted)}
        return replace(self, source=self.source.to(device), target=self.target.to(device), **masks)


class OnEncoder(PreparedTexts):
    """The training side of such a task; the encoder gives a source that is framed."""

    def count(self, batch: EncoderBatch) -> int:
        """Targets of a batch."""
        return len(batch.target)

    def loss(self, model: nn.Module, batch: EncoderBatch) -> Tensor:
        """Cross-entropy, summed over the targets."""
        return target_loss(model, batch, self.config.training.label_smoothing)


def target_loss(model: nn.Module, batch: EncoderBatch, smoothing: float) -> Tensor:
    """Smoothed cross-entropy of the targets of a batch, summed: a scalar in nats."""

    def readout(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return smoothed_cross_entropy(x, weight, batch.target, smoothing, bias)

    found: Tensor = model(batch.source, source_mask=batch.source_mask, wanted=batch.wanted, readout=readout)
    return found


def logits_of(model: nn.Module, batch: EncoderBatch) -> Tensor:
    """(N, V) for the targets of a batch."""
    return model(batch.source, source_mask=batch.source_mask, wanted=batch.wanted)


@torch.inference_mode()
def score(
    model: nn.Module, some: Iterable[EncoderBatch], stopped: Stopped = lambda: False, ranks: Ranks = ALONE
) -> dict[str, float]:
    """Cross-entropy per target in nats, and the share of targets that have the largest logit, in percent.

    Of ``ranks`` each takes its part of the batches.
    """
    device = next(model.parameters()).device
    total = right = count = 0.0
    for batch in ranks.mine(some):
        if stopped():
            break
        batch = batch.to(device)
        logits = logits_of(model, batch).float()
        total += nn.functional.cross_entropy(logits, batch.target, reduction="sum").item()
        right += (logits.argmax(-1) == batch.target).sum().item()
        count += len(batch.target)
    total, right, count = ranks.sum(total, right, count)
    return {"loss": total / max(count, 1), "accuracy": 100 * right / max(count, 1)}


class FramedTexts(TextEncoder):
    """Texts of one column to framed tokens: an encoder for the store."""

    limited = True

    def __init__(self, tokenizer: AnyTokenizer, longest: int) -> None:
        super().__init__(tokenizer)
        self.longest = longest

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the tokens depend on."""
        return {"tokenizer": self.tokenizer.fingerprint}

    def encode(self, examples: Sequence[tuple[str, ...]]) -> list[tuple[list[int], ...]]:
        """The framed tokens of each text."""
        found = self.tokenizer.encode_batch([example[0] for example in examples])
        return [(frame(self.tokenizer, ids, self.longest),) for ids in found]


def by_length(rows: Sequence[Sequence[int]], count: int = 64) -> Iterator[list[int]]:
    """The numbers of rows of tokens, ``count`` at a time, those of like lengths together."""
    order = np.argsort([-len(row) for row in rows], kind="stable").tolist()
    yield from (order[first : first + count] for first in range(0, len(order), count))


def in_rows(tokenizer: AnyTokenizer, texts: Sequence[str], longest: int) -> Iterator[tuple[list[int], list[list[int]]]]:
    """Texts framed, those of like lengths together: the numbers of the texts of a batch, and their tokens."""
    ids = [
        frame(tokenizer, found, longest, f"text {number}")
        for number, found in enumerate(tokenizer.encode_batch(list(texts)), start=1)
    ]
    for numbers in by_length(ids):
        yield numbers, [ids[number] for number in numbers]
