"""``pellucid plot``."""

from __future__ import annotations

from pathlib import Path

import click

from pellucid.cli.main import common


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The picture; its ending decides the format (.png, .svg, .pdf).",
)
@click.option("--attention", metavar="TEXT", help="Draw the cross-attention of TEXT instead of the learning curves.")
@click.option("--layer", type=int, default=-1, help="Layer of the attention map; -1: the last.")
@click.option("--head", type=int, help="Head of the attention map. Default: the mean of all heads.")
@common
def plot(runs: tuple[Path, ...], out: Path, attention: str | None, layer: int, head: int | None) -> None:
    """Draw the learning curves of RUNS side by side, or what a model looks at when it translates."""
    if attention is None:
        from pellucid.base.plots import plot_curves
        from pellucid.training.record import read_rows

        plot_curves({run.name: read_rows(run / "metrics.jsonl") for run in runs}, out)
    else:
        from pellucid.tasks.load import load

        if len(runs) > 1:
            raise click.UsageError("an attention map is of one model")
        load(runs[0]).plot_attention(attention, out, layer=layer, head=head)
    click.echo(f"wrote {out}", err=True)
