"""Add & norm: the residual connection around each sublayer (section 3.1 of the paper), and layer normalisation.

This is the only place that knows the order of norm and sum.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pellucid.base.config import NormOrder
from pellucid.base.taps import Tap, within
from pellucid.model.dropout import Dropout


class LayerNorm(nn.LayerNorm):
    """Layer normalisation (Ba et al., 2016): variance divided by n, epsilon inside the root."""

    def forward(self, x: Tensor, tap: Tap | None = None) -> Tensor:
        """(..., D) -> (..., D)."""
        if tap is None:
            return super().forward(x)
        mean = tap("mean", x.mean(-1, keepdim=True))
        std = tap("std", ((x - mean).square().mean(-1, keepdim=True) + self.eps).sqrt())
        return tap("out", tap("normalized", (x - mean) / std) * self.weight + self.bias)


class RMSNorm(nn.RMSNorm):
    """Division by the root mean square (Zhang and Sennrich, 2019): no mean is taken away, no bias added."""

    def forward(self, x: Tensor, tap: Tap | None = None) -> Tensor:
        """(..., D) -> (..., D)."""
        if tap is None:
            return super().forward(x)
        std = tap("std", (x.square().mean(-1, keepdim=True) + (self.eps or 0.0)).sqrt())
        return tap("out", tap("normalized", x / std) * self.weight)


Norm = LayerNorm | RMSNorm


class Residual(nn.Module):
    """``norm(x + dropout(sublayer(x)))``, or with the norm first: ``x + dropout(sublayer(norm(x)))``.

    The paper's text and figure have the norm last ("post"); its later code moved it to the front ("pre"), which trains
    deeper stacks without warm-up but leaves the sum itself unnormalised: a stack of such layers ends with a norm of its own.
    """

    def __init__(self, norm: Norm, dropout: Dropout, order: NormOrder) -> None:
        super().__init__()
        self.norm, self.dropout = norm, dropout
        self.norm_first = order == "pre"

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor], tap: Tap | None = None, name: str = "") -> Tensor:
        """(B, T, D) -> (B, T, D). ``name`` is the sublayer's, for the taps."""
        if tap is None:
            if self.norm_first:
                return x + self.dropout(sublayer(self.norm(x)))
            return self.norm(x + self.dropout(sublayer(x)))
        norm_tap = within(tap, f"{name}_norm")
        inner = self.norm(x, norm_tap) if self.norm_first else x
        x = tap(f"{name}_residual", x + self.dropout(sublayer(inner)))
        return x if self.norm_first else self.norm(x, norm_tap)
