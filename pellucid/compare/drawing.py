"""The panels of a report as one SVG picture."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from pellucid.base.plots import pyplot_without_screen
from pellucid.compare.experiment import Panel, Series
from pellucid.compare.spread import spread

_STYLES = ("o-", "s--", "^-.", "D:", "v-", "P--", "X-.", "*:")  # readable without colours, too


def draw(panels: tuple[Panel, ...], salt: str) -> str:
    """The picture, one panel under the other. The same panels give the same text.

    Args:
        panels: at least one.
        salt: what the names inside the picture are made from.

    Raises:
        UsageError: matplotlib is not installed.
    """
    plt = pyplot_without_screen()
    with plt.rc_context({"svg.hashsalt": salt, "svg.fonttype": "none", "font.size": 9.0}):
        figure, axes = plt.subplots(len(panels), 1, figsize=(7.5, 3.4 * len(panels)), layout="constrained", squeeze=False)
        for axis, panel in zip(axes[:, 0], panels, strict=True):
            _panel(axis, panel)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        plt.close(figure)
    svg = written.getvalue()
    return "\n".join(line.rstrip() for line in svg[svg.index("<svg") :].splitlines()) + "\n"


def write_svg(panels: tuple[Panel, ...], path: Path) -> None:
    """The picture as a file."""
    path.write_text('<?xml version="1.0" encoding="utf-8"?>\n' + draw(panels, path.stem), encoding="utf-8")


def _panel(axis: Any, panel: Panel) -> None:
    places = panel.places()
    named = any(isinstance(place, str) for place in places)
    for number, series in enumerate(panel.series):
        if named:
            _bars(axis, panel, series, number)
        else:
            _line(axis, panel, series, number)
    axis.set(title=panel.title, xlabel=panel.x, ylabel=panel.y)
    if named:
        labels = [str(place) for place in places]
        slanted = {"rotation": 30, "ha": "right"} if sum(map(len, labels)) > 80 else {}
        axis.set_xticks(range(len(places)), labels, parse_math=False, **slanted)
    elif panel.log_x:
        axis.set_xscale("log", base=2)
        axis.set_xticks(places, [f"{place:g}" for place in places])
        axis.minorticks_off()
    if panel.log_y:
        axis.set_yscale("log")
    axis.grid(alpha=0.3)
    if len(panel.series) > 1:
        axis.legend(fontsize="small")


def _line(axis: Any, panel: Panel, series: Series, number: int) -> None:
    places = list(series.points)
    spreads = [spread(series.points[place]) for place in places]
    style = _STYLES[number % len(_STYLES)]
    axis.plot(places, [each.mean for each in spreads], style, color=f"C{number}", label=series.name, markersize=4)
    drawn = [each.half > 0 and (each.low > 0 or not panel.log_y) for each in spreads]  # a logarithmic axis has no place for 0
    low, high = [each.low for each in spreads], [each.high for each in spreads]
    axis.fill_between(places, low, high, where=drawn, color=f"C{number}", alpha=0.15, linewidth=0)


def _bars(axis: Any, panel: Panel, series: Series, number: int) -> None:
    places, width = panel.places(), 0.8 / len(panel.series)
    at = [places.index(place) + (number - (len(panel.series) - 1) / 2) * width for place in series.points]
    spreads = [spread(numbers) for numbers in series.points.values()]
    axis.bar(at, [each.mean for each in spreads], width, color=f"C{number}", label=series.name)
    if any(each.half > 0 for each in spreads):
        axis.errorbar(
            at, [each.mean for each in spreads], [each.half for each in spreads], fmt="none", ecolor="black", capsize=2
        )
