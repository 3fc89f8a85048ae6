"""``pellucid plot``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pellucid.cli.options import common

if TYPE_CHECKING:
    from pellucid.base.plots import Axis

FORMATS = (".png", ".svg", ".pdf")


def _check_format(context: click.Context, parameter: click.Parameter, value: Path) -> Path:
    if value.suffix.lower() not in FORMATS:
        raise click.BadParameter(f"the picture's name must end in {', '.join(FORMATS)}, not in {value.suffix or 'nothing'!r}")
    return value


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    callback=_check_format,
    help="The picture; its ending decides the format (.png, .svg, .pdf).",
)
@click.option("--x", type=click.Choice(["step", "seconds"]), default="step", help="What the curves are drawn along.")
@click.option(
    "--attention",
    metavar="INPUT",
    help="Instead of the learning curves: the cross-attention of a text, or the class token's over a picture file.",
)
@click.option("--layer", type=int, default=-1, help="Layer of the attention map; -1: the last.")
@click.option("--head", type=int, help="Head of the attention map. Default: the mean of all heads.")
@common
def plot(runs: tuple[Path, ...], out: Path, x: Axis, attention: str | None, layer: int, head: int | None) -> None:
    """Draw the learning curves of RUNS side by side, or what a model looks at in a text or a picture."""
    from pellucid.base.progress import say

    if attention is None:
        from pellucid.base.plots import plot_curves, require_matplotlib

        require_matplotlib()
        drawn = {name: _rows(run) for name, run in names_of(runs).items()}
        for line in _lacking(drawn):
            say(line)
        plot_curves(drawn, out, x)
    else:
        from pellucid.tasks.load import load

        if len(runs) > 1:
            raise click.UsageError("an attention map is of one model")
        load(runs[0]).plot_attention(attention, out, layer=layer, head=head)
    say(f"wrote {out}")


def names_of(runs: Sequence[Path]) -> dict[str, Path]:
    """Each run by the shortest end of its path that no other has: ``runs/a`` and ``runs/b`` are a and b, ``one/run`` and
    ``two/run`` stay what they are. A run that is given twice is drawn once."""
    whole = {run.resolve(): run for run in runs}
    return {_short(path, whole.keys()): run for path, run in whole.items()}


def _short(path: Path, among: Collection[Path]) -> str:
    for length in range(1, len(path.parts)):
        if [other.parts[-length:] for other in among].count(path.parts[-length:]) == 1:
            return "/".join(path.parts[-length:])
    return str(path)


def _lacking(drawn: dict[str, list[dict[str, Any]]]) -> list[str]:
    """A line for each run that has not all of the metrics: its curve is missing there."""
    from pellucid.base.plots import metrics_of

    wanted = metrics_of(row for rows in drawn.values() for row in rows)
    lines = []
    for name, rows in drawn.items():
        if absent := [metric for metric in wanted if metric not in metrics_of(rows)]:
            lines.append(f"warning: {name} has no {', '.join(absent)}: not drawn there")
    return lines


def _rows(run: Path) -> list[dict[str, Any]]:
    """What the run has measured so far."""
    from pellucid.base.errors import ModelError
    from pellucid.training.record import read_rows

    metrics = run / "metrics.jsonl"
    rows = read_rows(metrics)
    if not rows:
        found = "an empty file" if metrics.exists() else "no such file"
        raise ModelError(
            "no metrics to draw", where=metrics, found=found, advice="give the directory of a run that has trained"
        )
    return rows
