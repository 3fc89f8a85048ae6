"""The filters, against distributions worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pellucid.decoding.filters import min_p, tempered, top_k, top_p

GONE = -math.inf


def logs(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64).log()


def shares(logits: Tensor) -> Tensor:
    return logits.softmax(dim=1)


def assert_shares(logits: Tensor, *rows: list[float]) -> None:
    torch.testing.assert_close(shares(logits), torch.tensor(rows, dtype=torch.float64), rtol=1e-12, atol=0.0)


# Temperature


def test_temperature_by_hand() -> None:
    """Temperature 1/2 squares the probabilities, 2 takes their roots: 1, 4, 9 of 14 become 1, 16, 81 of 98 and 1, 2, 3 of 6."""
    logits = logs([1 / 14, 4 / 14, 9 / 14], [0.5, 0.5, 0.0])
    assert_shares(tempered(logits, 1.0), [1 / 14, 4 / 14, 9 / 14], [0.5, 0.5, 0.0])
    assert_shares(tempered(logits, 0.5), [1 / 98, 16 / 98, 81 / 98], [0.5, 0.5, 0.0])
    assert_shares(tempered(logits, 2.0), [1 / 6, 2 / 6, 3 / 6], [0.5, 0.5, 0.0])


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 5e-324])
def test_the_smallest_temperature_leaves_the_most_probable(temperature: float) -> None:
    logits = torch.tensor([[-700.0, -3.0, -2.0, GONE], [5.0, 5.0, -9.0, 4.0]], dtype=torch.float64)
    assert_shares(tempered(logits, temperature), [0.0, 0.0, 1.0, 0.0], [0.5, 0.5, 0.0, 0.0])


# Top-k


def test_top_k_by_hand() -> None:
    logits = torch.tensor([[1.0, 4.0, -2.0, 3.0, 2.0], [0.5, -1.0, -0.5, GONE, -3.0]])
    expected = torch.tensor([[GONE, 4.0, GONE, 3.0, 2.0], [0.5, -1.0, -0.5, GONE, GONE]])
    assert torch.equal(top_k(logits, 3), expected)
    assert top_k(logits, 1).isfinite().nonzero().tolist() == [[0, 1], [1, 0]]
    assert torch.equal(logits[0], torch.tensor([1.0, 4.0, -2.0, 3.0, 2.0]))  # what came in is as it was


@pytest.mark.parametrize("k", [0, 5, 6, 1000])
def test_top_k_of_none_or_of_more_than_the_vocabulary_is_all(k: int) -> None:
    logits = torch.tensor([[1.0, 4.0, -2.0, 3.0, 2.0]])
    assert torch.equal(top_k(logits, k), logits)


def test_top_k_among_equals_keeps_the_lowest_ids() -> None:
    logits = torch.tensor([[2.0, 7.0, 2.0, 2.0, 1.0, 2.0], [3.0, 3.0, 3.0, 3.0, 3.0, 3.0], [1.0, 1.0, 5.0, 6.0, 1.0, 7.0]])
    kept = [top_k(logits, k).isfinite() for k in (1, 3, 4)]
    assert [row.nonzero().flatten().tolist() for row in kept[0]] == [[1], [0], [5]]
    assert [row.nonzero().flatten().tolist() for row in kept[1]] == [[0, 1, 2], [0, 1, 2], [2, 3, 5]]
    assert [row.nonzero().flatten().tolist() for row in kept[2]] == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 2, 3, 5]]


def test_top_k_with_fewer_possible_tokens_brings_none_back() -> None:
    logits = torch.tensor([[GONE, 1.0, GONE, 2.0, GONE]])
    assert torch.equal(top_k(logits, 3), logits)


# Top-p

HAND = [0.05, 0.4, 0.1, 0.3, 0.15]  # ranked 0.4, 0.3, 0.15, 0.1, 0.05: sums 0.4, 0.7, 0.85, 0.95, 1


@pytest.mark.parametrize(
    ("p", "kept"),
    [
        (1e-9, [1]),
        (0.39, [1]),
        (0.41, [1, 3]),
        (0.69, [1, 3]),
        (0.71, [1, 3, 4]),
        (0.86, [1, 2, 3, 4]),
        (0.96, [0, 1, 2, 3, 4]),
        (1.0, [0, 1, 2, 3, 4]),
    ],
)
def test_top_p_by_hand(p: float, kept: list[int]) -> None:
    """The token with which the sum crosses p stays."""
    other = [0.0, 0.0, 0.0, 0.0, 1.0]  # the rows of a batch do not mix
    logits = logs(HAND, other)
    found = top_p(logits, p)
    total = sum(HAND[token] for token in kept)
    assert_shares(found, [share / total if token in kept else 0.0 for token, share in enumerate(HAND)], other)
    assert torch.equal(found[0, kept], logits[0, kept])


def test_top_p_reached_exactly_takes_no_further_token() -> None:
    """Logits 0 of four tokens: each has 1/4, with no rounding."""
    assert top_p(torch.zeros(1, 4), 0.5).isfinite().tolist() == [[True, True, False, False]]
    assert top_p(torch.zeros(1, 4), 0.51).isfinite().tolist() == [[True, True, True, False]]
    assert top_p(torch.zeros(1, 4), 0.25).isfinite().tolist() == [[True, False, False, False]]


def test_top_p_among_equals_keeps_the_lowest_ids() -> None:
    assert top_p(logs([0.2, 0.4, 0.2, 0.2]), 0.7).isfinite().tolist() == [[True, True, True, False]]


def test_top_p_of_one_removes_nothing_however_improbable() -> None:
    logits = torch.tensor([[0.0, -80.0, -700.0]], dtype=torch.float64)
    assert torch.equal(top_p(logits, 1.0), logits)
    assert top_p(logits, 1.0 - 1e-12).isfinite().tolist() == [[True, False, False]]


# Min-p


@pytest.mark.parametrize(
    ("share", "kept"),
    [
        (0.0, [0, 1, 2, 3, 4]),
        (0.12, [0, 1, 2, 3, 4]),
        (0.13, [1, 2, 3, 4]),
        (0.3, [1, 3, 4]),
        (0.74, [1, 3]),
        (0.76, [1]),
        (1.0, [1]),
    ],
)
def test_min_p_by_hand(share: float, kept: list[int]) -> None:
    """The largest is 0.4: as shares of it the others are 0.125, 0.25, 0.75 and 0.375. A sure row loses all but one."""
    sure = [0.01, 0.01, 0.01, 0.01, 0.96]
    logits = logs(HAND, sure)
    found = min_p(logits, share)
    total = sum(HAND[token] for token in kept)
    expected = [HAND[token] / total if token in kept else 0.0 for token in range(5)]
    assert_shares(found, expected, [0.0, 0.0, 0.0, 0.0, 1.0] if share else sure)
    assert torch.equal(found[0, kept], logits[0, kept])


def test_min_p_of_one_leaves_the_largest_and_its_equals() -> None:
    assert min_p(torch.tensor([[1.0, 3.0, 3.0, GONE]]), 1.0).isfinite().tolist() == [[False, True, True, False]]


def test_min_p_sees_the_temperature_and_not_what_top_k_removed() -> None:
    """0.1 is a quarter of 0.4. At temperature 1/2 it is a sixteenth; that others are gone changes no such share."""
    assert min_p(tempered(logs(HAND), 0.5), 0.2).isfinite().nonzero().tolist() == [[0, 1], [0, 3]]
    assert min_p(top_k(logs(HAND), 4), 0.2).isfinite().nonzero().tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]


# One behind the other


def test_top_p_counts_what_top_k_left() -> None:
    """Of 0.4 and 0.3, the first has 4/7 = 0.571: enough for 0.5 of the rest, not for 0.6."""
    assert top_p(top_k(logs(HAND), 2), 0.5).isfinite().nonzero().tolist() == [[0, 1]]
    assert top_p(top_k(logs(HAND), 2), 0.6).isfinite().nonzero().tolist() == [[0, 1], [0, 3]]


def test_top_p_counts_what_the_temperature_made() -> None:
    """Probabilities 1, 4, 9 of 14 at temperature 2: 1, 2, 3 of 6. The first has 9/14 = 0.643, then 0.5."""
    logits = logs([1 / 14, 4 / 14, 9 / 14])
    assert top_p(tempered(logits, 1.0), 0.6).isfinite().tolist() == [[False, False, True]]
    assert top_p(tempered(logits, 2.0), 0.6).isfinite().tolist() == [[False, True, True]]


def test_all_three_by_hand() -> None:
    """Roots of 49, 25, 16, 9 and 1: 7, 5, 4, 3 and 1 parts of 20. Three stay, of 16; 7/16 is below 0.7, 12/16 is not."""
    logits = tempered(logs([0.49, 0.25, 0.16, 0.09, 0.01]), 2.0)
    assert_shares(logits, [0.35, 0.25, 0.2, 0.15, 0.05])
    assert_shares(top_k(logits, 3), [0.4375, 0.3125, 0.25, 0.0, 0.0])
    assert_shares(top_p(top_k(logits, 3), 0.7), [7 / 12, 5 / 12, 0.0, 0.0, 0.0])
