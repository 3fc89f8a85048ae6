"""``pellucid caption``."""

from __future__ import annotations

from pathlib import Path

import click

from pellucid.cli.options import common


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("pictures", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--beams", type=click.IntRange(1, 1000), help="Width of the search; 1: greedy. Default: as trained.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32")
@common
def caption(model: Path, pictures: tuple[Path, ...], beams: int | None, precision: str) -> None:
    """Say with MODEL, a run or model directory, what each of the PICTURES shows: one line a picture, in their order."""
    from pellucid.tasks.load import load
    from pellucid.tasks.needs import need

    captioner = need(load(model, precision), "caption", model)
    for text in captioner.caption(pictures, beams=beams):
        click.echo(text)
