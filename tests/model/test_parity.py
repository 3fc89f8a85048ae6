"""Parity with ``torch.nn.Transformer``, an independent implementation: the same weights give the same outputs and gradients.

Its stacks get the boxes around them here (embedding, positions, projection), written from the paper. The copied weights are all
of order 1, in float64 and to 1e-10, so that small slips show; that they do is tested as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from examples import CONFIG, SOURCE, SOURCE_MASK, TARGET, TARGET_MASK, B, D, T, V, close, make
from torch import Tensor, nn

from pellucid.model.attention import DotProduct
from pellucid.model.positions import SinusoidalPositions
from pellucid.model.residual import LayerNorm
from pellucid.model.transformer import EncoderDecoder

HEADS, D_FF = 3, 20  # torch's stacks have the same in both
STACKS: dict[str, Any] = {
    "encoder": replace(CONFIG.encoder, n_heads=HEADS, d_ff=D_FF),
    "decoder": replace(CONFIG.decoder, n_heads=HEADS, d_ff=D_FF),
}
SCALE = math.sqrt(D)
# What the gradients are taken of: every real position counts, each logit with a weight of its own.
WEIGHTS = torch.randn(B, T, V, generator=torch.Generator().manual_seed(8), dtype=torch.float64) * TARGET_MASK[..., None]


def ours(norm: str, activation: str) -> EncoderDecoder:
    model = make(norm=norm, activation=activation, **STACKS)
    for module in model.modules():
        if isinstance(module, SinusoidalPositions):
            module.initialise()  # anew, in float64
    return model


def theirs(norm: str, activation: str) -> nn.Transformer:
    """Stacks of torch's layers, with a last norm where the layers leave their output unnormalised: torch adds one always."""
    shape = {"d_model": D, "nhead": HEADS, "dim_feedforward": D_FF, "dropout": 0.0, "batch_first": True}
    layer = {**shape, "activation": activation, "norm_first": norm == "pre", "dtype": torch.float64}

    def last() -> nn.LayerNorm | None:
        return nn.LayerNorm(D, dtype=torch.float64) if norm == "pre" else None

    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(**layer), CONFIG.encoder.n_layers, last(), enable_nested_tensor=False
    )
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**layer), CONFIG.decoder.n_layers, last())
    return nn.Transformer(**shape, custom_encoder=encoder, custom_decoder=decoder)


SUBLAYERS = {"encoder": ("self_attn", "feed_forward"), "decoder": ("self_attn", "cross_attn", "feed_forward")}


def pairs(model: EncoderDecoder, reference: nn.Transformer) -> Iterator[tuple[str, list[nn.Parameter], nn.Parameter]]:
    """Each parameter of torch's stacks, with ours: several where torch has packed query, key and value into one."""

    def both(left: nn.Module, right: nn.Module) -> Iterator[tuple[str, list[nn.Parameter], nn.Parameter]]:
        for kind, parameter in right.named_parameters():
            yield kind, [left.get_parameter(kind)], parameter

    for side in ("encoder", "decoder"):
        left_stack, right_stack = model.get_submodule(side), reference.get_submodule(side)
        for number, right in enumerate(right_stack.layers):
            left = left_stack.layers[number]
            for place, name in enumerate(SUBLAYERS[side]):
                yield from both(left.get_submodule(f"{name}_residual.norm"), right.get_submodule(f"norm{place + 1}"))
                if name == "feed_forward":
                    yield from both(left.feed_forward.hidden, right.linear1)
                    yield from both(left.feed_forward.output, right.linear2)
                    continue
                mine = left.get_submodule(name)
                other = right.self_attn if name == "self_attn" else right.multihead_attn
                for kind in ("weight", "bias"):
                    packed = [mine.get_parameter(f"{part}.{kind}") for part in ("query", "key", "value")]
                    yield f"{name}.{kind}", packed, other.get_parameter(f"in_proj_{kind}")
                yield from both(mine.output, other.out_proj)
        if right_stack.norm is not None:
            yield from both(left_stack.norm, right_stack.norm)


def encoding(mask: Tensor) -> Tensor:
    """Section 3.5 in a loop, for padding on the right: (1, T, D)."""
    table = torch.zeros(mask.shape[1], D, dtype=torch.float64)
    for position in range(mask.shape[1]):
        for pair in range(D // 2):
            angle = position / 10000 ** (2 * pair / D)
            table[position, 2 * pair], table[position, 2 * pair + 1] = math.sin(angle), math.cos(angle)
    return table[None]


def reference_logits(reference: nn.Transformer, matrix: Tensor) -> Tensor:
    # torch's polarity is the opposite of ours: True = may not attend.
    out = reference(
        matrix[SOURCE] * SCALE + encoding(SOURCE_MASK),
        matrix[TARGET] * SCALE + encoding(TARGET_MASK),
        tgt_mask=torch.ones(T, T, dtype=torch.bool).triu(1),
        src_key_padding_mask=~SOURCE_MASK,
        tgt_key_padding_mask=~TARGET_MASK,
        memory_key_padding_mask=~SOURCE_MASK,
    )
    return F.linear(out, matrix)


def compare(model: EncoderDecoder, norm: str, activation: str) -> None:
    """Copy the weights of ``model`` into torch's modules, and compare the real logits and all gradients, to 1e-10."""
    reference = theirs(norm, activation).train()  # training without dropout: evaluation takes a fused path of its own
    matrix = nn.Parameter(model.weight("source").detach().clone())
    matched = list(pairs(model, reference))
    assert sum(len(mine) for _, mine, _ in matched) == len(list(model.parameters())) - 1
    with torch.no_grad():
        for _, mine, other in matched:
            other.copy_(torch.cat(mine))
    logits = model(SOURCE, TARGET, source_mask=SOURCE_MASK, target_mask=TARGET_MASK)
    expected = reference_logits(reference, matrix)
    close(logits[TARGET_MASK], expected[TARGET_MASK], 1e-10)
    for result in (logits, expected):
        (result * WEIGHTS).sum().backward()
    for name, mine, other in [*matched, ("matrix", [model.weights["shared"]], matrix)]:
        gradients = [parameter.grad for parameter in mine if parameter.grad is not None]
        assert other.grad is not None
        assert len(gradients) == len(mine), name
        close(torch.cat(gradients), other.grad, 1e-10)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_outputs_and_gradients_equal_those_of_torch(norm: str, activation: str) -> None:
    compare(ours(norm, activation), norm, activation)


# Slips. Each changes ours after the weights were made; the comparison above must notice. (A wrong sign of a *key* bias is the
# one slip that no comparison can see: it adds the same to all the scores of a query, and the softmax takes it out again.)


def parts(model: nn.Module, kind: type[nn.Module]) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, kind)]


def epsilon(model: EncoderDecoder) -> None:
    parts(model, LayerNorm)[0].eps = 1e-3


def tanh_gelu(model: EncoderDecoder) -> None:
    model.encoder.layers[0].feed_forward.activation = partial(F.gelu, approximate="tanh")


def scaled_by_d_model(model: EncoderDecoder) -> None:
    for score in parts(model, DotProduct):
        score.scale = 1 / math.sqrt(D)


def unscaled_embedding(model: EncoderDecoder) -> None:
    model.decoder.embed.scale = 1.0


def positions_from_one(model: EncoderDecoder) -> None:
    table = model.encoder.positions.table
    table.copy_(table.roll(-1, 0))


def sines_then_cosines(model: EncoderDecoder) -> None:
    table = model.encoder.positions.table
    table.copy_(torch.cat([table[:, ::2], table[:, 1::2]], 1))


def reads_another_layer(model: EncoderDecoder) -> None:
    model.decoder.reads = (0, *model.decoder.reads[1:])


def other_norm_order(model: EncoderDecoder) -> None:
    residual = model.encoder.layers[0].feed_forward_residual
    residual.norm_first = not residual.norm_first


def no_source_mask(model: EncoderDecoder) -> None:
    encode = model.encode
    model.encode = lambda source, mask=None, **more: replace(encode(source, mask, **more), mask=None)


def wrong_sign(place: str) -> Callable[[EncoderDecoder], None]:
    def slip(model: EncoderDecoder) -> None:
        # The forward uses the negated bias, while the copied weight is the parameter's.
        module = model.get_submodule(place)
        assert isinstance(module, nn.Linear)
        module.forward = lambda x: F.linear(x, module.weight, -module.bias)

    return slip


SLIPS: dict[str, Callable[[EncoderDecoder], None]] = {
    "epsilon 1e-3": epsilon,
    "tanh form of gelu": tanh_gelu,
    "scale by d_model": scaled_by_d_model,
    "embedding not scaled": unscaled_embedding,
    "positions from 1": positions_from_one,
    "sines, then cosines": sines_then_cosines,
    "another layer's memory": reads_another_layer,
    "other order of norm": other_norm_order,
    "padded source seen": no_source_mask,
    "query bias negated": wrong_sign("encoder.layers.0.self_attn.query"),
    "value bias negated": wrong_sign("decoder.layers.1.cross_attn.value"),
    "output bias negated": wrong_sign("decoder.layers.2.self_attn.output"),
    "hidden bias negated": wrong_sign("encoder.layers.1.feed_forward.hidden"),
    "last bias negated": wrong_sign("decoder.layers.0.feed_forward.output"),
}


@pytest.mark.parametrize("slip", SLIPS.values(), ids=list(SLIPS))
@pytest.mark.parametrize("norm", ["post", "pre"])
def test_a_slip_turns_the_comparison_red(norm: str, slip: Callable[[EncoderDecoder], None]) -> None:
    model = ours(norm, "gelu")
    slip(model)
    with pytest.raises(AssertionError, match="not close"):
        compare(model, norm, "gelu")


def test_torch_cannot_see_a_key_bias_either() -> None:
    model = ours("post", "relu")
    wrong_sign("encoder.layers.0.self_attn.key")(model)
    compare(model, "post", "relu")
