"""A trace as lines of text: the steps in their order, each with formula, sizes, numbers and shading.

Every number is printed, whatever the terminal can do: colour and shades only repeat it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Literal

import numpy as np

from pellucid.base.errors import UsageError
from pellucid.explain.trace import Array, Step, Tapped

if TYPE_CHECKING:
    from pellucid.explain.trace import Trace

SHADES = " ░▒▓█"
LABEL, NUMBER = 16, 9  # widest label, and columns that a number takes
BEST = 5  # outputs shown of each distribution
ROWS = 64  # most rows of a matrix

Ink = Literal["colour", "shades", "plain"]


@dataclass(frozen=True)
class Look:
    """How a trace is shown.

    Args:
        width: columns of the terminal.
        ink: ``"colour"``: behind the numbers, of 256; ``"shades"``: a block beside each; ``"plain"``: numbers alone.
        step: a glob or the end of a name, as ``"cross_attn.weights"``; ``None``: every step.
        layer, head: the only ones to show; ``None``: the first, where every step is shown, else all.
    """

    width: int = 100
    ink: Ink = "plain"
    step: str | None = None
    layer: int | None = None
    head: int | None = None


def lines(trace: Trace, look: Look) -> Iterator[str]:
    """The whole view, line by line.

    Raises:
        UsageError: no such step, layer or head.
    """
    yield from _heading(trace, look)
    shown = _chosen(trace, look)
    for tap in shown:
        yield ""
        yield from of_tap(tap, trace, look)
    if look.step is None:
        for step in trace.steps:
            yield ""
            yield from of_step(step, look)


def _heading(trace: Trace, look: Look) -> Iterator[str]:
    yield f"text: {trace.text}"
    for name in ("source", "target", "written"):
        if name in trace.names:
            text = {"source": "source", "target": "the decoder read", "written": "it wrote"}[name]
            yield from folded(f"{text} ({len(trace.names[name])} tokens): " + " ".join(trace.names[name]), look.width)
    if trace.output is not None:
        yield f"output: {trace.output}"
    for edit in trace.edits:
        yield f"edit: {edit}"
    layers = {int(found[1]) for found in map(re.compile(r"\.layers\.(\d+)\.").search, trace) if found}
    if look.step is None and look.layer is None and len(layers) > 1:
        yield f"showing layer 0 of {len(layers)} (--layer N shows another one)"
    heads = max((tap.shape[0] for tap in trace.taps.values() if tap.axes[:1] == ("head",)), default=0)
    if look.step is None and look.head is None and heads > 1:
        yield f"showing head 0 of {heads} (--head N shows another one)"


def _chosen(trace: Trace, look: Look) -> list[Tapped]:
    """The taps that are asked for."""
    found = [tap for name, tap in trace.taps.items() if not name.startswith("decode.") or look.step is not None]
    if look.step is not None:
        found = [tap for tap in found if matches(tap.name, look.step)]
        if not found:
            advice = "give a name of docs/reference/taps.md, its end, or a glob"
            raise UsageError("the trace has no such step", where="--step", found=look.step, advice=advice)
    layer = 0 if look.step is None and look.layer is None else look.layer
    if layer is not None:
        kept = [tap for tap in found if ".layers." not in tap.name or f".layers.{layer}." in tap.name]
        if not any(".layers." in tap.name for tap in kept) and any(".layers." in tap.name for tap in found):
            raise UsageError("there is no such layer", where="--layer", found=layer)
        found = kept
    if look.head is not None:
        heads = max((tap.shape[0] for tap in found if tap.axes[:1] == ("head",)), default=0)
        if heads and not 0 <= look.head < heads:
            raise UsageError("there is no such head", where="--head", expected=f"0 to {heads - 1}", found=look.head)
    return found


def matches(name: str, wanted: str) -> bool:
    """Whether a name is the one, ends as it does, or fits the glob."""
    return fnmatchcase(name, wanted) or name == wanted or name.endswith(f".{wanted}")


def of_tap(tap: Tapped, trace: Trace, look: Look) -> Iterator[str]:
    """One step: what it is, and its numbers."""
    sizes = " x ".join(f"{size} {axis}" for axis, size in zip(tap.axes, tap.shape, strict=True))
    edited = "  (edited)" if tap.name in trace.edited else ""
    yield from folded(f"{tap.name}  {tap.row.symbol} = {tap.row.formula}  ({sizes}){edited}", look.width)
    asks = "; rows: the query, which asks; columns: the key, which is asked" if tap.axes[-2:] == ("query", "key") else ""
    yield from folded(f"  {tap.row.sentence}{asks}", look.width)
    yield from numbers_of(tap, trace, look)


def numbers_of(tap: Tapped, trace: Trace, look: Look) -> Iterator[str]:
    """The numbers of a tap alone: head by head, or of distributions the largest."""
    if tap.axes[-1] in ("vocabulary", "class") and len(trace.vocabulary) == tap.shape[-1]:
        yield from _best(tap, trace.vocabulary, look)
    elif tap.axes[:1] == ("head",) and tap.array.ndim == 3:
        only = look.head if look.head is not None else 0 if look.step is None else None
        for number in range(tap.shape[0]):
            if only is None or number == min(only, tap.shape[0] - 1):  # keys and values may have fewer heads
                yield f"  head {number}"
                yield from matrix(tap.array[number], tap.labels[-2], tap.labels[-1], look, tap.axes[-1])
    elif tap.array.ndim == 1:
        yield from matrix(tap.array[None], None, tap.labels[-1], look, tap.axes[-1])
    else:
        yield from matrix(tap.array, tap.labels[-2], tap.labels[-1], look, tap.axes[-1])


def _best(tap: Tapped, names: Sequence[str], look: Look) -> Iterator[str]:
    """The largest numbers of each row, with what they stand for."""
    rows = np.atleast_2d(tap.array)
    labels = tap.labels[0] if tap.array.ndim == 2 else None
    count = min(BEST, rows.shape[1])
    if count < rows.shape[1]:
        yield f"  showing the {count} largest of {rows.shape[1]:,}"
    for number, row in enumerate(rows):
        best = np.argsort(-row, kind="stable")[:count]
        label = "" if labels is None else padded(labels[number] if labels else str(number), LABEL)
        found = "  ".join(f"{names[at]} {as_text(float(row[at]))}" for at in best)
        yield from folded(f"  {label} {found}", look.width, hang=LABEL + 3)


def matrix(
    numbers: Array,
    rows: Sequence[str] | None,
    columns: Sequence[str] | None,
    look: Look,
    axis: str = "columns",
) -> Iterator[str]:
    """A matrix with aligned numbers; as many columns as fit, and how many are left out."""
    height, width = numbers.shape
    label = min(max(map(wide, rows), default=0), LABEL) if rows else len(str(height)) if height > 1 else 0
    cell = NUMBER + (2 if look.ink == "shades" else 1)
    fit = max(1, (look.width - 3 - label) // cell)
    if fit < width or height > ROWS:
        parts = [f"{fit} of {width} columns ({axis})"] if fit < width else []
        parts += [f"{ROWS} of {height} rows"] if height > ROWS else []
        yield f"  showing {' and '.join(parts)}"
    fit = min(fit, width)
    heads = columns[:fit] if columns else [str(number) for number in range(fit)]
    yield f"  {' ' * label} " + " ".join(padded(head, cell - 1, right=True) for head in heads)
    finite = numbers[np.isfinite(numbers)].astype(np.float64)
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    for number, row in enumerate(numbers[:ROWS]):
        name = rows[number] if rows else str(number) if height > 1 else ""
        cells = " ".join(_cell(value, low, high, look.ink) for value in row[:fit].tolist())
        yield f"  {padded(name, label)} {cells}".rstrip()


def _cell(value: float | bool, low: float, high: float, ink: Ink) -> str:
    text = as_text(value).rjust(NUMBER)
    if ink == "plain":
        return text
    share = (value - low) / (high - low) if high > low and np.isfinite(value) else 0.0
    if ink == "shades":
        return text + SHADES[min(int(share * len(SHADES)), len(SHADES) - 1)]
    grey = 255 - round(share * 15)  # 232 to 255 of 256 colours are greys
    letters = 16 if grey > 247 else 231
    return f"\x1b[48;5;{grey}m\x1b[38;5;{letters}m{text}\x1b[0m"


def as_text(value: float | bool) -> str:
    """A number in at most nine columns; yes and no for truth values."""
    if isinstance(value, bool):
        return "yes" if value else "-"
    if not np.isfinite(value) or isinstance(value, int):
        return str(value)
    size = abs(value)
    if value == 0.0 or 1e-4 <= size < 999.99995:
        return f"{value:.4f}"
    if 1.0 < size < 99_999.5:
        return f"{value:.1f}"
    return f"{value:.2e}" if 1e-99 < size < 9.99e99 else f"{value:.1e}"


def of_step(step: Step, look: Look, best: int = BEST) -> Iterator[str]:
    """One step of decoding: its candidates, best first."""
    draw = "" if step.draw is None else f", drawn with {step.draw:.4f}"
    yield f"decoding step {step.number}: {len(step.candidates)} candidates{draw}"
    several = len(step.parents) > 1 or any(one.beam for one in step.candidates)
    shown = [one for number, one in enumerate(step.candidates) if number < best or one.fate in ("chosen", "ended")]
    for one in shown:
        share = float(np.exp(one.log_probability))
        beam = f"beam {one.beam} + " if several else ""
        fate = {"chosen": "chosen", "ended": "chosen: the end", "kept": "might have come", "dropped": ""}[one.fate]
        text = f"  {beam}{padded(one.name, LABEL)} p {share:.4f}  score {one.score:9.4f}  {fate}".rstrip()
        room = min(look.width - wide(text) - 1, 20)
        bar = "█" * round(share * room) if look.ink != "plain" and room > 0 else ""
        yield f"{text} {bar}".rstrip()
    for number, tokens in enumerate(step.written):
        beam = f"beam {number} (was {step.parents[number]}): " if several else "written: "
        yield from folded(f"  {beam}{' '.join(tokens)}", look.width, hang=4)


def wide(text: str) -> int:
    """Columns that a text takes: East Asian characters take two, marks on the one before none."""
    return sum(0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def padded(text: str, width: int, *, right: bool = False) -> str:
    """A text in exactly so many columns; where it is too long, its beginning."""
    text = "".join(one if one.isprintable() else "?" for one in text)
    if wide(text) > width:
        while text and wide(text) > width - 1:
            text = text[:-1]
        text += "~"
    space = " " * (width - wide(text))
    return space + text if right else text + space


def folded(text: str, width: int, hang: int = 4) -> Iterator[str]:
    """Lines of at most ``width`` columns, broken at spaces; those after the first are moved in."""
    line = ""
    for word in re.findall(r" *[^ ]+", text):
        if line.strip() and wide(line) + wide(word) > width:
            yield line
            line, word = " " * hang, word.lstrip()
        line += word
    if line:
        yield line
