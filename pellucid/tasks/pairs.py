"""Sentence pairs as tensors, and the loss on them.

Shapes: B sentences, S source positions, T target positions, N real target tokens, V target vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from pellucid.base.progress import say
from pellucid.data import batches
from pellucid.data.store import Store
from pellucid.tasks.framing import AnyTokenizer, around_side, pad_of, start_of
from pellucid.tasks.model_directory import Tokenizers
from pellucid.training.loss import smoothed_cross_entropy
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.protocol import Stopped


@dataclass(frozen=True)
class PairBatch:
    """Sentence pairs, padded on the right."""

    source: Tensor  # (B, S) tokens, end
    source_mask: Tensor | None  # (B, S) True = real token; None: no padding
    target_input: Tensor  # (B, T) start, tokens
    target_output: Tensor  # (N,) the real tokens to predict, row after row
    wanted: Tensor  # (B, T) True where they are predicted

    def to(self, device: str | torch.device) -> Self:
        """The same on another device."""
        return replace(
            self,
            source=self.source.to(device),
            source_mask=None if self.source_mask is None else self.source_mask.to(device),
            target_input=self.target_input.to(device),
            target_output=self.target_output.to(device),
            wanted=self.wanted.to(device),
        )


def from_store(store: Store, examples: batches.Indices) -> PairBatch:
    """The tensors of some prepared pairs."""
    batch = batches.collate(store, examples)
    source_mask, wanted = torch.from_numpy(batch.source_mask), torch.from_numpy(batch.target_mask)
    return PairBatch(
        source=torch.from_numpy(batch.source),
        source_mask=None if batch.source_mask.all() else source_mask,
        target_input=torch.from_numpy(batch.target_input),
        target_output=torch.from_numpy(batch.target_output)[wanted],
        wanted=wanted,
    )


def whole_store(store: Store, tokens: int = 4096) -> Iterator[PairBatch]:
    """All pairs of a split, once, in batches of about ``tokens``."""
    longest = int(store.lengths.max()) + 1
    plan = batches.plan(store.lengths, tokens=max(tokens, longest), seed=0, epoch=0)
    return (from_store(store, plan[index]) for index in range(len(plan)))


def from_texts(pairs: Sequence[tuple[str, ...]], tokenizers: Tokenizers, longest: int, rows: int = 32) -> Iterator[PairBatch]:
    """Pairs of texts, in their order, ``rows`` in a batch; a side of more than ``longest`` tokens is cut, and named."""
    source_side, target_side = tokenizers
    for first in range(0, len(pairs), rows):
        some = list(enumerate(pairs[first : first + rows], start=first + 1))
        source, source_mask = pad([encode(source_side, s, longest, f"source {n}") for n, (s, _) in some], pad_of(source_side))
        targets = [encode(target_side, t, longest, f"reference {n}") for n, (_, t) in some]
        yield with_targets(source, source_mask, targets, target_side)


def with_targets(
    source: Tensor, source_mask: Tensor | None, targets: Sequence[Sequence[int]], tokenizer: AnyTokenizer
) -> PairBatch:
    """Sources, texts or pictures, with the tokens to be written, each with its end token, and what the decoder reads then."""
    wanted, real = pad(targets, pad_of(tokenizer))  # (B, T)
    start = wanted.new_full((len(wanted), 1), start_of(tokenizer))
    return PairBatch(source, source_mask, torch.cat((start, wanted[:, :-1]), dim=1), wanted[real], real)


def encode(tokenizer: AnyTokenizer, text: str, longest: int, name: str) -> list[int]:
    """Tokens of a text and what the model expects around it: the end token, or for an imported one what it was trained with.

    Of a text that the model has no positions for the beginning is taken, with a warning.
    """
    ids = tokenizer.encode(text)
    before, after = around_side(tokenizer)
    room = longest - len(before) - len(after)
    if len(ids) > room:
        say(f"warning: {name} has {len(ids)} tokens, only the first {room} are used (model.max_length)")
    return [*before, *ids[:room], *after]


def pad(rows: Sequence[Sequence[int]], fill: int) -> tuple[Tensor, Tensor]:
    """Rows of tokens as one tensor (B, L), padded on the right, and the mask of what is real."""
    lengths = torch.tensor([len(row) for row in rows])
    longest = int(lengths.max())
    ids = torch.tensor([[*row, *[fill] * (longest - len(row))] for row in rows])
    return ids, torch.arange(longest) < lengths[:, None]


def pair_loss(model: nn.Module, batch: PairBatch, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy summed over the real target tokens."""

    def readout(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return smoothed_cross_entropy(x, weight, batch.target_output, smoothing, bias)

    return model(
        batch.source,
        batch.target_input,
        source_mask=batch.source_mask,
        target_mask=batch.wanted if model.training else None,  # padding behind the target needs no mask, but can be left out
        wanted=batch.wanted,
        readout=readout,
    )


@torch.inference_mode()
def mean_loss(model: nn.Module, some: Iterable[PairBatch], stopped: Stopped = lambda: False, ranks: Ranks = ALONE) -> float:
    """Cross-entropy per real target token, without smoothing, in nats; of what was seen until ``stopped()`` said so.

    Of ``ranks`` each takes its part of the batches.
    """
    device = next(model.parameters()).device
    total, tokens = 0.0, 0
    for batch in ranks.mine(some):
        if stopped():
            break
        batch = batch.to(device)
        total += pair_loss(model, batch).item()
        tokens += len(batch.target_output)
    total, seen = ranks.sum(total, tokens)
    return total / max(seen, 1)
