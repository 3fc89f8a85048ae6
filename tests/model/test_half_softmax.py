"""The softmax under autocast: what autocast itself would compute, kept in half precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pellucid.model import attention
from pellucid.model.attention import DotProduct, attend
from pellucid.model.masks import Mask, ResolvedMask
from tests.model.examples import NO_DROPOUT, real

KEYS = real([7, 5, 3], 7)
MASKS = {
    "none": None,
    "causal": Mask(causal=True).resolve(7, 7, torch.zeros(1)),
    "padding": Mask(KEYS).resolve(7, 7, torch.zeros(1)),
}


def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(3, 2, 7, 16, generator=generator).requires_grad_() for _ in range(3)]


def weighted(mask: ResolvedMask | None, leaves: list[Tensor]) -> Tensor:
    query, key, value = (leaf.bfloat16() for leaf in leaves)
    with torch.autocast("cpu", torch.bfloat16):
        return attend(query, key, value, DotProduct(16), mask, NO_DROPOUT)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("in_cache", [1, attention.IN_CACHE])
def test_values_and_gradients(mask: str, in_cache: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the definition in float64, to the rounding of half precision; in pieces as in one."""
    monkeypatch.setattr(attention, "IN_CACHE", in_cache)
    ours, exact = inputs(), [leaf.detach().double().requires_grad_() for leaf in inputs()]
    z = weighted(MASKS[mask], ours)
    assert z.dtype == torch.bfloat16
    hidden = 0.0 if MASKS[mask] is None else MASKS[mask].hidden.double()
    expected = torch.softmax(exact[0] @ exact[1].transpose(-1, -2) / 4.0 + hidden, dim=-1) @ exact[2]
    torch.testing.assert_close(z.double(), expected, rtol=0.02, atol=0.02)
    real_rows = KEYS[:, None, :, None].double() if mask == "padding" else 1.0
    (z.double() * real_rows).square().sum().backward()
    (expected * real_rows).square().sum().backward()
    for leaf, reference in zip(ours, exact, strict=True):
        error = (leaf.grad.double() - reference.grad).norm() / reference.grad.norm()
        assert error < 0.02


@pytest.mark.parametrize("keys", [None, KEYS], ids=["whole", "padded"])
@pytest.mark.parametrize("shape", [(1, 2, 7, 7), (3, 2, 7, 7), (1, 1, 1, 7)])
def test_the_gradient_of_a_learned_bias(shape: tuple[int, ...], keys: Tensor | None) -> None:
    """Of the definition in float64, be the bias shared by rows, heads and queries or not."""
    ours = torch.randn(shape, generator=torch.Generator().manual_seed(6)).requires_grad_()
    exact = ours.detach().double().requires_grad_()
    seen = torch.ones(3, 7, dtype=torch.bool) if keys is None else keys
    rows = seen[:, None, :, None].double()
    (weighted(Mask(keys).resolve(7, 7, torch.zeros(1), bias=ours), inputs()).double() * rows).square().sum().backward()
    query, key, value = (leaf.detach().double() for leaf in inputs())
    hidden = exact.masked_fill(~seen[:, None, None, :], -1e30)
    z = torch.softmax(query @ key.transpose(-1, -2) / 4.0 + hidden, dim=-1) @ value
    (z * rows).square().sum().backward()
    assert ours.grad is not None
    assert exact.grad is not None
    assert (ours.grad - exact.grad).norm() < 0.02 * exact.grad.norm()
