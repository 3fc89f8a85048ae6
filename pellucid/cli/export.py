"""``pellucid export``."""

from __future__ import annotations

from pathlib import Path

import click

from pellucid.cli.options import common


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--to",
    type=click.Choice(["huggingface", "ctranslate2", "onnx"]),
    default="huggingface",
    show_default=True,
    help="The program that shall run it.",
)
@click.option(
    "--family", metavar="NAME", help="huggingface: family to write it as (gpt2, bert, ...); by default the first that fits."
)
@click.option(
    "--quantization", type=click.Choice(["float32", "int8"]), help="ctranslate2: type of the weights; by default float32."
)
@common
def export(run: Path, out: Path, to: str, family: str | None, quantization: str | None) -> None:
    """Write the model of RUN (the directory of a run or of a model) into the directory OUT, for another program. What cannot be
    expressed there is refused, with the reasons, before anything is written."""
    from pellucid.tasks.leaving import leave

    leave(run, out, to, family=family, quantization=quantization)
