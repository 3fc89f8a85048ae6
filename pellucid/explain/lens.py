"""What each layer would say if it were the last (the logit lens), and how large the parts of the residual are.

What a layer hands on is sent straight to the end of the model: the final norm, where there is one (pre-norm), pooling and the
head's own layer, where there are any, the output matrix, softmax (nostalgebraist, "interpreting GPT: the logit lens", 2020).
All in float64, from the numbers of a trace and the weights, by the formulas of :mod:`.formulas`.

Shapes: T positions, D width of the model, V vocabulary or classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from pellucid.base.config import ModelConfig
from pellucid.base.errors import UsageError
from pellucid.base.recipe import from_dict
from pellucid.explain.check import numbers_of
from pellucid.explain.formulas import formula_of
from pellucid.explain.numbers import Numbers, Place, before, reads, stack_input
from pellucid.explain.trace import Array, Trace

SHOWN = 5  # outputs of each state in a table
LIMIT = 64  # positions in a table
_PARTS = {"self_attn": "self-attention", "cross_attn": "cross-attention", "ffn": "feed-forward"}


@dataclass(frozen=True)
class State:
    """One place on the way of the vectors.

    Args:
        tap: where they are; ``layer``: from 0, -1 before the first one.
        after: the sublayer that was added last; empty at the end of a layer, and before the first.
    """

    tap: str
    layer: int
    after: str = ""

    @property
    def text(self) -> str:
        """In words."""
        if self.layer < 0:
            return "embedding"
        return f"layer {self.layer}" + (f", after {_PARTS[self.after]}" if self.after else "")


@dataclass(frozen=True)
class Part:
    """What one sublayer adds to the residual.

    Args:
        tap: what is added; ``to``: the tap that it is added to.
        stack, layer: where; ``part``: "self_attn", "cross_attn" or "ffn".
        norms: (T,) the Euclidean length of what is added; ``before``: of what it is added to.
        cosines: (T,) of the angle between the two; NaN where one of them is zero.
    """

    tap: str
    to: str
    stack: str
    layer: int
    part: str
    norms: Array
    before: Array
    cosines: Array


def spoken(trace: Trace) -> str:
    """The stack that speaks: the decoder, or an encoder that stands alone."""
    return "decoder" if "decoder" in _config(trace).stacks() else "encoder"


def states(trace: Trace) -> list[State]:
    """The places at which the vectors can be read out, in their order: those that the trace holds. A recurrent network has
    none: nothing runs through its layers that each of them adds to."""
    numbers = _taps_of(trace)
    if _recurrent(numbers.config):
        return []
    return [state for state in _states(numbers, spoken(trace)) if state.tap in trace]


def lens(trace: Trace, positions: int | None = None) -> Iterator[tuple[State, Array]]:
    """For every state the probabilities (T, V) that the end of the model makes of it; (V,) where it pools.

    The last is ``probs`` itself, unless an edit came between: see :func:`edited_end`.

    Args:
        trace: with its model.
        positions: only so many, the first; a model that pools is shown all.

    Raises:
        UsageError: the trace came from a file, without a model.
    """
    if trace.model is None:
        advice = "make the table where the trace is made, before it is saved"
        raise UsageError("a trace from a file has no weights to read its layers with", where=trace.text, advice=advice)
    numbers, stack = numbers_of(trace), spoken(trace)
    whole = numbers.config.head.pool != "none"
    for state in states(trace):
        vectors = trace[state.tap].array
        yield state, read_out(numbers, stack, vectors if whole else vectors[:positions])


def read_out(numbers: Numbers, stack: str, vectors: Array) -> Array:
    """Probabilities of vectors (T, D), as if the last layer of the stack had made them."""
    taps = {f"{stack}.layers.{numbers.config.stacks()[stack].n_layers - 1}.out": vectors}
    own = replace(numbers, taps=taps)
    for name in _end(numbers.config, stack):
        taps[name] = formula_of(name)(own, Place.of(name))
    return taps["probs"]


def edited_end(trace: Trace) -> list[str]:
    """Taps after the last layer that were edited: the lens knows nothing of that."""
    return [name for name in _end(_config(trace), spoken(trace)) if name in trace.edited]


def described(config: ModelConfig) -> str:
    """The formula of the lens, in words."""
    steps = []
    if config.norm == "pre":
        steps.append("the final norm applied to each layer's output")
    if config.head.pool != "none":
        steps.append("the vector of the first token" if config.head.pool == "class" else "the mean over the tokens")
    if config.head.transform != "none":
        steps.append("the head's own layer")
    matrix = "the output matrix and softmax"
    if config.norm == "pre":
        return ", then ".join([*steps, matrix])
    middle = "".join(f", then {step}" for step in steps)
    return f"post-norm: no final norm; each layer's output{middle} times {matrix}"


def parts(trace: Trace) -> list[Part]:
    """How large what each sublayer adds is, in every stack: those whose taps the trace holds. No model is needed."""
    numbers, found = _taps_of(trace), []
    if _recurrent(numbers.config):
        return []
    for stack, config in numbers.config.stacks().items():
        for layer in range(config.n_layers):
            at = Place(f"{stack}.layers.{layer}", stack, layer, "", "")
            for part in _sublayers(numbers, at):
                tap, to = f"{at.home}.{part}.out", before(numbers, at, part)
                if tap in trace and to in trace:
                    found.append(_part(tap, to, at, part, numbers))
    return found


def layers_of(trace: Trace) -> dict[str, Any]:
    """What the page shows of the lens and the parts: the largest five of every state, of at most 64 positions."""
    told: dict[str, Any] = {
        "described": described(_config(trace)),
        "pre": _config(trace).norm == "pre",
        "stack": spoken(trace),
        "limit": LIMIT,
        "edited": edited_end(trace),
        "states": [],
        "parts": [_told_part(part) for part in parts(trace)],
    }
    if trace.model is not None:
        told["states"] = [_told_state(state, probabilities) for state, probabilities in lens(trace, LIMIT)]
    return told


def _told_state(state: State, probabilities: Array) -> dict[str, Any]:
    rows = np.atleast_2d(probabilities)
    best = np.argsort(-rows, axis=-1, kind="stable")[:, :SHOWN]
    shares = np.take_along_axis(rows, best, axis=-1)
    told = {"tap": state.tap, "layer": state.layer, "between": bool(state.after), "text": state.text}
    return {**told, "ids": best.tolist(), "shares": [_plain(row) for row in shares]}


def _told_part(part: Part) -> dict[str, Any]:
    told = {name: getattr(part, name) for name in ("tap", "to", "stack", "layer", "part")}
    return told | {name: _plain(getattr(part, name)[:LIMIT]) for name in ("norms", "before", "cosines")}


def _plain(numbers: Array) -> list[float | None]:
    """For JSON, to the digits that a float32 has; what is no number is none."""
    return [float(f"{value:.9g}") if math.isfinite(value) else None for value in numbers.tolist()]


def _config(trace: Trace) -> ModelConfig:
    return from_dict(ModelConfig, dict(trace.about), "trace")


def _recurrent(config: ModelConfig) -> bool:
    return config.recurrent.cell != "none"


def _taps_of(trace: Trace) -> Numbers:
    """The numbers of a trace without its weights, which a saved one has not."""
    taps = {name: tap.array for name, tap in trace.taps.items()}
    return Numbers(taps, lambda name: None, {}, trace.inputs, _config(trace))


def _sublayers(numbers: Numbers, at: Place) -> list[str]:
    return ["self_attn", *(["cross_attn"] if reads(numbers, at) else []), "ffn"]


def _states(numbers: Numbers, stack: str) -> Iterator[State]:
    for layer in range(numbers.config.stacks()[stack].n_layers):
        at = Place(f"{stack}.layers.{layer}", stack, layer, "", "")
        if layer == 0:
            yield State(stack_input(at), -1)
        order = _sublayers(numbers, at)
        for done, following in pairwise(order):
            yield State(before(numbers, at, following), layer, done)
        yield State(f"{at.home}.out", layer)


def _end(config: ModelConfig, stack: str) -> list[str]:
    """The taps from the last layer's output on."""
    steps = ("mean", "std", "normalized", "out") if config.norm_kind == "layer" else ("std", "normalized", "out")
    names = [f"{stack}.norm.{step}" for step in steps] if config.norm == "pre" else []
    names.append(f"{stack}.out")
    if config.head.pool != "none":
        names.append("pooled")
    if config.head.transform != "none":
        names += ["head.dense", "head.hidden"]
    if config.head.transform == "norm":
        names += [f"head.norm.{step}" for step in steps]
    return [*names, "logits", "probs"]


def _part(tap: str, to: str, at: Place, part: str, numbers: Numbers) -> Part:
    added, stream = numbers.tap(tap), numbers.tap(to)
    norms, sizes = np.linalg.norm(added, axis=-1), np.linalg.norm(stream, axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines = (added * stream).sum(-1) / (norms * sizes)
    return Part(tap, to, at.stack, at.layer, part, norms, sizes, cosines)
