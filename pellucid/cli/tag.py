"""``pellucid tag``."""

from __future__ import annotations

from pathlib import Path

import click

from pellucid.cli.options import common


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default="-")
@common
def tag(model: Path, file: Path) -> None:
    """Tag the words of each line of FILE (or standard input): "la/DET pizza/NOUN". N lines in, N lines out."""
    from pellucid.cli.texts import answered, texts
    from pellucid.tasks.load import load
    from pellucid.tasks.needs import need

    tagger = need(load(model), "tag", model)
    for words in answered(texts(file), tagger.tag):
        click.echo(" ".join(f"{word}/{name}" for word, name in words or ()))
