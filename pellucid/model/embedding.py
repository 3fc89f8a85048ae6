"""From tokens to the vectors that the first layer receives (sections 3.4 and 3.5 of the paper)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.errors import DataError
from pellucid.base.taps import Tap
from pellucid.model.dropout import Dropout
from pellucid.model.positions import position_ids


class Embedding(nn.Module):
    """``dropout(E[t] * sqrt(d_model) + PE(pos))``.

    The matrix E is an argument: it may be shared with the other stack and with the output, and has one owner, the model.

    Args:
        positions: gives the vector of each position.
        max_length: longest sequence that the positions cover.
        d_model: width of the vectors.
        dropout: on the sum.
    """

    def __init__(self, *, positions: nn.Module, max_length: int, d_model: int, dropout: Dropout) -> None:
        super().__init__()
        self.positions, self.dropout = positions, dropout
        self.max_length = max_length
        self.scale = math.sqrt(d_model)

    def forward(
        self, ids: Tensor, weight: Tensor, mask: Tensor | None = None, start: int = 0, tap: Tap | None = None
    ) -> Tensor:
        """Embed ``ids`` (B, T), of which ``mask`` (B, T) says which are real, with E (V, D). Returns (B, T, D).

        Raises:
            DataError: a sequence is longer than the positions reach.
        """
        length = start + ids.shape[1]
        if length > self.max_length:
            raise DataError(
                "a sequence is longer than the model's positions reach",
                expected=f"at most {self.max_length} tokens (model.max_length)",
                found=length,
                advice="shorten the text, or train with a larger model.max_length",
            )
        tokens = F.embedding(ids, weight)  # (B, T, D)
        if tap is not None:
            tokens = tap("tokens", tokens)
        scaled = tokens * self.scale
        positions = self.positions(position_ids(mask, ids.shape[1], ids.device, start))  # (B or 1, T, D)
        if tap is not None:
            scaled, positions = tap("scaled", scaled), tap("positions", positions.expand_as(scaled))
        out: Tensor = self.dropout(scaled + positions)
        return out if tap is None else tap("out", out)
