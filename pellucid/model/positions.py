"""Positional encodings that are added to the embedding (section 3.5 of the paper).

Shapes: B batch, T positions, D width of the model.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def position_ids(mask: Tensor | None, length: int, device: torch.device, start: int = 0) -> Tensor:
    """Positions counted from the first real token, so that padding on the left changes nothing.

    Args:
        mask: (B, T) True = real token, or ``None``: no padding.
        length: T.
        start: position of the first column, when the earlier ones are in a cache.

    Returns:
        (B, T), or (1, T) without a mask.
    """
    if mask is None:
        return torch.arange(start, start + length, device=device)[None]
    return start + (mask.cumsum(1) - 1).clamp_(min=0)


class SinusoidalPositions(nn.Module):
    """``PE(pos, 2i) = sin(pos / 10000^(2i / D))``, ``PE(pos, 2i + 1) = cos(pos / 10000^(2i / D))``."""

    table: Tensor

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.register_buffer("table", torch.empty(max_length, d_model), persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """Fill the table; it is computed in float64, since an angle near 1,000 has few digits left in float32."""
        max_length, d_model = self.table.shape
        pairs = torch.arange(0, d_model, 2, dtype=torch.float64, device=self.table.device)
        position = torch.arange(max_length, dtype=torch.float64, device=self.table.device)
        angle = position[:, None] / 10000 ** (pairs / d_model)  # (position, D / 2)
        self.table.copy_(torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1))

    def forward(self, positions: Tensor) -> Tensor:
        """(B, T) positions -> (B, T, D)."""
        return F.embedding(positions, self.table)


class LearnedPositions(nn.Module):
    """A learned vector for each position (the paper's Table 3, row E)."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(max_length, d_model))

    def forward(self, positions: Tensor) -> Tensor:
        """(B, T) positions -> (B, T, D)."""
        return F.embedding(positions, self.weight)
