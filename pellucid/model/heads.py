"""From the decoder's vectors to numbers over the vocabulary (section 3.4 of the paper)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.taps import Tap


class LanguageHead(nn.Module):
    """``x E^T``: each logit is the match of a vector with one row of the output matrix.

    The matrix is an argument, since it may be the embedding's (Press and Wolf, 2017) and the model is its owner.
    """

    def forward(self, x: Tensor, weight: Tensor, tap: Tap | None = None) -> Tensor:
        """(..., D) and (V, D) -> (..., V), log-probabilities up to a constant."""
        logits = F.linear(x, weight)
        if tap is not None:
            logits = tap("logits", logits)
            tap("probs", torch.softmax(logits, dim=-1))
        return logits
