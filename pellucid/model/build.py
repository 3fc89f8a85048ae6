"""Builders: the only place that knows the configuration. They make the parts and put them together.

Construction and initialisation are separate: under ``torch.device("meta")`` a model of any size is built, and its
parameters counted, without memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from pellucid.base.config import ModelConfig, StackConfig, per_layer
from pellucid.model.attention import Additive, DotProduct, MultiHeadAttention, Score
from pellucid.model.block import Block
from pellucid.model.decoder import Decoder
from pellucid.model.dropout import Dropout
from pellucid.model.embedding import PatchEmbedding, TokenEmbedding
from pellucid.model.encoder import Encoder
from pellucid.model.feed_forward import ACTIVATIONS, GATED, FeedForward
from pellucid.model.heads import Head, Transform
from pellucid.model.lora import LoRALinear
from pellucid.model.positions import (
    AlibiPositions,
    LearnedPositions,
    Positions,
    RelativePositions,
    RotaryPositions,
    SinusoidalPositions,
)
from pellucid.model.recurrent import RecurrentLayer
from pellucid.model.recurrent_models import RecurrentEncoderDecoder, RecurrentEncoderOnly
from pellucid.model.recurrent_stacks import Bridge, MemoryAttention, RecurrentDecoder, RecurrentEncoder
from pellucid.model.residual import LayerNorm, Norm, Residual, RMSNorm
from pellucid.model.transformer import DecoderOnly, EncoderDecoder, EncoderOnly, Transformer
from pellucid.model.word_vectors import WordVectors, build_word_vectors

MakeLinear = Callable[..., nn.Module]

# Which matrix serves in which role: one name, one matrix (section 3.4 ties all three).
ROLES = {
    "all": {"source": "shared", "target": "shared", "output": "shared"},
    "decoder": {"source": "source", "target": "target", "output": "target"},
    "embeddings": {"source": "shared", "target": "shared", "output": "output"},
    "none": {"source": "source", "target": "target", "output": "output"},
}


def build(config: ModelConfig, linear: MakeLinear = nn.Linear) -> Transformer:
    """The model that ``config`` describes, not yet initialised.

    Args:
        config: shape of the model, vocabulary sizes included.
        linear: makes each projection, ``linear(d_in, d_out, bias=...)``; adapters and quantised products enter here.
    """
    return {"encoder-decoder": _encoder_decoder, "encoder": _encoder_only, "decoder": _decoder_only}[config.architecture](
        config, linear
    )


def build_any(config: ModelConfig, linear: MakeLinear = nn.Linear) -> Transformer | WordVectors:
    """The same where word vectors, which are no Transformer, may be described as well."""
    return build_word_vectors(config) if config.architecture == "vectors" else build(config, linear)


def _encoder_decoder(config: ModelConfig, linear: MakeLinear) -> EncoderDecoder:
    reads = config.decoder.reads or (-1,) * config.decoder.n_layers
    weights, roles = _matrices(config, ("target", "output") if config.picture.patch else ("source", "target", "output"))
    if config.recurrent.cell != "none":
        return RecurrentEncoderDecoder(
            encoder=_recurrent_encoder(config, linear),
            decoder=_recurrent_decoder(config, linear, with_memory=True),
            head=_head(config, linear),
            weights=weights,
            roles=roles,
            mean=config.recurrent.bridge == "mean",
        )
    encoder, decoder = _encoder(config, linear), _decoder(config, linear, reads)
    return EncoderDecoder(encoder=encoder, decoder=decoder, head=_head(config, linear), weights=weights, roles=roles)


def _encoder_only(config: ModelConfig, linear: MakeLinear) -> EncoderOnly:
    weights, roles = _matrices(config, ("output",) if config.picture.patch else ("source", "output"))
    if config.recurrent.cell != "none":
        encoder = _recurrent_encoder(config, linear)
        return RecurrentEncoderOnly(encoder=encoder, head=_head(config, linear), weights=weights, roles=roles)
    return EncoderOnly(encoder=_encoder(config, linear), head=_head(config, linear), weights=weights, roles=roles)


def _decoder_only(config: ModelConfig, linear: MakeLinear) -> DecoderOnly:
    weights, roles = _matrices(config, ("target", "output"))
    decoder: Any = _decoder(config, linear, ()) if config.recurrent.cell == "none" else None
    decoder = decoder or _recurrent_decoder(config, linear, with_memory=False)  # of either kind
    return DecoderOnly(decoder=decoder, head=_head(config, linear), weights=weights, roles=roles)


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
            if isinstance(module, LoRALinear):
                module.initialise(generator)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.RMSNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, SinusoidalPositions):
            module.initialise()
        elif isinstance(module, Additive):
            bound = 1.0 / math.sqrt(module.weight.shape[-1])
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
        elif isinstance(module, nn.RNNBase):  # as torch does it, from our generator
            bound = 1.0 / math.sqrt(module.hidden_size)
            for weight in module.parameters():
                nn.init.uniform_(weight, -bound, bound, generator=generator)
        elif isinstance(module, WordVectors):
            module.initialise(generator)
        elif isinstance(module, Head):
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.ParameterDict, LearnedPositions, RelativePositions, TokenEmbedding, PatchEmbedding)):
            for weight in module.parameters(recurse=False):
                nn.init.normal_(weight, std=weight.shape[-1] ** -0.5, generator=generator)


def _matrices(config: ModelConfig, roles: tuple[str, ...]) -> tuple[nn.ParameterDict, dict[str, str]]:
    """The embedding and output matrices that these roles need, and which serves in which."""
    sizes = {"source": config.source_vocabulary, "target": config.target_vocabulary, "output": config.target_vocabulary}
    names = {role: ROLES[config.tie][role] for role in roles}
    widths = {"source": config.d_model, "target": config.d_model, "output": config.output_width}
    weights = {name: nn.Parameter(torch.empty(sizes[role], widths[role])) for role, name in names.items()}
    return nn.ParameterDict(weights), names


def _encoder(config: ModelConfig, linear: MakeLinear) -> Encoder:
    return Encoder(
        embed=_source_embedding(config, linear),
        positions=_positions(config, config.encoder, both_ways=True),
        layers=_layers(config, config.encoder, linear, with_memory=False),
        norm=_norm(config) if config.norm == "pre" else None,
    )


def _source_embedding(config: ModelConfig, linear: MakeLinear) -> TokenEmbedding | PatchEmbedding:
    picture = config.picture
    if not picture.patch:
        return _token_embedding(config)
    return PatchEmbedding(
        project=linear(picture.channels * picture.patch**2, config.d_model, bias=True),
        patch=picture.patch,
        class_token=config.head.pool == "class",
        d_model=config.d_model,
        dropout=Dropout(config.dropout),
    )


def _decoder(config: ModelConfig, linear: MakeLinear, reads: tuple[int, ...]) -> Decoder:
    return Decoder(
        embed=_token_embedding(config),
        positions=_positions(config, config.decoder, both_ways=False),
        layers=_layers(config, config.decoder, linear, with_memory=bool(reads)),
        norm=_norm(config) if config.norm == "pre" else None,
        reads=reads,
    )


def _token_embedding(config: ModelConfig) -> TokenEmbedding:
    return TokenEmbedding(
        scale=math.sqrt(config.d_model) if config.embedding.scale else 1.0,
        types=config.embedding.types,
        d_model=config.d_model,
        norm=_norm(config) if config.embedding.norm else None,
        dropout=Dropout(config.dropout),
    )


def _positions(config: ModelConfig, stack: StackConfig, *, both_ways: bool) -> Positions:
    n_heads, d_head = per_layer(stack.n_heads, stack.n_layers)[0], stack.head_width(config.d_model)[0]
    relative = config.positional.relative
    make: dict[str, Callable[[], Positions]] = {
        "sinusoidal": lambda: SinusoidalPositions(config.max_length, config.d_model, halves=config.positional.halves),
        "learned": lambda: LearnedPositions(config.max_length, config.d_model),
        "rotary": lambda: RotaryPositions(d_head, config.positional.rotary),
        "alibi": lambda: AlibiPositions(n_heads),
        "relative": lambda: RelativePositions(
            n_heads, buckets=relative.buckets, max_distance=relative.max_distance, both_ways=both_ways
        ),
        "none": Positions,
    }
    return make[config.positions]()


def _head(config: ModelConfig, linear: MakeLinear) -> Head:
    head, transform, width = config.head, None, config.output_width
    if head.transform != "none":
        transform = Transform(
            dense=linear(width, width, bias=True),
            activation=torch.tanh if head.activation == "tanh" else ACTIVATIONS[head.activation],
            norm=_norm(config, width) if head.transform == "norm" else None,
        )
    return Head(
        pool=_pool(config),
        transform=transform,
        dropout=Dropout(head.dropout),
        scale=config.d_model**-0.5 if head.scale else 1.0,
        bias=config.target_vocabulary if head.bias else 0,
    )


def _pool(config: ModelConfig) -> Literal["class", "mean", "last", "ends"] | None:
    pool = config.head.pool
    if pool == "last":  # of a network that reads both ways each direction has its own
        return "ends" if config.recurrent.bidirectional else "last"
    return None if pool == "none" else pool


def _recurrent_encoder(config: ModelConfig, linear: MakeLinear) -> RecurrentEncoder:
    own = config.recurrent
    layers = _recurrent_layers(config, config.encoder, config.d_model, both_ways=own.bidirectional)
    return RecurrentEncoder(embed=_source_embedding(config, linear), layers=layers, dropout=Dropout(config.dropout))


def _recurrent_decoder(config: ModelConfig, linear: MakeLinear, *, with_memory: bool) -> RecurrentDecoder:
    own, n_layers = config.recurrent, config.decoder.n_layers
    width, memory = own.width(config.d_model), own.memory_width(config.d_model)
    attention, feeds = None, own.attention == "additive"
    if own.attention != "none":
        attention = MemoryAttention(
            query=linear(width, width, bias=False) if feeds else None,
            key=linear(memory, width, bias=feeds),
            score=Additive(1, width) if feeds else DotProduct(width, scaled=False),
            dropout=Dropout(config.attention_dropout),
        )
    make = partial(linear, memory, width, bias=True)
    bridges = [Bridge(hidden=make(), cell=make() if own.cell == "lstm" else None) for _ in range(n_layers)]
    return RecurrentDecoder(
        embed=_token_embedding(config),
        layers=_recurrent_layers(config, config.decoder, config.d_model + memory * feeds, both_ways=False),
        dropout=Dropout(config.dropout),
        bridges=bridges if with_memory else (),
        attention=attention,
        feeds=feeds,
        output=None if attention is None else linear(width + memory, width, bias=False),
    )


def _recurrent_layers(config: ModelConfig, stack: StackConfig, d_in: int, *, both_ways: bool) -> list[RecurrentLayer]:
    own = config.recurrent
    width = own.width(config.d_model)
    widths = [d_in] + [width * (1 + both_ways)] * (stack.n_layers - 1)
    return [RecurrentLayer(own.cell, wide, width, both_ways=both_ways) for wide in widths]


def _layers(config: ModelConfig, stack: StackConfig, linear: MakeLinear, *, with_memory: bool) -> list[Block]:
    return [
        Block(
            self_attn=_attention(config, stack, number, linear),
            self_attn_residual=_residual(config),
            cross_attn=_attention(config, stack, number, linear) if with_memory else None,
            cross_attn_residual=_residual(config) if with_memory else None,
            feed_forward=_feed_forward(config, per_layer(stack.d_ff, stack.n_layers)[number], linear),
            feed_forward_residual=_residual(config),
        )
        for number in range(stack.n_layers)
    ]


def _attention(config: ModelConfig, stack: StackConfig, number: int, linear: MakeLinear) -> MultiHeadAttention:
    n_heads, d_head = per_layer(stack.n_heads, stack.n_layers)[number], stack.head_width(config.d_model)[number]
    n_kv_heads = per_layer(stack.n_kv_heads or n_heads, stack.n_layers)[number]
    bias = config.bias if stack.attention_bias is None else stack.attention_bias
    project = partial(linear, config.d_model, bias=bias)
    score: Score = DotProduct(d_head, scaled=config.attention == "dot")
    if config.attention == "additive":
        score = Additive(n_heads, d_head)
    return MultiHeadAttention(
        query=project(n_heads * d_head),
        key=project(n_kv_heads * d_head),
        value=project(n_kv_heads * d_head),
        output=linear(n_heads * d_head, config.d_model, bias=bias),
        score=score,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
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
    return Residual(_norm(config), Dropout(config.dropout), config.norm)


def _norm(config: ModelConfig, width: int = 0) -> Norm:
    kind = {"layer": LayerNorm, "rms": RMSNorm}[config.norm_kind]
    return kind(width or config.d_model, config.norm_epsilon)
