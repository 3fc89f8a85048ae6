"""The built-in corpus as tokens, for experiments on language: sentences of one side, and pairs to translate.

Shapes: N sentences, B rows, S source positions, T target positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.config import ModelConfig
from pellucid.compare.learner import Batch, Draw
from pellucid.data.corpus import pairs, words
from pellucid.model.build import build, initialise
from pellucid.model.transformer import EncoderDecoder

FILL, BEGIN, END = range(3)  # before the words
LONGEST = 10  # words of a sentence; longer ones are left out


@dataclass(frozen=True)
class Sentences:
    """Of one language, in the order of the other's.

    Args:
        ids: (N, LONGEST + 2) ``BEGIN words END``, filled up with FILL.
        names: of the tokens.
    """

    ids: Tensor
    names: tuple[str, ...]


@lru_cache(maxsize=4)
def sentences(split: str) -> tuple[Sentences, Sentences]:
    """French and English of a split, in lower case; the tokens are the words of the training split, a number each."""
    sides: list[Sentences] = []
    kept = [pair for pair in _in_words(split) if max(map(len, pair)) <= LONGEST]
    for side in (0, 1):
        names = ("", "<begin>", "<end>", *sorted({word for pair in _in_words("train") for word in pair[side]}))
        number = {name: token for token, name in enumerate(names)}
        rows = [[BEGIN, *(number[word] for word in pair[side]), END] for pair in kept]
        ids = torch.tensor([row + [FILL] * (LONGEST + 2 - len(row)) for row in rows])
        sides.append(Sentences(ids, names))
    return sides[0], sides[1]


@lru_cache(maxsize=4)
def _in_words(split: str) -> list[tuple[list[str], list[str]]]:
    return [(words(pair.french.lower()), words(pair.english.lower())) for pair in pairs(split)]


def english_lines() -> list[list[str]]:
    """The words of every English sentence of the training split, long ones too."""
    return [english for _, english in _in_words("train")]


def next_words(ids: Tensor) -> Batch:
    """Every word of ``ids`` (B, T + 1) and the end, each to be told from the words before it."""
    wanted = ids[:, 1:] != FILL
    return Batch(ids[:, :-1], wanted, ids[:, 1:][wanted])


def translations(ids: Tensor) -> Batch:
    """The same for the target where ``ids`` are source and target side by side, as :class:`Translator` reads them."""
    batch = next_words(ids)
    batch.wanted[:, : LONGEST + 2] = False
    return Batch(batch.ids, batch.wanted, ids[:, 1:][batch.wanted])


def draw_from(ids: Tensor, make: Callable[[Tensor], Batch], rows: int) -> Draw:
    """Batches of so many of these sentences, drawn at random."""
    return lambda generator: make(ids[torch.randint(len(ids), (rows,), generator=generator)])


def pairs_side_by_side(split: str) -> Tensor:
    """(N, 2 (LONGEST + 2)): French, then English."""
    french, english = sentences(split)
    return torch.cat((french.ids, english.ids), dim=1)


def longer_side(ids: Tensor) -> Tensor:
    """Words of the longer side of each pair (N, 2 (LONGEST + 2)): (N,)."""
    counts = (ids > END).view(len(ids), 2, LONGEST + 2).sum(2)
    return counts.amax(1)


class Translator(nn.Module):
    """An encoder-decoder that takes source and target side by side, so that one training loop serves all."""

    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, *, wanted: Tensor) -> Tensor:
        """Logits (N, V) of the N wanted positions of ``ids`` (B, S + T)."""
        source, target = ids[:, : LONGEST + 2], ids[:, LONGEST + 2 :]
        logits: Tensor = self.model(source, target, source_mask=source != FILL, wanted=wanted[:, LONGEST + 2 :])
        return logits


def translator(config: ModelConfig, seed: int) -> Translator:
    """An untrained one."""
    model = build(config)
    assert isinstance(model, EncoderDecoder)
    initialise(model, seed)
    return Translator(model)


@torch.no_grad()
def loss_on(model: nn.Module, ids: Tensor, make: Callable[[Tensor], Batch]) -> float:
    """Mean loss of all these sentences, in nats a word."""
    model.eval()
    batches = [make(part) for part in torch.split(ids, 250)]
    losses = [F.cross_entropy(model(each.ids, wanted=each.wanted), each.answers, reduction="sum") for each in batches]
    return float(sum(loss.item() for loss in losses) / sum(len(each.answers) for each in batches))
