"""From a stack's vectors to numbers over a vocabulary or over classes (section 3.4 of the paper).

Shapes: B batch, T positions, D width of the model, V vocabulary or classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.taps import Tap, within
from pellucid.model.dropout import Dropout
from pellucid.model.residual import Norm


class Transform(nn.Module):
    """One more layer before the logits: ``norm(activation(x W + b))``, as in BERT's heads.

    Args:
        dense: D -> D.
        activation: elementwise.
        norm: of the result; ``None``: none.
    """

    def __init__(self, *, dense: nn.Module, activation: Callable[[Tensor], Tensor], norm: Norm | None) -> None:
        super().__init__()
        self.dense, self.activation, self.norm = dense, activation, norm

    def forward(self, x: Tensor, tap: Tap | None = None) -> Tensor:
        """(..., D) -> (..., D)."""
        x = self.dense(x)
        x = self.activation(x if tap is None else tap("dense", x))
        if tap is not None:
            x = tap("hidden", x)
        return x if self.norm is None else self.norm(x, within(tap, "norm"))


class Head(nn.Module):
    """``x E^T``: each logit is the match of a vector with one row of the output matrix.

    The matrix is an argument, since it may be the embedding's (Press and Wolf, 2017) and the model is its owner.

    Args:
        pool: one vector for the whole sequence: that of its first token (``"class"``), of its last (``"last"``), the mean of
            its real tokens (``"mean"``), or where half of each vector was read from the other end, each half's last
            (``"ends"``); ``None``: logits at every position.
        transform: one more layer; ``None``: none.
        dropout: before the product.
        scale: the vectors are multiplied by it (T5 with tied matrices: d_model^-0.5).
        bias: V, the size of a bias to add to the logits; 0: none.
    """

    def __init__(
        self,
        *,
        pool: Literal["class", "mean", "last", "ends"] | None,
        transform: Transform | None,
        dropout: Dropout,
        scale: float,
        bias: int,
    ) -> None:
        super().__init__()
        self.pool, self.transform, self.dropout, self.scale = pool, transform, dropout, scale
        self.bias = nn.Parameter(torch.empty(bias)) if bias else None
        self.product: nn.Module | None = None  # in place of that with the matrix and the bias, see pellucid.model.packed

    def features(self, x: Tensor, mask: Tensor | None = None, tap: Tap | None = None) -> Tensor:
        """The vectors to match: (..., D) -> (..., D), or pooled (B, T, D) -> (B, D), of the tokens that ``mask`` (B, T) says
        are real."""
        if self.pool is not None:
            x = POOLS[self.pool](x, mask)
            if tap is not None:
                x = tap("pooled", x)
        if self.transform is not None:
            x = self.transform(x, within(tap, "head"))
        x = self.dropout(x)
        return x if self.scale == 1.0 else x * self.scale

    def forward(self, x: Tensor, weight: Tensor, mask: Tensor | None = None, tap: Tap | None = None) -> Tensor:
        """Logits, log-probabilities up to a constant: (..., D) and (V, D) -> (..., V); pooled, (B, T, D) -> (B, V)."""
        features = self.features(x, mask, tap)
        logits = F.linear(features, weight, self.bias) if self.product is None else self.product(features)
        if tap is not None:
            logits = tap("logits", logits)
            tap("probs", torch.softmax(logits, dim=-1))
        return logits


def _first(x: Tensor, mask: Tensor | None) -> Tensor:
    """The first real token of each row, also where padding stands before it."""
    if mask is None:
        return x[:, 0]
    first = mask.int().argmax(1)
    return x[torch.arange(len(x), device=x.device), first]


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:
    if mask is None:
        return x.mean(1)
    real = mask[:, :, None].to(x.dtype)  # (B, T, 1)
    return (x * real).sum(1) / real.sum(1).clamp(min=1)


def _last(x: Tensor, mask: Tensor | None) -> Tensor:
    """The last real token of each row."""
    return x[:, -1] if mask is None else _first(x.flip(1), mask.flip(1))


def _ends(x: Tensor, mask: Tensor | None) -> Tensor:
    """Of the first half of each vector the last real token, of the second the first: there each direction has read it all."""
    forward, backward = x.chunk(2, dim=-1)
    return torch.cat((_last(forward, mask), _first(backward, mask)), dim=-1)


POOLS = {"class": _first, "mean": _mean, "last": _last, "ends": _ends}
