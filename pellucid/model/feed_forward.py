"""Position-wise feed-forward (section 3.3 of the paper), plain and gated (Shazeer, "GLU Variants", 2020)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.taps import Tap
from pellucid.model.dropout import Dropout

gelu_tanh = partial(F.gelu, approximate="tanh")  # Hendrycks and Gimpel's approximation, which GPT-2 and BLOOM were trained with

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": gelu_tanh,
    "silu": F.silu,
    "glu": torch.sigmoid,
    "reglu": F.relu,
    "geglu": F.gelu,
    "geglu_tanh": gelu_tanh,
    "swiglu": F.silu,
}
GATED = frozenset({"glu", "reglu", "geglu", "geglu_tanh", "swiglu"})


class FeedForward(nn.Module):
    """``activation(x W_1 + b_1) W_2 + b_2``, the same at every position.

    Args:
        hidden: W_1, D -> d_ff.
        gate: W_g, D -> d_ff, of the gated variants ``(activation(x W_g) * x W_1) W_2``; ``None``: not gated.
        output: W_2, d_ff -> D.
        activation: elementwise.
        dropout: on the hidden layer.
    """

    def __init__(
        self,
        *,
        hidden: nn.Module,
        gate: nn.Module | None,
        output: nn.Module,
        activation: Callable[[Tensor], Tensor],
        dropout: Dropout,
    ) -> None:
        super().__init__()
        self.hidden, self.gate, self.output = hidden, gate, output
        self.activation, self.dropout = activation, dropout

    def forward(self, x: Tensor, tap: Tap | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        hidden = self.hidden(x)  # (B, T, d_ff)
        if tap is not None:
            hidden = tap("hidden_pre", hidden)
        if self.gate is None:
            hidden = self.activation(hidden)
        else:
            gate = self.gate(x)  # (B, T, d_ff)
            hidden = self.activation(gate if tap is None else tap("gate", gate)) * hidden
        if tap is not None:
            hidden = tap("hidden", hidden)
        out: Tensor = self.output(self.dropout(hidden))  # (B, T, D)
        return out if tap is None else tap("out", out)
