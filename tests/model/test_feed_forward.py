"""The feed-forward, number by number."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from examples import NO_DROPOUT, close
from torch import nn

from pellucid.model.feed_forward import ACTIVATIONS, GATED, FeedForward


def gelu(x: float) -> float:
    """Hendrycks and Gimpel (2016), with the normal distribution itself."""
    return x * 0.5 * (1 + math.erf(x / math.sqrt(2)))


def gelu_tanh(x: float) -> float:
    """Their approximation by tanh."""
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


# From their definitions; the gated ones from Shazeer (2020), where the activation is the gate's.
DEFINITIONS: dict[str, Callable[[float], float]] = {
    "relu": lambda x: max(x, 0.0),
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": lambda x: x / (1 + math.exp(-x)),
    "glu": lambda x: 1 / (1 + math.exp(-x)),
    "reglu": lambda x: max(x, 0.0),
    "geglu": gelu,
    "geglu_tanh": gelu_tanh,
    "swiglu": lambda x: x / (1 + math.exp(-x)),
}
D_MODEL, D_FF = 3, 5


def part(seed: int, d_in: int, d_out: int) -> nn.Linear:
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(d_in, d_out).double()
    for parameter in linear.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return linear


def applied(linear: nn.Linear, x: np.ndarray) -> np.ndarray:
    return x @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()


@pytest.mark.parametrize("activation", DEFINITIONS)
def test_every_activation_by_its_definition(activation: str) -> None:
    hidden, gate, output = part(1, D_MODEL, D_FF), part(2, D_MODEL, D_FF), part(3, D_FF, D_MODEL)
    gated = activation in GATED
    feed_forward = FeedForward(
        hidden=hidden,
        gate=gate if gated else None,
        output=output,
        activation=ACTIVATIONS[activation],
        dropout=NO_DROPOUT,
    )
    x = torch.randn(2, 4, D_MODEL, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    elementwise = np.vectorize(DEFINITIONS[activation])
    before = applied(hidden, x.numpy())
    inside = elementwise(applied(gate, x.numpy())) * before if gated else elementwise(before)
    close(feed_forward(x), torch.from_numpy(applied(output, inside)))


def test_every_activation_has_a_definition_here() -> None:
    assert set(ACTIVATIONS) == set(DEFINITIONS)


def test_positions_do_not_see_each_other() -> None:
    feed_forward = FeedForward(
        hidden=part(1, D_MODEL, D_FF),
        gate=None,
        output=part(3, D_FF, D_MODEL),
        activation=ACTIVATIONS["relu"],
        dropout=NO_DROPOUT,
    )
    x = torch.randn(1, 4, D_MODEL, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    close(feed_forward(x)[:, 2], feed_forward(x[:, 2]))
