"""Pictures of the studies: maps with numbers in the cells, and lines. SVG whose text is text, the same bytes every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pellucid.base.plots import pyplot_without_screen

Matrix = npt.NDArray[Any]
_STYLE = {"svg.fonttype": "none", "svg.hashsalt": "pellucid", "font.size": 10, "font.family": "DejaVu Sans, sans-serif"}


def _save(figure: Any, path: Path) -> None:
    pyplot = pyplot_without_screen()
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    pyplot.close(figure)


def maps(
    path: Path,
    panels: Mapping[str, Matrix],
    rows: Sequence[str],
    columns: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    label: str,
    high: float | None = None,
    low: float = 0.0,
    form: str = "{:.0f}",
    across: int = 3,
    marked: Mapping[str, Sequence[tuple[int, int]]] | None = None,
    cell: tuple[float, float] = (0.52, 0.38),
    colours: str = "Blues",
    sides: tuple[str, str] = ("", ""),
    texts: Sequence[Sequence[str]] = (),
) -> None:
    """Matrices beside each other on one scale, each number written into its cell.

    Args:
        path: of the picture.
        panels: (rows, columns) by title; NaN is left white.
        rows, columns: labels; of the columns also by panel.
        label: of the scale.
        low, high: of the scale; without a highest, that of the numbers.
        form: of the numbers; empty: none are written.
        across: panels in a row.
        marked: cells with a frame, by panel.
        cell: width and height of one, in inches.
        colours: the name of a scale of matplotlib's.
        sides: what the rows are, and what the columns are.
        texts: what to write into the cells in place of their numbers.
    """
    pyplot = pyplot_without_screen()
    with pyplot.rc_context(_STYLE):
        deep, wide = next(iter(panels.values())).shape
        across = min(across, len(panels))
        down = -(-len(panels) // across)
        longest = max(map(len, rows))
        size = (across * (wide * cell[0] + 0.09 * longest + 0.4) + 0.8, down * (deep * cell[1] + 1.1))
        figure, axes = pyplot.subplots(down, across, figsize=size, layout="constrained", squeeze=False)
        highest = high if high is not None else max(float(np.nanmax(matrix)) for matrix in panels.values())
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        for axis, (title, matrix) in zip(axes.flat, panels.items(), strict=False):
            image = axis.imshow(matrix, cmap=colours, vmin=low, vmax=highest, aspect="auto")
            axis.set_title(title, fontsize=10, parse_math=False)
            own = columns[title] if isinstance(columns, Mapping) else columns
            upright = max(map(len, own)) > 4
            axis.set_xticks(
                range(wide), own, rotation=60 if upright else 0, ha="right" if upright else "center", parse_math=False
            )
            axis.set_yticks(range(deep), rows, parse_math=False)
            axis.set(ylabel=sides[0], xlabel=sides[1])
            written = texts or [[_shown(number, form) for number in row] for row in matrix]
            _write(axis, matrix, written, (highest, low) if colours == "Blues_r" else (low, highest))
            for row, column in (marked or {}).get(title, ()):
                frame = pyplot.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#d62728", linewidth=1.8)
                axis.add_patch(frame)
        figure.colorbar(image, ax=list(axes.flat), label=label, shrink=0.9)
        _save(figure, path)


def _shown(number: float, form: str) -> str:
    """What rounds to 0 is left out: that keeps large maps readable, and small."""
    text = form.format(number) if form and np.isfinite(number) else ""
    return text if text.strip("-0.") else ""


def _write(axis: Any, matrix: Matrix, texts: Sequence[Sequence[str]], scale: tuple[float, float]) -> None:
    """Texts into the cells, in white where the colour is dark."""
    pale, dark = scale
    for (row, column), number in np.ndenumerate(matrix):
        if text := texts[row][column]:
            colour = "white" if (number - pale) / (dark - pale) > 0.6 else "black"
            axis.text(column, row, text, ha="center", va="center", fontsize=8, color=colour, parse_math=False)


def lines(
    path: Path,
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    *,
    across: str,
    up: str,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    levels: Mapping[str, float] | None = None,
    limits: tuple[float, float] | None = None,
    size: tuple[float, float] = (4.2, 3.2),
    per_row: int = 3,
) -> None:
    """Lines over one quantity, panel by panel.

    Args:
        path: of the picture.
        panels: by title the lines, by name: values across and up.
        across, up: what the axes are.
        styles: of some lines, by name.
        levels: heights of level lines, by name.
        limits: of the upward axis.
        size: of a panel, in inches.
        per_row: panels in a row.
    """
    pyplot = pyplot_without_screen()
    with pyplot.rc_context(_STYLE):
        per_row = min(per_row, len(panels))
        down = -(-len(panels) // per_row)
        shape = (per_row * size[0], down * size[1])
        figure, axes = pyplot.subplots(down, per_row, figsize=shape, layout="constrained", squeeze=False, sharey=True)
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        for axis, (title, some) in zip(axes.flat, panels.items(), strict=False):
            for name, (xs, ys) in some.items():
                axis.plot(xs, ys, label=name, **{"marker": ".", **(styles or {}).get(name, {})})
            for number, (name, height) in enumerate((levels or {}).items()):
                axis.axhline(height, linestyle=("--", ":", "-.")[number % 3], color="grey", linewidth=1, label=name)
            axis.set_title(title, fontsize=10, parse_math=False)
            axis.set(xlabel=across, ylim=limits)
            axis.xaxis.get_major_locator().set_params(integer=True)
            axis.grid(alpha=0.3)
        for row in axes:
            row[0].set_ylabel(up)
        handles, names = axes.flat[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), fontsize=9)
        _save(figure, path)
