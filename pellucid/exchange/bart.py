"""BART (Lewis et al., 2020): encoder and decoder, post-norm, learned positions, a norm of the embedding sum.

``layers`` and ``shape`` serve Marian too, whose layers have the same names.
"""

from __future__ import annotations

from typing import Any

from pellucid.base.config import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig, per_layer
from pellucid.exchange.family import Described, Family, Settings, activation_of, given, refuse, required
from pellucid.exchange.pieces import Piece, linear, same, shaped, without_first_rows

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "silu": "silu",
    "swish": "silu",
}
_UNUSED_ROWS = 2  # at the top of their tables of positions

# Parts of a layer: ours and theirs. A decoder's layer has the second group too.
_PARTS = (
    *((f"self_attn.{ours}", f"self_attn.{theirs}_proj") for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v"))),
    ("self_attn.output", "self_attn.out_proj"),
    ("self_attn_residual.norm", "self_attn_layer_norm"),
    ("feed_forward.hidden", "fc1"),
    ("feed_forward.output", "fc2"),
    ("feed_forward_residual.norm", "final_layer_norm"),
)
_CROSS_PARTS = (
    *((f"cross_attn.{ours}", f"encoder_attn.{theirs}_proj") for ours, theirs in (("query", "q"), ("key", "k"), ("value", "v"))),
    ("cross_attn.output", "encoder_attn.out_proj"),
    ("cross_attn_residual.norm", "encoder_attn_layer_norm"),
)


def describe(settings: Settings, architecture: str) -> Described:
    """Their config.json as ours. The class without a head has no bias of the logits."""
    refuse(settings, "BART", tie_word_embeddings=True, normalize_embedding=True, static_position_embeddings=False)
    vocabulary = required(settings, "vocab_size")[0]
    model = ModelConfig(
        **shape(settings, "BART"),
        positions="learned",
        embedding=EmbeddingConfig(scale=given(settings, "scale_embedding", False), norm=True),
        head=HeadConfig(bias=architecture != "BartModel"),
        tie="all",
        source_vocabulary=vocabulary,
        target_vocabulary=vocabulary,
    )
    end = settings.get("eos_token_id", 2)
    start = settings.get("decoder_start_token_id", end)
    return Described("denoising", model, controls={"pad": settings.get("pad_token_id", 1), "start": start, "end": end})


def shape(settings: Settings, family: str) -> dict[str, Any]:
    """What BART and Marian say in the same words, as fields of our ModelConfig."""
    refuse(settings, family, is_encoder_decoder=True, normalize_before=False, add_final_layer_norm=False)
    d_model, max_length = required(settings, "d_model", "max_position_embeddings")
    return {
        "d_model": d_model,
        "encoder": _stack(settings, "encoder"),
        "decoder": _stack(settings, "decoder"),
        "dropout": given(settings, "dropout", 0.1),
        "attention_dropout": given(settings, "attention_dropout", 0.0),
        "activation_dropout": given(settings, "activation_dropout", 0.0),
        "activation": activation_of(given(settings, "activation_function", "gelu"), _ACTIVATIONS, family),
        "max_length": max_length,
    }


def _stack(settings: Settings, side: str) -> StackConfig:
    n_layers, n_heads, d_ff = required(settings, f"{side}_layers", f"{side}_attention_heads", f"{side}_ffn_dim")
    return StackConfig(n_layers=n_layers, n_heads=n_heads, d_ff=d_ff)


def settings(described: Described, architecture: str) -> dict[str, Any]:
    """Ours as their config.json."""
    return {"vocab_size": described.model.target_vocabulary, "tie_word_embeddings": True, **shape_settings(described)}


def shape_settings(described: Described) -> dict[str, Any]:
    """What BART and Marian say in the same words: the settings that :func:`shape` reads, and the control tokens."""
    model, controls = described.model, described.controls
    names = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    found = {
        "is_encoder_decoder": True,
        "d_model": model.d_model,
        "dropout": model.dropout,
        "attention_dropout": model.attention_dropout,
        "activation_dropout": model.activation_dropout,
        "activation_function": names.get(model.activation, "gelu"),
        "max_position_embeddings": model.max_length,
        "scale_embedding": model.embedding.scale,
        "pad_token_id": controls.get("pad"),
        "bos_token_id": None,  # read by no part of the model
        "eos_token_id": controls.get("end"),
        "forced_eos_token_id": controls.get("end"),
        "decoder_start_token_id": controls.get("start"),
    }
    for side, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        found[f"{side}_layers"] = stack.n_layers
        found[f"{side}_attention_heads"] = per_layer(stack.n_heads, stack.n_layers)[0]
        found[f"{side}_ffn_dim"] = per_layer(stack.d_ff, stack.n_layers)[0]
    return found


def pieces(model: ModelConfig, architecture: str) -> list[Piece]:
    """Their weights and ours."""
    prefix = "" if architecture == "BartModel" else "model."
    found = [same("weights.shared", f"{prefix}shared.weight"), *layers(model, prefix)]
    if model.head.bias:
        found.append(shaped("head.bias", "final_logits_bias", (-1,), (1, -1)))
    for side in ("encoder", "decoder"):
        table = f"{prefix}{side}.embed_positions.weight"
        found.append(without_first_rows(f"{side}.positions.weight", table, _UNUSED_ROWS))
        found += linear(f"{side}.embed.norm", f"{prefix}{side}.layernorm_embedding")
    return found


def layers(model: ModelConfig, prefix: str) -> list[Piece]:
    """The layers of both stacks."""
    found = []
    for side, stack, parts in (("encoder", model.encoder, _PARTS), ("decoder", model.decoder, _PARTS + _CROSS_PARTS)):
        for number in range(stack.n_layers):
            layer = f"{side}.layers.{number}"
            for ours, theirs in parts:
                found += linear(f"{layer}.{ours}", f"{prefix}{layer}.{theirs}")
    return found


FAMILY = Family(
    name="bart",
    classes={"BartForConditionalGeneration": "denoising", "BartModel": "denoising"},
    prefix="model.",
    describe=describe,
    settings=settings,
    pieces=pieces,
    ignored=(r"(encoder|decoder)\.version$",),
    copies={
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
        "lm_head.weight": "model.shared.weight",
    },
)
