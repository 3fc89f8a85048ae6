"""``pellucid export``."""

from __future__ import annotations

from pathlib import Path

import click

from pellucid.cli.options import common


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--family", metavar="NAME", help="Family to write it as (gpt2, bert, ...); by default the first that fits.")
@common
def export(run: Path, out: Path, family: str | None) -> None:
    """Write the model of RUN (the directory of a run or of a model) into the directory OUT, in the Hugging Face layout."""
    from pellucid.tasks.imports import export_model

    export_model(run, out, family)
