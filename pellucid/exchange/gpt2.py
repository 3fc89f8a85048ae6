"""GPT-2 (Radford et al., 2019): a decoder alone, pre-norm, with learned positions."""

from __future__ import annotations

from typing import Any

from pellucid.base.config import EmbeddingConfig, ModelConfig, StackConfig
from pellucid.exchange.family import (
    Described,
    Family,
    Settings,
    activation_of,
    control_settings,
    controls_of,
    given,
    refuse,
    required,
    size,
)
from pellucid.exchange.pieces import Piece, linear, matrices, same, stacked, tied, turned

_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu", "silu": "silu"}


def describe(settings: Settings, architecture: str) -> Described:
    """Their config.json as ours."""
    refuse(
        settings,
        "GPT-2",
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        add_cross_attention=False,
    )
    vocabulary, d_model, n_layers, n_heads = required(settings, "vocab_size", "n_embd", "n_layer", "n_head")
    stack = StackConfig(n_layers=n_layers, n_heads=n_heads, d_ff=size(settings, "n_inner") or 4 * d_model)
    model = ModelConfig(
        architecture="decoder",
        d_model=d_model,
        encoder=stack,
        decoder=stack,
        dropout=given(settings, "resid_pdrop", 0.1),
        attention_dropout=given(settings, "attn_pdrop", 0.1),
        norm="pre",
        norm_epsilon=given(settings, "layer_norm_epsilon", 1e-5),
        activation=activation_of(given(settings, "activation_function", "gelu_new"), _ACTIVATIONS, "GPT-2"),
        positions="learned",
        max_length=given(settings, "n_positions", 1024),
        embedding=EmbeddingConfig(scale=False),
        tie="all" if given(settings, "tie_word_embeddings", True) else "none",
        source_vocabulary=vocabulary,
        target_vocabulary=vocabulary,
    )
    return Described("language_modelling", model, controls=controls_of(settings))


def settings(described: Described, architecture: str) -> dict[str, Any]:
    """Ours as their config.json."""
    model = described.model
    names = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    return {
        "vocab_size": model.target_vocabulary,
        "n_embd": model.d_model,
        "n_layer": model.decoder.n_layers,
        "n_head": model.decoder.n_heads,
        "n_inner": model.decoder.d_ff,
        "resid_pdrop": model.dropout,
        "embd_pdrop": model.dropout,
        "attn_pdrop": model.attention_dropout,
        "layer_norm_epsilon": model.norm_epsilon,
        "activation_function": names.get(model.activation, "gelu_new"),
        "n_positions": model.max_length,
        "tie_word_embeddings": tied(model),
        **control_settings(described.controls),
    }


def pieces(model: ModelConfig, architecture: str) -> list[Piece]:
    """Their weights and ours. Matrices are (in, out) there; queries, keys and values are side by side in one."""
    found = [
        *matrices(model, "transformer.wte.weight", "lm_head.weight"),
        same("decoder.positions.weight", "transformer.wpe.weight"),
    ]
    for number in range(model.decoder.n_layers):
        ours, theirs = f"decoder.layers.{number}", f"transformer.h.{number}"
        parts = [f"{ours}.self_attn.{part}" for part in ("query", "key", "value")]
        found += [
            *linear(f"{ours}.self_attn_residual.norm", f"{theirs}.ln_1"),
            *linear(f"{ours}.feed_forward_residual.norm", f"{theirs}.ln_2"),
            _side_by_side([f"{part}.weight" for part in parts], f"{theirs}.attn.c_attn.weight"),
            stacked([f"{part}.bias" for part in parts], f"{theirs}.attn.c_attn.bias"),
        ]
        for part, name in (
            ("self_attn.output", "attn.c_proj"),
            ("feed_forward.hidden", "mlp.c_fc"),
            ("feed_forward.output", "mlp.c_proj"),
        ):
            found.append(turned(f"{ours}.{part}.weight", f"{theirs}.{name}.weight"))
            found.append(same(f"{ours}.{part}.bias", f"{theirs}.{name}.bias"))
    return found + linear("decoder.norm", "transformer.ln_f")


def _side_by_side(ours: list[str], theirs: str) -> Piece:
    """Several matrices, turned and stacked."""
    below = stacked(ours, theirs)
    return Piece(
        below.ours,
        below.theirs,
        lambda found: below.read([found[0].t()]),
        lambda found: [below.write(found)[0].t().contiguous()],
    )


FAMILY = Family(
    name="gpt2",
    classes={"GPT2LMHeadModel": "language_modelling"},
    prefix="transformer.",
    describe=describe,
    settings=settings,
    pieces=pieces,
    ignored=(r"h\.\d+\.attn\.(bias|masked_bias)$",),
    copies={"lm_head.weight": "transformer.wte.weight"},
)
