"""Edits as the page writes them, a list of objects: each the name of its class and its arguments; and as Python to copy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.base.errors import UsageError
from pellucid.explain.difference import Difference
from pellucid.explain.edits import Ban, Edit, MeanHead, Patch, SetWeights, ZeroHead
from pellucid.explain.forward import row_of
from pellucid.explain.trace import Array, Trace

MOST = 512  # edits at once
TEXTS = 8  # other texts that vectors are patched from
LARGEST = 5  # outputs before, and after, in an answer

Source = Callable[[str, str], Trace]  # another text, and the tap that is wanted of it

# The arguments of each kind, and whether they must be there.
_HEAD = {"attention": True, "head": True}
_ARGUMENTS: dict[str, dict[str, bool]] = {
    "ZeroHead": _HEAD,
    "MeanHead": _HEAD,
    "SetWeights": {**_HEAD, "query": True, "shares": True},
    "Patch": {"name": True, "position": True, "text": True, "of": False, "head": False},
    "Ban": {"token": True},
}


def edits_of(value: Any, source: Source) -> list[Edit]:
    """The edits that a question names.

    Args:
        value: JSON, as ``[{"kind": "ZeroHead", "attention": "encoder.layers.0.self_attn", "head": 1}]``: see :func:`edit_of`.
        source: makes the trace that a vector is patched from; asked once for each text and tap.

    Raises:
        UsageError: it is no such list; ``where`` tells the number of the edit, from 1.
    """
    made: dict[tuple[str, str], Trace] = {}

    def known(text: str, name: str) -> Trace:
        if (text, name) not in made:
            if len(made) >= TEXTS:
                raise UsageError("vectors are patched from too many texts and taps", where="edits", expected=f"at most {TEXTS}")
            made[text, name] = source(text, name)
        return made[text, name]

    return [edit_of(tree, known, f"edit {number}") for number, tree in enumerate(listed(value), 1)]


def listed(value: Any) -> list[Any]:
    """The list of edits as objects, which still may be anything.

    Raises:
        UsageError: it is no JSON, no list, or too long.
    """
    try:
        found = json.loads(value)
    except (TypeError, ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        expected = '[{"kind": "ZeroHead", "attention": "encoder.layers.0.self_attn", "head": 1}]'
        raise UsageError("these are no edits", where="edits", expected=expected, found=_short(value))
    if len(found) > MOST:
        raise UsageError("there are too many edits", where="edits", expected=f"at most {MOST}", found=len(found))
    return found


def edit_of(tree: Any, source: Source, where: str = "edit") -> Edit:
    """One edit: an object with the ``kind``, and the arguments of that class of :mod:`pellucid.explain.edits` by name.

    ``shares`` are an object from key to share; instead of ``source`` a ``Patch`` has the ``text`` that it is traced from.

    Raises:
        UsageError: an unknown kind or argument, one that is missing, or that is no such thing. Whether the place is there shows
            when the edit is made.
    """
    if not isinstance(tree, dict) or tree.get("kind") not in list(_ARGUMENTS):
        found = tree.get("kind") if isinstance(tree, dict) else tree
        raise UsageError("there is no such kind of edit", where=where, expected=", ".join(_ARGUMENTS), found=_short(found))
    kind, given = tree["kind"], {name: value for name, value in tree.items() if name != "kind"}
    arguments = _ARGUMENTS[kind]
    for name in given:
        if name not in arguments:
            raise UsageError(f"{kind} takes no such argument", where=where, expected=", ".join(arguments), found=_short(name))
    for name, needed in arguments.items():
        if needed and name not in given:
            raise UsageError(f"{kind} needs one more argument", where=where, expected=name)
    read = {name: _READ[name](value, f"{where}, {name}") for name, value in given.items()}
    if kind == "Patch":
        name = _patched(read["name"], where)
        return Patch(name, read["position"], source(read["text"], name), read.get("of"), read.get("head"))
    made: Edit = {"ZeroHead": ZeroHead, "MeanHead": MeanHead, "SetWeights": SetWeights, "Ban": Ban}[kind](**read)
    return made


def _whole(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise UsageError(
            "this is no number of a head, position or token", where=where, expected="0, 1, ..", found=_short(value)
        )
    return value


def _words(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UsageError("here a text is needed", where=where, found=_short(value))
    return value


def _shares(value: Any, where: str) -> dict[int, float]:
    if not isinstance(value, dict) or not value:
        raise UsageError("shares are an object from key to share", where=where, expected='{"0": 1.0}', found=_short(value))
    found = {}
    for key, share in value.items():
        number = _whole(int(key) if key.isascii() and key.isdecimal() and len(key) < 10 else key, where)
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0.0 <= share < 1e6 or math.isnan(share):
            expected = "a number from 0, below a million"
            raise UsageError(
                "this is no share of attention", where=f"{where}, key {number}", expected=expected, found=_short(share)
            )
        found[number] = float(share)
    if not sum(found.values()) > 0.0:
        raise UsageError("some share of attention must be above 0", where=where, found=_short(value))
    return found


_READ: dict[str, Callable[[Any, str], Any]] = {
    **dict.fromkeys(("head", "query", "position", "of", "token"), _whole),
    **dict.fromkeys(("attention", "name", "text"), _words),
    "shares": _shares,
}


def _patched(name: str, where: str) -> str:
    """A tap of the table, by its whole name: a glob would be many."""
    try:
        row_of(name)
    except KeyError:
        raise UsageError("no tap has this name", where=where, found=_short(name), advice="see docs/reference/taps.md") from None
    if name == "probs":
        raise UsageError("probs are for reading alone", where=where, advice="patch the logits, of which they are made")
    return name


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else text[:80] + ".."


def told_difference(found: Difference, old: Trace, new: Trace) -> dict[str, Any]:
    """A difference for the page: as it is, and at each position the largest outputs of both sides.

    ``both`` holds ``[number of the output, before, after]``, those that are largest after the edits first. Numbers that JSON
    lacks are words that JavaScript reads as numbers.
    """
    positions = []
    for at, position in enumerate(found.positions):
        before, after = (_row(trace, at) for trace in (old, new))
        changes = [[one.name, _number(one.before), _number(one.after)] for one in position.changes]
        both = [[token, _number(before[token]), _number(after[token])] for token in _largest(before, after)]
        positions.append({"name": position.name, "kl": _number(position.kl), "changes": changes, "both": both})
    return {
        "positions": positions,
        "before": found.before,
        "after": found.after,
        "changed": found.output_changed,
        "edits": found.edits,
        "read": min(len(np.atleast_2d(trace["probs"].array)) for trace in (old, new)),
    }


def _row(trace: Trace, at: int) -> Array:
    found: Array = np.atleast_2d(trace["probs"].array)[at]
    return found


def _largest(before: Array, after: Array) -> list[int]:
    """The most probable outputs of both sides, those of the new one first."""
    best = [np.argsort(-side, kind="stable")[:LARGEST].tolist() for side in (after, before)]
    return list(dict.fromkeys([*best[0], *best[1]]))


def _number(value: Any) -> float | str:
    found = float(value)
    if math.isfinite(found):
        return found
    return "NaN" if math.isnan(found) else "Infinity" if found > 0 else "-Infinity"


def code_of(text: str, edits: Sequence[Any], ways: Mapping[str, Any], path: str) -> str:
    """The same in Python, to be copied and run.

    Args:
        text: that is read.
        edits: as objects, which :func:`edits_of` has read without complaint.
        ways: the other arguments of ``explain``.
        path: of the model.
    """
    kinds = sorted({edit["kind"] for edit in edits}, key=str.lower)
    others = list(dict.fromkeys((edit["text"], edit["name"]) for edit in edits if edit["kind"] == "Patch"))
    names = {other: "other" if number == 0 else f"other_{number + 1}" for number, other in enumerate(others)}
    more = "".join(f", {name}={value!r}" for name, value in ways.items())
    lines = ["import pellucid"]
    if kinds:
        lines.append(f"from pellucid.explain.edits import {', '.join(kinds)}")
    lines += ["", f"model = pellucid.load({path!r})", f"text = {text!r}", f"trace = model.explain(text{more})"]
    lines += [f"{names[one]} = model.explain({one[0]!r}, taps=[{one[1]!r}])" for one in others]
    lines += ["edits = [", *(f"    {_call(edit, names)}," for edit in edits), "]"]
    return "\n".join([*lines, f"new = model.explain(text, edits=edits{more})", "print(new.diff(trace))", ""])


def _call(edit: Mapping[str, Any], names: Mapping[tuple[str, str], str]) -> str:
    given = {name: value for name, value in edit.items() if name not in ("kind", "text")}
    if edit["kind"] == "SetWeights":
        given["shares"] = {int(key): float(share) for key, share in given["shares"].items()}
    arguments = [f"{name}={given[name]!r}" for name in _ARGUMENTS[edit["kind"]] if name in given]
    if edit["kind"] == "Patch":
        arguments.insert(2, f"source={names[edit['text'], edit['name']]}")
    return f"{edit['kind']}({', '.join(arguments)})"
