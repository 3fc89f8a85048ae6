"""What word vectors are asked: pairs that people have judged, the nearest words, analogies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pellucid.base.errors import DataError
from pellucid.data.word_pairs import WordPair
from pellucid.text.vectors import Floats, Vectors, analogy, cosine, spearman

Look = Callable[[str], Floats | None]  # the vector of a word, where there is one


@dataclass(frozen=True)
class Similarity:
    """How well cosines agree with what people say.

    Args:
        correlation: Spearman's, of the pairs that are covered; not a number where it is not defined.
        covered: pairs of which both words have a vector.
        pairs: all.
    """

    correlation: float
    covered: int
    pairs: int


def similarity(look: Look, pairs: Sequence[WordPair]) -> Similarity:
    """Compare cosines with people's scores; pairs with a word that has no vector are left out, and counted."""
    both = [(look(pair.first), look(pair.second), pair.score) for pair in pairs]
    covered = [(cosine(one, other), score) for one, other, score in both if one is not None and other is not None]
    correlation = spearman([found for found, _ in covered], [score for _, score in covered])
    return Similarity(correlation, len(covered), len(pairs))


def neighbours(vectors: Vectors, look: Look, word: str, count: int) -> list[tuple[str, float]]:
    """The nearest words of a word, without itself.

    Raises:
        DataError: it has no vector.
    """
    return vectors.nearest(_known(look, word), count, {word, word.lower()})


def analogies(vectors: Vectors, look: Look, words: Sequence[str], count: int) -> list[tuple[str, float]]:
    """The words nearest to ``b - a + c``, without a, b and c, with their cosines.

    Raises:
        DataError: one of the three has no vector.
    """
    a, b, c = (_known(look, word) for word in words)
    return vectors.nearest(analogy(a, b, c), count, {form for word in words for form in (word, word.lower())})


def _known(look: Look, word: str) -> Floats:
    found = look(word)
    if found is None:
        raise DataError("no vector for this word", found=repr(word), expected="a word of the vocabulary")
    return found
