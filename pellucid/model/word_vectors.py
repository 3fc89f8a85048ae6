"""Word vectors: two tables, learnt by telling the neighbours of a word from noise (Mikolov et al., "Distributed Representations
of Words and Phrases and their Compositionality", 2013, section 2.2); with parts of words as well (Bojanowski et al., 2017).

Shapes: R rows of a text, T words of a row, W farthest neighbour, U distinct words, P their parts, S noise words of a row,
D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.config import ModelConfig


@dataclass(frozen=True)
class WordBatch:
    """A text in rows, each with the W words before and behind it.

    Args:
        words: (U,) the distinct words.
        parts: (P,) rows of the input table, those of each distinct word together.
        begins: (U,) where each word's rows begin in ``parts``.
        centres: (R, T) the text: places in ``words``.
        around: (R, T + 2 W) the same, W words farther on both sides.
        near: (R, T, T + 2 W) True where a word of ``around`` is a neighbour.
        noise: (R, S) words drawn at random.
        negatives: noise words that each neighbour is told from.
        pairs: number of neighbours, the True of ``near``.
    """

    words: Tensor
    parts: Tensor
    begins: Tensor
    centres: Tensor
    around: Tensor
    near: Tensor
    noise: Tensor
    negatives: int
    pairs: int

    def to(self, device: str | torch.device) -> Self:
        """The same on another device."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **moved)


class WordVectors(nn.Module):
    """A table of vectors for words as they are read (and for parts of words), and one for words as they are told.

    Args:
        rows: of the input table: words, then buckets.
        words: of the output table.
        d_model: D.
    """

    def __init__(self, rows: int, words: int, d_model: int) -> None:
        super().__init__()
        self.input = nn.Parameter(torch.empty(rows, d_model))
        self.output = nn.Parameter(torch.empty(words, d_model))

    def initialise(self, generator: torch.Generator) -> None:
        """Small random vectors, and an output table of zeros: at first every word is as probable as noise."""
        bound = 1.0 / self.input.shape[1]
        nn.init.uniform_(self.input, -bound, bound, generator=generator)
        nn.init.zeros_(self.output)

    def vectors(self, parts: Tensor, begins: Tensor) -> Tensor:
        """(U, D) the mean of the rows of each word. (The paper adds them up, its program takes the mean: so do we.)"""
        return F.embedding_bag(parts, self.input, begins, mode="mean")

    def forward(self, batch: WordBatch, *, cbow: bool = False) -> Tensor:
        """The loss in nats, summed over the neighbours (skip-gram) or over the words that have some (CBOW).

        The words of a row share their noise, and each noise word counts for ``negatives / S`` (as in Ji et al., "Parallelizing
        Word2Vec in Shared and Distributed Memory", 2016). The mean is that of separate draws, and products of matrices take the
        place of gathering a row of the table for each of them.
        """
        read, told = self.vectors(batch.parts, batch.begins), F.embedding(batch.words, self.output)  # (U, D) each
        noise = F.embedding(batch.noise, self.output).transpose(1, 2)  # (R, D, S)
        neighbours = batch.near.sum(-1)  # (R, T)
        if cbow:
            shares = batch.near.to(read.dtype) / neighbours.clamp(min=1).unsqueeze(-1)  # (R, T, T + 2 W)
            x = shares @ F.embedding(batch.around, read)  # (R, T, D) the mean of the neighbours
            right = (x * F.embedding(batch.centres, told)).sum(-1)[neighbours > 0]
            counts = (neighbours > 0).float()
        else:
            x = F.embedding(batch.centres, read)  # (R, T, D)
            right = (x @ F.embedding(batch.around, told).transpose(1, 2))[batch.near]
            counts = neighbours.float()
        against = F.softplus((x @ noise).float()).mean(-1)  # (R, T)
        return F.softplus(-right.float()).sum() + batch.negatives * (counts * against).sum()


def build_word_vectors(config: ModelConfig) -> WordVectors:
    """The tables that a configuration describes, not yet initialised."""
    return WordVectors(config.source_vocabulary, config.target_vocabulary, config.d_model)
