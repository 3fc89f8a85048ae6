"""One tap as a picture: a heat map for each head, with its labels. SVG is written here; PNG needs matplotlib, an extra.

In SVG the text is text, so that it can be searched, copied and read aloud.
"""

from __future__ import annotations

import math
from fnmatch import fnmatchcase
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pellucid.base.errors import UsageError
from pellucid.base.files import write_atomically
from pellucid.explain.trace import Array, Tapped

if TYPE_CHECKING:
    from pellucid.explain.trace import Trace

CELL, LETTER, GAP = 16, 7, 24  # pixels: side of a square, width of a letter, between maps
MOST = 20_000  # squares


def draw(trace: Trace, path: Path, name: str | None = None) -> None:
    """Draw a tap of a trace.

    Raises:
        UsageError: no such tap, one too large to be drawn, or for PNG no matplotlib.
    """
    tap = trace[name] if name is not None else default(trace)
    if tap.array.size > MOST or tap.array.ndim > 3 or tap.array.ndim < 1:
        raise UsageError("this tap is no map to be drawn", where=tap.name, expected=f"at most {MOST:,} numbers", found=tap)
    if path.suffix == ".png":
        from pellucid.base.plots import plot_maps

        plot_maps(_maps(tap), list(tap.labels[-1] or ()), _rows(tap), f"{tap.name}: {tap.row.formula}", path)
    else:
        write_atomically(path, svg(tap).encode())


def default(trace: Trace) -> Tapped:
    """The attention weights of the last layer, of cross-attention where there is one.

    Raises:
        UsageError: none were kept.
    """
    for pattern in ("*.cross_attn.weights", "*.self_attn.weights"):
        found = [tap for name, tap in trace.taps.items() if fnmatchcase(name, pattern)]
        if found:
            return found[-1]
    raise UsageError("the trace has no attention weights to draw", where="tap", advice="name one of its taps")


def _maps(tap: Tapped) -> list[tuple[str, Array]]:
    """The matrices of a tap, one a head, with their titles."""
    array = tap.array.astype(np.float64)
    if array.ndim == 3:
        return [(f"{tap.axes[0]} {number}", matrix) for number, matrix in enumerate(array)]
    return [("", np.atleast_2d(array))]


def _rows(tap: Tapped) -> list[str]:
    return list(tap.labels[-2] or ()) if tap.array.ndim > 1 else []


def svg(tap: Tapped) -> str:
    """The maps side by side. White is the smallest number and dark blue the largest; each square's title is its number."""
    maps, names, columns = _maps(tap), _rows(tap), list(tap.labels[-1] or ())
    array = tap.array.astype(np.float64)
    finite = array[np.isfinite(array)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    left, top = 12 + LETTER * max(map(len, names), default=2), 56 + LETTER * max(map(len, columns), default=2)
    height, width = maps[0][1].shape
    across = left + width * CELL + GAP
    parts = [f'<text x="8" y="20" font-weight="bold">{escape(tap.name)}: {escape(tap.row.formula)}</text>']
    asks = " / ".join(tap.axes[-2:])
    parts.append(f'<text x="8" y="38">rows / columns: {escape(asks)}; white {low:.4g}, dark {high:.4g}</text>')
    for number, (title, matrix) in enumerate(maps):
        at = number * across
        parts.append(f'<text x="{at + left}" y="52">{escape(title)}</text>')
        parts += [_label(name, at + left - 4, top + row * CELL + 12, "end") for row, name in enumerate(names)]
        for column, name in enumerate(columns):
            x = at + left + column * CELL + 12
            parts.append(_label(name, x, top - 4, "start", f' transform="rotate(-90 {x} {top - 4})"'))
        for row in range(height):
            for column in range(width):
                place = (at + left + column * CELL, top + row * CELL)
                parts.append(_square(float(matrix[row, column]), low, high, *place))
    size = f'width="{across * len(maps)}" height="{top + height * CELL + 12}"'
    style = 'font-family="monospace" font-size="12"'
    title = f"<title>{escape(repr(tap))}</title>"
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style} role="img">{title}{"".join(parts)}</svg>\n'


def _label(name: str, x: int, y: int, anchor: str, more: str = "") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{more}>{escape(name)}</text>'


def _square(value: float, low: float, high: float, x: int, y: int) -> str:
    """One number; what is not finite is crossed out."""
    cell = f'<rect x="{x}" y="{y}" width="{CELL}" height="{CELL}" stroke="#ddd" fill='
    if not math.isfinite(value):
        cross = f'<path d="M{x} {y}l{CELL} {CELL}m0 -{CELL}l-{CELL} {CELL}" stroke="#999"/>'
        return f'<g><title>{value}</title>{cell}"#fff"/>{cross}</g>'
    share = (value - low) / (high - low) if high > low else 0.0
    red, green, blue = (round(255 + share * (dark - 255)) for dark in (8, 48, 107))
    return f'<g><title>{value:.6g}</title>{cell}"#{red:02x}{green:02x}{blue:02x}"/></g>'
