"""Degrees: classes in an order, learnt through the thresholds between them.

n + 1 degrees have n thresholds; a model gives one logit for each, "is the degree above k?" (Frank and Hall, 2001). To be one
degree off costs less than to be three off, which a softmax over the degrees does not know.

Shapes: B texts, C degrees.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def degree_loss(logits: Tensor, degrees: Tensor) -> Tensor:
    """Binary cross-entropy of all thresholds, (B, C - 1) against (B,) numbers from 0, summed: a scalar in nats."""
    above = degrees[:, None] > torch.arange(logits.shape[1], device=logits.device)  # (B, C - 1)
    return F.binary_cross_entropy_with_logits(logits, above.to(logits.dtype), reduction="sum")


def degree_probabilities(logits: Tensor) -> Tensor:
    """The probability of each degree: (B, C - 1) -> (B, C), rows sum to 1.

    A degree above k + 1 is above k as well, which the logits may contradict: each probability is at most the one before.
    """
    above = torch.sigmoid(logits).cummin(dim=1).values
    edges = torch.cat((torch.ones_like(above[:, :1]), above, torch.zeros_like(above[:, :1])), dim=1)
    return edges[:, :-1] - edges[:, 1:]


def degree_of(logits: Tensor) -> Tensor:
    """The expected degree: (B, C - 1) -> (B,)."""
    return torch.sigmoid(logits).cummin(dim=1).values.sum(1)
