"""Products with many rows as calls of oneDNN: the numbers of the library's products."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pellucid.model.many_rows import CalledInt8Linear, CalledLinear, called, matrices
from pellucid.model.packed import Int8Linear, PackedLinear

GENERATOR = torch.Generator().manual_seed(3)
needs_one_dnn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch has no oneDNN here")


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR)


def with_its_matrix(layer: nn.Module) -> nn.Module:
    """As it is once the code is loaded."""
    [(_, matrix)] = matrices(layer).items()
    layer.laid_out = matrix
    return layer


@needs_one_dnn
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_in_float32_is_that_of_the_library(bias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.model.packed.SMALL", 0)
    x, weight, added = random(4, 3, 24), random(17, 24), random(17) if bias else None
    layer = called(PackedLinear(weight, added))
    assert isinstance(layer, CalledLinear)
    torch.testing.assert_close(with_its_matrix(layer)(x), F.linear(x, weight, added), atol=1e-5, rtol=1e-5)


@needs_one_dnn
@pytest.mark.parametrize("outputs", [5, 70])
@pytest.mark.parametrize("bias", [True, False])
def test_a_product_in_8_bits_rounds_each_row_by_itself(outputs: int, bias: bool) -> None:
    x = random(4, 3, 24) * torch.tensor([1e-3, 1.0, 1e4])[:, None]
    x[1, 2] = 0.0  # padding may be
    plain = Int8Linear(random(outputs, 24), random(outputs) if bias else None)
    layer = called(plain)
    assert isinstance(layer, CalledInt8Linear)
    step = x.abs().amax(-1, keepdim=True).clamp(min=1e-30) / 127
    expected = F.linear((x / step).round().double(), plain.weight.double()) * step * plain.scale
    expected = expected.float() if plain.bias is None else expected.float() + plain.bias
    torch.testing.assert_close(with_its_matrix(layer)(x), expected, atol=1e-5, rtol=1e-5)


def test_small_matrices_are_called_as_they_are() -> None:
    small, plain = PackedLinear(random(5, 4), None), nn.Linear(4, 5)
    assert called(small) is small
    assert called(plain) is plain
    assert matrices(nn.Sequential(small, plain)) == {}
