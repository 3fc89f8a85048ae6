"""Models for use alone: the same numbers from matrices in another layout, and near ones in 8-bit integers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pellucid.base.config import ModelConfig, StackConfig
from pellucid.base.errors import UsageError
from pellucid.model.build import build, initialise
from pellucid.model.packed import WIDE, FusedProjections, Int8Linear, PackedLinear, packed, quantised
from pellucid.model.transformer import DecoderOnly, EncoderDecoder


def toy() -> EncoderDecoder:
    shape = StackConfig(n_layers=2, n_heads=2, d_ff=48)
    config = ModelConfig(
        d_model=32, encoder=shape, decoder=shape, source_vocabulary=23, target_vocabulary=23, dropout=0.0, max_length=40
    )
    model = build(config)
    initialise(model, 5)
    assert isinstance(model, EncoderDecoder)
    return model.eval()


def linears(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]


def logits(model: EncoderDecoder) -> torch.Tensor:
    numbers = torch.Generator().manual_seed(4)
    source, target = (torch.randint(1, 23, (3, length), generator=numbers) for length in (7, 6))
    with torch.no_grad():
        return model(source, target)


@pytest.mark.parametrize("rows", [1, 5, 70])
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_product_is_the_library_s(rows: int, bias: bool) -> None:
    torch.manual_seed(rows)
    x, weight, added = torch.randn(2, rows, 24), torch.randn(37, 24), torch.randn(37) if bias else None
    torch.testing.assert_close(PackedLinear(weight, added)(x), F.linear(x, weight, added), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("outputs", "inputs"), [(300, 400), (700, 512)])
def test_matrices_of_every_size_give_the_library_s_numbers(outputs: int, inputs: int) -> None:
    """Small ones are multiplied as they are, large ones in the other layout."""
    torch.manual_seed(outputs)
    weight, bias = torch.randn(outputs, inputs) / inputs**0.5, torch.randn(outputs)
    layer = PackedLinear(weight, bias)
    for rows in (1, 5):
        x = torch.randn(rows, 1, inputs)
        torch.testing.assert_close(layer(x), F.linear(x, weight, bias), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make", [packed, quantised])
def test_queries_keys_and_values_of_self_attention_come_out_of_one_product(
    make: Callable[[DecoderOnly], DecoderOnly],
) -> None:
    """Also where heads share keys and values, and are rotated; what is seen on the way keeps its names."""
    shape = StackConfig(n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48)
    config = ModelConfig(
        architecture="decoder",
        d_model=32,
        decoder=shape,
        target_vocabulary=23,
        dropout=0.0,
        positions="rotary",
        bias=False,
        tie="decoder",
    )
    model = build(config)
    initialise(model, 6)
    assert isinstance(model, DecoderOnly)
    found = make(model.eval())
    assert all(isinstance(layer.self_attn, FusedProjections) for layer in found.decoder.layers)
    ids = torch.randint(1, 23, (3, 6), generator=torch.Generator().manual_seed(4))
    seen: list[dict[str, torch.Tensor]] = [{}, {}]
    with torch.no_grad():
        expected, logits = (
            one(ids, tap=lambda name, x, at=at: at.setdefault(name, x)) for one, at in zip((model, found), seen, strict=True)
        )
        torch.testing.assert_close(found(ids), logits, atol=1e-5, rtol=1e-5)
    assert list(seen[0]) == list(seen[1])
    for name, exact in seen[0].items():
        if name.endswith(("q_projected", "k_projected", "v_projected", ".q", ".k")):
            assert ((seen[1][name] - exact).norm() / exact.norm()).item() < (1e-5 if make is packed else 0.05)
    assert ((logits - expected).norm() / expected.norm()).item() < (1e-5 if make is packed else 0.05)


def test_a_packed_model_computes_the_same_and_leaves_the_model_as_it_is() -> None:
    model = toy()
    names, before = linears(model), logits(model)
    found = packed(model)
    assert not linears(found)
    torch.testing.assert_close(logits(found), before, atol=1e-5, rtol=1e-5)
    assert linears(model) == names
    assert torch.equal(logits(model), before)
    assert found.weight("target").data_ptr() == model.weight("target").data_ptr()  # shared, not copied


def test_weights_on_the_grid_are_kept_exactly() -> None:
    # The largest of each row is 127 steps of its scale, 0.5 and 0.25.
    integers = torch.tensor([[127, -3, 0], [64, 127, -127]])
    layer = Int8Linear(integers * torch.tensor([[0.5], [0.25]]), torch.tensor([1.0, -2.0]))
    assert torch.equal(layer.weight, integers.to(torch.int8))
    assert torch.equal(layer.scale, torch.tensor([0.5, 0.25]))
    # Inputs from 0 to 255 are on the grid of unsigned 8 bits: 255 * 63.5 + 1, and 255 * 16 - 31.75 - 2.
    found = layer(torch.tensor([[255.0, 0.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[16193.5, 4046.25]]))


def test_a_row_of_zeros_gives_its_bias() -> None:
    layer = Int8Linear(torch.zeros(2, 3), torch.tensor([0.5, -1.0]))
    torch.testing.assert_close(layer(torch.ones(1, 3)), torch.tensor([[0.5, -1.0]]))


def test_random_products_in_8_bits_are_near() -> None:
    torch.manual_seed(2)
    x, weight = torch.randn(4, 5, 64), torch.randn(33, 64)
    exact = F.linear(x, weight)
    found = Int8Linear(weight, None)(x)
    # A rounding error is evenly spread over half a step either way: with 64 terms the two kinds together are about 1 %.
    assert ((found - exact).norm() / exact.norm()).item() < 0.02


def test_many_outputs_in_8_bits_are_as_near() -> None:
    """Other code multiplies them, where the processor has the instructions."""
    torch.manual_seed(2)
    usual = torch.backends.quantized.engine
    x, weight, bias = torch.randn(4, 5, 64), torch.randn(WIDE, 64), torch.randn(WIDE)
    exact = F.linear(x, weight, bias)
    found = Int8Linear(weight, bias)(x)
    assert ((found - exact).norm() / exact.norm()).item() < 0.02
    assert torch.backends.quantized.engine == usual


def test_a_model_in_8_bits_is_so_throughout_and_stays_near() -> None:
    model = toy()
    exact = logits(model)
    found = quantised(model)
    assert not linears(found)
    assert not torch.equal(logits(found), exact)
    assert ((logits(found) - exact).norm() / exact.norm()).item() < 0.05


def test_only_a_processor_takes_8_bits() -> None:
    with pytest.raises(UsageError, match="8-bit products are for CPUs"):
        quantised(toy().to("meta"))
