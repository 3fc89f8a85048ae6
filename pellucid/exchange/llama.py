"""LLaMA (Touvron et al., 2023, and what followed): a decoder alone, RMS norm, SwiGLU, rotary positions, shared key heads."""

from __future__ import annotations

from typing import Any

from pellucid.base.config import EmbeddingConfig, ModelConfig, PositionalConfig, RotaryConfig, StackConfig
from pellucid.base.errors import ModelError
from pellucid.exchange.family import (
    Described,
    Family,
    Settings,
    activation_of,
    control_settings,
    controls_of,
    given,
    mistaken,
    refuse,
    required,
    size,
    there,
)
from pellucid.exchange.pieces import Piece, linear, matrices, tied

_ACTIVATIONS = {"silu": "swiglu", "gelu": "geglu", "gelu_new": "geglu_tanh", "gelu_pytorch_tanh": "geglu_tanh", "relu": "reglu"}
_SCALINGS = {"default": "none", "linear": "linear", "llama3": "llama3"}
# Numbers of the rotary positions: theirs -> ours.
_LINEAR = {"factor": "factor"}
_LLAMA3 = {
    **_LINEAR,
    "low_freq_factor": "low_frequency",
    "high_freq_factor": "high_frequency",
    "original_max_position_embeddings": "original_length",
}
_NUMBERS: dict[str, dict[str, str]] = {"none": {}, "linear": _LINEAR, "llama3": _LLAMA3}


def describe(settings: Settings, architecture: str) -> Described:
    """Their config.json as ours."""
    vocabulary, d_model, d_ff = required(settings, "vocab_size", "hidden_size", "intermediate_size")
    n_layers, n_heads = required(settings, "num_hidden_layers", "num_attention_heads")
    n_kv_heads, d_head = size(settings, "num_key_value_heads"), size(settings, "head_dim")
    bias, attention_bias = given(settings, "mlp_bias", False), given(settings, "attention_bias", False)
    stack = StackConfig(
        n_layers=n_layers,
        n_heads=n_heads,
        d_ff=d_ff,
        n_kv_heads=None if n_kv_heads == n_heads else n_kv_heads,
        d_head=None if d_head == d_model // n_heads else d_head,
        attention_bias=None if attention_bias == bias else attention_bias,
    )
    model = ModelConfig(
        architecture="decoder",
        d_model=d_model,
        encoder=stack,
        decoder=stack,
        dropout=0.0,
        attention_dropout=given(settings, "attention_dropout", 0.0),
        norm="pre",
        norm_kind="rms",
        norm_epsilon=given(settings, "rms_norm_eps", 1e-6),
        activation=activation_of(given(settings, "hidden_act", "silu"), _ACTIVATIONS, "LLaMA"),
        bias=bias,
        positions="rotary",
        positional=PositionalConfig(rotary=_rotary(settings)),
        max_length=given(settings, "max_position_embeddings", 2048),
        embedding=EmbeddingConfig(scale=False),
        tie="all" if given(settings, "tie_word_embeddings", False) else "none",
        source_vocabulary=vocabulary,
        target_vocabulary=vocabulary,
    )
    return Described("language_modelling", model, controls=controls_of(settings))


def _rotary(settings: Settings) -> RotaryConfig:
    """The rotary positions, which files of before and after transformers 5 describe under different names."""
    found: dict[str, Any] = {}
    for name in ("rope_scaling", "rope_parameters"):
        said = settings.get(name) or {}
        if not isinstance(said, dict):
            raise mistaken(name, "an object", said)
        found |= said
    refuse(found, "LLaMA", partial_rotary_factor=1.0)
    kind = found.get("rope_type", found.get("type", "default"))
    if not isinstance(kind, str) or kind not in _SCALINGS:
        where, expected = "config.json: rope_parameters: rope_type", ", ".join(_SCALINGS)
        raise ModelError("this LLaMA model stretches its positions in another way", where=where, expected=expected, found=kind)
    scaling = _SCALINGS[kind]
    there(found, *_NUMBERS[scaling])
    values = {ours: given(found, theirs, 1.0) for theirs, ours in _NUMBERS[scaling].items()}
    base = given(found, "rope_theta", given(settings, "rope_theta", 10_000.0))
    return RotaryConfig(base=base, scaling=scaling, **values)  # type: ignore[arg-type]


def settings(described: Described, architecture: str) -> dict[str, Any]:
    """Ours as their config.json, positions under the names of before and after transformers 5."""
    model, stack, rotary = described.model, described.model.decoder, described.model.positional.rotary
    names = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    kinds = {ours: theirs for theirs, ours in _SCALINGS.items()}
    scaling = {theirs: getattr(rotary, ours) for theirs, ours in _NUMBERS[rotary.scaling].items()}
    scaling = {"rope_type": kinds[rotary.scaling], **scaling}
    return {
        "vocab_size": model.target_vocabulary,
        "hidden_size": model.d_model,
        "intermediate_size": stack.d_ff,
        "num_hidden_layers": stack.n_layers,
        "num_attention_heads": stack.n_heads,
        "num_key_value_heads": stack.n_kv_heads or stack.n_heads,
        "head_dim": stack.head_width(model.d_model)[0],
        "attention_dropout": model.attention_dropout,
        "rms_norm_eps": model.norm_epsilon,
        "hidden_act": names.get(model.activation, "silu"),
        "mlp_bias": model.bias,
        "attention_bias": model.bias if stack.attention_bias is None else stack.attention_bias,
        "rope_theta": rotary.base,
        "rope_scaling": None if rotary.scaling == "none" else scaling,
        "rope_parameters": {"rope_theta": rotary.base, **scaling},
        "max_position_embeddings": model.max_length,
        "tie_word_embeddings": tied(model),
        **control_settings(described.controls),
    }


def pieces(model: ModelConfig, architecture: str) -> list[Piece]:
    """Their weights and ours, name by name."""
    bias = model.bias
    attention_bias = bias if model.decoder.attention_bias is None else model.decoder.attention_bias
    found = [
        *matrices(model, "model.embed_tokens.weight", "lm_head.weight"),
        *linear("decoder.norm", "model.norm", bias=False),
    ]
    for number in range(model.decoder.n_layers):
        ours, theirs = f"decoder.layers.{number}", f"model.layers.{number}"
        found += [
            *linear(f"{ours}.self_attn_residual.norm", f"{theirs}.input_layernorm", bias=False),
            *linear(f"{ours}.feed_forward_residual.norm", f"{theirs}.post_attention_layernorm", bias=False),
            *linear(f"{ours}.self_attn.query", f"{theirs}.self_attn.q_proj", bias=attention_bias),
            *linear(f"{ours}.self_attn.key", f"{theirs}.self_attn.k_proj", bias=attention_bias),
            *linear(f"{ours}.self_attn.value", f"{theirs}.self_attn.v_proj", bias=attention_bias),
            *linear(f"{ours}.self_attn.output", f"{theirs}.self_attn.o_proj", bias=attention_bias),
            *linear(f"{ours}.feed_forward.gate", f"{theirs}.mlp.gate_proj", bias=bias),
            *linear(f"{ours}.feed_forward.hidden", f"{theirs}.mlp.up_proj", bias=bias),
            *linear(f"{ours}.feed_forward.output", f"{theirs}.mlp.down_proj", bias=bias),
        ]
    return found


FAMILY = Family(
    name="llama",
    classes={"LlamaForCausalLM": "language_modelling"},
    prefix="model.",
    describe=describe,
    settings=settings,
    pieces=pieces,
    ignored=(r"rotary_emb\.inv_freq$",),
    copies={"lm_head.weight": "model.embed_tokens.weight"},
)
