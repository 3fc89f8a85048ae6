"""T5 (Raffel et al., 2020) and T5 1.1: encoder and decoder, pre-norm without means and biases, relative positions.

The first release ties all three matrices and divides by sqrt(d_model) before the logits; 1.1 has an output matrix of its own,
does not divide, and its feed-forward is gated. A 1.1 made anew by transformers 5 ties them and does not divide. Their dropout
on the encoder's output has no counterpart here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from pellucid.base.config import (
    Activation,
    EmbeddingConfig,
    HeadConfig,
    ModelConfig,
    PositionalConfig,
    RelativeConfig,
    StackConfig,
    Tie,
    per_layer,
)
from pellucid.exchange.family import Described, Family, Settings, activation_of, given, refuse, required, size
from pellucid.exchange.pieces import Piece, linear, same
from pellucid.model.feed_forward import GATED

_OUTPUT = "lm_head.weight"
# Their "gated-gelu" is the approximation by tanh, "gelu" the exact form.
_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "gated-relu": "reglu",
    "gated-gelu": "geglu_tanh",
    "gated-gelu_new": "geglu_tanh",
    "gated-gelu_python": "geglu",
    "gated-silu": "swiglu",
    "gated-swish": "swiglu",
    "gated-sigmoid": "glu",
}


def describe(settings: Settings, architecture: str) -> Described:
    """Their config.json as ours.

    "tie_word_embeddings" false is how files tell 1.1 from the first release. Newer ones say it by "scale_decoder_outputs", and
    call the matrices of 1.1 tied whether they are or not: see :func:`settle`.
    """
    refuse(settings, "T5", is_encoder_decoder=True)
    vocabulary, d_model, d_head, d_ff, n_layers, n_heads = required(
        settings, "vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads"
    )
    tied = given(settings, "tie_word_embeddings", True)
    dropout = given(settings, "dropout_rate", 0.1)
    relative = RelativeConfig(
        buckets=given(settings, "relative_attention_num_buckets", 32),
        max_distance=given(settings, "relative_attention_max_distance", 128),
    )
    n_decoder_layers = size(settings, "num_decoder_layers") or n_layers
    encoder, decoder = (
        StackConfig(n_layers=n, n_heads=n_heads, d_head=d_head, d_ff=d_ff) for n in (n_layers, n_decoder_layers)
    )
    model = ModelConfig(
        d_model=d_model,
        encoder=encoder,
        decoder=decoder,
        dropout=dropout,
        attention_dropout=dropout,
        activation_dropout=dropout,
        norm="pre",
        norm_kind="rms",
        norm_epsilon=given(settings, "layer_norm_epsilon", 1e-6),
        activation=_activation(settings),
        bias=False,
        attention="dot-unscaled",
        positions="relative",
        positional=PositionalConfig(relative=relative),
        embedding=EmbeddingConfig(scale=False),
        head=HeadConfig(dropout=dropout, scale=given(settings, "scale_decoder_outputs", tied)),
        max_length=given(settings, "n_positions", 512),
        tie="all" if tied else "embeddings",
        source_vocabulary=vocabulary,
        target_vocabulary=vocabulary,
    )
    pad = settings.get("pad_token_id", 0)
    controls = {"pad": pad, "start": settings.get("decoder_start_token_id", pad), "end": settings.get("eos_token_id", 1)}
    return Described("denoising", model, controls=controls)


def settle(described: Described, names: Collection[str]) -> Described:
    """Where vectors are not scaled before the logits, a file without a matrix for the output takes the embedding there."""
    model = described.model
    if model.head.scale:
        return described
    tie: Tie = "embeddings" if _OUTPUT in names else "all"
    return replace(described, model=replace(model, tie=tie))


def _activation(settings: Settings) -> Activation:
    form = given(settings, "feed_forward_proj", "relu")
    function = "gelu_new" if form == "gated-gelu" else str(form).removeprefix("gated-")
    refuse(settings, "T5", is_gated_act=str(form).startswith("gated-"), dense_act_fn=function)
    activation: Activation = activation_of(form, _ACTIVATIONS, "T5")
    return activation


def settings(described: Described, architecture: str) -> dict[str, Any]:
    """Ours as their config.json."""
    model, controls = described.model, described.controls
    names = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    return {
        "is_encoder_decoder": True,
        "vocab_size": model.target_vocabulary,
        "d_model": model.d_model,
        "d_kv": model.encoder.head_width(model.d_model)[0],
        "d_ff": per_layer(model.encoder.d_ff, model.encoder.n_layers)[0],
        "num_layers": model.encoder.n_layers,
        "num_decoder_layers": model.decoder.n_layers,
        "num_heads": per_layer(model.encoder.n_heads, model.encoder.n_layers)[0],
        "feed_forward_proj": names.get(model.activation, "relu"),
        "relative_attention_num_buckets": model.positional.relative.buckets,
        "relative_attention_max_distance": model.positional.relative.max_distance,
        "dropout_rate": model.dropout,
        "layer_norm_epsilon": model.norm_epsilon,
        "n_positions": model.max_length,
        "tie_word_embeddings": model.tie == "all",
        "scale_decoder_outputs": model.head.scale,
        "pad_token_id": controls.get("pad"),
        "eos_token_id": controls.get("end"),
        "decoder_start_token_id": controls.get("start"),
    }


def pieces(model: ModelConfig, architecture: str) -> list[Piece]:
    """Their weights and ours. A stack's table of positions lies in its first layer."""
    found = [same("weights.shared", "shared.weight")]
    if model.tie != "all":
        found.append(same("weights.output", _OUTPUT))
    for side, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        first = f"{side}.block.0.layer.0.SelfAttention"
        found.append(same(f"{side}.positions.weight", f"{first}.relative_attention_bias.weight"))
        found += linear(f"{side}.norm", f"{side}.final_layer_norm", bias=False)
        for number in range(stack.n_layers):
            found += _layer(f"{side}.layers.{number}", f"{side}.block.{number}.layer", side == "decoder", model)
    return found


def _layer(ours: str, theirs: str, reads_memory: bool, model: ModelConfig) -> list[Piece]:
    """One layer: a numbered list of sublayers there, each with the norm in front of it."""
    sublayers = [("self_attn", "SelfAttention")]
    if reads_memory:
        sublayers.append(("cross_attn", "EncDecAttention"))
    found = []
    for number, (name, their_name) in enumerate(sublayers):
        found += linear(f"{ours}.{name}_residual.norm", f"{theirs}.{number}.layer_norm", bias=False)
        for part in ("query", "key", "value", "output"):
            found += linear(f"{ours}.{name}.{part}", f"{theirs}.{number}.{their_name}.{part[0]}", bias=False)
    last = f"{theirs}.{len(sublayers)}"
    parts = {"hidden": "wi", "output": "wo"}
    if model.activation in GATED:
        parts = {"gate": "wi_0", "hidden": "wi_1", "output": "wo"}  # wi_0 is the one that the activation is applied to
    for part, their_name in parts.items():
        found += linear(f"{ours}.feed_forward.{part}", f"{last}.DenseReluDense.{their_name}", bias=False)
    return found + linear(f"{ours}.feed_forward_residual.norm", f"{last}.layer_norm", bias=False)


FAMILY = Family(
    name="t5",
    classes={"T5ForConditionalGeneration": "denoising", "T5WithLMHeadModel": "denoising"},  # the second: its name until 2020
    prefix="",
    describe=describe,
    settings=settings,
    pieces=pieces,
    ignored=(r"\.EncDecAttention\.relative_attention_bias\.weight$",),  # in old files, read by nothing
    copies={
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
        _OUTPUT: "shared.weight",
    },
    settle=settle,
)
