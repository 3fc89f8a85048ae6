"""Nearest words, analogies and rank correlation, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pellucid.text.vectors import Vectors, analogy, cosine, spearman


@pytest.fixture
def vectors() -> Vectors:
    rows = [[2.0, 0.0, 0.0], [0.0, 3.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    return Vectors(["east", "north", "both", "west", "nowhere"], np.array(rows, np.float32))


def test_nearest_words_by_cosine_not_by_length(vectors: Vectors) -> None:
    found = vectors.nearest(np.array([5.0, 0.0, 0.0]), 4)
    assert [word for word, _ in found] == ["east", "both", "north", "nowhere"]
    assert [value for _, value in found] == pytest.approx([1.0, math.sqrt(0.5), 0.0, 0.0], abs=1e-6)


def test_words_that_were_asked_are_passed_over(vectors: Vectors) -> None:
    assert [word for word, _ in vectors.nearest(vectors.matrix[0], 2, ["east"])] == ["both", "north"]


def test_a_word_or_its_lower_case(vectors: Vectors) -> None:
    assert vectors.get("East") is not None
    assert np.array_equal(vectors.get("East"), vectors.matrix[0])
    assert vectors.get("south") is None


def test_cosines() -> None:
    assert cosine(np.array([3.0, 4.0]), np.array([4.0, 3.0])) == pytest.approx(24 / 25)
    assert cosine(np.array([0.0, 0.0]), np.array([4.0, 3.0])) == 0.0
    huge = np.array([3e30, 4e30], np.float32)  # the square is beyond float32
    assert cosine(huge, huge) == pytest.approx(1.0)


def test_an_analogy_is_a_sum_of_directions() -> None:
    a, b, c = np.array([2.0, 0.0]), np.array([0.0, 5.0]), np.array([3.0, 4.0])
    assert analogy(a, b, c) == pytest.approx(np.array([-1 + 0.6, 1 + 0.8]))


class TestSpearman:
    def test_without_ties(self) -> None:
        # Differences of ranks 1, -1, 1, -1, 0: 1 - 6 * 4 / (5 * 24).
        assert spearman([10, 20, 30, 40, 50], [2, 1, 9, 7, 100]) == pytest.approx(0.8)

    def test_ties_share_the_mean_of_their_ranks(self) -> None:
        # Ranks 1, 2.5, 2.5, 4 and 1, 3, 2, 4, less 2.5: (-1.5, 0, 0, 1.5) and (-1.5, .5, -.5, 1.5); 4.5 / sqrt(4.5 * 5).
        assert spearman([1, 2, 2, 3], [1, 3, 2, 4]) == pytest.approx(4.5 / math.sqrt(22.5))

    def test_only_the_order_counts(self) -> None:
        assert spearman([1, 2, 3], [0.1, 0.2, 1e9]) == pytest.approx(1.0)
        assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1.0)

    @pytest.mark.parametrize(("first", "second"), [([], []), ([1.0], [2.0]), ([1.0, 1.0], [1.0, 2.0])])
    def test_where_it_is_not_defined(self, first: list[float], second: list[float]) -> None:
        assert math.isnan(spearman(first, second))
