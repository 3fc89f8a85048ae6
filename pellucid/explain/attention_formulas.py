"""The formulas of the taps inside an attention: see :mod:`.formulas`.

Shapes: T queries, S keys, H heads, G groups of heads that share keys, K width of a head.
"""

from __future__ import annotations

import math

import numpy as np

from pellucid.explain.numbers import Formula, Numbers, Place, into, memory, places
from pellucid.explain.positions import rotated, score_bias
from pellucid.explain.trace import Array


def projected(letter: str, module: str) -> Formula:
    """``x W`` of all heads at once, then cut into heads: (heads, T, K)."""

    def formula(n: Numbers, at: Place) -> Array:
        x = memory(n, at) if at.part == "cross_attn" and letter != "q" else into(n, at, at.part)
        whole = n.linear(f"{at.home}.{at.part}.{module}", n.tap(x))  # (T, heads * K)
        heads = n.taps[at.name].shape[0]
        return whole.reshape(len(whole), heads, -1).transpose(1, 0, 2)

    return formula


def turned(letter: str) -> Formula:
    """Queries and keys after rotation, where positions are rotations."""

    def formula(n: Numbers, at: Place) -> Array:
        x = n.tap(f"{at.home}.{at.part}.{letter}_projected")
        if n.config.positions != "rotary" or at.part == "cross_attn" or letter == "v":
            return x
        return rotated(x, places(n, at.keys, x.shape[1]), n.config.positional.rotary)

    return formula


def attn(n: Numbers, at: Place, step: str) -> Array:
    """Another tap of the same attention."""
    return n.tap(f"{at.home}.{at.part}.{step}")


def scores(n: Numbers, at: Place) -> Array:
    query, key = attn(n, at, "q"), _for_each_head(attn(n, at, "k"), n, at)
    if n.config.attention == "additive":
        weight = n.weights(f"{at.home}.{at.part}.score.weight")
        assert weight is not None
        return np.einsum("htsk,hk->hts", np.tanh(query[:, :, None] + key[:, None]), weight)
    return query @ key.transpose(0, 2, 1)


def _for_each_head(shared: Array, n: Numbers, at: Place) -> Array:
    """Keys or values (G, S, K), each group's for every head that shares it: (H, S, K)."""
    heads = attn(n, at, "q").shape[0]
    return np.repeat(shared, heads // len(shared), axis=0)


def scaled(n: Numbers, at: Place) -> Array:
    divisor = math.sqrt(attn(n, at, "q").shape[-1]) if n.config.attention == "dot" else 1.0
    return attn(n, at, "scores") / divisor


def bias(n: Numbers, at: Place) -> Array:
    shape = attn(n, at, "scores").shape
    positions = places(n, at.keys, shape[2])
    table = n.weights(f"{at.stack}.positions.weight")
    return score_bias(n.config, positions, shape[0], table, both_ways=at.stack == "encoder")


def mask(n: Numbers, at: Place) -> Array:
    heads, queries, keys = attn(n, at, "scores").shape
    allowed = np.ones((heads, queries, keys), dtype=bool)
    if at.stack == "decoder" and at.part == "self_attn":
        allowed &= np.tril(np.ones((queries, keys), dtype=bool))
    real = n.inputs.get(f"{at.keys}_mask")
    return allowed if real is None else allowed & real


def masked(n: Numbers, at: Place) -> Array:
    return np.where(attn(n, at, "mask"), _with_bias(n, at), -np.inf)


def _with_bias(n: Numbers, at: Place) -> Array:
    added = n.maybe(f"{at.home}.{at.part}.bias")
    found = attn(n, at, "scaled")
    return found if added is None else found + added


def weights(n: Numbers, at: Place) -> Array:
    final = n.maybe(f"{at.home}.{at.part}.masked")
    return softmax(_with_bias(n, at) if final is None else final)


def softmax(x: Array) -> Array:
    """Along the last axis; a row of nothing but -inf gives zeros, one with NaN gives NaN."""
    peak = x.max(-1, keepdims=True)
    powers = np.exp(x - np.where(np.isneginf(peak), 0.0, peak))
    total = powers.sum(-1, keepdims=True)
    return np.divide(powers, total, out=np.zeros_like(powers), where=total != 0)


def z(n: Numbers, at: Place) -> Array:
    return attn(n, at, "weights") @ _for_each_head(attn(n, at, "v"), n, at)


def concat(n: Numbers, at: Place) -> Array:
    heads = attn(n, at, "z")
    return heads.transpose(1, 0, 2).reshape(heads.shape[1], -1)


def attention_out(n: Numbers, at: Place) -> Array:
    return n.linear(f"{at.home}.{at.part}.output", attn(n, at, "concat"))


ATTENTION: dict[str, Formula] = {
    **{f"{letter}_projected": projected(letter, name) for letter, name in zip("qkv", ("query", "key", "value"), strict=True)},
    **{letter: turned(letter) for letter in "qkv"},
    "scores": scores,
    "scaled": scaled,
    "bias": bias,
    "mask": mask,
    "masked": masked,
    "weights": weights,
    "z": z,
    "concat": concat,
    "out": attention_out,
}
