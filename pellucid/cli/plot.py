"""``pellucid plot``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pellucid.cli.options import common

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
@click.option(
    "--attention",
    metavar="INPUT",
    help="Instead of the learning curves: the cross-attention of a text, or the class token's over a picture file.",
)
@click.option("--layer", type=int, default=-1, help="Layer of the attention map; -1: the last.")
@click.option("--head", type=int, help="Head of the attention map. Default: the mean of all heads.")
@common
def plot(runs: tuple[Path, ...], out: Path, attention: str | None, layer: int, head: int | None) -> None:
    """Draw the learning curves of RUNS side by side, or what a model looks at in a text or a picture."""
    from pellucid.base.progress import say

    if attention is None:
        from pellucid.base.plots import plot_curves

        plot_curves({str(run): _rows(run) for run in runs}, out)
    else:
        from pellucid.tasks.load import load

        if len(runs) > 1:
            raise click.UsageError("an attention map is of one model")
        load(runs[0]).plot_attention(attention, out, layer=layer, head=head)
    say(f"wrote {out}")


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
