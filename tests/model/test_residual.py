"""Add & norm: layer normalisation by hand, and the two orders."""

from __future__ import annotations

import math

import pytest
import torch
from examples import NO_DROPOUT, close, make
from torch import Tensor

from pellucid.base.taps import Tap
from pellucid.model.residual import LayerNorm, Residual


def float64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def norm(epsilon: float = 1e-5) -> LayerNorm:
    """Four wide, with gains and biases that are not 1 and 0."""
    layer = LayerNorm(4, epsilon).double()
    layer.weight.data, layer.bias.data = float64(1.0, 2.0, 3.0, 4.0), float64(0.5, 0.0, -0.5, -1.0)
    return layer


def doubled(x: Tensor) -> Tensor:
    return 2 * x


@pytest.mark.parametrize("tap", [None, Tap(lambda name, tensor: tensor)])
def test_variance_is_divided_by_n_and_epsilon_is_inside_the_root(tap: Tap | None) -> None:
    # 1 2 3 4: mean 2.5, variance (2.25 + 0.25 + 0.25 + 2.25) / 4 = 1.25; epsilon 1 makes it 2.25, whose root is 1.5.
    # Normalised -1, -1/3, 1/3, 1; times the gains -1, -2/3, 1, 4; plus the biases -0.5, -2/3, 0.5, 3.
    close(norm(epsilon=1.0)(float64(1.0, 2.0, 3.0, 4.0), tap), float64(-0.5, -2 / 3, 0.5, 3.0))


def test_a_vector_of_equal_numbers_gives_the_bias() -> None:
    close(norm()(float64(7.0, 7.0, 7.0, 7.0)), norm().bias.detach())


def test_post_norm_normalises_the_sum() -> None:
    x = float64(1.0, 2.0, 3.0, 4.0)
    # x + 2 x = 3 x: mean 7.5, variance 9 * 1.25.
    normalised = (3 * x - 7.5) / math.sqrt(9 * 1.25 + 1e-5)
    close(Residual(norm(), NO_DROPOUT, "post")(x, doubled), normalised * norm().weight.detach() + norm().bias.detach())


def test_pre_norm_normalises_what_the_sublayer_sees_and_leaves_the_sum() -> None:
    x = float64(1.0, 2.0, 3.0, 4.0)
    seen = (x - 2.5) / math.sqrt(1.25 + 1e-5) * norm().weight.detach() + norm().bias.detach()
    close(Residual(norm(), NO_DROPOUT, "pre")(x, doubled), x + 2 * seen)


def test_only_a_pre_norm_stack_ends_with_a_norm_of_its_own() -> None:
    last = {f"{stack}.norm.{part}" for stack in ("encoder", "decoder") for part in ("weight", "bias")}
    post, pre = (set(make(norm=order).state_dict()) for order in ("post", "pre"))
    assert pre - post == last
    assert post - pre == set()


def test_the_output_of_a_stack_is_normalised_either_way() -> None:
    for order in ("post", "pre"):
        model = make(norm=order)
        for name, parameter in model.named_parameters():
            if ".norm." in name or "_residual.norm" in name:
                parameter.data.fill_(float(name.endswith("weight")))
        out = model.encode(torch.tensor([[4, 5, 6]])).states[-1]
        close(out.mean(-1), torch.zeros(1, 3, dtype=torch.float64))
        # The variance is just below 1, by the share of epsilon in it.
        close(out.var(-1, correction=0), torch.ones(1, 3, dtype=torch.float64), 1e-4)
