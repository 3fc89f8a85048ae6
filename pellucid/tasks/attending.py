"""What a translator looked at: its cross-attention, and the alignment of words that is read off it.

Shapes: B sentences, H heads, S source positions, T target positions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from pellucid.base.config import RunConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.base.plots import plot_attention
from pellucid.decoding.alignment import Gold, Head, Links, Maps, align, best_head, read_pharaoh, words_of
from pellucid.model.transformer import EncoderDecoder
from pellucid.tasks.framing import AnyTokenizer, pad_of, start_of
from pellucid.tasks.pairs import encode, pad

ROWS = 32  # sentence pairs whose attention is computed together


class Attending(Protocol):
    """What is needed of a translator."""

    model: EncoderDecoder
    config: RunConfig

    @property
    def source_tokenizer(self) -> AnyTokenizer: ...
    @property
    def target_tokenizer(self) -> AnyTokenizer: ...
    @property
    def device(self) -> torch.device: ...


def cross_attention(
    translator: Attending, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]
) -> Iterator[list[Tensor]]:
    """The weights of each pair, (H, T, S) of each layer: row t is what the decoder looked at when it wrote token t.

    Args:
        translator: asked in one pass over each batch.
        sources: tokens as the encoder reads them, the end token with them.
        targets: tokens without the start token, at least one each.
    """
    for first in range(0, len(sources), ROWS):
        some, written = sources[first : first + ROWS], targets[first : first + ROWS]
        maps = _maps(translator, some, written)
        for row, (source, target) in enumerate(zip(some, written, strict=True)):
            yield [layer[row, :, : len(target), : len(source)].float().cpu() for layer in maps]


@torch.inference_mode()
def _maps(translator: Attending, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> list[Tensor]:
    """Of each layer, (B, H, T, S)."""
    maps: dict[str, Tensor] = {}

    def tap(name: str, tensor: Tensor) -> Tensor:
        if name.endswith("cross_attn.weights"):
            maps[name] = tensor  # a recurrent decoder shows it position by position: whole at last
        return tensor

    tokenizer = translator.target_tokenizer
    source, mask = pad(sources, pad_of(translator.source_tokenizer))
    fed, _ = pad([[start_of(tokenizer), *target[:-1]] for target in targets], pad_of(tokenizer))
    real = None if mask.all() else mask.to(translator.device)
    translator.model.eval()(source.to(translator.device), fed.to(translator.device), source_mask=real, tap=tap)
    return list(maps.values())


def need_attention(config: RunConfig) -> None:
    """Raises a usage error where the decoder has no attention to look at."""
    if not config.model.cross_heads:
        what = "this model has no attention: one vector is all that its decoder knows of the source"
        advice = "train one with model.recurrent.attention: additive or dot"
        raise UsageError(what, where="model.recurrent.attention", found=config.model.recurrent.attention, advice=advice)


def check_head(config: RunConfig, head: tuple[int, int]) -> None:
    """Raises a usage error unless the decoder has this layer and head, which count from 0.

    A recurrent decoder has one attention, whatever its layers: layer 0, head 0.
    """
    need_attention(config)
    heads = config.model.cross_heads
    layer, number = head
    if not (0 <= layer < len(heads) and 0 <= number < heads[layer]):
        expected = f"layer 0 to {len(heads) - 1}, head 0 to {max(heads) - 1}"
        raise UsageError("no such layer or head", where="align", expected=expected, found=f"layer {layer}, head {number}")


def links(
    translator: Attending, sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], head: tuple[int, int]
) -> list[Links]:
    """The alignment of words of each pair, as :func:`cross_attention` takes them, by one head; without a target no links."""
    full = [number for number, target in enumerate(targets) if target]
    found: list[Links] = [frozenset()] * len(targets)
    layer, number = head
    maps = cross_attention(translator, [sources[one] for one in full], [targets[one] for one in full])
    for one, weights in zip(full, maps, strict=True):
        found[one] = align(weights[layer][number], *words(translator, sources[one], targets[one]))
    return found


def words(translator: Attending, source: Sequence[int], target: Sequence[int]) -> tuple[list[int | None], list[int | None]]:
    """The word that each token of either side belongs to, see :func:`pellucid.decoding.alignment.words_of`."""
    sides = ((translator.source_tokenizer, source), (translator.target_tokenizer, target))
    of_source, of_target = (words_of(ids, tokenizer.decode, unknown=tokenizer.unknown) for tokenizer, ids in sides)
    return of_source, of_target


def head_that_aligns_best(translator: Attending, pairs: Sequence[tuple[str, str]], alignments: Sequence[str]) -> Head:
    """The head whose alignments of these pairs are nearest to the known ones.

    Args:
        translator: whose heads are compared.
        pairs: source and target texts.
        alignments: of each pair, as ``0-0 2-1``; words count from 0.

    Raises:
        DataError: no pairs, a pair with an empty side, not one alignment for each, or something else in one.
        UsageError: the model has no attention.
    """
    need_attention(translator.config)
    longest = translator.config.model.max_length
    empty = next((number for number, pair in enumerate(pairs, start=1) if not all(text.strip() for text in pair)), None)
    if empty is not None:
        raise DataError("an empty text has no alignment", where=f"pair {empty}", advice="leave it out")
    gold: list[Gold] = [read_pharaoh(line, where=f"pair {number}") for number, line in enumerate(alignments, start=1)]
    sides = (translator.source_tokenizer, translator.target_tokenizer)
    rows = [
        [encode(tokenizer, pair[side], longest, f"pair {number}") for number, pair in enumerate(pairs, start=1)]
        for side, tokenizer in enumerate(sides)
    ]
    found = cross_attention(translator, rows[0], rows[1])
    maps = [Maps(weights, *words(translator, s, t)) for weights, s, t in zip(found, *rows, strict=True)]
    return best_head(maps, gold)


def plot(
    source: list[str], target: list[str], weights: Tensor, path: Path, *, layer: int = -1, head: int | None = None
) -> None:
    """Draw attention (layers, H, T, S) between tokens: of one layer, one head or the mean of all heads.

    Raises:
        UsageError: no such layer or head, or matplotlib is not installed.
    """
    n_layers, n_heads = weights.shape[:2]
    if not -n_layers <= layer < n_layers or (head is not None and not 0 <= head < n_heads):
        expected = f"layer -{n_layers} to {n_layers - 1}, head 0 to {n_heads - 1}"
        raise UsageError("no such layer or head", expected=expected, found=f"layer {layer}, head {head}")
    chosen = weights[layer].mean(0) if head is None else weights[layer, head]  # (T, S)
    name = "mean of all heads" if head is None else f"head {head}"
    plot_attention(chosen.numpy(), source, target, f"cross-attention, layer {layer % n_layers}, {name}", path)
