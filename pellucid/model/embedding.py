"""From tokens or pictures to the vectors that the first layer receives (sections 3.4 and 3.5 of the paper).

Shapes: B batch, T positions, D width of the model, V vocabulary.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.taps import Tap, within
from pellucid.model.dropout import Dropout
from pellucid.model.residual import Norm


class TokenEmbedding(nn.Module):
    """``dropout(E[t] * sqrt(d_model) + PE(pos))``; where the family has them, plus token types and with a norm of the sum.

    The matrix E is an argument: it may be shared with the other stack and with the output, and has one owner, the model.

    Args:
        scale: sqrt(d_model), or 1 for the families that leave it out.
        types: number of token types (segments, in BERT); 0: none.
        d_model: D.
        norm: of the sum; ``None``: none.
        dropout: last.
    """

    def __init__(self, *, scale: float, types: int, d_model: int, norm: Norm | None, dropout: Dropout) -> None:
        super().__init__()
        self.scale = scale
        self.types = nn.Parameter(torch.empty(types, d_model)) if types else None
        self.norm, self.dropout = norm, dropout

    def length(self, ids: Tensor) -> int:
        """Positions that the embedded ``ids`` (B, T) take."""
        return ids.shape[1]

    def forward(
        self, ids: Tensor, weight: Tensor, positions: Tensor | None, *, types: Tensor | None = None, tap: Tap | None = None
    ) -> Tensor:
        """Embed ``ids`` (B, T) with E (V, D); returns (B, T, D).

        Args:
            ids: tokens.
            weight: E.
            positions: (B or 1, T, D) the vector of each position; ``None``: nothing is added.
            types: (B, T) the type of each token; ``None``: all of type 0.
            tap: see :mod:`pellucid.base.taps`.
        """
        tokens = F.embedding(ids, weight)  # (B, T, D)
        if tap is not None:
            tokens = tap("tokens", tokens)
        x = tokens if self.scale == 1.0 else tokens * self.scale
        if tap is not None:
            x = tap("scaled", x)
        if positions is not None:
            x = x + (positions if tap is None else tap("positions", positions.expand_as(x)))
        if self.types is not None:
            kind = F.embedding(torch.zeros_like(ids) if types is None else types, self.types)
            x = x + (kind if tap is None else tap("types", kind))
        if self.norm is not None:
            x = self.norm(x, within(tap, "norm"))
        out: Tensor = self.dropout(x)
        return out if tap is None else tap("out", out)


class PatchEmbedding(nn.Module):
    """A picture cut into squares, each projected like a token (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021,
    equation 1); in front of them, where wanted, a learned class token.

    Args:
        project: the pixels of a patch -> D.
        patch: side of a square, in pixels.
        class_token: whether there is one.
        d_model: D.
        dropout: on the sum.
    """

    def __init__(self, *, project: nn.Module, patch: int, class_token: bool, d_model: int, dropout: Dropout) -> None:
        super().__init__()
        self.project, self.patch = project, patch
        self.class_token = nn.Parameter(torch.empty(d_model)) if class_token else None
        self.dropout = dropout

    def length(self, pixels: Tensor) -> int:
        """Positions that the embedded ``pixels`` (B, channels, height, width) take."""
        squares = (pixels.shape[2] // self.patch) * (pixels.shape[3] // self.patch)
        return squares + (self.class_token is not None)

    def forward(
        self,
        pixels: Tensor,
        weight: Tensor | None,
        positions: Tensor | None,
        *,
        types: Tensor | None = None,
        tap: Tap | None = None,
    ) -> Tensor:
        """Embed ``pixels`` (B, channels, height, width), squares from left to right and from top to bottom: (B, T, D)."""
        batch, channels, height, width = pixels.shape
        side = self.patch
        squares = pixels.view(batch, channels, height // side, side, width // side, side)
        squares = squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B, T, channels * side * side)
        x = self.project(squares)  # (B, T, D)
        if self.class_token is not None:
            x = torch.cat((self.class_token.expand(batch, 1, -1), x), dim=1)
        if tap is not None:
            x = tap("patches", x)
        if positions is not None:
            x = x + (positions if tap is None else tap("positions", positions.expand_as(x)))
        out: Tensor = self.dropout(x)
        return out if tap is None else tap("out", out)
