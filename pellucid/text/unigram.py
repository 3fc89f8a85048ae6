"""Learning the pieces of a unigram vocabulary: candidates, expectation-maximisation, pruning (Kudo 2018, section 3.2).

A word's probability is the sum, over all ways to write it in pieces, of the product of the pieces' probabilities. Start
from too many pieces; repeat: fit the probabilities to the corpus, then drop the pieces without which the corpus loses
least likelihood.

The ``tokenizers`` library applies what is learnt here. It could also learn it, but adds floating-point numbers in the
order of a randomly seeded hash table, so that two runs over one corpus give two vocabularies. Here each sum has one
order. It also weighs all distinct words alike where candidates are chosen; here frequent words weigh more, and text
comes out in fewer pieces.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt

from pellucid.text.byte_level import BYTE_CHARACTERS, character_bounds

_Floats = npt.NDArray[np.float64]
_Integers = npt.NDArray[np.int32]

_LONGEST_PIECE = 16  # characters
_LONGEST_WORD = 32  # bytes; longer ones are learnt in parts, which keeps probabilities above the smallest float64
_MOST_WORDS = 100_000  # distinct words learnt from, the most frequent ones: bounds the memory
_CANDIDATES = 10  # to begin with, for each piece wanted
_ITERATIONS = 2  # of expectation-maximisation between two prunings
_KEPT = 0.75  # share of the pieces that a pruning leaves
_SMALLEST = 1e-9  # probability of a piece that nothing uses, as bytes may be


def learn_pieces(counts: Mapping[str, int], *, size: int, min_frequency: int) -> list[tuple[str, float]]:
    """Pieces with their log-probabilities, the most probable first.

    Args:
        counts: how often each word occurs; words written in byte characters (:mod:`pellucid.text.byte_level`).
        size: number of pieces wanted, the 256 bytes included. Fewer come back when the corpus does not hold as many.
        min_frequency: a piece of several bytes must occur as often as this.
    """
    words = _most_frequent_words(counts)
    candidates = _candidates(words, (size - len(BYTE_CHARACTERS)) * _CANDIDATES, min_frequency)
    pieces = [*BYTE_CHARACTERS, *candidates]
    # The pieces are words of the lattice as well, at weight 0: their totals tell how likely it is to write them otherwise.
    lattice = _Lattice([*words, *pieces], pieces)
    weights = np.array([*words.values(), *[0] * len(pieces)], dtype=np.float64)  # (words,)
    rows = np.arange(len(words), len(words) + len(pieces))  # (pieces,) of each piece in the lattice
    probability = _shares(np.array([1] * len(BYTE_CHARACTERS) + list(candidates.values()), dtype=np.float64))  # (pieces,)
    while True:
        for _ in range(_ITERATIONS):
            before = probability
            expected, totals = lattice.expect(probability, weights)
            probability = _shares(expected)
        if len(pieces) <= size:
            break
        otherwise = np.maximum(totals[rows] - before, np.finfo(np.float64).tiny)
        loss = expected * np.log(before / otherwise)
        kept = _most_needed(loss, max(size, int(len(pieces) * _KEPT)))
        pieces = [pieces[index] for index in kept]
        rows, probability = rows[kept], _shares(expected[kept])
        lattice.keep(kept)
    scored = [(piece, round(math.log(share), 6)) for piece, share in zip(pieces, probability.tolist(), strict=True)]
    return sorted(scored, key=lambda item: (-item[1], item[0]))


def _most_frequent_words(counts: Mapping[str, int]) -> dict[str, int]:
    parts: Counter[str] = Counter()
    for word, count in counts.items():
        for part in _parts(word):
            parts[part] += count
    ranked = sorted(parts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ranked[:_MOST_WORDS])


def _parts(word: str) -> Iterator[str]:
    """The word, cut between characters into parts of at most ``_LONGEST_WORD`` bytes."""
    begin = end = 0
    for bound in character_bounds(word):
        if bound - begin > _LONGEST_WORD:
            yield word[begin:end]
            begin = end
        end = bound
    yield word[begin:]


def _candidates(words: Mapping[str, int], most: int, min_frequency: int) -> dict[str, int]:
    """Stretches of whole characters that occur often enough; those that cover most text, with their counts."""
    counts: Counter[str] = Counter()
    for word, count in words.items():
        for begin, end in _stretches(word):
            counts[word[begin:end]] += count
    frequent = [(piece, count) for piece, count in counts.items() if count >= min_frequency]
    return dict(sorted(frequent, key=lambda item: (-item[1] * len(item[0]), item[0]))[:most])


def _stretches(word: str) -> Iterator[tuple[int, int]]:
    """Begin and end of every stretch of whole characters that is longer than a byte and short enough for a piece."""
    bounds = character_bounds(word)
    for first, begin in enumerate(bounds):
        for end in bounds[first + 1 : first + 1 + _LONGEST_PIECE]:
            if end - begin > 1:
                yield begin, end


def _shares(amounts: _Floats) -> _Floats:
    shares: _Floats = np.maximum(amounts / amounts.sum(), _SMALLEST)
    return shares


def _most_needed(loss: _Floats, size: int) -> npt.NDArray[np.int64]:
    """Which pieces to keep, in their order: all bytes, and those whose absence would cost most."""
    n_bytes = len(BYTE_CHARACTERS)
    ranked = n_bytes + np.argsort(-loss[n_bytes:], kind="stable")[: size - n_bytes]
    return np.concatenate([np.arange(n_bytes), np.sort(ranked)])


class _Lattice:
    """All ways to write every word in pieces.

    A word of n bytes has n + 1 nodes, from its beginning to its end, and an arc for each piece that fits between two of them.
    Probabilities run along the arcs; words advance together, one byte of all words at a time.
    """

    def __init__(self, words: list[str], pieces: list[str]) -> None:
        self._n_pieces = len(pieces)
        lengths = np.array([len(word) for word in words])
        self._ends = np.cumsum(lengths + 1) - 1  # (words,) last node of each word
        self._begins = self._ends - lengths  # (words,) its first node
        arcs = _arcs(zip(self._begins.tolist(), words, strict=True), {piece: index for index, piece in enumerate(pieces)})
        offset = arcs[0] - np.repeat(self._begins, lengths + 1)[arcs[0]]  # (arcs,) bytes before the arc in its word
        order = np.argsort(offset, kind="stable")
        self._offset = offset[order]
        self._source, self._target, self._piece = (column[order] for column in arcs)

    def keep(self, pieces: npt.NDArray[np.int64]) -> None:
        """Drop the arcs of all other pieces; piece ``pieces[i]`` is called ``i`` from now on."""
        renamed = np.full(self._n_pieces, -1, dtype=np.int32)
        renamed[pieces] = np.arange(len(pieces))
        self._n_pieces = len(pieces)
        self._piece = renamed[self._piece]
        kept = self._piece >= 0
        self._offset, self._source = self._offset[kept], self._source[kept]
        self._target, self._piece = self._target[kept], self._piece[kept]

    def expect(self, probability: _Floats, weights: _Floats) -> tuple[_Floats, _Floats]:
        """How often each piece is expected in the corpus, and the probability of each word.

        Args:
            probability: of each piece, (pieces,).
            weights: how often each word occurs, (words,).
        """
        along = probability[self._piece]  # (arcs,)
        forward, backward = np.zeros((2, int(self._ends[-1]) + 1))  # (nodes,) each
        forward[self._begins] = backward[self._ends] = 1.0
        bounds = np.searchsorted(self._offset, np.arange(int(self._offset[-1]) + 2)).tolist()
        steps = [slice(begin, end) for begin, end in itertools.pairwise(bounds)]
        for step in steps:
            np.add.at(forward, self._target[step], forward[self._source[step]] * along[step])
        for step in reversed(steps):
            np.add.at(backward, self._source[step], backward[self._target[step]] * along[step])
        totals = forward[self._ends]  # (words,)
        per_node = np.repeat(weights / totals, self._ends - self._begins + 1)  # (nodes,)
        uses = per_node[self._source] * forward[self._source] * along * backward[self._target]  # (arcs,)
        expected = np.zeros(self._n_pieces)
        np.add.at(expected, self._piece, uses)
        return expected, totals


def _arcs(words: Iterable[tuple[int, str]], index: Mapping[str, int]) -> tuple[_Integers, _Integers, _Integers]:
    """Source node, target node and piece of every arc; words come with their first node."""
    source, target, piece = array("i"), array("i"), array("i")
    for node, word in words:
        for begin, end in (*((at, at + 1) for at in range(len(word))), *_stretches(word)):
            found = index.get(word[begin:end])
            if found is not None:
                source.append(node + begin)
                target.append(node + end)
                piece.append(found)
    return (np.frombuffer(source, np.int32), np.frombuffer(target, np.int32), np.frombuffer(piece, np.int32))
