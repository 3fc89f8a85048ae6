"""The formulas of the taps, in float64 NumPy: each from the taps before it and the weights, one for each kind of row.

This is no second model. A formula reads the numbers that the trace holds, so that it is wrong only where its own step is.

Shapes: T positions or queries, S keys, H heads, G groups of heads that share keys, K width of a head, D width of the model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pellucid.explain import recurrent_formulas as recurrent
from pellucid.explain.attention_formulas import ATTENTION, softmax
from pellucid.explain.numbers import (
    Formula,
    Numbers,
    Place,
    before,
    embedded,
    features,
    into,
    norm_input,
    norm_module,
    places,
    scored,
)
from pellucid.explain.positions import added
from pellucid.explain.trace import Array

# Embedding


def embed_tokens(n: Numbers, at: Place) -> Array:
    role = "source" if at.stack == "encoder" else "target"
    return n.matrix(role)[n.inputs[role]]


def embed_scaled(n: Numbers, at: Place) -> Array:
    return n.tap(f"{at.stack}.embed.tokens") * (math.sqrt(n.config.d_model) if n.config.embedding.scale else 1.0)


def embed_patches(n: Numbers, at: Place) -> Array:
    pixels, side = n.inputs["source"].astype(np.float64), n.config.picture.patch
    channels, height, width = pixels.shape
    squares = [
        pixels[:, top : top + side, left : left + side].reshape(channels * side * side)
        for top in range(0, height, side)
        for left in range(0, width, side)
    ]
    found = n.linear("encoder.embed.project", np.stack(squares))
    first = n.weights("encoder.embed.class_token")
    return found if first is None else np.concatenate((first[None], found))


def embed_positions(n: Numbers, at: Place) -> Array:
    length = len(n.tap(f"{at.stack}.embed.patches" if n.config.picture.patch and at.stack == "encoder" else _tokens(at)))
    return added(n.config, places(n, at.keys, length), n.weights(f"{at.stack}.positions.weight"))


def _tokens(at: Place) -> str:
    return f"{at.stack}.embed.tokens"


def embed_types(n: Numbers, at: Place) -> Array:
    types = n.weights(f"{at.stack}.embed.types")
    assert types is not None
    return np.broadcast_to(types[0], n.tap(_tokens(at)).shape)


def embed_sum(n: Numbers, at: Place) -> Array:
    """Everything that the embedding box adds up."""
    return sum((n.tap(name) for name in embedded(n, at)), np.zeros(()))


def embed_out(n: Numbers, at: Place) -> Array:
    normalised = n.config.embedding.norm and not (n.config.picture.patch and at.stack == "encoder")
    return n.tap(f"{at.stack}.embed.norm.out") if normalised else embed_sum(n, at)


# Add & norm


def residual(n: Numbers, at: Place) -> Array:
    sublayer = at.step.removesuffix("_residual")
    return n.tap(before(n, at, sublayer)) + n.tap(f"{at.home}.{sublayer}.out")


def normed(n: Numbers, at: Place) -> Array:
    """What a norm receives."""
    name = norm_input(n, at)
    return n.tap(name) if name else embed_sum(n, at)


def norm_mean(n: Numbers, at: Place) -> Array:
    return normed(n, at).mean(-1, keepdims=True)


def norm_std(n: Numbers, at: Place) -> Array:
    x = normed(n, at)
    if n.config.norm_kind == "layer":
        x = x - n.tap(f"{at.name.rpartition('.')[0]}.mean")
    return np.sqrt(np.square(x).mean(-1, keepdims=True) + n.config.norm_epsilon)


def norm_normalized(n: Numbers, at: Place) -> Array:
    x, place = normed(n, at), at.name.rpartition(".")[0]
    if n.config.norm_kind == "layer":
        x = x - n.tap(f"{place}.mean")
    return x / n.tap(f"{place}.std")


def norm_out(n: Numbers, at: Place) -> Array:
    gain, shift = n.weights(f"{norm_module(at)}.weight"), n.weights(f"{norm_module(at)}.bias")
    assert gain is not None
    found = n.tap(f"{at.name.rpartition('.')[0]}.normalized") * gain
    return found if shift is None else found + shift


# Feed-forward


def ffn_linear(module: str) -> Formula:
    def formula(n: Numbers, at: Place) -> Array:
        return n.linear(f"{at.home}.feed_forward.{module}", n.tap(into(n, at, "ffn")))

    return formula


def ffn_hidden(n: Numbers, at: Place) -> Array:
    activate, pre = ACTIVATIONS[n.config.activation], n.tap(f"{at.home}.ffn.hidden_pre")
    gate = n.maybe(f"{at.home}.ffn.gate")
    return activate(pre) if gate is None else activate(gate) * pre


def ffn_out(n: Numbers, at: Place) -> Array:
    return n.linear(f"{at.home}.feed_forward.output", n.tap(f"{at.home}.ffn.hidden"))


def _sigmoid(x: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-x))


def _gelu(x: Array) -> Array:
    return x * 0.5 * (1.0 + np.vectorize(math.erf, otypes=[np.float64])(x / math.sqrt(2.0)))


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def _relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def _silu(x: Array) -> Array:
    return x * _sigmoid(x)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": _relu,
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "tanh": np.tanh,
    "glu": _sigmoid,
    "reglu": _relu,
    "geglu": _gelu,
    "geglu_tanh": _gelu_tanh,
    "swiglu": _silu,
}


# The ends of layers and stacks, and the output


def layer_out(n: Numbers, at: Place) -> Array:
    return n.tap(f"{at.home}.ffn_residual" if n.pre else f"{at.home}.ffn_norm.out")


def stack_out(n: Numbers, at: Place) -> Array:
    return n.tap(f"{at.stack}.norm.out" if n.pre else f"{at.stack}.layers.{n.config.stacks()[at.stack].n_layers - 1}.out")


def pooled(n: Numbers, at: Place) -> Array:
    if n.config.head.pool == "last":
        return recurrent.last_state(n)
    x, real = n.tap("encoder.out"), n.inputs.get("source_mask")
    if n.config.head.pool == "class":
        return x[0 if real is None else int(np.argmax(real))]
    return recurrent.mean(x, real)


def head_dense(n: Numbers, at: Place) -> Array:
    return n.linear("head.transform.dense", n.tap(features(n)))


def head_hidden(n: Numbers, at: Place) -> Array:
    return ACTIVATIONS[n.config.head.activation](n.tap("head.dense"))


def logits(n: Numbers, at: Place) -> Array:
    shift: Any = n.weights("head.bias")
    found = n.tap(scored(n)) * (n.config.d_model**-0.5 if n.config.head.scale else 1.0) @ n.matrix("output").T
    return found if shift is None else found + shift


def probs(n: Numbers, at: Place) -> Array:
    return softmax(n.tap("logits"))


_NORM: dict[str, Formula] = {"mean": norm_mean, "std": norm_std, "normalized": norm_normalized, "out": norm_out}
_FEED_FORWARD: dict[str, Formula] = {
    "hidden_pre": ffn_linear("hidden"),
    "gate": ffn_linear("gate"),
    "hidden": ffn_hidden,
    "out": ffn_out,
}
_EMBEDDING: dict[str, Formula] = {
    "tokens": embed_tokens,
    "scaled": embed_scaled,
    "patches": embed_patches,
    "positions": embed_positions,
    "types": embed_types,
    "out": embed_out,
}
_HEAD: dict[str, Formula] = {"dense": head_dense, "hidden": head_hidden}
_WHOLE: dict[str, Formula] = {"pooled": pooled, "logits": logits, "probs": probs}


def formula_of(name: str) -> Formula:
    """The formula of a tap; names of the table, with N for a layer, will do."""
    at = Place.of(name.replace(".N.", ".0."))
    if at.part in ("forward", "backward"):
        return recurrent.LAYER[at.step]
    if at.part == "bridge":
        return recurrent.bridge
    if at.step == "attentional":
        return recurrent.attentional
    if (not at.part and at.step == "out") or at.part == "cross_attn":
        return _of_either
    return _of_block(name, at)


def _of_either(n: Numbers, at: Place) -> Array:
    """Taps that have one name and two formulas: that of a Transformer, and that of a recurrent network."""
    if n.config.recurrent.cell == "none":
        return _of_block(at.name, at)(n, at)
    if at.part:
        return recurrent.ATTENTION[at.step](n, at)
    return (recurrent.layer_out if at.layer >= 0 else recurrent.stack_out)(n, at)


def _of_block(name: str, at: Place) -> Formula:
    if name in _WHOLE:
        return _WHOLE[name]
    if at.part.endswith("norm"):
        return _NORM[at.step]
    if at.stack == "head":
        return _HEAD[at.step]
    if at.step.endswith("_residual"):
        return residual
    if not at.part:
        return layer_out if at.layer >= 0 else stack_out
    return {"embed": _EMBEDDING, "self_attn": ATTENTION, "cross_attn": ATTENTION, "ffn": _FEED_FORWARD}[at.part][at.step]
