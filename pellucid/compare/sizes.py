"""Models of equal size, so that what is compared is the kind and not the number of weights."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import torch

from pellucid.base.config import ModelConfig, StackConfig
from pellucid.base.recurrent import RecurrentConfig
from pellucid.model.build import build, initialise
from pellucid.model.transformer import DecoderOnly

KINDS = {"Transformer": "none", "LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}  # name in reports -> cell


def parameters(config: ModelConfig) -> int:
    """Number of weights, counted without memory for them."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in build(config).parameters())


def matched(make: Callable[[int], ModelConfig], wanted: int, count: Callable[[ModelConfig], int] = parameters) -> ModelConfig:
    """The configuration whose number of weights is nearest to ``wanted``, of all widths.

    Args:
        make: configuration of a width; wider must be larger.
        wanted: number of weights.
        count: of a configuration, where its model is changed after it was built.
    """
    enough = 2
    while count(make(enough)) < wanted:
        enough *= 2
    width = bisect_left(range(enough), wanted, lo=2, key=lambda width: count(make(width)))
    return min(make(width - 1), make(width), key=lambda config: abs(count(config) - wanted))


def decoder(kind: str, *, width: int, vocabulary: int, layers: int = 2, heads: int = 4, max_length: int = 1024) -> ModelConfig:
    """A decoder that stands alone, of a kind in :data:`KINDS`: a pre-norm Transformer, or a recurrent network."""
    cell = KINDS[kind]
    stack = StackConfig(layers, heads, 4 * width) if cell == "none" else StackConfig(layers)
    recurrent = RecurrentConfig() if cell == "none" else RecurrentConfig(cell=cell)  # type: ignore[arg-type]
    return ModelConfig(
        architecture="decoder",
        d_model=width,
        decoder=stack,
        recurrent=recurrent,
        norm="pre" if cell == "none" else "post",
        dropout=0.0,
        max_length=max_length,
        source_vocabulary=vocabulary,
        target_vocabulary=vocabulary,
    )


def equal_decoders(kinds: tuple[str, ...], *, width: int, **others: int) -> dict[str, ModelConfig]:
    """Configurations of these kinds, with as many weights as a Transformer of ``width``, as nearly as whole widths allow."""
    transformer = decoder("Transformer", width=width, **others)
    wanted = parameters(transformer)

    def of(kind: str) -> ModelConfig:
        if kind == "Transformer":
            return transformer
        return matched(lambda wide: decoder(kind, width=wide, **others), wanted)

    return {kind: of(kind) for kind in kinds}


def made(config: ModelConfig, seed: int) -> DecoderOnly:
    """A decoder with weights from ``seed``."""
    model = build(config)
    initialise(model, seed)
    assert isinstance(model, DecoderOnly)
    return model


def sizes_in_words(configs: dict[str, ModelConfig]) -> str:
    """``Transformer 103,552 (width 64), LSTM 104,130 (width 78)``."""
    return ", ".join(f"{kind} {parameters(config):,} (width {config.d_model})" for kind, config in configs.items())
