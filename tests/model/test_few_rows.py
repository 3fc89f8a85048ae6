"""Products of few rows as sums: the same numbers as the library's products."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from pellucid.model.few_rows import FEW, Summed, matmul, product

GENERATOR = torch.Generator().manual_seed(3)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_is_that_of_the_library(rows: int, bias: bool) -> None:
    x, weight, added = random(rows, 2, 12) if rows == 1 else random(rows, 12), random(7, 12), random(7) if bias else None
    torch.testing.assert_close(product(x, weight, added), F.linear(x, weight, added), atol=1e-12, rtol=0)


@pytest.mark.parametrize("width", [8, 10])  # the sum is cut into parts, or not
def test_a_weight_in_8_bits_counts_with_the_scale_of_its_row(width: int) -> None:
    weight = torch.randint(-127, 128, (5, width), generator=GENERATOR, dtype=torch.int8)
    x, bias, scale = random(1, width), random(5), random(5).abs()
    expected = F.linear(x, weight.double() * scale[:, None], bias)
    torch.testing.assert_close(product(x, weight, bias, scale), expected, atol=1e-10, rtol=0)


def test_matrices_are_multiplied_however_they_lie_in_memory() -> None:
    x, y = random(2, 3, 4, 5), random(2, 3, 5, 6)
    turned = y.transpose(-2, -1).contiguous().transpose(-2, -1)
    for other in (y, turned):
        torch.testing.assert_close(matmul(x, other), x @ other, atol=1e-12, rtol=0)


def test_inside_the_mode_products_of_few_rows_are_sums_and_others_are_not() -> None:
    weight, few, many = random(7, 12), random(FEW, 12), random(FEW + 1, 12)
    with Summed():
        found = F.linear(few, weight), F.linear(many, weight), few[:, :5] @ random(5, 6)
    assert torch.equal(found[0], product(few, weight))
    assert torch.equal(found[1], F.linear(many, weight))
    assert found[2].shape == (FEW, 6)
