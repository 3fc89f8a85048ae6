"""The vectors of a vocabulary: which are near which, the angle between two of them, and a plane to draw them on.

Usable by itself, with any matrix of vectors, or with those of a model::

    from pellucid.explain.embeddings import between, neighbours, plane, tables_of

    trace = pellucid.load("runs/demo").explain("the pizza was hot")
    table = next(iter(tables_of(trace).values()))
    pizza = table.names.index("pizza")
    for near in neighbours(table.vectors, pizza, metric="cosine", count=5):
        print(table.names[near.token], near.value)
    print(between(table.vectors[pizza], table.vectors[0]).degrees)
    print(plane(table.vectors).explained)

Sums run in float64. The whole vocabulary is looked at, in pieces, so that no second copy of a large table is made.

Shapes: V tokens, D width of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from pellucid.base.errors import UsageError
from pellucid.explain.trace import Array, Trace

Metric = Literal["cosine", "dot", "euclidean"]
METRICS: tuple[Metric, ...] = get_args(Metric)
COUNT = 10  # neighbours
TOKENS = 64  # of a text that are described
DIRECTIONS = 3  # of a plane, and of the space around it
_ROLES = ("source", "target", "output")
_PIECE = 4096  # rows that are converted at once


@dataclass(frozen=True)
class Neighbour:
    """A token near another one; ``value``: cosine, dot product or distance."""

    token: int
    value: float


@dataclass(frozen=True)
class Between:
    """What lies between two vectors a and b.

    Args:
        dot: a · b.
        norms: the lengths of a and of b.
        cosine: a · b / (|a| |b|); NaN where one of them is all zeros, and has no direction.
        degrees: the angle whose cosine it is, 0 to 180.
        distance: |a - b|.
    """

    dot: float
    norms: tuple[float, float]
    cosine: float
    degrees: float
    distance: float


@dataclass(frozen=True, eq=False)
class Plane:
    """Vectors on their principal components: the directions along which they differ most.

    Args:
        coordinates: (V, 3) of each vector, after the mean was taken away: the first two on the plane, the third above it. A
            table with fewer directions has zeros there.
        explained: (3,) the share of the variance along each direction.
        axes: (3, D) the directions, of length 1; each so that its largest number is positive.
        mean: (D,) of all vectors.
    """

    coordinates: Array
    explained: Array
    axes: Array
    mean: Array


@dataclass(frozen=True, eq=False)
class Table:
    """One matrix of a model with a row for each token or class.

    Args:
        name: that it has in the model, after ``weights.``.
        roles: what it serves as: "source" or "target" embedding, "output" matrix; more than one where they are tied.
        vectors: (V, D).
        names: of the V rows.
    """

    name: str
    roles: tuple[str, ...]
    vectors: Array
    names: tuple[str, ...]

    @cached_property
    def plane(self) -> Plane:
        """See :func:`plane`; computed once."""
        return plane(self.vectors)


def neighbours(vectors: Array, token: int, *, metric: Metric = "cosine", count: int = COUNT) -> list[Neighbour]:
    """The nearest of all other vectors, nearest first: by cosine or dot product the largest, by distance the smallest.

    Ties stand in the order of their numbers; vectors of zeros, which have no cosine, last.

    Args:
        vectors: (V, D).
        token: whose neighbours; itself is left out.
        metric: one of :data:`METRICS`.
        count: how many, where there are so many.

    Raises:
        UsageError: no such token or metric.
    """
    if metric not in METRICS:
        raise UsageError("nothing of this name measures nearness", expected=", ".join(METRICS), found=metric)
    row = vector(vectors, token)
    values = np.concatenate([_measured(piece, row, metric) for piece in _pieces(vectors)])
    order = np.argsort(values if metric == "euclidean" else -values, kind="stable")
    return [Neighbour(int(other), float(values[other])) for other in order[order != token][: max(count, 0)]]


def vector(vectors: Array, token: int) -> Array:
    """One row (D,) in float64.

    Raises:
        UsageError: there is no such row.
    """
    if not 0 <= token < len(vectors):
        raise UsageError("there is no such token", expected=f"0 to {len(vectors) - 1}", found=token)
    return np.asarray(vectors[token], dtype=np.float64)


def between(first: Array, second: Array) -> Between:
    """Dot product, lengths, cosine, angle and distance of two vectors (D,)."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    dot, norms = float(a @ b), (math.sqrt(a @ a), math.sqrt(b @ b))
    cosine = dot / (norms[0] * norms[1]) if all(norms) else math.nan
    # Rounding may carry the cosine of a vector with itself past 1, where there is no angle.
    degrees = math.nan if math.isnan(cosine) else math.degrees(math.acos(min(max(cosine, -1.0), 1.0)))
    return Between(dot, norms, cosine, degrees, math.sqrt((a - b) @ (a - b)))


def plane(vectors: Array) -> Plane:
    """Principal components of all vectors (V, D), by the singular value decomposition of what differs from their mean.

    ``X = Q R``, and the decomposition of R, which is small, has the directions and singular values of X. R is made in pieces.
    """
    width = vectors.shape[1]
    mean = sum((piece.sum(0) for piece in _pieces(vectors)), np.zeros(width)) / len(vectors)
    r: Any = np.zeros((0, width))
    for piece in _pieces(vectors):
        r = np.linalg.qr(np.concatenate((r, piece - mean)), mode="r")
    _, singular, directions = np.linalg.svd(r, full_matrices=False)
    axes, explained = np.zeros((DIRECTIONS, width)), np.zeros(DIRECTIONS)
    found = min(DIRECTIONS, len(singular))
    axes[:found] = directions[:found]
    largest = np.abs(axes).argmax(1)  # a direction and its opposite are the same: a sign is chosen, so that it never changes
    axes *= np.where(np.take_along_axis(axes, largest[:, None], 1) < 0, -1.0, 1.0)
    total = np.square(singular).sum()
    if total > 0:
        explained[:found] = np.square(singular[:found]) / total
    return Plane(np.concatenate([(piece - mean) @ axes.T for piece in _pieces(vectors)]), explained, axes, mean)


def tables_of(trace: Trace) -> dict[str, Table]:
    """The matrices of a trace's model that have a row for each token or class, by name; none of a trace from a file."""
    if trace.model is None:
        return {}
    from pellucid.model.lora import plain_weights

    roles: dict[str, str] = trace.model.roles
    weights, found = plain_weights(trace.model), {}
    for name in dict.fromkeys(roles.values()):
        mine = tuple(role for role in _ROLES if roles.get(role) == name)
        matrix = weights[f"weights.{name}"].detach().float().cpu().numpy()
        found[name] = Table(name, mine, matrix, _names(trace, mine, len(matrix)))
    return found


def tokens_of(trace: Trace, table: Table) -> list[int]:
    """The rows of a table that a trace is about, each once: of the first 64 tokens; all where the table has no more rows."""
    if len(table.vectors) <= TOKENS:
        return list(range(len(table.vectors)))
    sides = ["source"] * ("source" in table.roles) + ["target"] * ("target" in table.roles or "output" in table.roles)
    read = [trace.inputs[side] for side in sides if side in trace.inputs]
    return list(dict.fromkeys(int(token) for ids in read if ids.ndim == 1 for token in ids))[:TOKENS]


def excerpt(trace: Trace, table: Table) -> dict[str, Any]:
    """What a file keeps of a table, where there is no model to ask: the trace's tokens and their neighbours.

    ``known``: these rows; ``names`` of them; ``explained``: see :class:`Plane`; ``neighbours``: of each token of the trace by
    metric, as pairs of row and value (``None``: there is none).
    """
    tokens = tokens_of(trace, table)
    near = {
        metric: {str(token): as_pairs(neighbours(table.vectors, token, metric=metric)) for token in tokens}
        for metric in METRICS
    }
    others = [row for some in near.values() for pairs in some.values() for row, _ in pairs]
    known = list(dict.fromkeys([*tokens, *others]))
    explained = table.plane.explained.tolist()
    return {"known": known, "names": [table.names[row] for row in known], "explained": explained, "neighbours": near}


def as_pairs(some: list[Neighbour]) -> list[list[Any]]:
    """For JSON, which has no NaN."""
    return [[one.token, None if math.isnan(one.value) else one.value] for one in some]


def _names(trace: Trace, roles: tuple[str, ...], rows: int) -> tuple[str, ...]:
    """Of the rows: those of the outputs, or what the tokenizer of the source says, or just their numbers."""
    if roles != ("source",) and len(trace.vocabulary) == rows:
        return trace.vocabulary
    return tuple(map(str, range(rows)) if trace.source_name is None else trace.source_name(range(rows)))


def _pieces(vectors: Array) -> Iterator[Array]:
    for start in range(0, len(vectors), _PIECE):
        yield np.asarray(vectors[start : start + _PIECE], dtype=np.float64)


def _measured(some: Array, row: Array, metric: Metric) -> Array:
    """Of each vector (N, D) against one (D,)."""
    if metric == "euclidean":
        return np.sqrt(np.square(some - row).sum(1))
    dots = some @ row
    if metric == "dot":
        return dots
    norms = np.sqrt(np.square(some).sum(1)) * math.sqrt(row @ row)
    return np.divide(dots, norms, out=np.full(len(some), math.nan), where=norms > 0)
