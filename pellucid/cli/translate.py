"""``pellucid translate``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pellucid.cli.decoding_options import Asking, decoding_options
from pellucid.cli.options import common

if TYPE_CHECKING:
    from pellucid.cli.asked_lines import AskedLines
    from pellucid.tasks.output import Output
    from pellucid.tasks.request import Asked, Request

HEAD = re.compile(r"(\d+)\.(\d+)", re.ASCII)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default="-")
@decoding_options(sources=True)
@click.option(
    "--align",
    metavar="LAYER.HEAD|FILE",
    help="Align words by this head, from 0, or by the best one for a file: source, target and alignment between tabs.",
)
@click.option("--batch", type=click.IntRange(1), default=256, help="Most lines translated together.")
@common
def translate(model: Path, file: Path, asking: Asking, align: str | None, batch: int) -> None:
    """Translate FILE (or standard input) with MODEL, a run or model directory. N lines in, N lines out."""
    if align is not None and asking.stream:
        raise click.UsageError("words are aligned when a translation is complete: give --align without --stream")
    from pellucid.base import runtime
    from pellucid.cli.asked_lines import AskedLines
    from pellucid.cli.texts import STANDARD_INPUT, texts
    from pellucid.decoding.batching import WINDOW

    runtime.keep_memory()
    translator, request = asking.load(model, "translate")
    if align is not None:
        request = replace(request, align=_head(translator, align))
    lines = AskedLines(texts(file), jsonl=asking.jsonl)
    if asking.stream:
        _stream(translator, lines, request)
        return
    # Somebody who types wants an answer to each line; a file is better read in stretches and sorted by length.
    typed = file == STANDARD_INPUT and sys.stdin.isatty()
    with _progress(file) as done:
        outputs = translator.translate_lines(lines, request, batch_items=batch, window=1 if typed else WINDOW, done=done)
        _write(outputs, lines, request, asking, typed)


def _write(outputs: Iterable[list[Output]], lines: AskedLines, request: Request, asking: Asking, typed: bool) -> None:
    """Every answer as soon as it is there; at the end a word on those that were cut."""
    from pellucid.base.progress import say
    from pellucid.cli.answers import as_json, columns

    cut = first_cut = 0
    for number, found in enumerate(outputs, start=1):
        if asking.jsonl:
            own = lines.kept.popleft()
            sys.stdout.write("\n" if own is None else f"{as_json(own, found, request)}\n")
        else:
            sys.stdout.writelines(f"{line}\n" for line in columns(number, found, request))
        if typed:
            sys.stdout.flush()
        if found[0].reason == "length":
            cut, first_cut = cut + 1, first_cut or number
    if cut:
        say(f"warning: {cut:,} translations were cut at their limit (first: line {first_cut})")


def _stream(translator: Any, lines: Iterable[Asked], request: Request) -> None:
    """Token by token, one line after the other."""
    for asked in lines:
        for piece in translator.stream(asked, request):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        sys.stdout.flush()


def _head(translator: Any, align: str) -> tuple[int, int]:
    """The head that is named, or the best one for the pairs of a file."""
    from pellucid.base.errors import DataError
    from pellucid.base.progress import say
    from pellucid.cli.texts import texts

    if named := HEAD.fullmatch(align):
        return int(named[1]), int(named[2])
    rows = [line.split("\t") for line in texts(Path(align)) if line.strip()]
    for number, row in enumerate(rows, start=1):
        if len(row) != 3:
            expected, found = "source, target and alignment (0-0 2-1), with tabs between them", f"{len(row)} columns"
            raise DataError("this is no aligned pair", where=f"{align}: pair {number}", expected=expected, found=found)
    best = translator.best_head([(source, target) for source, target, _ in rows], [alignment for _, _, alignment in rows])
    say(f"aligning by --align {best.layer}.{best.head}, error rate {best.error_rate:.3f} on {len(rows):,} pairs")
    return best.layer, best.head


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
