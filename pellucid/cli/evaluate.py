"""``pellucid evaluate``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pellucid.cli.main import common


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--split", help="A split of the corpus that the model was trained on. Default: test.")
@click.option("--source", type=click.Path(path_type=Path), help="Texts to translate, one a line.")
@click.option("--reference", type=click.Path(path_type=Path), help="Their translations, one a line.")
@click.option("--beams", type=click.IntRange(1, 1000), help="Width of the search. Default: as trained.")
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32")
@click.option("--output", type=click.Path(path_type=Path), help="Write the translations to this file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
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
) -> None:
    """Score MODEL, a run or model directory, on a split or on two aligned files: BLEU, chrF, loss and speed."""
    if (source is None) != (reference is None):
        raise click.UsageError("--source and --reference belong together")
    if source is not None and split is not None:
        raise click.UsageError("give --split, or --source and --reference, not both")
    from dataclasses import replace

    from pellucid.base.config import DataConfig
    from pellucid.base.files import write_atomically
    from pellucid.data.readers import open_split
    from pellucid.tasks.load import load

    translator = load(model, precision)
    data, name = translator.config.data, split or "test"
    if source is not None and reference is not None:
        data, name = replace(DataConfig(), test=(str(source), str(reference))), "test"
    pairs = list(open_split(data, name))
    found = translator.evaluate(pairs, beams=beams)
    if output is not None:
        write_atomically(output, "".join(f"{line}\n" for line in found.outputs).encode())
    if as_json:
        click.echo(json.dumps({"split": name, **found.to_dict()}, indent=2))
        return
    for title, score in (("BLEU", found.scores["bleu"]), ("chrF", found.scores["chrf"])):
        click.echo(f"{title:<12}{score.score:.2f}   {score.signature}")
    click.echo(f"{'loss':<12}{found.loss:.4f} nats per target token, perplexity {found.perplexity:.3f}")
    click.echo(f"{'speed':<12}{found.sentences_per_second:.1f} sentences a second ({len(found.outputs)} sentences)")
