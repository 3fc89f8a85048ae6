"""``pellucid evaluate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from pellucid.cli.options import common, voters


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--split", help="A split of the corpus that the model was trained on. Default: test.")
@click.option("--source", type=click.Path(path_type=Path), help="Texts to translate, one a line.")
@click.option("--reference", type=click.Path(path_type=Path), help="Their translations, one a line.")
@click.option("--beams", type=click.IntRange(1, 1000), help="Width of the search. Default: as trained.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32")
@click.option("--output", type=click.Path(path_type=Path), help="Write the translations to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@voters
@common
def evaluate(
    model: Path,
    split: str | None,
    source: Path | None,
    reference: Path | None,
    beams: int | None,
    precision: str,
    output: Path | None,
    as_json: bool,
    ensemble: tuple[Path, ...],
) -> None:
    """Score MODEL, a run or model directory, on a split of its corpus, or a translator on two aligned files."""
    if (source is None) != (reference is None):
        raise click.UsageError("--source and --reference belong together")
    if source is not None and split is not None:
        raise click.UsageError("give --split, or --source and --reference, not both")
    if source is not None and ensemble:
        raise click.UsageError("--ensemble is for models that classify, which are scored on a split")
    from pellucid.base import runtime
    from pellucid.base.files import write_atomically
    from pellucid.tasks.load import load
    from pellucid.tasks.needs import need

    runtime.keep_memory()
    loaded = load(model, precision)
    search: dict[str, Any] = {} if beams is None else {"beams": beams}
    if source is not None and reference is not None:
        given = {"source": str(source), "reference": str(reference)}
        found = need(loaded, "translate", model).evaluate(_pairs_of_files(source, reference), **search)
    else:
        if search and not loaded.searches:
            raise click.UsageError("--beams is for models whose score needs a search")
        if ensemble:
            need(loaded, "classify", model)
            search["ensemble"] = [load(other, precision) for other in ensemble]
        given = {"split": split or "test"}
        found = loaded.evaluate_split(split or "test", **search)
    if output is not None:
        write_atomically(output, "".join(f"{line}\n" for line in found.outputs).encode())
    if as_json:
        click.echo(json.dumps({**given, **found.to_dict()}, indent=2))
    else:
        rows = found.shown()
        width = max(len(name) for name, _ in rows) + 2
        for name, value in rows:
            click.echo(f"{name:<{width}}{value}")


def _pairs_of_files(source: Path, reference: Path) -> list[tuple[str, ...]]:
    """Line by line, the empty ones too: the scores are those of the files, and line N of the output belongs to line N."""
    from pellucid.base.config import DataConfig
    from pellucid.cli.texts import texts
    from pellucid.data.readers import Split

    Split("given", (source, reference), "aligned files", DataConfig()).check_counts()
    return list(zip(texts(source), texts(reference), strict=True))
