"""The page: one HTML file with its style and scripts, and either a whole trace in it or a server behind it.

Nothing in it is fetched from elsewhere. The scripts lie in ``viewer/`` in small files and are joined as they are.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from html import escape
from importlib import resources
from typing import Any

import numpy as np

from pellucid.explain.check import numbers_of
from pellucid.explain.embeddings import excerpt, tables_of, tokens_of
from pellucid.explain.files import manifest
from pellucid.explain.lens import layers_of
from pellucid.explain.numbers import MissingTapError
from pellucid.explain.recording import TraceTooLargeError
from pellucid.explain.trace import Array, Trace
from pellucid.explain.wiring import wires_of

LIMIT = 25 * 2**20  # bytes of numbers in a file
SCRIPTS = (
    "dom",
    "state",
    "data",
    "formula",
    "views",
    "matrix",
    "heads",
    "beside",
    "picture",
    "number",
    "recurrent",
    "diagram",
    "chances",
    "writing",
    "vectors",
    "curves",
)
VIEWS = (
    "walk",
    "attention",
    "next",
    "beam",
    "layers",
    "change",
    "embeddings",
    "positions",
    "training",
    "compare",
    "classes",
)


def html(trace: Trace, limit: int = LIMIT) -> str:
    """A page that holds a trace and works from a file, without a network.

    Args:
        trace: with its model it brings the weights along, as far as they fit, so that every sum can be written out.
        limit: bytes of numbers.

    Raises:
        TraceTooLargeError: the taps alone are more; the error names the largest.
    """
    blob = _Blob()
    for name, array in arrays_of(trace).items():
        blob.add(f"tap {name}", array)
    if len(blob.data) > limit:
        raise _too_large(trace, len(blob.data), limit)
    excerpts = _excerpts(trace, blob, limit)
    weights, left_out = {}, []
    for name, array in weights_of(trace).items():
        if len(blob.data) + 4 * array.size <= limit:
            blob.add(f"weight {name}", array)
            weights[name] = array.shape
        else:
            left_out.append(name)
    whole = {**told_of(trace), "weights": weights, "left_out": left_out, "excerpts": excerpts, "places": blob.places}
    whole["lens"] = layers_of(trace)
    return _filled(trace=_as_json(whole), numbers=base64.b64encode(blob.data).decode())


class _Blob:
    """The numbers of a page one after another; what is the same under several names lies there once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.places: dict[str, tuple[int, int]] = {}
        self._known: dict[bytes, tuple[int, int]] = {}

    def add(self, key: str, array: Array) -> None:
        """Put an array at the end, or remember where its like is."""
        numbers = as_numbers(array)
        digest = hashlib.sha256(numbers).digest()
        if digest not in self._known:
            self._known[digest] = (len(self.data), len(numbers))
            self.data += numbers + bytes(-len(numbers) % 12)  # whole float32, and whole groups of base64: to be read alone
        self.places[key] = self._known[digest]


def live(text: str | None = None) -> str:
    """The page of a server: it asks ``/api/`` for what it shows. ``text``: what to look at first."""
    return _filled(attributes=' data-live="yes"' + (f' data-text="{escape(text)}"' if text else ""))


def told_of(trace: Trace) -> dict[str, Any]:
    """All of a trace but its numbers: what the viewer's ``Trace`` is made from."""
    told = manifest(trace)
    numbers = None if trace.model is None else numbers_of(trace)
    for tap in told["taps"]:
        found = trace.taps[tap["name"]]
        tap |= {"shape": found.shape, "boolean": found.array.dtype == bool}
        tap |= {"symbol": found.row.symbol, "sentence": found.row.sentence, "wires": None}
        if numbers is not None and not tap["name"].startswith("decode."):
            with suppress(MissingTapError):  # of a tap that is made from one that was not kept
                tap["wires"] = wires_of(tap["name"], numbers)
    ids = {name: array.tolist() for name, array in trace.inputs.items() if array.ndim == 1 and array.dtype == np.int64}
    shapes = {name: array.shape for name, array in trace.inputs.items()}
    return {**told, "inputs": shapes, "ids": ids, "tables": _tables(trace)}


def _tables(trace: Trace) -> list[dict[str, Any]]:
    """The matrices with a row for each token, without their numbers, and which of the rows the trace is about."""
    return [
        {"name": table.name, "roles": table.roles, "shape": table.vectors.shape, "tokens": tokens_of(trace, table)}
        for table in tables_of(trace).values()
    ]


def _excerpts(trace: Trace, blob: _Blob, limit: int) -> dict[str, Any]:
    """What a file keeps of each table; with the numbers of it: the plane's, and the vectors of the trace's tokens."""
    found = {}
    for table in tables_of(trace).values():
        tokens, kept = tokens_of(trace, table), excerpt(trace, table)
        numbers = {f"plane {table.name}": table.plane.coordinates[kept["known"]]}
        numbers |= {f"vector {table.name}:{token}": table.vectors[token] for token in tokens}
        if len(blob.data) + sum(4 * array.size for array in numbers.values()) <= limit:
            found[table.name] = kept
            for key, array in numbers.items():
                blob.add(key, array)
    return found


def arrays_of(trace: Trace) -> dict[str, Array]:
    """The numbers of a trace: taps, and what the model was given."""
    taps = {name: tap.array for name, tap in trace.taps.items() if not name.startswith("decode.")}
    return taps | {f"inputs.{name}": array for name, array in trace.inputs.items()}


def weights_of(trace: Trace) -> Mapping[str, Array]:
    """The weights of its model by name, in float32; none of a trace that was read from a file."""
    if trace.model is None:
        return {}
    from pellucid.model.lora import plain_weights

    return {name: weight.detach().float().cpu().numpy() for name, weight in plain_weights(trace.model).items()}


def as_numbers(array: Array) -> bytes:
    """Little-endian float32, as the page reads them: infinity and NaN are numbers there, too."""
    return np.ascontiguousarray(array, dtype="<f4").tobytes()


def _too_large(trace: Trace, total: int, limit: int) -> TraceTooLargeError:
    largest = sorted(arrays_of(trace).items(), key=lambda item: -item[1].size)[:3]
    found = ", ".join(f"{name} {4 * array.size:,} bytes" for name, array in largest)
    return TraceTooLargeError(
        f"the page would hold {total:,} bytes of numbers",
        expected=f"at most {limit:,}",
        found=f"the largest taps are {found}",
        advice='keep fewer taps, as taps=["*.weights", "probs"], take a shorter text, or look at it live: pellucid look',
    )


@cache
def _part(name: str) -> str:
    return resources.files("pellucid.explain").joinpath("viewer", name).read_text(encoding="utf-8")


def _script() -> str:
    """All scripts in one. What a view declares is its own, since in strict mode a block keeps it."""
    parts = [_part(f"{name}.js") for name in SCRIPTS]
    views = [f"{{\n{_part(f'views/{name}.js')}}}\n" for name in VIEWS]
    return "\n".join(['"use strict";', *parts, *views, _part("main.js")])


def _as_json(tree: Any) -> str:
    """JSON that can stand in a page: no token in it can close its element."""
    text = json.dumps(tree, ensure_ascii=False, allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _filled(*, trace: str = "", numbers: str = "", attributes: str = "") -> str:
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; connect-src 'self'"
    parts = {"policy": policy, "style": _part("style.css"), "script": script, "trace": trace, "numbers": numbers}
    page = re.sub("@(" + "|".join(parts) + ")@", lambda found: parts[found[1]], _part("page.html"))
    return page.replace("<html", f"<html{attributes}", 1)
