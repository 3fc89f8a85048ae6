"""Masks: True = may attend, in every form and combination."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.model.masks import Mask

CPU = torch.device("cpu")
N, Y = False, True


def test_causal_by_hand() -> None:
    allowed = Mask(causal=True).allowed(3, 3, CPU)
    assert allowed is not None
    assert allowed.tolist() == [[[[Y, N, N], [Y, Y, N], [Y, Y, Y]]]]


def test_new_queries_stand_at_the_end_of_a_cache() -> None:
    # 2 new positions after 3 cached ones: aligned top-left they would see 1 and 2 keys instead of 4 and 5.
    allowed = Mask(causal=True).allowed(2, 5, CPU)
    assert allowed is not None
    assert allowed.tolist() == [[[[Y, Y, Y, Y, N], [Y, Y, Y, Y, Y]]]]
    assert Mask(causal=True).allowed(1, 5, CPU) is None


def test_padding_by_hand() -> None:
    allowed = Mask(torch.tensor([[Y, Y, N], [N, Y, Y]])).allowed(2, 3, CPU)
    assert allowed is not None
    assert allowed.tolist() == [[[[Y, Y, N]]], [[[N, Y, Y]]]]
    assert Mask().allowed(2, 3, CPU) is None


def test_both_by_hand() -> None:
    allowed = (Mask(causal=True) & Mask(torch.tensor([[N, Y, Y]]))).allowed(3, 3, CPU)
    assert allowed is not None
    assert allowed.tolist() == [[[[N, N, N], [N, Y, N], [N, Y, Y]]]]


@st.composite
def masks(draw: st.DrawFn, rows: int = 2, keys: int = 4) -> Mask:
    padding = st.lists(st.lists(st.booleans(), min_size=keys, max_size=keys), min_size=rows, max_size=rows)
    given_keys = draw(st.none() | padding.map(torch.tensor))
    return Mask(given_keys, draw(st.booleans()))


def boolean(mask: Mask, n_queries: int, n_keys: int = 4) -> torch.Tensor:
    allowed = mask.allowed(n_queries, n_keys, CPU)
    return (torch.tensor(True) if allowed is None else allowed).expand(2, 1, n_queries, n_keys)


@settings(deadline=None, max_examples=50)
@given(left=masks(), right=masks(), n_queries=st.integers(1, 4))
def test_a_combined_mask_allows_what_both_allow(left: Mask, right: Mask, n_queries: int) -> None:
    assert torch.equal(boolean(left & right, n_queries), boolean(left, n_queries) & boolean(right, n_queries))


@settings(deadline=None, max_examples=50)
@given(mask=masks(), n_queries=st.integers(1, 4))
def test_the_resolved_forms_say_the_same(mask: Mask, n_queries: int) -> None:
    rule = mask.resolve(n_queries, 4, like=torch.zeros(1, dtype=torch.float64))
    if rule is None:
        assert boolean(mask, n_queries).all()
        return
    expected = boolean(mask, n_queries)
    assert torch.equal(rule.allowed.expand_as(expected), expected)
    assert torch.equal(rule.hidden.expand_as(expected) == 0.0, expected)
    assert torch.equal(rule.hidden.expand_as(expected) == torch.finfo(torch.float64).min, ~expected)
    alive = torch.ones(()) if rule.alive is None else rule.alive
    assert torch.equal(alive.expand(2, 1, n_queries, 1).bool(), expected.any(-1, keepdim=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_hidden_scores_stay_finite_in_every_precision(dtype: torch.dtype) -> None:
    rule = Mask(torch.tensor([[Y, N]])).resolve(1, 2, like=torch.zeros(1, dtype=dtype))
    assert rule is not None
    assert rule.hidden.dtype == dtype
    scores = rule.hidden + torch.tensor([-50.0, -50.0], dtype=dtype)
    assert torch.isfinite(scores).all()
    assert torch.softmax(scores, -1).flatten().tolist() == [1.0, 0.0]
