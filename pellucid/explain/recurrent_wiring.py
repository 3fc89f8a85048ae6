"""Where the numbers of a recurrent network come from: see :mod:`.wiring`. What reads another position is said in words."""

from __future__ import annotations

from typing import Any

from pellucid.explain.numbers import Numbers, Place

Wires = dict[str, Any]

_RULES = {
    ("lstm", "gates"): "sigmoid, and tanh for the third, of W x + b + U h + c, h being the state at the position read before",
    ("lstm", "cell"): "the second gate times the cell at the position read before, and the first gate times the third",
    ("lstm", "hidden"): "the fourth gate times the tanh of the cell",
    (
        "gru",
        "gates",
    ): "sigmoid of W x + b + U h + c, h being the state at the position read before; in the third gate, a tanh, the "
    "first one multiplies U h + c",
    ("gru", "hidden"): "the third gate times 1 minus the second, and the state at the position read before times the second",
    ("rnn", "hidden"): "tanh of W x + b + U h + c, h being the state at the position read before",
}


def wires_of(at: Place, n: Numbers) -> Wires | None:
    """The kind of a tap's formula and what it reads; ``None`` where it is as in a Transformer."""
    if at.part in ("forward", "backward"):
        return _rule(_RULES[n.config.recurrent.cell, at.step])
    if at.part == "bridge":
        what = "the mean of the encoder's states" if n.config.recurrent.bridge == "mean" else "what the encoder carried at last"
        return _rule(f"{'tanh of ' if at.step == 'hidden' else ''}W x + b of {what}")
    if at.part == "cross_attn":
        return _attention(at, n)
    if at.step == "attentional":
        return _rule("tanh of W times the last layer's state and, beside it, what it found in the source (cross_attn.z)")
    if at.name == "pooled" and n.config.head.pool == "last":
        return _rule("what each direction carries when it has read everything")
    if at.part or at.step != "out":
        return None
    if at.layer < 0:
        last = f"{at.stack}.layers.{n.config.stacks()[at.stack].n_layers - 1}.out"
        attends = at.stack == "decoder" and "decoder.attentional" in n.taps
        return {"kind": "copy", "x": "decoder.attentional" if attends else last}
    if at.stack == "encoder" and n.config.recurrent.bidirectional:
        return _rule("the states of both directions side by side, zeros where a position is padding")
    if f"{at.keys}_mask" in n.inputs:
        return _rule("the state, zeros where a position is padding")
    return {"kind": "copy", "x": f"{at.home}.forward.hidden"}


def _attention(at: Place, n: Numbers) -> Wires | None:
    additive, place = n.config.recurrent.attention == "additive", f"{at.home}.cross_attn"
    if at.step == "k_projected":
        bias = "decoder.cross_attn.key.bias" if additive else None
        return {"kind": "linear", "x": "encoder.out", "weight": "decoder.cross_attn.key.weight", "bias": bias, "heads": True}
    if at.step == "q_projected" or (at.step == "q" and not additive):
        return _rule("W times the state at the position before" if additive else "the state at this position")
    if at.step == "q" or at.step == "k":
        return {"kind": "copy", "x": f"{place}.{at.step}_projected"}
    if at.step == "v":
        return _rule("the encoder's states themselves")
    if at.step == "scores":
        found: Wires = {"kind": "dot", "q": f"{place}.q", "k": f"{place}.k"}
        return {**found, "kind": "additive", "weight": "decoder.cross_attn.score.weight"} if additive else found
    return {"kind": "scale", "x": f"{place}.scores", "by": 1.0, "as": "1"} if at.step == "scaled" else None


def _rule(text: str) -> Wires:
    return {"kind": "rule", "rule": text}
