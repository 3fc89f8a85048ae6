"""Our models for CTranslate2: an engine that runs encoder-decoders and decoders on processors, quickly and without PyTorch.

Its models are a list of named tensors, which a *specification* lays out. What it computes is fixed there, so a model of ours
either is the same model in its words, or it is refused with the reasons before anything is written.

Shapes: D width of the model, H heads, K width of a head, L positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.base.config import ModelConfig, StackConfig, per_layer
from pellucid.base.errors import UsageError
from pellucid.model.attention import MultiHeadAttention
from pellucid.model.block import Block
from pellucid.model.decoder import Decoder
from pellucid.model.encoder import Encoder
from pellucid.model.feed_forward import GATED
from pellucid.model.positions import LearnedPositions, Positions, RelativePositions, SinusoidalPositions
from pellucid.model.residual import Norm
from pellucid.model.transformer import DecoderOnly, EncoderDecoder

QUANTIZATIONS = ("float32", "int8")
# Our activations by the names of its enumeration; of a gated feed-forward, what its gate goes through.
_ACTIVATIONS = {
    "relu": "RELU",
    "gelu": "GELU",
    "gelu_tanh": "GELUTanh",
    "silu": "SWISH",
    "glu": "Sigmoid",
    "reglu": "RELU",
    "geglu": "GELU",
    "geglu_tanh": "GELUTanh",
    "swiglu": "SWISH",
}


@dataclass(frozen=True)
class Names:
    """The tokens by their names, as the engine is given them and gives them back.

    Args:
        source, target: the name of each id, no two alike; of a decoder alone both are the same.
        unknown, start, end: of the controls; ``start`` is what the decoder reads first.
        before: the token that stands before a source text; ``None``: none does.
        after: whether ``end`` stands after a source text.
    """

    source: Sequence[str]
    target: Sequence[str]
    unknown: str
    start: str
    end: str
    before: str | None = None
    after: bool = False


def need_ctranslate2() -> None:
    """See that it is installed.

    Raises:
        UsageError: it is not.
    """
    if find_spec("ctranslate2") is None:
        raise UsageError("writing for CTranslate2 needs it", where="--to", advice='pip install "pellucid[ctranslate2]"')


def obstacles(model: ModelConfig) -> list[str]:
    """Why CTranslate2 cannot compute what this model computes; empty where it can."""
    if model.picture.patch:
        return ["its source is pictures: there are only texts there"]
    if model.architecture == "encoder":
        return ["it is an encoder: one ends with its vectors there, without a head for words or classes"]
    alone, found = model.architecture == "decoder", []
    if model.attention == "additive":
        found.append("model.attention is additive: there are only dot products there")
    if model.positions == "none":
        found.append("model.positions is none: there are always some there")
    if model.positions == "alibi" and not alone:
        found.append("model.positions is alibi: an encoder has none of that kind there")
    if model.positions == "relative" and alone:
        found.append("model.positions is relative: a decoder without an encoder misplaces a prompt of several tokens there")
    if model.positions == "rotary" and model.positional.rotary.scaling == "llama3":
        found.append("model.positional.rotary.scaling is llama3: its lengths are fixed there")
    if model.embedding.types:
        found.append("model.embedding.types: its decoder knows no types of tokens")
    if model.head.pool != "none" or model.head.transform != "none":
        found.append("model.head has a layer of its own before the logits: there is none there")
    for side, stack in model.stacks().items():
        found += _obstacles_of_stack(side, stack, model)
    return found


def _obstacles_of_stack(side: str, stack: StackConfig, model: ModelConfig) -> list[str]:
    found = []
    for name in ("n_heads", "n_kv_heads"):
        value = getattr(stack, name)
        if isinstance(value, tuple) and len(set(value)) > 1:
            found.append(f"model.{side}.{name} differs from layer to layer: it is one number there")
    if stack.reads is not None and set(stack.reads) != {model.encoder.n_layers - 1}:
        found.append(f"model.{side}.reads: every layer reads the last of the encoder there")
    return found


def specification(model: EncoderDecoder | DecoderOnly, config: ModelConfig, names: Names, quantization: str) -> Any:
    """The model in its words, to be written by ``.save(directory)``.

    Args:
        model: with its weights, in float32.
        config: its shape, without :func:`obstacles`.
        names: its vocabularies.
        quantization: one of ``QUANTIZATIONS``.
    """
    from ctranslate2 import specs

    decoder = _decoder(model, config)
    if isinstance(model, EncoderDecoder):
        spec = specs.TransformerSpec(_encoder(model, config), decoder)
        spec.register_source_vocabulary(list(names.source))
        spec.register_target_vocabulary(list(names.target))
        spec.config.decoder_start_token = names.start
        spec.config.add_source_bos, spec.config.add_source_eos = names.before is not None, names.after
    else:
        spec = specs.TransformerDecoderModelSpec(decoder)
        spec.register_vocabulary(list(names.target))
    spec.config.unk_token, spec.config.eos_token = names.unknown, names.end
    spec.config.bos_token = names.start if names.before is None else names.before
    spec.config.layer_norm_epsilon = config.norm_epsilon
    spec.validate()
    spec.optimize(quantization)
    return spec


def _options(config: ModelConfig, stack: StackConfig) -> dict[str, Any]:
    """What a specification of a stack is told, encoder or decoder."""
    from ctranslate2.specs import attention_spec, common_spec

    rotary, n_heads = config.positional.rotary, per_layer(stack.n_heads, stack.n_layers)[0]
    n_kv_heads = per_layer(stack.n_kv_heads or n_heads, stack.n_layers)[0]
    options: dict[str, Any] = {
        "num_layers": stack.n_layers,
        "num_heads": n_heads,
        "num_heads_kv": None if n_kv_heads == n_heads else n_kv_heads,
        "head_dim": stack.head_width(config.d_model)[0],
        "pre_norm": config.norm == "pre",
        "activation": common_spec.Activation[_ACTIVATIONS[config.activation]],
        "ffn_glu": config.activation in GATED,
        "rms_norm": config.norm_kind == "rms",
        "layernorm_embedding": config.embedding.norm,
        "relative_attention_bias": config.positions == "relative",
    }
    if config.positions == "rotary":
        linear = attention_spec.RotaryScalingType.Linear if rotary.scaling == "linear" else None
        # Rotated are all dimensions (0), the first half of a head against the second.
        options |= {"rotary_dim": 0, "rotary_interleave": False, "rotary_base": rotary.base, "rotary_scaling_type": linear}
        options["rotary_scaling_factor"] = rotary.factor
    return options


def _encoder(model: EncoderDecoder, config: ModelConfig) -> Any:
    from ctranslate2.specs import TransformerEncoderSpec

    spec = TransformerEncoderSpec(**_options(config, config.encoder))
    if config.positions == "rotary":
        del spec.position_encodings  # else there would be sines as well
    spec.embeddings[0].weight = model.weight("source").detach()
    _fill_stack(spec, model.encoder, config)
    return spec


def _decoder(model: EncoderDecoder | DecoderOnly, config: ModelConfig) -> Any:
    from ctranslate2.specs import TransformerDecoderSpec

    options = _options(config, config.decoder)
    with_memory = isinstance(model, EncoderDecoder)
    spec = TransformerDecoderSpec(**options, with_encoder_attention=with_memory, alibi=config.positions == "alibi")
    spec.embeddings.weight = model.weight("target").detach()
    spec.projection.weight = model.weight("output").detach()
    if model.head.bias is not None:
        spec.projection.bias = model.head.bias.detach()
    if model.head.scale != 1.0:
        spec.scale_outputs = np.float32(model.head.scale)
    _fill_stack(spec, model.decoder, config)
    return spec


def _fill_stack(spec: Any, stack: Encoder | Decoder, config: ModelConfig) -> None:
    spec.scale_embeddings = config.embedding.scale
    if hasattr(spec, "position_encodings"):
        spec.position_encodings.encodings = _table(stack.positions)
    if config.embedding.norm:
        _fill_norm(spec.layernorm_embedding, stack.embed.norm)  # type: ignore[arg-type]  # of texts, not of pictures
    if stack.norm is not None:
        _fill_norm(spec.layer_norm, stack.norm)
    for layer, block in zip(spec.layer, stack.layers, strict=True):
        _fill_layer(layer, block, stack.positions)  # type: ignore[arg-type]  # a list of modules forgets what they are


def _table(positions: Positions) -> Tensor:
    """The vector of each position, (L, D)."""
    if isinstance(positions, SinusoidalPositions):
        return positions.table
    assert isinstance(positions, LearnedPositions)
    return positions.weight.detach()


def _fill_layer(spec: Any, block: Block, positions: Positions) -> None:
    attention = block.self_attn
    _fill_linear(spec.self_attention.linear[0], attention.query, attention.key, attention.value)
    _fill_attention(spec.self_attention, attention)
    _fill_norm(spec.self_attention.layer_norm, block.self_attn_residual.norm)
    if isinstance(positions, RelativePositions):  # one table for the stack: the same in every layer
        spec.self_attention.relative_attention_bias = positions.weight.detach()
        spec.self_attention.relative_attention_max_distance = np.int32(positions.max_distance)
    if block.cross_attn is not None and block.cross_attn_residual is not None:
        _fill_linear(spec.attention.linear[0], block.cross_attn.query)
        _fill_linear(spec.attention.linear[1], block.cross_attn.key, block.cross_attn.value)
        _fill_attention(spec.attention, block.cross_attn)
        _fill_norm(spec.attention.layer_norm, block.cross_attn_residual.norm)
    feed_forward = block.feed_forward
    _fill_norm(spec.ffn.layer_norm, block.feed_forward_residual.norm)
    if feed_forward.gate is None:
        _fill_linear(spec.ffn.linear_0, feed_forward.hidden)
    else:
        _fill_linear(spec.ffn.linear_0, feed_forward.gate)
        _fill_linear(spec.ffn.linear_0_noact, feed_forward.hidden)
    _fill_linear(spec.ffn.linear_1, feed_forward.output)


def _fill_attention(spec: Any, attention: MultiHeadAttention) -> None:
    _fill_linear(spec.linear[-1], attention.output)
    spec.queries_scale = np.float32(attention.score.scale)


def _fill_linear(spec: Any, *linear: nn.Module) -> None:
    """One product, or several of the same vectors, one below the other."""
    weights: list[Any] = [each.weight for each in linear]
    biases: list[Any] = [each.bias for each in linear]
    spec.weight = torch.cat(weights).detach()
    if biases[0] is not None:
        spec.bias = torch.cat(biases).detach()


def _fill_norm(spec: Any, norm: Norm) -> None:
    spec.gamma = norm.weight.detach()
    if isinstance(norm, nn.LayerNorm):
        spec.beta = norm.bias.detach()


def save(spec: Any, directory: Path) -> None:
    """Write ``model.bin``, the vocabularies and its settings, ``config.json``, into a directory that exists."""
    spec.save(str(directory))
