"""``explain``: run a model on one input, decode, and keep every number.

Shapes: S source positions, T target positions.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import torch

from pellucid.base.taps import STEPS
from pellucid.decoding.hypothesis import Hypothesis
from pellucid.explain.decoding import decoding
from pellucid.explain.edits import Edit
from pellucid.explain.forward import Inputs, looking, trace_forward
from pellucid.explain.recording import MAX_BYTES
from pellucid.explain.subject import Subject, Writing
from pellucid.explain.trace import Array, Step, Tapped, Trace
from pellucid.model.transformer import EncoderOnly

STEP_ROWS = {row.name: row for row in STEPS}


def explain(subject: Subject, *, taps: Sequence[str] = ("*",), edits: Sequence[Edit] = (), max_bytes: int = MAX_BYTES) -> Trace:
    """The trace of a model on one input.

    A model that writes is first asked for its output (unless that is given), step by step; then one forward over the finished
    text, fed in, gives all the matrices. Row t of them is what step t computed, since no position sees a later one.

    Args:
        subject: the model and what it is asked.
        taps: globs of the names to keep.
        edits: what to change on the way.
        max_bytes: of what is kept.

    Raises:
        TraceTooLargeError: that is not enough; the error names the largest taps.
        UsageError: a glob or an edit names nothing that is there.
        NothingToChooseError: no token can be written.
    """
    steps: list[Step] = []
    search = watched(subject, edits)
    while True:
        try:
            steps.append(next(search))
        except StopIteration as finished:
            return finish(subject, steps, finished.value, taps=taps, edits=edits, max_bytes=max_bytes)


def watched(subject: Subject, edits: Sequence[Edit] = ()) -> Generator[Step, None, Hypothesis | None]:
    """The steps of decoding, one by one; at last the output. None of either where there is nothing to search for."""
    if subject.writing is None or subject.writing.given is not None:
        return None
    with looking(subject.model):
        return (yield from decoding(subject, edits))


def finish(
    subject: Subject,
    steps: Sequence[Step],
    found: Hypothesis | None,
    *,
    taps: Sequence[str] = ("*",),
    edits: Sequence[Edit] = (),
    max_bytes: int = MAX_BYTES,
) -> Trace:
    """The trace, once the output is there: what :func:`watched` gave, and the forward over it. See :func:`explain`."""
    inputs, names, output = _inputs(subject, found)
    wanted = [pattern for pattern in taps if not pattern.startswith("decode.")]
    trace = trace_forward(
        subject.model,
        subject.config,
        inputs,
        text=subject.text,
        names=names,
        vocabulary=subject.vocabulary,
        taps=wanted,
        edits=edits,
        max_bytes=max_bytes,
    )
    trace.steps, trace.output = tuple(steps), output
    if subject.writing is not None:
        trace.writing = told(subject.writing, found)
    trace.source_name = subject.source_name
    found_steps = tapped_steps(steps).items()
    trace.taps.update({name: tap for name, tap in found_steps if any(fnmatchcase(name, pattern) for pattern in taps)})
    if subject.asked:
        trace.inputs["asked"] = np.array(subject.asked)
    if subject.words:
        trace.names["words"] = subject.words
    if isinstance(subject.model, EncoderOnly) and "logits" in trace:
        trace.output = _answer(subject, trace["logits"].array)
    return trace


def _answer(subject: Subject, logits: Array) -> str | None:
    """The class; of words and gaps one each; ``None`` where every position has an output and none is asked for."""
    if logits.ndim == 2:
        found = logits[list(subject.asked)].argmax(-1)
        return " ".join(subject.vocabulary[one].strip() for one in found) if subject.asked else None
    if len(subject.vocabulary) == len(logits) + 1:  # degrees: a logit for each threshold between them
        above = np.minimum.accumulate(1 / (1 + np.exp(-logits.astype(np.float64))))
        return subject.vocabulary[int(np.argmax(-np.diff([1.0, *above, 0.0])))]
    return subject.vocabulary[int(np.argmax(logits))]


def _inputs(subject: Subject, found: Hypothesis | None) -> tuple[Inputs, dict[str, list[str]], str | None]:
    """What the forward is given, the names of its positions, and the output."""
    names = {"source": list(subject.source_names)} if subject.source is not None else {}
    writing = subject.writing
    if writing is None:
        return Inputs(subject.source, source_mask=subject.source_mask), names, None
    written = written_by(writing, found)
    read = [*writing.prompt, *written[:-1]]
    names |= {"target": subject.name(read), "written": subject.name(written)}
    target = torch.tensor([read], dtype=torch.int64)
    text = [token for token in written if token != writing.end]
    return Inputs(subject.source, target, subject.source_mask), names, writing.decode(text)


def written_by(writing: Writing, found: Hypothesis | None) -> tuple[int, ...]:
    """The tokens that were written, or given; with the end token, if they end."""
    if writing.given is not None:
        return writing.given
    assert found is not None
    return (*found.ids, *([writing.end] if found.reason == "end" and writing.end is not None else []))


def told(writing: Writing, found: Hypothesis | None) -> dict[str, Any]:
    """How an output was found, as JSON has it.

    ``decoding``: the search, as in a recipe. ``prompt``: how many tokens the decoder read before it wrote the first, so that
    row ``prompt - 1 + i`` of the logits is step i. ``ids``: of the written tokens, with the end token where it came.
    ``prefix``: those that the output had to begin with. ``forbidden``, ``end``, ``limit``, ``seed``: as of :class:`Writing`.
    ``given``: the output was not searched for. ``reason``, ``log_probability``, ``score``: of the output, else ``None``.
    """
    return {
        "decoding": asdict(writing.decoding),
        "prompt": len(writing.prompt),
        "ids": list(written_by(writing, found)),
        "prefix": list(writing.prefix),
        "forbidden": sorted(writing.forbidden),
        "end": writing.end,
        "limit": writing.limit,
        "seed": writing.seed,
        "given": writing.given is not None,
        **{key: getattr(found, key, None) for key in ("reason", "log_probability", "score")},
    }


def tapped_steps(steps: Sequence[Step]) -> dict[str, Tapped]:
    """The steps as arrays, under the names of the table: a row a step, filled up with -1 (tokens, beams) or NaN."""
    if not steps:
        return {}
    width = max(len(step.candidates) for step in steps)
    beams = max(len(step.parents) for step in steps)

    def laid(values: Sequence[Sequence[float]], columns: int, fill: float, kind: type) -> np.ndarray:
        found = np.full((len(values), columns), fill, dtype=np.float64)
        for row, some in enumerate(values):
            found[row, : len(some)] = some
        return found.astype(kind)

    every = [step.candidates for step in steps]
    arrays = {
        "candidates": laid([[one.token for one in some] for some in every], width, -1, np.int64),
        "beam": laid([[one.beam for one in some] for some in every], width, -1, np.int64),
        "log_probability": laid([[one.log_probability for one in some] for some in every], width, np.nan, np.float64),
        "score": laid([[one.score for one in some] for some in every], width, np.nan, np.float64),
        "kept": laid([[one.fate != "dropped" for one in some] for some in every], width, 0, np.bool_),
        "chosen": laid([[one.fate in ("chosen", "ended") for one in some] for some in every], width, 0, np.bool_),
        "parents": laid([step.parents for step in steps], max(beams, 1), -1, np.int64),
    }
    if steps[0].draw is not None:
        arrays["draw"] = laid([[step.draw] for step in steps if step.draw is not None], 1, 0, np.float64)
    rows = {name: STEP_ROWS[f"decode.{name}"] for name in arrays}
    return {row.name: Tapped(row.name, row, row.axes, (None,) * len(row.axes), arrays[name]) for name, row in rows.items()}
