"""``pellucid import``."""

from __future__ import annotations

from pathlib import Path

import click

from pellucid.cli.options import common


@click.command(name="import")
@click.argument("source")
@click.argument("out", type=click.Path(path_type=Path))
@common
def import_(source: str, out: Path) -> None:
    """Make a model directory OUT from a public model: SOURCE is a directory in the Hugging Face layout (config.json and
    model.safetensors), or the name of a model on the hub. Nothing in it is executed."""
    from pellucid.base.progress import say
    from pellucid.exchange.hub import fetch
    from pellucid.tasks.imports import import_model

    directory = Path(source)
    config = import_model(directory if directory.exists() else fetch(source), out)
    say(f"imported into {out}: {config.task}")
