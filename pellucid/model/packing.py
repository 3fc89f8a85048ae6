"""What is computed position by position need not be computed for padding: the real positions of a batch, side by side.

Projections, feed-forward, norms and dropout treat every position alike, so that they can work on the real ones alone; only
attention needs to know which stand in one sequence, and is given the padded shape. A batch of unequal lengths takes as much
less time as it has padding.

Shapes: B batch, T positions, N real positions, C features.
"""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

FULL = 0.95  # share of real positions from which on the moving to and fro costs more than the padding


class Packing:
    """Which positions of a padded batch are real.

    Args:
        real: (B, T) True for real tokens; at least one.
    """

    def __init__(self, real: Tensor) -> None:
        flat = real.flatten()
        self.shape = real.shape
        self.places = flat.nonzero()[:, 0]  # (N,) where each real position stands
        # Padding takes what the real position before it has: finite numbers, which no real position looks at.
        self.sources = (flat.cumsum(0) - 1).clamp_(min=0)  # (B T,)

    @classmethod
    def of(cls, real: Tensor | None) -> Self | None:
        """The packing of a batch with this mask; ``None`` where it would not pay.

        That is without much padding, on a GPU (which would have to wait for the number of real positions), and while a graph
        for batches of any kind is recorded.
        """
        if real is None or real.device.type != "cpu" or torch.compiler.is_compiling():
            return None
        return cls(real) if 0 < int(real.sum()) < FULL * real.numel() else None

    def pack(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (N, C)."""
        return x.flatten(0, 1).index_select(0, self.places)

    def pad(self, x: Tensor) -> Tensor:
        """(N, C) -> (B, T, C)."""
        return x.index_select(0, self.sources).view(*self.shape, -1)


def behind(real: Tensor) -> bool:
    """Whether all padding of a batch (B, T) stands behind the real tokens: then a causal mask alone hides it from them."""
    return bool((real[:, 1:] <= real[:, :-1]).all())
