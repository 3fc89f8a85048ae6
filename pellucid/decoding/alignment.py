"""Which source word each target word came from, read off cross-attention; written ``0-0 2-1`` (source-target, Pharaoh format).

Attention was not trained for that, and only some heads do it well: :func:`best_head` finds the best by known alignments.

Legend: T target tokens, S source tokens, H heads. Words are what white space separates and count from 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.base.errors import DataError

Links = frozenset[tuple[int, int]]  # source word, target word

_LINK = re.compile(r"(\d+)([-p?])(\d+)", re.ASCII)


@dataclass(frozen=True)
class Gold:
    """The known alignment of a sentence pair (Och & Ney 2003, section 6).

    Args:
        sure: links that must be there.
        possible: links that may be there; the sure ones always may.
    """

    sure: Links
    possible: Links = frozenset()

    def __post_init__(self) -> None:
        object.__setattr__(self, "possible", self.sure | self.possible)


@dataclass(frozen=True)
class Maps:
    """The cross-attention of one sentence pair.

    Args:
        weights: of each layer, (H, T, S): row t is what each head looked at when token t was written. Layers may differ in H.
        source_words: S, the word of each source token, see :func:`words_of`.
        target_words: T, the word of each target token.
    """

    weights: Sequence[Tensor]
    source_words: Sequence[int | None]
    target_words: Sequence[int | None]


@dataclass(frozen=True)
class Head:
    """A head and its alignment error rate; layers and heads count from 0."""

    layer: int
    head: int
    error_rate: float


def words_of(ids: Sequence[int], decode: Callable[[Sequence[int]], str], *, unknown: int | None = None) -> list[int | None]:
    """The word that each token is part of, from 0; None for a token without visible text (a space alone, an end token).

    Args:
        ids: tokens of one text from its beginning.
        decode: the tokenizer's, ids to text; a token that reaches into a next word counts for that one.
        unknown: id of the unknown token, which ``decode`` leaves out: counted as a word, what it most often stands for.
    """
    words: list[int | None] = []
    before, n_unknown = "", 0
    for at, token in enumerate(ids, start=1):
        text = decode(ids[:at]).rstrip()
        n_unknown += token == unknown
        # a character that is still unfinished is shown as U+FFFD and may not grow with its next byte
        visible = text != before or text.endswith("\ufffd") or token == unknown
        words.append(len(text.split()) + n_unknown - 1 if visible else None)
        before = text
    return words


def align(weights: Tensor, source_words: Sequence[int | None], target_words: Sequence[int | None]) -> Links:
    """For each target word the source word with the largest sum of weights between their tokens; of equal sums the first.

    Every target word gets one link, a source word any number. Tokens that are part of no word are left out: what a head gives
    to the end token, often a place to rest, does not count.

    Args:
        weights: (T, S) of one head, or a mean of several.
        source_words: S, the word of each source token, see :func:`words_of`.
        target_words: T, the word of each target token.
    """
    sources, of_source = _membership(source_words)
    targets, of_target = _membership(target_words)
    if not sources:
        return frozenset()
    sums = of_target @ weights.cpu().double() @ of_source.T  # (target words, source words)
    return frozenset((sources[best], target) for best, target in zip(sums.argmax(dim=1).tolist(), targets, strict=True))


def _membership(words: Sequence[int | None]) -> tuple[list[int], Tensor]:
    """The words that have tokens, in order, and for each of them a row with 1 at its tokens: (words, tokens) float64."""
    found = sorted({word for word in words if word is not None})
    rows = [[float(word == one) for word in words] for one in found]
    return found, torch.tensor(rows, dtype=torch.float64).view(len(found), len(words))


def pharaoh(links: Iterable[tuple[int, int]]) -> str:
    """Links as a line, in the order of the target words: ``0-0 2-1``."""
    return " ".join(f"{source}-{target}" for source, target in sorted(links, key=lambda link: (link[1], link[0])))


def read_pharaoh(line: str, *, where: object = None) -> Gold:
    """The alignment that a line holds: ``0-0`` is a sure link, ``1p2`` or ``1?2`` a possible one. Errors name ``where``.

    Raises:
        DataError: something else stands in the line.
    """
    sure: set[tuple[int, int]] = set()
    possible: set[tuple[int, int]] = set()
    for item in line.split():
        link = _LINK.fullmatch(item)
        if link is None:
            advice = "give source word and target word, counted from 0"
            raise DataError("this is no alignment", where=where, expected="0-0 or 0p0", found=repr(item), advice=advice)
        source, mark, target = link.groups()
        (sure if mark == "-" else possible).add((int(source), int(target)))
    return Gold(frozenset(sure), frozenset(possible))


def error_rate(found: Sequence[Links], gold: Sequence[Gold]) -> float:
    """The alignment error rate of a corpus, ``1 - (|A & S| + |A & P|) / (|A| + |S|)`` (Och & Ney 2003, section 6), 0 to 1.

    A: the links found, S: the sure ones, P: the possible ones with the sure; all counted over the whole corpus. 0 without
    links."""
    right = total = 0
    for links, known in zip(found, gold, strict=True):
        right += len(links & known.sure) + len(links & known.possible)
        total += len(links) + len(known.sure)
    return 1.0 - right / total if total else 0.0


def best_head(maps: Sequence[Maps], gold: Sequence[Gold]) -> Head:
    """The head whose alignments have the lowest error rate over all sentence pairs; of equally good ones the first.

    Args:
        maps: at least one sentence pair, all of one model.
        gold: the known alignment of each.

    Raises:
        DataError: no sentence pairs, or not one alignment for each.
    """
    if not maps or len(maps) != len(gold):
        found = f"{len(maps)} sentence pairs, {len(gold)} alignments"
        raise DataError("heads cannot be compared", expected="an alignment for each of one or more sentence pairs", found=found)
    heads = [
        Head(
            layer, head, error_rate([align(one.weights[layer][head], one.source_words, one.target_words) for one in maps], gold)
        )
        for layer, of_layer in enumerate(maps[0].weights)
        for head in range(len(of_layer))
    ]
    return min(heads, key=lambda head: head.error_rate)
