"""The largest of many, against a stable sort, on few distinct values so that most are tied."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pellucid.model.ranking import BLOCK, largest, largest_sums

VALUES = torch.tensor([-math.inf, -2.5, -1.0, -0.0, 0.0, 1e-30, 3.0])
# Narrower than a block, whole blocks, something behind the last; Many blocks, of which most are left out.
WIDTHS = st.sampled_from([1, 5, BLOCK, 2 * BLOCK, 2 * BLOCK + 1, 9 * BLOCK, 13 * BLOCK + 17])


def random_values(seed: int, rows: int, width: int, distinct: int) -> Tensor:
    """``distinct`` of the values, or numbers that are all different where that is 0."""
    generator = torch.Generator().manual_seed(seed)
    if distinct == 0:
        return torch.randn(rows, width, generator=generator)
    return VALUES[-distinct:][torch.randint(distinct, (rows, width), generator=generator)]


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4), WIDTHS, st.integers(0, len(VALUES)), st.integers(1, 6))
def test_largest_sums_rank_like_a_stable_sort(
    seed: int, sentences: int, beams: int, width: int, distinct: int, count: int
) -> None:
    values, count = random_values(seed, sentences * beams, width, distinct), min(count, beams * width)
    totals = random_values(seed + 1, sentences, beams, distinct).double()
    sums = (totals[:, :, None] + values.view(sentences, beams, width)).flatten(1)
    expected, order = sums.sort(dim=1, descending=True, stable=True)
    best, beam, token = largest_sums(totals, values, count)
    assert torch.equal(best, expected[:, :count])
    possible = best > -torch.inf  # among what is impossible there is no order
    assert torch.equal((beam * width + token)[possible], order[:, :count][possible])


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), WIDTHS, st.integers(0, len(VALUES)))
def test_largest_is_the_first_of_a_stable_sort(seed: int, rows: int, width: int, distinct: int) -> None:
    values = random_values(seed, rows, width, distinct)
    expected, order = values.sort(dim=1, descending=True, stable=True)
    best, index = largest(values)
    assert torch.equal(best, expected[:, 0])
    assert torch.equal(index, order[:, 0])


@pytest.mark.parametrize("place", [0, BLOCK + 3, 9 * BLOCK, 9 * BLOCK + 16])
def test_nan_counts_as_the_largest(place: int) -> None:
    values = torch.zeros(2, 9 * BLOCK + 17)
    values[1, place] = math.nan
    assert largest(values)[0].isnan().tolist() == [False, True]
    assert largest_sums(torch.zeros(2, 1).double(), values, 2)[0][:, 0].isnan().tolist() == [False, True]
