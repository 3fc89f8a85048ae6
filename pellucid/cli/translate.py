"""``pellucid translate``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import click

from pellucid.base.errors import DataError
from pellucid.cli.main import common

PENALTIES = click.Choice(["gnmt", "power", "none"])


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.File("rb"), default="-")
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
    file: BinaryIO,
    beams: int | None,
    length_penalty: str | None,
    alpha: float | None,
    nbest: int,
    precision: str,
    batch: int,
) -> None:
    """Translate FILE (or standard input) with MODEL, a run or model directory. N lines in, N lines out."""
    from pellucid.base.progress import Progress
    from pellucid.decoding.batching import WINDOW
    from pellucid.tasks.load import load

    translator = load(model, precision)
    # Somebody who types wants an answer to each line; a file is better read in stretches and sorted by length.
    typed = file.isatty()
    outputs = translator.translate_lines(
        _lines(file),
        beams=beams,
        length_penalty=length_penalty,  # type: ignore[arg-type]
        alpha=alpha,
        n_best=nbest,
        batch_items=batch,
        window=1 if typed else WINDOW,
    )
    with Progress(None, "sentences", "translating") as bar:
        for number, found in enumerate(outputs, start=1):
            for output in found:
                line = output.text if nbest == 1 else f"{number}\t{output.score:.4f}\t{output.text}"
                sys.stdout.write(line + "\n")
            if typed:
                sys.stdout.flush()
            bar.update(1)


def _lines(file: BinaryIO) -> Iterator[str]:
    """Lines of UTF-8; only ``\\n`` ends one, a ``\\r`` before it is dropped."""
    for number, line in enumerate(file, start=1):
        try:
            yield line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                "not UTF-8",
                where=f"{file.name}:{number}",
                found=f"byte 0x{line[error.start]:02x} at byte {error.start} of the line",
                advice="convert the text to UTF-8 (iconv)",
            ) from error
