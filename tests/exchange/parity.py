"""The same weights in ``transformers`` and here: what every family's test is made of.

Models are built by ``transformers`` at toy size, every parameter random and of order 1, so that a wrong epsilon, activation
form or sign of a bias shows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.exchange.family import Described, Family
from pellucid.exchange.mapping import relevant, to_ours
from pellucid.model.build import build
from pellucid.model.positions import SinusoidalPositions
from pellucid.model.transformer import Transformer


def randomised(theirs: nn.Module, seed: int = 1) -> nn.Module:
    """The model in float64 and evaluation mode, with such parameters; gains of norms around 1."""
    theirs = theirs.double().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            gain = 1.0 if parameter.ndim == 1 and "norm" in name.lower() and name.endswith("weight") else 0.0
            parameter.copy_(gain + 0.4 * noise)
    return theirs


def converted(theirs: nn.Module, family: Family) -> tuple[Transformer, Described]:
    """The same model here."""
    config: Any = theirs.config
    architecture = type(theirs).__name__
    described = family.describe(config.to_dict(), architecture)
    pieces = family.pieces(described.model, architecture)
    ours = build(described.model).double().eval()
    for module in ours.modules():
        if isinstance(module, SinusoidalPositions):
            module.initialise()
    shapes = {name: tuple(weight.shape) for name, weight in ours.state_dict().items()}
    tied = set(getattr(theirs, "_tied_weights_keys", None) or ())
    found = {name: weight for name, weight in theirs.state_dict().items() if name not in tied}
    ours.load_state_dict(to_ours(pieces, relevant(family, pieces, found), shapes, "memory"))
    return ours, described


def worst(found: Tensor, expected: Tensor) -> float:
    """The largest difference, in standard deviations of the expected logits."""
    assert found.shape == expected.shape
    return float((found - expected).abs().max() / expected.std())


Call = Callable[[], Tensor]
