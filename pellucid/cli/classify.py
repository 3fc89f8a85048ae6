"""``pellucid classify``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pellucid.cli.options import common, voters

if TYPE_CHECKING:
    from pellucid.tasks.classification import Classified


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--all", "all_classes", is_flag=True, help="Print the probability of every class.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@voters
@common
def classify(model: Path, inputs: tuple[Path, ...], all_classes: bool, as_json: bool, ensemble: tuple[Path, ...]) -> None:
    """Say which class each text (one a line, of files or standard input) or each picture file is of.

    Printed are the most probable class and its probability, separated by a tab. An empty line gives an empty line.
    """
    from pellucid.cli.texts import STANDARD_INPUT, answered, texts
    from pellucid.tasks.load import load
    from pellucid.tasks.needs import need

    classifier = need(load(model), "classify", model)
    others = [need(load(other), "classify", other) for other in ensemble]
    pictures = classifier.config.task == "picture_classification"
    if pictures and not inputs:
        raise click.UsageError("this model classifies pictures: give their files")
    lines: Iterable[Any] = inputs if pictures else (text for path in inputs or (STANDARD_INPUT,) for text in texts(path))
    for found in answered(lines, partial(classifier.classify, ensemble=others)):
        if found is None:
            click.echo("")
        else:
            click.echo(json.dumps(_as_dict(found), ensure_ascii=False) if as_json else _as_line(found, all_classes))


def _as_dict(found: Classified) -> dict[str, Any]:
    degree = {} if found.degree is None else {"degree": found.degree}
    return {"label": found.label, **degree, "probabilities": found.probabilities}


def _as_line(found: Classified, all_classes: bool) -> str:
    names: Sequence[str] = list(found.probabilities) if all_classes else [found.label]
    shares = [f"{name}\t{found.probabilities[name]:.4f}" for name in names]
    return "\t".join([found.label, *shares] if all_classes else shares)
