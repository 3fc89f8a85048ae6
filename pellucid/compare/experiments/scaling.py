"""How do operations, steps that must wait for each other, and paths grow with the length? Table 1 of the paper, counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pellucid.base.taps import Tap
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.rule import Line, Rule
from pellucid.model.attention import DotProduct, attend_in_steps
from pellucid.model.dropout import Dropout
from pellucid.model.recurrent import RecurrentLayer

Layer = Callable[
    [list[Tensor]], Tensor
]  # n vectors (d,) -> the last output (d,). One by one: in the graph a slice hangs on the whole.


@dataclass(frozen=True)
class Size:
    """How much is done: each doubles from one to the next."""

    lengths: tuple[int, ...]
    widths: tuple[int, ...]


SIZES: dict[Effort, Size] = {
    "smallest": Size((16, 32), (8, 16)),
    "quick": Size((32, 64, 128, 256), (16, 32, 64, 128)),
    "full": Size((32, 64, 128, 256, 512, 1024), (16, 32, 64, 128, 256, 512)),
}

# Table 1: exponents of n and of d in "complexity per layer", of n in "sequential operations" and in "maximum path length".
TABLE = {
    "self-attention": {"operations by length": 2, "operations by width": 1, "waiting steps": 0, "path": 0},
    "recurrent": {"operations by length": 1, "operations by width": 2, "waiting steps": 1, "path": 1},
}


def layers(width: int, seed: int) -> dict[str, Layer]:
    """Both kinds in the form of their definition, where every operation can be seen: the quick forms hide them in one."""
    torch.manual_seed(seed)
    show = Tap(lambda name, tensor: tensor)
    score, keep = DotProduct(width), Dropout(0.0)
    recurrent = RecurrentLayer("rnn", width, width, both_ways=False)

    def attention(x: list[Tensor]) -> Tensor:
        vectors = torch.stack(x)[None, None]  # (1, 1, n, d)
        return attend_in_steps(vectors, vectors, vectors, score, None, keep, show)[0, 0, -1]

    def recurrence(x: list[Tensor]) -> Tensor:
        states = recurrent.zeros(x[0][None])
        for vector in x:
            states = recurrent.step(vector[None, None], states, lambda name, tensor: tensor)
        return states[0][0]

    return {"self-attention": attention, "recurrent": recurrence}


def operations(layer: Layer, length: int, width: int) -> int:
    """Multiplications and additions in products of matrices."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        layer(list(torch.randn(length, width)))
    return int(counter.get_total_flops())


def chains(layer: Layer, length: int, width: int) -> tuple[int, int]:
    """Longest chain of operations from any position to the last output: those that must wait for each other. And the shortest
    from the first position to the last output: the path that information has to take."""
    positions = [torch.randn(width, requires_grad=True) for _ in range(length)]
    end = layer(positions).grad_fn
    return _longest(end), _shortest(end, positions[0])


def _before(node: Any) -> list[Any]:
    return [before for before, _ in node.next_functions if before is not None]


def _longest(end: Any) -> int:
    depth: dict[Any, int] = {}
    waiting = [end]
    while waiting:  # without recursion: a chain may have thousands of links
        node = waiting[-1]
        missing = [before for before in _before(node) if before not in depth]
        if missing:
            waiting += missing
            continue
        depth[node] = 1 + max((depth[before] for before in _before(node)), default=0)
        waiting.pop()
    return depth[end]


def _shortest(end: Any, leaf: Tensor) -> int:
    seen, edge, steps = {end}, [end], 0
    while edge:
        if any(getattr(node, "variable", None) is leaf for node in edge):
            return steps
        edge = list(dict.fromkeys(before for node in edge for before in _before(node) if before not in seen))
        seen.update(edge)
        steps += 1
    raise ValueError("the output does not depend on this position")


def exponent(points: dict[Place, list[float]]) -> float:
    """p of a count that grows as size^p, from the last doubling, where constants matter least."""
    (_, before), (_, last) = list(points.items())[-2:]
    return math.log2(last[0] / before[0])


def run(effort: Effort, seed: int) -> Figures:
    """Count at growing lengths and widths."""
    size = SIZES[effort]
    width, length = size.widths[0], size.lengths[0]
    counts: dict[str, dict[str, dict[Place, list[float]]]] = {part: {kind: {} for kind in TABLE} for part in TABLE["recurrent"]}
    for kind, layer in layers(width, seed).items():
        for n in size.lengths:
            waiting, path = chains(layer, n, width)
            counts["operations by length"][kind][n] = [float(operations(layer, n, width))]
            counts["waiting steps"][kind][n] = [float(waiting)]
            counts["path"][kind][n] = [float(path)]
    for d in size.widths:
        for kind, layer in layers(d, seed).items():
            counts["operations by width"][kind][d] = [float(operations(layer, length, d))]
    found = {kind: {part: exponent(by_kind[kind]) for part, by_kind in counts.items()} for kind in TABLE}
    beside = tuple(
        Series(name, {f"{kind}: {part}": [float(row[kind][part])] for kind in TABLE for part in row[kind]})
        for name, row in (("counted", found), ("Table 1", TABLE))
    )
    return Figures(
        setup=(
            "One layer each, in the form of its definition: attention over queries, keys and values as they are, without "
            "projections, as Table 1 counts it; a plain recurrent layer (tanh).",
            f"Operations: multiplications and additions in products of matrices; by length at width {width}, by width at "
            f"length {length}. Waiting steps: the longest chain in the graph of the computation. Path: the shortest chain from "
            "the first position to the last output.",
            "Exponents are of the last doubling. Nothing here is random. Matched: length and width. Not matched: parameters, "
            "of which this attention has none.",
        ),
        panels=(
            *(
                Panel(title, x, "count", tuple(Series(kind, points) for kind, points in counts[part].items()), True, True)
                for part, title, x in (
                    ("operations by length", "Operations by length", "length n"),
                    ("operations by width", "Operations by width", "width d"),
                    ("waiting steps", "Operations that must wait for each other", "length n"),
                    ("path", "Path from the first position to the last output", "length n"),
                )
            ),
            Panel("Exponents", "what", "exponent", beside),
        ),
        judged={
            f"{kind}, {part}: {OFF}": [abs(found[kind][part] - TABLE[kind][part])] for kind in TABLE for part in TABLE[kind]
        },
        remarks=(
            "Attention does less than recurrence as long as n is smaller than d, and more beyond; its path and its waiting "
            "steps stay as they are. One layer of the Transformer has projections and a feed-forward besides: n d^2.",
        ),
    )


OFF = "distance of the counted exponent from Table 1"

EXPERIMENT = Experiment(
    name="scaling",
    claim="Table 1 of the paper: a layer of self-attention takes n^2 d operations, a number of waiting steps and a longest "
    "path that do not grow with n; a recurrent layer takes n d^2 operations, n waiting steps and a path of n.",
    rule=Rule(tuple(Line(f"{kind}, {part}: {OFF}", "at most", 0.1) for kind, parts in TABLE.items() for part in parts)),
    run=run,
)
