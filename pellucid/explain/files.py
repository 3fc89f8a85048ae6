"""Traces as files: ``.npz`` and ``.json`` hold everything and are read without torch; the other endings are for looking.

The manifest of both is the same JSON: ``schema``, texts, names, steps, and for each tap its name, axes and labels, in order.
"""

from __future__ import annotations

import io
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.base.errors import DataError, UsageError
from pellucid.base.files import write_atomically
from pellucid.base.taps import STEPS, TABLE, TapRow
from pellucid.explain.terminal import matches
from pellucid.explain.trace import Array, Candidate, Step, Tapped, Trace

SCHEMA = 1
ENDINGS = (".npz", ".json", ".html", ".svg", ".png")
_ROWS = {row.name: row for row in (*TABLE, *STEPS)}


def save(trace: Trace, path: Path, tap: str | None = None) -> None:
    """Write a trace; the ending decides how. See :meth:`Trace.save`."""
    if path.suffix not in ENDINGS:
        raise UsageError("a trace has no such form", where=path, expected=", ".join(ENDINGS), found=path.suffix)
    if tap is not None and path.suffix not in (".svg", ".png"):
        raise UsageError("only a picture is of one tap", where=path, expected=".svg or .png", found=path.suffix)
    if path.suffix == ".npz":
        write_atomically(path, _npz(trace))
    elif path.suffix == ".json":
        write_atomically(path, json.dumps(as_tree(trace), ensure_ascii=False, allow_nan=False).encode())
    elif path.suffix == ".html":
        from pellucid.explain.page import html

        write_atomically(path, html(trace).encode())
    else:
        from pellucid.explain.pictures import draw

        draw(trace, path, tap)


def load(path: str | Path) -> Trace:
    """Read a ``.npz`` or ``.json`` trace. It has no model: it can be shown and compared, not checked.

    Raises:
        DataError: the file is no trace.
        UsageError: it is of another form.
    """
    path = Path(path)
    if path.suffix not in (".npz", ".json"):
        raise UsageError("a trace cannot be read from this form", where=path, expected=".npz or .json", found=path.suffix)
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                tree = json.loads(bytes(file["manifest"]).decode())
                arrays = {name: file[name] for name in file.files if name != "manifest"}
        else:
            tree = json.loads(path.read_text(encoding="utf-8"))
            arrays = {name: _array(**one) for name, one in tree["arrays"].items()}
        return _from_tree(tree, arrays)
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError("this is no trace", where=path, found=str(error)) from None


def manifest(trace: Trace, wanted: str | None = None) -> dict[str, Any]:
    """Everything but the numbers."""
    return {
        "schema": SCHEMA,
        "text": trace.text,
        "output": trace.output,
        "names": trace.names,
        "vocabulary": trace.vocabulary,
        "edits": trace.edits,
        "edited": trace.edited,
        "model": trace.about,
        "writing": trace.writing,
        "steps": [asdict(step) for step in trace.steps],
        "inputs": list(trace.inputs),
        "taps": [
            {"name": name, "row": tap.row.name, "axes": tap.axes, "formula": tap.row.formula, "labels": _labels(tap)}
            for name, tap in trace.taps.items()
            if wanted is None or matches(name, wanted)
        ],
    }


def as_tree(trace: Trace, wanted: str | None = None) -> dict[str, Any]:
    """A trace as JSON has it; infinity and NaN, which JSON lacks, as text. Of the ``wanted`` taps alone, see ``--step``."""
    taps = {name: tap.array for name, tap in trace.taps.items() if wanted is None or matches(name, wanted)}
    arrays = taps | {f"inputs.{name}": array for name, array in trace.inputs.items()}
    listed = {name: {"dtype": str(array.dtype), "values": _plain(array.tolist())} for name, array in arrays.items()}
    return {**manifest(trace, wanted), "arrays": listed}


def _labels(tap: Tapped) -> list[Any]:
    """Labels of the axes; those of the vocabulary are named once for all."""
    return ["vocabulary" if axis == "vocabulary" else some for axis, some in zip(tap.axes, tap.labels, strict=True)]


def _npz(trace: Trace) -> bytes:
    arrays = {name: tap.array for name, tap in trace.taps.items()}
    arrays |= {f"inputs.{name}": array for name, array in trace.inputs.items()}
    told = np.frombuffer(json.dumps(manifest(trace), ensure_ascii=False).encode(), dtype=np.uint8)
    file = io.BytesIO()
    np.savez(file, **{"manifest": told, **arrays})  # type: ignore[arg-type]  # names may be any
    return file.getvalue()


def _from_tree(tree: dict[str, Any], arrays: dict[str, Array]) -> Trace:
    if tree["schema"] != SCHEMA:
        raise ValueError(f"schema {tree['schema']}, not {SCHEMA}")
    vocabulary = tuple(tree["vocabulary"])

    def labels(of: list[Any]) -> tuple[tuple[str, ...] | None, ...]:
        return tuple(vocabulary or None if some == "vocabulary" else None if some is None else tuple(some) for some in of)

    taps = {
        one["name"]: Tapped(one["name"], _row(one), tuple(one["axes"]), labels(one["labels"]), arrays[one["name"]])
        for one in tree["taps"]
    }
    return Trace(
        tree["text"],
        taps,
        {name: arrays[f"inputs.{name}"] for name in tree["inputs"]},
        {name: tuple(some) for name, some in tree["names"].items()},
        vocabulary,
        tuple(_step(step) for step in tree["steps"]),
        tree["output"],
        tuple(tree["edits"]),
        tuple(tree["edited"]),
        tree["model"],
        tree.get("writing", {}),
    )


def _row(one: dict[str, Any]) -> TapRow:
    return _ROWS[one["row"]]


def _step(tree: dict[str, Any]) -> Step:
    candidates = tuple(Candidate(**candidate) for candidate in tree["candidates"])
    written = tuple(tuple(tokens) for tokens in tree["written"])
    return Step(tree["number"], candidates, written, tuple(tree["parents"]), tree["draw"])


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _array(dtype: str, values: Any) -> Array:
    return np.array(values, dtype=np.float64 if dtype.startswith("float") else dtype).astype(dtype)
