"""What a command answers: outputs as lines with columns, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid.tasks.output import Output
    from pellucid.tasks.request import Request


def columns(number: int, outputs: Sequence[Output], request: Request) -> list[str]:
    """Of each output its text; before it, after tabs, the number of the line and the score, behind it the alignment."""
    return ["\t".join([*_before(number, one, request), one.text, *_behind(one)]) for one in outputs]


def _before(number: int, output: Output, request: Request) -> list[str]:
    score = f"{output.score:.4f}"
    return [str(number), score] if request.n_best > 1 else [score] if request.scores else []


def _behind(output: Output) -> list[str]:
    return [] if output.alignment is None else [_pharaoh(output)]


def _pharaoh(output: Output) -> str:
    from pellucid.decoding.alignment import pharaoh

    return pharaoh(output.alignment or ())


def as_json(own: dict[str, Any], outputs: Sequence[Output], request: Request) -> str:
    """One object: the best output, the keys of the question that go along, and all outputs where several are asked for."""
    found = {**own, **_object(outputs[0])}
    if request.n_best > 1:
        found["nbest"] = [_object(one) for one in outputs]
    return json.dumps(found, ensure_ascii=False)


def _object(output: Output) -> dict[str, Any]:
    found: dict[str, Any] = {"text": output.text, "score": output.score, "reason": output.reason}
    if output.tokens is not None:
        found["tokens"] = [{"token": one.token, "log_probability": one.log_probability} for one in output.tokens]
    if output.alignment is not None:
        found["alignment"] = _pharaoh(output)
    return found
