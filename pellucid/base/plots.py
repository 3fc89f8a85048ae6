"""Pictures: learning curves and attention maps. matplotlib is an extra and is imported when a picture is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pellucid.base.errors import UsageError
from pellucid.base.files import write_atomically


def have_matplotlib() -> bool:
    """Whether pictures can be drawn."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def require_matplotlib() -> None:
    """Refuse work whose end is a picture, before it begins.

    Raises:
        UsageError: matplotlib is not installed.
    """
    if not have_matplotlib():
        raise UsageError("pictures need matplotlib", advice='pip install "pellucid[plots]"')


def pyplot_without_screen() -> Any:
    """``matplotlib.pyplot``, drawing into files only.

    Raises:
        UsageError: matplotlib is not installed.
    """
    require_matplotlib()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


Axis = Literal["step", "seconds"]


def plot_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: Path, x: Axis = "step") -> None:
    """Loss and scores, one colour a run: a panel for the loss, and one for each metric that any of them has.

    Args:
        runs: rows of ``metrics.jsonl`` by the name of the run.
        path: of the picture; its ending decides the format.
        x: along which they are drawn; seconds are those spent in steps, validations not counted.

    Raises:
        UsageError: matplotlib is not installed.
    """
    pyplot = pyplot_without_screen()
    metrics = metrics_of(row for rows in runs.values() for row in rows)
    panels = 1 + len(metrics)
    figure, axes = pyplot.subplots(1, panels, figsize=(max(5.5 * panels, 7), 4), layout="constrained", squeeze=False)
    for number, (run, rows) in enumerate(runs.items()):
        colour = f"C{number % 10}"
        _line(axes[0, 0], rows, "train_loss", f"{run}: training (smoothed)", x, color=colour, alpha=0.5)
        _line(axes[0, 0], rows, "dev_loss", f"{run}: dev", x, color=colour, marker="o")
        for axis, name in zip(axes[0, 1:], metrics, strict=True):
            _line(axis, rows, name, run, x, color=colour, marker="o")
    axes[0, 0].set(ylabel="loss per target token (nats)", title="Loss")
    for axis, name in zip(axes[0, 1:], metrics, strict=True):
        axis.set(ylabel=name.removeprefix("dev_"), title=f"{name.removeprefix('dev_')} on the dev split")
    for axis in axes[0]:
        axis.set_xlabel("step" if x == "step" else "seconds in steps")
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend(fontsize="small")
    write_atomically(path, lambda file: figure.savefig(file, dpi=120, format=path.suffix[1:]))
    pyplot.close(figure)


def metrics_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The scores on the dev split that rows have besides the loss, in the order in which they come."""
    names = dict.fromkeys(name for row in rows for name in row if name.startswith("dev_") and name != "dev_loss")
    return list(names)


def _line(axis: Any, rows: Sequence[Mapping[str, Any]], name: str, label: str, x: Axis, **style: Any) -> None:
    """One metric of one run; that of averaged weights stands apart, as a star: they are another model."""
    seen = [row for row in rows if name in row]
    points, stars = ([row for row in seen if ("averaged" in row) == averaged] for averaged in (False, True))
    if points:
        axis.plot(_places(points, rows, x), [row[name] for row in points], label=label, **style)
    if stars:
        axis.plot(_places(stars, rows, x), [row[name] for row in stars], linestyle="", marker="*", color=style["color"], ms=12)


def _places(points: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]], x: Axis) -> list[float]:
    """Where points stand along x: validations, which have no time of their own, between the rows of training around them."""
    if x == "step":
        return [row["step"] for row in points]
    import numpy as np

    timed = [row for row in rows if "seconds" in row]
    steps, seconds = [0, *(row["step"] for row in timed)], [0.0, *(row["seconds"] for row in timed)]
    found: list[float] = np.interp([row["step"] for row in points], steps, seconds).tolist()
    return found


def plot_attention(weights: Any, source: Sequence[str], target: Sequence[str], title: str, path: Path) -> None:
    """One map of attention weights: a row for each target token, a column for each source token.

    Args:
        weights: (T, S), rows sum to 1.
        source: S labels.
        target: T labels.
        title: above the map.
        path: of the picture.

    Raises:
        UsageError: matplotlib is not installed.
    """
    pyplot = pyplot_without_screen()
    figure, axis = pyplot.subplots(figsize=(2.5 + 0.45 * len(source), 1.8 + 0.4 * len(target)), layout="constrained")
    image = axis.imshow(weights, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    # A "$" in a token is text, not the beginning of a formula.
    axis.set_xticks(range(len(source)), source, rotation=60, ha="right", parse_math=False)
    axis.set_yticks(range(len(target)), target, parse_math=False)
    axis.set(xlabel="source", ylabel="target", title=title)
    figure.colorbar(image, ax=axis, label="attention weight")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def plot_maps(maps: Sequence[tuple[str, Any]], columns: Sequence[str], rows: Sequence[str], title: str, path: Path) -> None:
    """Matrices of one size side by side, on one scale: the heads of a layer, say.

    Args:
        maps: title and (rows, columns) numbers of each; what is not finite is left white.
        columns, rows: labels, or none.
        title: above all.
        path: of the picture.

    Raises:
        UsageError: matplotlib is not installed.
    """
    pyplot = pyplot_without_screen()
    height, width = maps[0][1].shape
    size = (1.5 + len(maps) * (1.2 + 0.25 * width), 1.8 + 0.25 * height)
    figure, axes = pyplot.subplots(1, len(maps), figsize=size, layout="constrained", squeeze=False)
    finite = [number for _, matrix in maps for number in matrix.flat if abs(number) < float("inf")]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    for axis, (name, matrix) in zip(axes[0], maps, strict=True):
        image = axis.imshow(matrix, cmap="Blues", vmin=low, vmax=high, aspect="auto")
        axis.set_title(name)
        if columns:
            axis.set_xticks(range(width), columns, rotation=90, parse_math=False)
        if rows:
            axis.set_yticks(range(height), rows, parse_math=False)
    figure.colorbar(image, ax=list(axes[0]))
    figure.suptitle(title, parse_math=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def plot_patches(picture: Any, weights: Any, title: str, path: Path) -> None:
    """A picture, and beside it the same with one number for each of its squares laid over it.

    Args:
        picture: (height, width, channels), 0 to 255; one channel is grey.
        weights: (rows, columns) of squares; the largest is the brightest.
        title: above both.
        path: of the drawing.

    Raises:
        UsageError: matplotlib is not installed.
    """
    pyplot = pyplot_without_screen()
    height, width, channels = picture.shape
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 1.2 + 3.4 * height / width), layout="constrained")
    for axis in axes:
        axis.imshow(picture[:, :, 0] if channels == 1 else picture, cmap="gray", vmin=0, vmax=255)
        axis.set_axis_off()
    whole = (-0.5, width - 0.5, height - 0.5, -0.5)  # the edges of the picture's pixels
    over = axes[1].imshow(weights, cmap="viridis", vmin=0.0, alpha=0.65, extent=whole)
    figure.colorbar(over, ax=axes[1], label="attention weight")
    figure.suptitle(title, parse_math=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
