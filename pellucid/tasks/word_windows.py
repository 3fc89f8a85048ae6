"""From a running text to what word vectors learn from: frequent words left out, windows of neighbours, noise words
(Mikolov et al., 2013, sections 2.2 and 2.3).

Shapes: V words, N words of a stretch of text, R rows, T words of a row, W farthest neighbour, S noise words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from pellucid.base.config import WordVectorsConfig
from pellucid.model.word_vectors import WordBatch
from pellucid.tasks.framing import AnyTokenizer
from pellucid.text.ngrams import buckets_of

ROW = 64  # words of a row, and noise words that it shares
BREAK = -1  # between two lines, in a text of words
NO_WORD = -2  # what is neither: unknown, or white space


@dataclass(frozen=True)
class Vocabulary:
    """The words of a tokenizer. A word is one whether a space stood before it or not.

    Args:
        words: in the order of the tokenizer, the frequent ones first.
        numbers: (tokens,) the number of the word that a token is, ``BREAK`` for the end token, ``NO_WORD`` for the rest.
    """

    words: list[str]
    numbers: npt.NDArray[np.int64]

    @classmethod
    def of(cls, tokenizer: AnyTokenizer, n_controls: int) -> Vocabulary:
        """Those of a tokenizer whose first ``n_controls`` tokens are no words."""
        known: dict[str, int] = {}
        numbers = np.full(tokenizer.vocabulary_size, NO_WORD, dtype=np.int64)
        for token in range(n_controls, tokenizer.vocabulary_size):
            word = tokenizer.decode([token]).strip(" ")
            if word.split() == [word]:
                numbers[token] = known.setdefault(word, len(known))
        if tokenizer.end is not None:
            numbers[tokenizer.end] = BREAK
        return cls(list(known), numbers)


def kept_shares(counts: Tensor, subsample: float) -> Tensor:
    """(V,) the probability that an occurrence of a word stays: sqrt(subsample / share of the text), at most 1 (equation 5)."""
    if subsample == 0:
        return torch.ones(len(counts), dtype=torch.float64)
    shares = counts.double() / counts.sum()
    return (subsample / shares.clamp(min=1e-300)).sqrt().clamp(max=1.0)


def noise_shares(counts: Tensor, power: float) -> Tensor:
    """(V,) the probability of each word as noise: proportional to its count to this power (0.75 in section 2.2)."""
    weights = torch.where(counts > 0, counts.double() ** power, 0.0)
    return weights / weights.sum()


class Parts:
    """Which rows of the input table each word has: its own, and those of its parts.

    Args:
        words: the vocabulary.
        config: whether there are parts, and how long they are.
    """

    def __init__(self, words: list[str], config: WordVectorsConfig) -> None:
        self.config, self.n_words = config, len(words)
        rows = [np.array([number, *self.of_unknown(word)]) for number, word in enumerate(words)]
        self._lengths = np.array([len(row) for row in rows])
        self._begins = np.cumsum(self._lengths) - self._lengths
        self._rows = np.concatenate(rows)

    def of_unknown(self, word: str) -> list[int]:
        """The rows of a word's parts, which a word has too that is not in the vocabulary."""
        config = self.config
        if not config.buckets:
            return []
        return [self.n_words + bucket for bucket in buckets_of(word, config.shortest, config.longest, config.buckets)]

    def of(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """The rows of some words (U,), one word after another (P,), and where each begins (U,)."""
        numbers = words.numpy()
        lengths = self._lengths[numbers]
        begins = np.cumsum(lengths) - lengths
        within = np.arange(lengths.sum()) - np.repeat(begins, lengths)
        return torch.from_numpy(self._rows[np.repeat(self._begins[numbers], lengths) + within]), torch.from_numpy(begins)


class Windows:
    """Makes batches of stretches of text.

    Args:
        counts: (V,) of each word, in the training text.
        parts: rows of the words.
        config: windows and noise.
    """

    def __init__(self, counts: Tensor, parts: Parts, config: WordVectorsConfig) -> None:
        self.config, self.parts = config, parts
        self.kept = kept_shares(counts, config.subsample).float()
        self.noise = noise_shares(counts, config.noise).cumsum(0)

    def batch(self, text: Tensor, generator: Generator | None = None) -> WordBatch:
        """What there is to learn from ``text`` (N,), words with ``BREAK`` between lines, which no window crosses.

        Rare words (``NO_WORD``) and frequent ones are left out before windows are laid, so that these reach farther, as in the
        authors' program. ``None`` for the generator: PyTorch's own.
        """
        words, lines = self._thinned(text, generator)
        reach = torch.randint(1, self.config.window + 1, (len(words),), generator=generator)
        distinct, places = torch.unique(words, return_inverse=True)
        parts, begins = self.parts.of(distinct)
        near = neighbours(lines, reach, self.config.window)
        noise = torch.rand((len(near), ROW), generator=generator, dtype=torch.float64)
        return WordBatch(
            words=distinct,
            parts=parts,
            begins=begins,
            centres=in_rows(places, 0),
            around=in_rows(places, self.config.window),
            near=near,
            noise=torch.searchsorted(self.noise, noise).clamp(max=len(self.noise) - 1),  # the last sum may be below 1
            negatives=self.config.negatives,
            pairs=int(near.sum()),
        )

    def _thinned(self, text: Tensor, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """The words that stay, and the number of the line of each: (N',) both."""
        lines = (text == BREAK).cumsum(0)
        drawn = torch.rand(len(text), generator=generator)
        stays = (text >= 0) & (drawn < self.kept[text.clamp(min=0)])
        return text[stays], lines[stays]


def in_rows(values: Tensor, margin: int, fill: int = 0) -> Tensor:
    """(N,) in rows of ``ROW``, each with the ``margin`` values before and behind it, or ``fill``: (R, T + 2 margin)."""
    rows = max(1, -(-len(values) // ROW))
    padded = F.pad(values, (margin, rows * ROW - len(values) + margin), value=fill)
    return padded.unfold(0, ROW + 2 * margin, ROW)


def neighbours(lines: Tensor, reach: Tensor, window: int) -> Tensor:
    """Which words are neighbours: in the same line and no farther than the centre's reach.

    Args:
        lines: (N,) the number of the line of each word, from 0.
        reach: (N,) of each word as the centre.
        window: W, the largest of them.

    Returns:
        (R, T, T + 2 W), True = a neighbour.
    """
    centre, other = in_rows(lines, 0, -1), in_rows(lines, window, -2)  # (R, T), (R, T + 2 W); nothing equals what is no word
    distance = torch.arange(ROW + 2 * window) - window - torch.arange(ROW).unsqueeze(1)  # (T, T + 2 W)
    close = (distance.abs() <= in_rows(reach, 0).unsqueeze(-1)) & (distance != 0)
    return close & (centre.unsqueeze(-1) == other.unsqueeze(1))
