"""Builders: the only place that knows the configuration. They make the parts and put them together.

Construction and initialisation are separate: under ``torch.device("meta")`` a model of any size is built, and its
parameters counted, without memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch import nn

from pellucid.base.config import ModelConfig, StackConfig, per_layer
from pellucid.model.attention import Additive, DotProduct, MultiHeadAttention
from pellucid.model.decoder import Decoder, DecoderLayer
from pellucid.model.dropout import Dropout
from pellucid.model.embedding import Embedding
from pellucid.model.encoder import Encoder, EncoderLayer
from pellucid.model.feed_forward import ACTIVATIONS, GATED, FeedForward
from pellucid.model.heads import LanguageHead
from pellucid.model.positions import LearnedPositions, SinusoidalPositions
from pellucid.model.residual import LayerNorm, Residual
from pellucid.model.transformer import EncoderDecoder

MakeLinear = Callable[..., nn.Module]
Layer = TypeVar("Layer", EncoderLayer, DecoderLayer)

# Which matrix serves in which role: one name, one matrix (section 3.4 ties all three).
ROLES = {
    "all": {"source": "shared", "target": "shared", "output": "shared"},
    "decoder": {"source": "source", "target": "target", "output": "target"},
    "none": {"source": "source", "target": "target", "output": "output"},
}


def build(config: ModelConfig, linear: MakeLinear = nn.Linear) -> EncoderDecoder:
    """The encoder-decoder that ``config`` describes, not yet initialised.

    Args:
        config: shape of the model, vocabulary sizes included.
        linear: makes each projection, ``linear(d_in, d_out, bias=...)``; adapters and quantised products enter here.
    """
    roles = ROLES[config.tie]
    sizes = {
        roles["source"]: config.source_vocabulary,
        roles["target"]: config.target_vocabulary,
        roles["output"]: config.target_vocabulary,
    }
    weights = {name: nn.Parameter(torch.empty(size, config.d_model)) for name, size in sizes.items()}
    n_decoder_layers = config.decoder.n_layers
    return EncoderDecoder(
        encoder=Encoder(
            embed=_embedding(config),
            layers=_layers(config, config.encoder, linear, _encoder_layer),
            norm=_last_norm(config),
        ),
        decoder=Decoder(
            embed=_embedding(config),
            layers=_layers(config, config.decoder, linear, _decoder_layer),
            norm=_last_norm(config),
            reads=config.decoder.reads or (-1,) * n_decoder_layers,
        ),
        head=LanguageHead(),
        weights=nn.ParameterDict(weights),
        roles=roles,
    )


def initialise(model: nn.Module, seed: int) -> None:
    """Fill every parameter and table, from ``seed`` alone.

    Projections are Xavier uniform, each by itself. Embeddings have variance 1 / d_model: scaled by sqrt(d_model) their
    elements have variance 1 on the way in, and a normalised vector meets them in logits of variance 1 on the way out.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, SinusoidalPositions):
            module.initialise()
        elif isinstance(module, Additive):
            bound = 1.0 / math.sqrt(module.weight.shape[-1])
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
        elif isinstance(module, (nn.ParameterDict, LearnedPositions)):
            for weight in module.parameters():
                nn.init.normal_(weight, std=weight.shape[-1] ** -0.5, generator=generator)


def _embedding(config: ModelConfig) -> Embedding:
    positions = {"sinusoidal": SinusoidalPositions, "learned": LearnedPositions}[config.positions]
    return Embedding(
        positions=positions(config.max_length, config.d_model),
        max_length=config.max_length,
        d_model=config.d_model,
        dropout=Dropout(config.dropout),
    )


def _last_norm(config: ModelConfig) -> LayerNorm | None:
    return LayerNorm(config.d_model, config.norm_epsilon) if config.norm == "pre" else None


def _layers(
    config: ModelConfig,
    stack: StackConfig,
    linear: MakeLinear,
    make: Callable[[ModelConfig, int, int, MakeLinear], Layer],
) -> list[Layer]:
    heads, widths = per_layer(stack.n_heads, stack.n_layers), per_layer(stack.d_ff, stack.n_layers)
    return [make(config, n_heads, d_ff, linear) for n_heads, d_ff in zip(heads, widths, strict=True)]


def _encoder_layer(config: ModelConfig, n_heads: int, d_ff: int, linear: MakeLinear) -> EncoderLayer:
    return EncoderLayer(
        self_attn=_attention(config, n_heads, linear),
        self_attn_residual=_residual(config),
        feed_forward=_feed_forward(config, d_ff, linear),
        feed_forward_residual=_residual(config),
    )


def _decoder_layer(config: ModelConfig, n_heads: int, d_ff: int, linear: MakeLinear) -> DecoderLayer:
    return DecoderLayer(
        self_attn=_attention(config, n_heads, linear),
        self_attn_residual=_residual(config),
        cross_attn=_attention(config, n_heads, linear),
        cross_attn_residual=_residual(config),
        feed_forward=_feed_forward(config, d_ff, linear),
        feed_forward_residual=_residual(config),
    )


def _attention(config: ModelConfig, n_heads: int, linear: MakeLinear) -> MultiHeadAttention:
    d_model = config.d_model
    d_head = d_model // n_heads
    square = partial(linear, d_model, d_model, bias=config.bias)
    return MultiHeadAttention(
        query=square(),
        key=square(),
        value=square(),
        output=square(),
        score=DotProduct(d_head) if config.attention == "dot" else Additive(n_heads, d_head),
        n_heads=n_heads,
        dropout=Dropout(config.attention_dropout),
    )


def _feed_forward(config: ModelConfig, d_ff: int, linear: MakeLinear) -> FeedForward:
    wide = partial(linear, config.d_model, d_ff, bias=config.bias)
    return FeedForward(
        hidden=wide(),
        gate=wide() if config.activation in GATED else None,
        output=linear(d_ff, config.d_model, bias=config.bias),
        activation=ACTIVATIONS[config.activation],
        dropout=Dropout(config.activation_dropout),
    )


def _residual(config: ModelConfig) -> Residual:
    return Residual(LayerNorm(config.d_model, config.norm_epsilon), Dropout(config.dropout), config.norm)
