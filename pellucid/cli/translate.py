"""``pellucid translate``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from pellucid.cli.options import common

PENALTIES = click.Choice(["gnmt", "power", "none"])


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default="-")
@click.option("--beams", type=click.IntRange(1, 1000), help="Width of the search; 1: greedy. Default: as trained.")
@click.option("--length-penalty", type=PENALTIES, help="gnmt: ((5+n)/6)^alpha, power: n^alpha.")
@click.option("--alpha", type=click.FloatRange(0, 10), help="Exponent of the length penalty.")
@click.option(
    "--nbest", type=click.IntRange(1), default=1, help="Print N translations a line: line, score and text, tab-separated."
)
@click.option("--precision", type=click.Choice(["float32", "bfloat16"]), default="float32")
@click.option("--batch", type=click.IntRange(1), default=256, help="Most lines translated together.")
@common
def translate(
    model: Path,
    file: Path,
    beams: int | None,
    length_penalty: str | None,
    alpha: float | None,
    nbest: int,
    precision: str,
    batch: int,
) -> None:
    """Translate FILE (or standard input) with MODEL, a run or model directory. N lines in, N lines out."""
    from pellucid.base import runtime
    from pellucid.base.progress import say
    from pellucid.cli.texts import STANDARD_INPUT, texts
    from pellucid.decoding.batching import WINDOW
    from pellucid.tasks.load import load
    from pellucid.tasks.needs import need

    runtime.keep_memory()
    translator = need(load(model, precision), "translate", model)
    # Somebody who types wants an answer to each line; a file is better read in stretches and sorted by length.
    typed = file == STANDARD_INPUT and sys.stdin.isatty()
    cut = first_cut = 0
    with _progress(file) as done:
        outputs = translator.translate_lines(
            texts(file),
            beams=beams,
            length_penalty=length_penalty,
            alpha=alpha,
            n_best=nbest,
            batch_items=batch,
            window=1 if typed else WINDOW,
            done=done,
        )
        for number, found in enumerate(outputs, start=1):
            for output in found:
                sys.stdout.write(f"{output.text}\n" if nbest == 1 else f"{number}\t{output.score:.4f}\t{output.text}\n")
            if typed:
                sys.stdout.flush()
            if found[0].reason == "length":
                cut, first_cut = cut + 1, first_cut or number
    if cut:
        say(f"warning: {cut:,} translations were cut at their limit (first: line {first_cut})")


@contextmanager
def _progress(file: Path) -> Iterator[Callable[[int], None]]:
    """Shows on stderr how many lines are translated; with the time left where they can be counted beforehand.

    Where the translations go to a terminal they show it themselves, and a bar would run into them.
    """
    from pellucid.base.progress import Progress
    from pellucid.data.lines import is_file, survey

    if sys.stdout.isatty():
        yield lambda lines: None
        return
    with Progress(survey(file).lines if is_file(file) else None, "sentences", "translating") as bar:
        yield bar.update
