"""Learning the pieces of a unigram vocabulary."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.text.byte_level import BYTE_CHARACTERS
from pellucid.text.unigram import _Lattice, _parts, learn_pieces


def _all_ways(word: str, pieces: list[str]) -> list[list[str]]:
    """Every way to write a word in pieces, found by trying every set of cuts."""
    ways = []
    for n_cuts in range(len(word)):
        for cuts in itertools.combinations(range(1, len(word)), n_cuts):
            bounds = [0, *cuts, len(word)]
            way = [word[begin:end] for begin, end in itertools.pairwise(bounds)]
            if all(piece in pieces for piece in way):
                ways.append(way)
    return ways


def test_expectation_by_hand() -> None:
    # "ab" seen 6 times; p(a) = 1/2, p(b) = 1/4, p(ab) = 3/8. Two ways: a|b with 1/8 and ab with 3/8, so 1 in 4 and 3 in 4.
    lattice = _Lattice(["ab"], ["a", "b", "ab"])
    expected, totals = lattice.expect(np.array([1 / 2, 1 / 4, 3 / 8]), np.array([6.0]))
    np.testing.assert_allclose(totals, [1 / 2], rtol=1e-15)
    np.testing.assert_allclose(expected, [1.5, 1.5, 4.5], rtol=1e-15)


@settings(deadline=None)
@given(st.lists(st.text("abc", min_size=1, max_size=6), min_size=1, max_size=4, unique=True), st.integers(0, 1000))
def test_expectation_equals_enumeration(words: list[str], seed: int) -> None:
    pieces = ["a", "b", "c", "ab", "bc", "abc", "aa", "cab"]
    generator = np.random.default_rng(seed)
    probability, weights = generator.uniform(0.01, 1, len(pieces)), generator.integers(0, 9, len(words)).astype(float)
    totals, expected = np.zeros(len(words)), np.zeros(len(pieces))
    for row, word in enumerate(words):
        ways = _all_ways(word, pieces)
        chances = [math.prod(probability[pieces.index(piece)] for piece in way) for way in ways]
        totals[row] = sum(chances)
        for way, chance in zip(ways, chances, strict=True):
            for piece in way:
                expected[pieces.index(piece)] += weights[row] * chance / totals[row]
    found_expected, found_totals = _Lattice(words, pieces).expect(probability, weights)
    np.testing.assert_allclose(found_totals, totals, rtol=1e-12)
    np.testing.assert_allclose(found_expected, expected, rtol=1e-12, atol=1e-12)


def test_dropping_pieces_leaves_the_lattice_of_the_others() -> None:
    words, pieces = ["abcab", "cab"], ["a", "b", "c", "ab", "bc", "cab"]
    kept = np.array([0, 1, 2, 4])
    smaller = _Lattice(words, pieces)
    smaller.keep(kept)
    fresh = _Lattice(words, [pieces[index] for index in kept])
    arguments = (np.array([0.1, 0.2, 0.3, 0.4]), np.array([2.0, 3.0]))
    for found, expected in zip(smaller.expect(*arguments), fresh.expect(*arguments), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_frequent_stretches_become_pieces_and_all_bytes_stay() -> None:
    counts = {"Ġchat": 50, "Ġchats": 40, "Ġchien": 30, "Ġrare": 1}
    pieces = dict(learn_pieces(counts, size=len(BYTE_CHARACTERS) + 3, min_frequency=2))
    assert len(pieces) == len(BYTE_CHARACTERS) + 3
    assert set(BYTE_CHARACTERS) < set(pieces)
    assert {"Ġchat", "Ġchats", "Ġchien"} < set(pieces)  # with one piece each, the corpus is likeliest


def test_fewer_pieces_come_when_too_little_is_frequent() -> None:
    pieces = [piece for piece, _ in learn_pieces({"xy": 3, "zq": 1}, size=1000, min_frequency=2)]
    assert set(pieces) == {*BYTE_CHARACTERS, "xy"}


def test_no_piece_holds_part_of_a_character() -> None:
    word = "".join(BYTE_CHARACTERS[byte] for byte in "éèéèé".encode())
    for piece, _ in learn_pieces({word: 10}, size=300, min_frequency=1):
        if len(piece) > 1:
            bytes(BYTE_CHARACTERS.index(character) for character in piece).decode("utf-8")  # raises on half a character


def test_probabilities_sum_to_one_and_come_in_order() -> None:
    pieces = learn_pieces({"Ġchat": 5, "Ġchien": 3, "s": 8}, size=270, min_frequency=1)
    scores = [score for _, score in pieces]
    assert scores == sorted(scores, reverse=True)
    # 6 decimals of a logarithm: relative errors of 5e-7; unused bytes have 1e-9 each
    assert sum(math.exp(score) for score in scores) == pytest.approx(1, abs=2e-6)


@settings(deadline=None)
@given(st.text(BYTE_CHARACTERS[:128], max_size=100))
def test_long_words_are_learnt_in_parts(word: str) -> None:
    parts = list(_parts(word))
    assert "".join(parts) == word
    assert max(map(len, parts)) <= 32


def test_a_long_word_loses_no_likelihood_to_underflow() -> None:
    pieces = learn_pieces({"ab" * 5000: 1, "z": 10**12}, size=270, min_frequency=1)
    assert all(math.isfinite(score) for _, score in pieces)
