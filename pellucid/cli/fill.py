"""``pellucid fill``."""

from __future__ import annotations

from pathlib import Path

import click

from pellucid.cli.options import common


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option("--n", type=click.IntRange(1), default=5, show_default=True, help="Proposals for each gap.")
@common
def fill(model: Path, text: str | None, n: int) -> None:
    """Fill the gaps of TEXT (or of each line of standard input), each written [MASK]: "Paris is the [MASK] of France"

    Printed are gap, token and probability, separated by tabs, the most probable token first.
    """
    from pellucid.cli.texts import STANDARD_INPUT, texts
    from pellucid.tasks.load import load
    from pellucid.tasks.needs import need

    filler = need(load(model), "fill", model)
    for line in texts(STANDARD_INPUT) if text is None else [text]:
        for gap, found in enumerate(filler.fill(line, n), start=1):
            for filling in found:
                click.echo(f"{gap}\t{filling.token}\t{filling.probability:.4f}")
