"""BLOOM (Le Scao et al., 2022): a decoder alone, pre-norm, with ALiBi and a norm of the embedding."""

from __future__ import annotations

from typing import Any

from pellucid.base.config import EmbeddingConfig, ModelConfig, StackConfig, per_layer
from pellucid.base.errors import ModelError
from pellucid.exchange.family import Described, Family, Settings, control_settings, controls_of, given, refuse, required
from pellucid.exchange.pieces import Piece, interleaved, linear, matrices, tied

# Settings of which files have one name or the other.
_WIDTH, _LAYERS, _HEADS = ("hidden_size", "n_embed"), ("n_layer", "num_hidden_layers"), ("n_head", "num_attention_heads")


def describe(settings: Settings, architecture: str) -> Described:
    """Their config.json as ours. Positions have no end; the length is the one that the file names as trained on."""
    refuse(settings, "BLOOM", apply_residual_connection_post_layernorm=False, slow_but_exact=False)
    (vocabulary,) = required(settings, "vocab_size")
    d_model, n_layers, n_heads = (_either(settings, names) for names in (_WIDTH, _LAYERS, _HEADS))
    stack = StackConfig(n_layers=n_layers, n_heads=n_heads, d_ff=4 * d_model)
    model = ModelConfig(
        architecture="decoder",
        d_model=d_model,
        encoder=stack,
        decoder=stack,
        dropout=given(settings, "hidden_dropout", 0.0),
        attention_dropout=given(settings, "attention_dropout", 0.0),
        norm="pre",
        norm_epsilon=given(settings, "layer_norm_epsilon", 1e-5),
        activation="gelu_tanh",
        positions="alibi",
        max_length=given(settings, "seq_length", 2048),
        embedding=EmbeddingConfig(scale=False, norm=True),
        tie="all" if given(settings, "tie_word_embeddings", True) else "none",
        source_vocabulary=vocabulary,
        target_vocabulary=vocabulary,
    )
    return Described("language_modelling", model, controls=controls_of(settings))


def _either(settings: Settings, names: tuple[str, str]) -> Any:
    for name in names:
        if name in settings:
            return required(settings, name)[0]
    raise ModelError("a setting is missing", where=f"config.json: {' or '.join(names)}", advice="copy the model anew")


def settings(described: Described, architecture: str) -> dict[str, Any]:
    """Ours as their config.json."""
    model = described.model
    return {
        "vocab_size": model.target_vocabulary,
        "hidden_size": model.d_model,
        "n_layer": model.decoder.n_layers,
        "n_head": model.decoder.n_heads,
        "hidden_dropout": model.dropout,
        "attention_dropout": model.attention_dropout,
        "layer_norm_epsilon": model.norm_epsilon,
        "seq_length": model.max_length,
        "tie_word_embeddings": tied(model),
        **control_settings(described.controls),
    }


def pieces(model: ModelConfig, architecture: str) -> list[Piece]:
    """Their weights and ours. Queries, keys and values are rows of one matrix, in turn head by head."""
    found = [
        *matrices(model, "transformer.word_embeddings.weight", "lm_head.weight"),
        *linear("decoder.embed.norm", "transformer.word_embeddings_layernorm"),
        *linear("decoder.norm", "transformer.ln_f"),
    ]
    for number, n_heads in enumerate(per_layer(model.decoder.n_heads, model.decoder.n_layers)):
        ours, theirs = f"decoder.layers.{number}", f"transformer.h.{number}"
        parts = [f"{ours}.self_attn.{part}" for part in ("query", "key", "value")]
        found += [
            *linear(f"{ours}.self_attn_residual.norm", f"{theirs}.input_layernorm"),
            *linear(f"{ours}.feed_forward_residual.norm", f"{theirs}.post_attention_layernorm"),
            *(
                interleaved([f"{part}.{kind}" for part in parts], f"{theirs}.self_attention.query_key_value.{kind}", n_heads)
                for kind in ("weight", "bias")
            ),
            *linear(f"{ours}.self_attn.output", f"{theirs}.self_attention.dense"),
            *linear(f"{ours}.feed_forward.hidden", f"{theirs}.mlp.dense_h_to_4h"),
            *linear(f"{ours}.feed_forward.output", f"{theirs}.mlp.dense_4h_to_h"),
        ]
    return found


FAMILY = Family(
    name="bloom",
    classes={"BloomForCausalLM": "language_modelling"},
    prefix="transformer.",
    describe=describe,
    settings=settings,
    pieces=pieces,
    copies={"lm_head.weight": "transformer.word_embeddings.weight"},
)
