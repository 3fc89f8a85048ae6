"""What the page can ask of a model: each question is an object of texts, as an address has them, each answer an object."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.base.errors import UsageError
from pellucid.explain.edits import Edit
from pellucid.explain.embeddings import COUNT, Table, as_pairs, neighbours, tables_of, vector
from pellucid.explain.lens import layers_of
from pellucid.explain.page import arrays_of, as_numbers, told_of, weights_of
from pellucid.explain.trace import Array, Trace
from pellucid.look.editing import code_of, edits_of, listed, told_difference

KEPT = 2**29  # bytes of traces that are kept for their numbers
_NUMBERS: dict[str, Callable[[str], float]] = {
    **dict.fromkeys(("beams", "top_k", "seed", "tokens"), int),
    **dict.fromkeys(("temperature", "top_p", "min_p"), float),
}


class Desk:
    """A loaded model that answers the page, one question at a time.

    Args:
        loaded: the using side of a task.
        path: where it was loaded from, for the Python that the page writes.

    Attributes:
        lock: held while a model computes.
    """

    def __init__(self, loaded: Any, path: str | Path = "runs/my-model") -> None:
        self.loaded, self.path = loaded, str(path)
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self._asked: dict[str, str] = {}  # question, as JSON: the name of the trace that answers it
        self._weights: Mapping[str, Array] | None = None
        self._tables: dict[str, Table] = {}
        self.lock = threading.Lock()
        self._made = 0

    def trace(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """A trace without its numbers, and the ``id`` to ask for these.

        Args:
            question: ``text``, and as for :meth:`pellucid.tasks.loaded.Loaded.explain` ``output``, ``beams``, ``temperature``,
                ``top_k``, ``top_p``, ``min_p``, ``seed``, ``tokens`` and, as JSON, ``prefix`` and ``edits``.

        Raises:
            PellucidError: as ``explain`` does.
            UsageError: a key is unknown, or a value is no number.
        """
        with self.lock:
            name = self._named(question)
            weights = {key: array.shape for key, array in self._all_weights().items()}
            return {**self._told(name), "weights": weights}

    def keep(self, trace: Trace) -> dict[str, Any]:
        """Keep a trace for its numbers: it is told without these, and without weights, with the ``id`` to ask for them."""
        return self._told(self._keep(trace))

    def layers(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """What each layer would say, and how large its parts are: see :func:`pellucid.explain.lens.layers_of`.

        Args:
            question: ``trace``, the id of one.

        Raises:
            UsageError: it is forgotten.
        """
        with self.lock:
            return layers_of(self.kept(question.get("trace")))

    def change(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """What the edits of a question change: the difference from the same question without them, and both as Python.

        Args:
            question: as for :meth:`trace`, ``edits`` among it.

        Raises:
            PellucidError: as :meth:`trace` does.
        """
        with self.lock:
            plain = {key: value for key, value in question.items() if key != "edits"}
            old, new = (self._traces[self._named(one)] for one in (plain, question))
            text, edits = question.get("text", ""), listed(question.get("edits", "[]"))
            code = code_of(text, edits, ways(question), self.path)
            return {**told_difference(new.diff(old), old, new), "code": code}

    def kept(self, name: Any) -> Trace:
        """The trace with this ``id``.

        Raises:
            UsageError: it is forgotten.
        """
        if not isinstance(name, str) or name not in self._traces:
            raise UsageError("this trace is forgotten", found=name, advice="load the page again")
        return self._traces[name]

    def numbers(self, trace: str, kind: str, name: str) -> bytes:
        """Little-endian float32 of a tap of a trace, of a weight of the model, of the plane of a table of vectors (three
        coordinates a row), or of one vector of it (``name``: ``table:row``).

        Raises:
            UsageError: there is no such thing; traces that were made long ago are forgotten.
        """
        if kind == "plane":
            return as_numbers(self._table(name).plane.coordinates)
        if kind == "vector":
            table, _, token = name.rpartition(":")
            return as_numbers(vector(self._table(table).vectors, _whole(token, "token")))
        if kind == "weight":
            found: Mapping[str, Array] = self._all_weights()
        else:
            found = arrays_of(self.kept(trace))
        if name not in found:
            raise UsageError("there are no such numbers", found=name)
        return as_numbers(found[name])

    def _told(self, name: str) -> dict[str, Any]:
        return {**told_of(self._traces[name]), "id": name, "weights": {}, "left_out": []}

    def _keep(self, trace: Trace) -> str:
        self._made += 1
        name = str(self._made)
        self._traces[name] = trace
        while len(self._traces) > 2 and sum(map(_bytes, self._traces.values())) > KEPT:  # two: an answer may compare them
            self._traces.popitem(last=False)
        return name

    def _named(self, question: Mapping[str, Any]) -> str:
        """The name of the trace that answers a question: of the one that is kept, or of a new one."""
        key = json.dumps(question, sort_keys=True)
        if self._asked.get(key) not in self._traces:
            trace = self.loaded.explain(question.get("text", ""), edits=self._edits(question), **ways(question))
            self._asked[key] = self._keep(trace)
            self._asked = {key: name for key, name in self._asked.items() if name in self._traces}
        return self._asked[key]

    def _edits(self, question: Mapping[str, Any]) -> list[Edit]:
        def other(text: str, name: str) -> Trace:
            found: Trace = self.loaded.explain(text, taps=[name])
            return found

        return edits_of(question.get("edits", "[]"), other)

    def table(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The names of all rows of a matrix, and what its plane keeps of the variance.

        Args:
            question: ``table``: its name, as a trace lists it.

        Raises:
            UsageError: there is none of this name.
        """
        found = self._table(question.get("table"))
        return {"names": found.names, "explained": found.plane.explained.tolist()}

    def neighbours(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The nearest rows of a matrix to one of them: see :func:`pellucid.explain.embeddings.neighbours`.

        Args:
            question: ``table``, ``token``, ``metric`` and, if not 10, ``count``.

        Raises:
            UsageError: there is no such table, token or metric.
        """
        token, count = _whole(question.get("token"), "token"), _whole(question.get("count", COUNT), "count")
        metric: Any = question.get("metric", "cosine")
        found = self._table(question.get("table"))
        return {"neighbours": as_pairs(neighbours(found.vectors, token, metric=metric, count=count))}

    def _table(self, name: Any) -> Table:
        with self.lock:
            own = self._own()
            if not self._tables and own is not None:
                self._tables = tables_of(own)
        if name not in self._tables:
            raise UsageError("the model has no such table of vectors", expected=", ".join(self._tables), found=name)
        return self._tables[name]

    def _all_weights(self) -> Mapping[str, Array]:
        own = self._own()
        if self._weights is None and own is not None:
            self._weights = weights_of(own)
        return self._weights or {}

    def _own(self) -> Trace | None:
        """The newest trace of the model itself: those of checkpoints and of other models are kept, too."""
        return next((trace for trace in reversed(self._traces.values()) if trace.model is self.loaded.model), None)


def ways(question: Mapping[str, Any]) -> dict[str, Any]:
    """The options of ``explain`` that a question names.

    Raises:
        UsageError: an unknown one, or no number where one must be.
    """
    found: dict[str, Any] = {}
    for key, value in question.items():
        if key in ("text", "edits"):
            continue
        if key == "output":
            found[key] = value
        elif key == "prefix":
            found[key] = _ids(value)
        elif key in _NUMBERS:
            try:
                found[key] = _NUMBERS[key](value)
            except (TypeError, ValueError):
                raise UsageError("this is no number", where=key, found=value) from None
        else:
            expected = ", ".join(["text", "edits", "output", "prefix", *_NUMBERS])
            raise UsageError("nothing of this name can be asked", where=key, expected=expected)
    return found


def _whole(value: Any, where: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise UsageError("this is no number", where=where, found=value) from None


def _ids(value: Any) -> list[int]:
    try:
        ids = json.loads(value)
    except (TypeError, ValueError):
        ids = None
    if not isinstance(ids, list) or not all(isinstance(one, int) and not isinstance(one, bool) for one in ids):
        raise UsageError("these are no tokens", where="prefix", expected="a list of numbers, as [17, 4]", found=value)
    return ids


def _bytes(trace: Trace) -> int:
    return sum(int(np.asarray(tap.array).nbytes) for tap in trace.taps.values())
