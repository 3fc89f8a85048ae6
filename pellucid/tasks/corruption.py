"""What hides parts of a text, for a model that learns to restore them: pure functions of tokens and random numbers.

L tokens of a text, of which n are hidden in k spans. All random numbers come from the generator, so that a validation can hide
the same tokens every time.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Span = tuple[int, int]  # of the tokens hidden together: the first, and the one after the last


def spans(
    ids: Sequence[int], sentinels: Sequence[int], share: float, mean_span: float, noise: torch.Generator | None = None
) -> tuple[list[int], list[int]]:
    """T5's objective (Raffel et al., 2020, section 3.1.4): each hidden span is replaced by a sentinel of its own.

    Args:
        ids: tokens of a text.
        sentinels: in the order in which they are used; there are never more spans than these less one.
        share: n / L, to the nearest token; at least one is hidden and one left.
        mean_span: n / k, to the nearest span.
        noise: where the random numbers come from; ``None``: torch's own generator.

    Returns:
        The text with sentinels; and the sentinels, each followed by what it hides, with one more at the end. A text of one
        token stays as it is.
    """
    found = cut_spans(len(ids), share, mean_span, len(sentinels) - 1, noise)
    source, target, after = [], [], 0
    for sentinel, (first, end) in zip(sentinels, found, strict=False):
        source += [*ids[after:first], sentinel]
        target += [sentinel, *ids[first:end]]
        after = end
    return [*source, *ids[after:]], [*target, sentinels[len(found)]]


def infilling(
    ids: Sequence[int], mask: int, share: float, mean_span: float, noise: torch.Generator | None = None
) -> tuple[list[int], list[int]]:
    """BART's text infilling (Lewis et al., 2020, section 2.2): each hidden span, also one without tokens, becomes one mask.

    Arguments as :func:`spans`; ``mean_span`` is that of a Poisson distribution.

    Returns:
        The text with masks, and the whole text.
    """
    source, after = [], 0
    for first, end in poisson_spans(len(ids), share, mean_span, noise):
        source += [*ids[after:first], mask]
        after = end
    return [*source, *ids[after:]], list(ids)


def cut_spans(length: int, share: float, mean_span: float, most: int, noise: torch.Generator | None = None) -> list[Span]:
    """Spans in their order, at least one token apart: the hidden tokens are cut into k parts, and those take k of the places
    between, before and after the others; all ways of either are equally probable.

    A departure: the code of Raffel et al. puts the last span at the end of every text. It cuts texts to hundreds of tokens, in
    which one span in many matters little; a sentence has one or two, so that nothing but ends would be learnt.
    """
    if length < 2:
        return []
    hidden = min(max(round(length * share), 1), length - 1)
    count = min(max(round(hidden / mean_span), 1), most, hidden, length - hidden + 1)
    return _between(_parts(hidden, count, noise), length - hidden, noise)


def poisson_spans(length: int, share: float, mean_span: float, noise: torch.Generator | None = None) -> list[Span]:
    """Spans in their order, at least one token apart, their lengths drawn until they hide the share; the last is cut to fit."""
    if length < 1:
        return []
    hidden = min(max(round(length * share), 1), length)
    drawn = torch.poisson(torch.full((hidden,), mean_span), generator=noise).long()
    before = drawn.cumsum(0) - drawn
    lengths: list[int] = drawn.minimum(hidden - before)[before < hidden].tolist()
    if (missing := hidden - sum(lengths)) > 0:
        lengths.append(missing)
    lengths = lengths[: length - hidden + 1]  # places between, before and after the tokens that are left
    lengths[-1] += hidden - sum(lengths)
    return _between(lengths, length - hidden, noise)


def _parts(total: int, count: int, noise: torch.Generator | None) -> list[int]:
    """``total`` things in ``count`` parts, none empty."""
    cuts = _chosen(total - 1, count - 1, noise) + 1
    found: list[int] = torch.diff(cuts, prepend=cuts.new_zeros(1), append=cuts.new_full((1,), total)).tolist()
    return found


def _chosen(total: int, count: int, noise: torch.Generator | None) -> Tensor:
    """``count`` of the numbers below ``total``, in their order: (count,)."""
    return torch.randperm(total, generator=noise)[:count].sort().values


def _between(lengths: Sequence[int], others: int, noise: torch.Generator | None) -> list[Span]:
    """Spans of these lengths among so many other tokens, no two in one place."""
    found, before = [], 0
    for place, length in zip(_chosen(others + 1, len(lengths), noise).tolist(), lengths, strict=True):
        found.append((place + before, place + before + length))
        before += length
    return found
