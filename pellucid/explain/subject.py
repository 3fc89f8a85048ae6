"""What a model is asked to do while it is looked at: its input as tensors, and how an output is to be searched for.

Shapes: S source positions, T target positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from pellucid.base.config import DecodingConfig, ModelConfig
from pellucid.model.transformer import DecoderOnly, EncoderDecoder, EncoderOnly

AnyModel = EncoderDecoder | EncoderOnly | DecoderOnly


@dataclass(frozen=True)
class Writing:
    """How an output is written.

    Args:
        decoding: the search.
        prompt: what a decoder that stands alone goes on from, at least one token; else the one token it begins with.
        end: the token that closes an output; ``None``: only the limit does.
        limit: most tokens, the end token included.
        forbidden: tokens that are never chosen.
        seed: of what is drawn.
        decode: tokens to text.
        prefix: tokens that the output begins with; the search goes on from there.
        given: an output to be fed instead of a search: its tokens, with the end token where it counts.
    """

    decoding: DecodingConfig
    prompt: tuple[int, ...]
    end: int | None
    limit: int
    decode: Callable[[Sequence[int]], str]
    forbidden: tuple[int, ...] = ()
    seed: int = 0
    prefix: tuple[int, ...] = ()
    given: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Subject:
    """A model and what it is asked.

    Args:
        model: that is looked at.
        config: its shape.
        text: for the reader.
        source: (1, S) ids, or (1, channels, height, width) pixels; ``None`` for decoders that stand alone.
        source_mask: (1, S) True = real token; ``None``: no padding.
        source_names: of the positions of the encoder, as they are read.
        name: tokens of the target to what they are read as.
        vocabulary: the name of each output.
        writing: ``None`` for encoders that stand alone.
        asked: positions of the encoder whose outputs count: the first tokens of words to be tagged, gaps; empty: all.
        words: of a text that is tagged word by word.
        source_name: tokens of the source to what they are read as; ``None`` where it is no text.
    """

    model: AnyModel
    config: ModelConfig
    text: str
    source: Tensor | None
    source_names: tuple[str, ...]
    name: Callable[[Sequence[int]], list[str]]
    vocabulary: tuple[str, ...]
    source_mask: Tensor | None = None
    writing: Writing | None = None
    asked: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    source_name: Callable[[Sequence[int]], list[str]] | None = None
