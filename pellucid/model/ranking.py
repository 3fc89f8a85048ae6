"""The largest of many values, fast and with ties decided: equal values rank in the order of their place.

Both functions look at blocks of the vocabulary first. The maximum of a block takes one pass that vector instructions do
well, and whatever is among the C largest lies in one of the C blocks with the largest maxima: only those are ranked.

Legend: S sentences, K beams, R rows (K a sentence), V vocabulary, N whole blocks in it, C values wanted.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

BLOCK = 64
RUN = 32


def largest(values: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each row of (R, V) and the first place that has it: (R,) each. NaN counts as largest."""
    n_blocks = values.shape[1] // BLOCK
    if n_blocks < 2:
        return values.max(dim=1)  # gives the first place, too
    blocks = values[:, : n_blocks * BLOCK].view(-1, n_blocks, BLOCK)  # (R, N, BLOCK)
    best, block = blocks.amax(dim=2).max(dim=1)  # (R,)
    place = block * BLOCK + blocks[torch.arange(len(values), device=values.device), block].argmax(dim=1)
    last, at = values[:, -BLOCK:].max(dim=1)  # what lies behind the last whole block, and some of that block again
    return torch.maximum(best, last), torch.where(last > best, at + values.shape[1] - BLOCK, place)


def largest_sums(totals: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The ``count`` largest of all ``totals[s, k] + values[s * K + k, v]`` of each sentence, best first.

    Equal sums rank by beam, then by token. ``torch.topk`` leaves open which of equal values it takes: ties are found by
    looking one place further, and only sentences that have one are ranked again. NaN counts as largest.

    Args:
        totals: (S, K) float64.
        values: (R, V) float32.
        count: C, at most K V.

    Returns:
        The sums, float64, the beam k and the token v of each: (S, C) each.
    """
    n_sentences, beams = totals.shape
    vocabulary = values.shape[1]
    values = values.view(n_sentences, beams, vocabulary)
    best, places = largest_sums_in_blocks(totals, values, min(count + 1, beams * vocabulary))
    ties = (best[:, 1:] == best[:, :-1]) & (best[:, 1:] > -torch.inf)
    best, places = best[:, :count], places[:, :count]
    if ties.any():
        for sentence in ties.any(dim=1).nonzero().flatten().tolist():
            sums = (totals[sentence, :, None] + values[sentence]).flatten()  # (K V,)
            in_question = (~(sums < best[sentence, -1])).nonzero().flatten()  # NaN, too
            order = sums[in_question].sort(descending=True, stable=True).indices[:count]
            places[sentence] = in_question[order]  # the sums stand there already
    return best, places // vocabulary, places % vocabulary


def largest_sums_in_blocks(totals: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Sums of (S, K) and (S, K, V), and their places k V + v, best first, equal ones in any order: (S, C) each."""
    n_sentences, beams, vocabulary = values.shape
    size = _block_size(vocabulary)
    n_blocks = beams * (vocabulary // size)  # of a sentence
    if n_blocks < 8 * count:  # too few blocks for leaving many out
        return (totals[:, :, None] + values).flatten(1).topk(count, dim=1)
    maxima = totals[:, :, None] + values.view(n_sentences, beams, -1, size).amax(dim=3)
    chosen = maxima.flatten(1).topk(count, dim=1, sorted=False).indices  # (S, C) blocks
    before = torch.arange(0, n_sentences * n_blocks, n_blocks, device=values.device)[:, None]
    numbers = values.reshape(-1, size).index_select(0, (chosen + before).flatten()).view(n_sentences, count, size)
    sums = totals.gather(1, chosen // (n_blocks // beams))[:, :, None] + numbers
    best, at = sums.flatten(1).topk(count, dim=1)
    return best, chosen.gather(1, at // size) * size + at % size


@cache
def _block_size(vocabulary: int) -> int:
    """A divisor from a quarter of ``BLOCK`` to twice it; where there is none, all of it: no blocks.

    Vector instructions take the maximum of whole runs of ``RUN`` numbers, the rest of a block goes one by one: of least rest is
    best, then what is nearest to ``BLOCK``.
    """
    divisors = [size for size in range(BLOCK // 4, 2 * BLOCK + 1) if vocabulary % size == 0]
    return min(divisors, key=lambda size: (size % RUN / size, abs(size - BLOCK)), default=vocabulary)
