"""Word vectors as they are used: which words are near, which word is to c as b is to a, how well people agree.

Shapes: V words, D width.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]


class Vectors:
    """Words and their vectors.

    Args:
        words: each once.
        matrix: (V, D) float32, a row a word.
    """

    def __init__(self, words: Sequence[str], matrix: npt.NDArray[np.float32]) -> None:
        self.words, self.matrix = list(words), matrix
        self.numbers = {word: number for number, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    @property
    def width(self) -> int:
        """D."""
        return int(self.matrix.shape[1])

    @cached_property
    def directions(self) -> npt.NDArray[np.float32]:
        """(V, D) the vectors at length 1; those of length 0 stay."""
        return unit(self.matrix)

    def get(self, word: str) -> npt.NDArray[np.float32] | None:
        """The vector (D,) of a word, else of its lower case; ``None``: the vocabulary has neither."""
        number = self.numbers.get(word, self.numbers.get(word.lower()))
        return None if number is None else self.matrix[number]

    def nearest(self, vector: Floats, count: int, without: Collection[str] = ()) -> list[tuple[str, float]]:
        """The words whose vectors have the largest cosines with ``vector`` (D,), and these; the largest first.

        Args:
            vector: any.
            count: how many.
            without: words that are passed over.
        """
        cosines = self.directions @ unit(vector).astype(np.float32)  # (V,)
        order = np.argsort(-cosines, kind="stable")[: count + len(without)]
        found = [(self.words[number], float(cosines[number])) for number in order if self.words[number] not in without]
        return found[:count]


def unit(vectors: Floats) -> npt.NDArray[np.float32]:
    """Vectors (..., D) at length 1; those of length 0 stay as they are."""
    # Squares of large numbers overflow float32.
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    found: npt.NDArray[np.float32] = (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return found


def cosine(first: Floats, second: Floats) -> float:
    """The cosine between two vectors (D,); 0 where one has no direction."""
    return float(unit(first).astype(np.float64) @ unit(second).astype(np.float64))


def analogy(a: Floats, b: Floats, c: Floats) -> Floats:
    """What is to c as b is to a, ``b - a + c`` of the directions: 3CosAdd (Mikolov et al., 2013; Levy and Goldberg, 2014)."""
    return unit(b) - unit(a) + unit(c)


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """The rank correlation of two lists of numbers; equal numbers share the mean of their ranks.

    Not a number where it is not defined: fewer than two pairs, or a list of equal numbers.
    """
    if len(first) < 2:
        return float("nan")
    ranks = [_ranks(np.asarray(numbers, dtype=np.float64)) for numbers in (first, second)]
    ranks = [rank - rank.mean() for rank in ranks]
    spread = float(np.sqrt((ranks[0] ** 2).sum() * (ranks[1] ** 2).sum()))
    return float((ranks[0] * ranks[1]).sum()) / spread if spread else float("nan")


def _ranks(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The rank of each number from 1, ties at their mean."""
    _, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: npt.NDArray[np.float64] = (last - (counts - 1) / 2.0)[places]
    return means
