"""Filters over logits: which tokens may be drawn, and how unevenly. Pure functions, logits in and logits out.

A token that a filter removes gets the logit -inf, and the softmax of what is left shares its probability out among the
others. Of equal logits the one with the lower id stays. Legend: R rows, V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pellucid.base.config import DecodingConfig


def filtered(logits: Tensor, config: DecodingConfig) -> Tensor:
    """All of them as a configuration asks, in float64: temperature (above 0), then top-k, then top-p, then min-p."""
    logits = tempered(logits.double(), config.temperature)
    return min_p(top_p(top_k(logits, config.top_k), config.top_p), config.min_p)


def tempered(logits: Tensor, temperature: float) -> Tensor:
    """Logits (R, V) divided by the temperature: below 1 the probable gain, above 1 the improbable (Ackley et al. 1985).

    The largest becomes 0, which changes no probability: so the smallest temperature overflows only where it should, to -inf.

    Args:
        temperature: above 0.
    """
    return (logits - logits.amax(dim=1, keepdim=True)) / temperature


def top_k(logits: Tensor, k: int) -> Tensor:
    """Leaves the ``k`` largest of each row of (R, V); all of them with ``k`` 0 or above V (Fan et al. 2018)."""
    if not 0 < k < logits.shape[1]:
        return logits
    last = logits.topk(k, dim=1).values[:, -1:]  # (R, 1) the k-th largest
    larger, equal = logits > last, logits == last
    room = k - larger.sum(dim=1, keepdim=True)  # (R, 1) for those equal to it: topk leaves open which of them it takes
    return logits.masked_fill(~(larger | (equal & (equal.cumsum(dim=1) <= room))), -torch.inf)


def top_p(logits: Tensor, p: float) -> Tensor:
    """Leaves the fewest tokens of each row of (R, V) whose probabilities sum to ``p`` (Holtzman et al. 2020, section 3.1).

    The token with which the sum reaches ``p`` stays, so that there is always one.

    Args:
        p: above 0; 1 leaves all.
    """
    if p >= 1.0:
        return logits  # where a sum of rounded numbers reaches 1 is chance
    ranked, ids = logits.sort(dim=1, descending=True, stable=True)
    sums = ranked.softmax(dim=1, dtype=torch.float64).cumsum(dim=1)  # (R, V)
    removed = torch.zeros_like(sums, dtype=torch.bool)
    removed[:, 1:] = sums[:, :-1] >= p  # reached before this token
    return logits.masked_fill(torch.zeros_like(removed).scatter(1, ids, removed), -torch.inf)


def min_p(logits: Tensor, share: float) -> Tensor:
    """Leaves the tokens of each row of (R, V) with at least this share of the largest probability (Nguyen et al. 2024).

    Where the model is sure few are left, where it is unsure many. What other filters removed changes no such share.

    Args:
        share: from 0, which leaves all, to 1, which leaves the most probable and its equals.
    """
    if share <= 0.0:
        return logits
    return logits.masked_fill(logits < logits.amax(dim=1, keepdim=True) + math.log(share), -torch.inf)
