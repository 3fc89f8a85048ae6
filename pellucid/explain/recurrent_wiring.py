"""Where the numbers of recurrent networks come from: see :mod:`.wiring`; their formulas: :mod:`.recurrent_formulas`."""

from __future__ import annotations

from typing import Any

from pellucid.explain.numbers import Numbers, Place
from pellucid.explain.recurrent_formulas import ends

Wires = dict[str, Any]
OWN_ATTENTION = ("q_projected", "q", "k_projected", "k", "v", "scores", "scaled")


def is_own(at: Place, n: Numbers) -> bool:
    """Whether a recurrent network computes this tap otherwise than a Transformer."""
    if n.config.recurrent.cell == "none":
        return False
    if at.name == "pooled":
        return n.config.head.pool == "last"
    if at.part == "cross_attn":
        return at.step in OWN_ATTENTION
    layers = at.part in ("forward", "backward", "bridge") or at.step == "attentional"
    return layers or (not at.part and at.step == "out")


def wires_of(at: Place, n: Numbers) -> Wires:
    """As :func:`pellucid.explain.wiring.wires_of`, for the taps that are a recurrent network's own."""
    if at.part == "cross_attn":
        return _attention(at, n)
    if at.part in ("forward", "backward"):
        return _layer(at, n)
    if at.part == "bridge":
        return _bridge(at, n)
    if at.step == "attentional":
        found = _product("decoder.output", [f"{_last(n, 'decoder')}.out", f"{_last(n, 'decoder')}.cross_attn.z"], n)
        return {"kind": "product", "of": [found], "function": "tanh"}
    if at.name == "pooled":
        return {"kind": "beside", "of": _ends(n, "encoder.out")}
    if at.layer < 0:
        joined = at.stack == "decoder" and "decoder.attentional" in n.taps
        return {"kind": "copy", "x": "decoder.attentional" if joined else f"{_last(n, at.stack)}.out"}
    ways = ("forward", "backward") if at.stack == "encoder" and n.config.recurrent.bidirectional else ("forward",)
    real = n.inputs.get(f"{at.keys}_mask")
    columns = [{"x": f"{at.home}.{way}.hidden", "start": 0} for way in ways]
    return {"kind": "beside", "of": columns, "real": None if real is None else real.tolist()}


def _last(n: Numbers, stack: str) -> str:
    return f"{stack}.layers.{n.config.stacks()[stack].n_layers - 1}"


def _product(module: str, x: list[str], n: Numbers, end: str = "", **more: Any) -> Wires:
    """A sum of products: vectors side by side times a row of a matrix, and its bias.

    ``rows``: for each row which one of x is read, -1 for what stands before the first: the vector ``begun``, or zeros.
    """
    bias = f"{module.format('bias')}{end}" if "{}" in module else f"{module}.bias"
    weight = f"{module.format('weight')}{end}" if "{}" in module else f"{module}.weight"
    return {"x": x, "weight": weight, "bias": bias if n.weights(bias) is not None else None, **more}


def _before(at: Place, n: Numbers, name: str) -> Wires:
    """Which state each position carries on, and what comes before the first."""
    tap, real = f"{at.home}.{at.part}.{name}", n.inputs.get(f"{at.keys}_mask")
    length = n.tap(tap).shape[0]
    rows, state = [-1] * length, -1
    for position in reversed(range(length)) if at.part == "backward" else range(length):
        rows[position] = state
        if real is None or real[position]:
            state = position
    begun = f"{at.home}.bridge.{name}" if at.stack == "decoder" and f"{at.home}.bridge.{name}" in n.taps else None
    return {"rows": rows, "begun": begun}


def _layer(at: Place, n: Numbers) -> Wires:
    place, cell = f"{at.home}.{at.part}", n.config.recurrent.cell
    gates = f"{place}.gates"
    if at.step == "cell":
        return {"kind": "cell", "gates": gates, "x": f"{place}.cell", **_before(at, n, "cell")}
    if at.step == "hidden" and cell != "rnn":
        more = {"cell": f"{place}.cell"} if cell == "lstm" else {}
        return {"kind": "state", "of": cell, "gates": gates, "x": f"{place}.hidden", **_before(at, n, "hidden"), **more}
    end = "_l0_reverse" if at.part == "backward" else "_l0"
    x = [f"{at.stack}.layers.{at.layer - 1}.out" if at.layer else f"{at.stack}.embed.out"]
    if at.layer == 0 and at.stack == "decoder" and n.config.recurrent.attention == "additive":
        x.append(f"{_last(n, 'decoder')}.cross_attn.z")
    module = f"{at.home}.rnn.{{}}"
    parts = [
        _product(f"{module}_ih", x, n, end),
        _product(f"{module}_hh", [f"{place}.hidden"], n, end, **_before(at, n, "hidden")),
    ]
    if at.step == "hidden":
        return {"kind": "product", "of": parts, "function": "tanh"}
    return {"kind": "gates", "of": parts, "cell": cell, "gates": gates}


def _ends(n: Numbers, tap: str) -> list[Wires]:
    """The last state of each direction, out of vectors in which they stand side by side."""
    x = n.tap(tap)
    first, last = ends(n, len(x))
    if not n.config.recurrent.bidirectional:
        return [{"x": tap, "row": last, "start": 0}]
    half = x.shape[1] // 2
    return [{"x": tap, "row": last, "start": 0, "width": half}, {"x": tap, "row": first, "start": half, "width": half}]


def _bridge(at: Place, n: Numbers) -> Wires:
    function = "tanh" if at.step == "hidden" else ""
    layer = max(at.layer + n.config.encoder.n_layers - n.config.decoder.n_layers, 0)
    module = f"decoder.bridges.{at.layer}.{at.step}"
    if n.config.recurrent.bridge == "mean":
        return {"kind": "rule", "rule": f"the mean of the encoder's outputs times {module}.weight, plus its bias, then tanh"}
    first, last = ends(n, len(n.tap(f"encoder.layers.{layer}.forward.{at.step}")))
    x, rows = [f"encoder.layers.{layer}.forward.{at.step}"], [last]
    if n.config.recurrent.bidirectional:
        x.append(f"encoder.layers.{layer}.backward.{at.step}")
        rows.append(first)
    return {"kind": "product", "of": [_product(module, x, n, at=rows)], "function": function}


def _attention(at: Place, n: Numbers) -> Wires:
    place, additive = f"{at.home}.cross_attn", n.config.recurrent.attention == "additive"
    if at.step == "q_projected":
        if not additive:
            return {"kind": "product", "of": [_product("decoder.cross_attn.query", [f"{at.home}.out"], n)], "function": ""}
        before = _before(Place.of(f"{at.home}.forward.hidden"), n, "hidden")
        product = _product("decoder.cross_attn.query", [f"{at.home}.forward.hidden"], n, **before)
        return {"kind": "product", "of": [product], "function": ""}
    if at.step == "k_projected":
        return {"kind": "product", "of": [_product("decoder.cross_attn.key", ["encoder.out"], n)], "function": ""}
    if at.step == "scores":
        found: Wires = {"kind": "dot", "q": f"{place}.q", "k": f"{place}.k"}
        return {**found, "kind": "additive", "weight": "decoder.cross_attn.score.weight"} if additive else found
    copied = {"q": f"{place}.q_projected" if additive else f"{at.home}.out", "k": f"{place}.k_projected"}
    return {"kind": "copy", "x": copied.get(at.step, "encoder.out" if at.step == "v" else f"{place}.scores")}
