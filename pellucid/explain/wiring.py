"""Where each number comes from: for every tap the operands of one of its cells, by name, so that a reader can follow them.

The formulas of :mod:`.formulas` compute; this says the same as data, for a page that writes out the sum of any one cell.
The keys of each kind are those that ``viewer/number.js`` reads; a test computes cells of every kind from them.
"""

from __future__ import annotations

import math
from typing import Any

from pellucid.explain import recurrent_wiring
from pellucid.explain.numbers import (
    Numbers,
    Place,
    before,
    embedded,
    features,
    into,
    memory,
    norm_input,
    norm_module,
    places,
    scored,
)
from pellucid.explain.positions import frequencies

Wires = dict[str, Any]
_MODULES = {"q_projected": "query", "k_projected": "key", "v_projected": "value"}


def wires_of(name: str, n: Numbers) -> Wires:
    """The kind of a tap's formula, the taps and weights that it reads, and its constants."""
    at = Place.of(name)
    if recurrent_wiring.is_own(at, n):
        return recurrent_wiring.wires_of(at, n)
    if name in ("logits", "probs", "pooled"):
        return _output(name, n)
    if at.part.endswith("norm"):
        return _norm(at, n)
    if at.stack == "head":
        if at.step == "dense":
            return _linear(n, features(n), "head.transform.dense")
        return {"kind": "activation", "function": n.config.head.activation, "x": "head.dense"}
    if at.step.endswith("_residual"):
        sublayer = at.step.removesuffix("_residual")
        return {"kind": "sum", "of": [before(n, at, sublayer), f"{at.home}.{sublayer}.out"]}
    if not at.part:
        return {"kind": "copy", "x": _end(at, n)}
    return {"embed": _embedding, "self_attn": _attention, "cross_attn": _attention, "ffn": _feed_forward}[at.part](at, n)


def _linear(n: Numbers, x: str, module: str, *, heads: bool = False) -> Wires:
    bias = f"{module}.bias"
    known = bias if n.weights(bias) is not None else None
    return {"kind": "linear", "x": x, "weight": f"{module}.weight", "bias": known, "heads": heads}


def _end(at: Place, n: Numbers) -> str:
    if at.layer >= 0:
        return f"{at.home}.ffn_residual" if n.pre else f"{at.home}.ffn_norm.out"
    last = n.config.stacks()[at.stack].n_layers - 1
    return f"{at.stack}.norm.out" if n.pre else f"{at.stack}.layers.{last}.out"


def _embedding(at: Place, n: Numbers) -> Wires:
    role = "source" if at.stack == "encoder" else "target"
    if at.step == "tokens":
        return {"kind": "lookup", "weight": f"weights.{n.roles[role]}", "ids": n.inputs[role].tolist()}
    if at.step == "scaled":
        by = math.sqrt(n.config.d_model) if n.config.embedding.scale else 1.0
        return {"kind": "scale", "x": f"{at.stack}.embed.tokens", "by": by, "as": "sqrt(d_model)" if by != 1.0 else "1"}
    if at.step == "patches":
        return {
            "kind": "patch",
            "weight": "encoder.embed.project.weight",
            "bias": "encoder.embed.project.bias",
            "first": "encoder.embed.class_token" if n.config.head.pool == "class" else None,
            "side": n.config.picture.patch,
        }
    if at.step == "positions":
        length = n.tap(at.name).shape[0]
        where = places(n, at.keys, length).tolist()
        table = f"{at.stack}.positions.weight"
        if n.weights(table) is not None:
            return {"kind": "lookup", "weight": table, "ids": where}
        return {"kind": "wave", "positions": where, "halves": n.config.positional.halves}
    if at.step == "types":
        length = n.tap(at.name).shape[0]
        return {"kind": "lookup", "weight": f"{at.stack}.embed.types", "ids": [0] * length}
    normalised = n.config.embedding.norm and not (n.config.picture.patch and at.stack == "encoder")
    return {"kind": "copy", "x": f"{at.stack}.embed.norm.out"} if normalised else {"kind": "sum", "of": embedded(n, at)}


def _norm(at: Place, n: Numbers) -> Wires:
    place = at.name.rpartition(".")[0]
    x = [norm_input(n, at)] if norm_input(n, at) else embedded(n, at)
    mean = f"{place}.mean" if n.config.norm_kind == "layer" else None
    if at.step == "mean":
        return {"kind": "mean", "x": x}
    if at.step == "std":
        return {"kind": "std", "x": x, "mean": mean, "epsilon": n.config.norm_epsilon}
    if at.step == "normalized":
        return {"kind": "normalized", "x": x, "mean": mean, "std": f"{place}.std"}
    module = norm_module(at)
    bias = f"{module}.bias"
    known = bias if n.weights(bias) is not None else None
    return {"kind": "gain", "x": f"{place}.normalized", "weight": f"{module}.weight", "bias": known}


def _attention(at: Place, n: Numbers) -> Wires:
    place, cross = f"{at.home}.{at.part}", at.part == "cross_attn"
    if at.step in _MODULES:
        x = memory(n, at) if cross and at.step != "q_projected" else into(n, at, at.part)
        return _linear(n, x, f"{place}.{_MODULES[at.step]}", heads=True)
    if at.step in ("q", "k", "v"):
        x = f"{place}.{at.step}_projected"
        if n.config.positions != "rotary" or cross or at.step == "v":
            return {"kind": "copy", "x": x}
        shape = n.tap(at.name).shape
        turns = frequencies(shape[-1], n.config.positional.rotary)
        return {"kind": "rotate", "x": x, "positions": places(n, at.keys, shape[1]).tolist(), "frequencies": turns.tolist()}
    if at.step == "scores":
        found: Wires = {"kind": "dot", "q": f"{place}.q", "k": f"{place}.k"}
        return found if n.config.attention != "additive" else {**found, "kind": "additive", "weight": f"{place}.score.weight"}
    if at.step == "scaled":
        width = n.tap(f"{place}.q").shape[-1]
        by = 1.0 / math.sqrt(width) if n.config.attention == "dot" else 1.0
        return {"kind": "scale", "x": f"{place}.scores", "by": by, "as": f"1 / sqrt({width})" if by != 1.0 else "1"}
    if at.step in ("bias", "mask"):
        return {"kind": "rule", "rule": _rule(at, n)}
    added = f"{place}.bias" if f"{place}.bias" in n.taps else None
    if at.step == "masked":
        return {"kind": "masked", "x": f"{place}.scaled", "added": added, "mask": f"{place}.mask"}
    if at.step == "weights":
        masked = f"{place}.masked" in n.taps
        return {"kind": "softmax", "x": f"{place}.masked" if masked else f"{place}.scaled", "added": None if masked else added}
    if at.step == "z":
        return {"kind": "mix", "weights": f"{place}.weights", "v": f"{place}.v"}
    if at.step == "concat":
        return {"kind": "concat", "z": f"{place}.z"}
    return _linear(n, f"{place}.concat", f"{place}.output")


def _rule(at: Place, n: Numbers) -> str:
    if at.step == "mask":
        causal = at.stack == "decoder" and at.part == "self_attn"
        return "a position may look at itself and those before it" if causal else "every real position may be looked at"
    if n.config.positions == "alibi":
        return "minus the distance between query and key, times the slope of the head (ALiBi)"
    return "a learned number for each head and distance between key and query (T5)"


def _feed_forward(at: Place, n: Numbers) -> Wires:
    place = f"{at.home}.ffn"
    if at.step in ("hidden_pre", "gate"):
        module = "hidden" if at.step == "hidden_pre" else "gate"
        return _linear(n, into(n, at, "ffn"), f"{at.home}.feed_forward.{module}")
    if at.step == "hidden":
        gate = f"{place}.gate" if f"{place}.gate" in n.taps else None
        return {"kind": "activation", "function": n.config.activation, "x": f"{place}.hidden_pre", "gate": gate}
    return _linear(n, f"{place}.hidden", f"{at.home}.feed_forward.output")


def _output(name: str, n: Numbers) -> Wires:
    if name == "probs":
        return {"kind": "softmax", "x": "logits", "added": None}
    if name == "pooled":
        real = n.inputs.get("source_mask")
        return {"kind": "pool", "x": "encoder.out", "how": n.config.head.pool, "real": None if real is None else real.tolist()}
    bias = "head.bias" if n.weights("head.bias") is not None else None
    by = n.config.d_model**-0.5 if n.config.head.scale else 1.0
    return {"kind": "linear", "x": scored(n), "weight": f"weights.{n.roles['output']}", "bias": bias, "heads": False, "by": by}
