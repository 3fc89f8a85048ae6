"""``pellucid generate``."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pellucid.cli.decoding_options import Asking, decoding_options
from pellucid.cli.options import common

if TYPE_CHECKING:
    from pellucid.base.config import RunConfig
    from pellucid.tasks.request import Asked, Request

SEPARATOR = "---"  # between results that may have several lines


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("prompts", nargs=-1)
@click.option("--file", type=click.Path(path_type=Path), help="Take the prompts from this file, one a line.")
@decoding_options(sources=False)
@click.option(
    "--n", type=click.IntRange(1), default=1, show_default=True, help="Results for each prompt, from seed, seed + 1, ..."
)
@click.option(
    "--picture", type=click.Path(path_type=Path), help="Of a model that draws: write a picture of the results, a row a prompt."
)
@common
def generate(model: Path, prompts: tuple[str, ...], file: Path | None, asking: Asking, n: int, picture: Path | None) -> None:
    """Go on writing after each PROMPT with a language model; with a denoiser fill in its gaps, each written [MASK].

    Without a PROMPT a language model begins a text. - stands for the lines of standard input. Several results of a language
    model are separated by a line with --- alone; those of a denoiser have one line each.
    """
    _check_forms(asking, n, picture)
    writer, request = asking.load(model, "generate")
    if n > 1 and request.decoding(writer.config.decoding).temperature == 0.0:
        raise click.UsageError("several results have to be drawn: give --temperature, --top-k or --top-p with --n")
    fills = writer.config.task == "denoising"
    if picture is not None:
        _check_draws_pictures(writer.config)
    if fills and not prompts and file is None and not asking.jsonl:
        raise click.UsageError("give a text with gaps, such as: the [MASK] of France")
    given = _given(prompts or (() if file else ("-",) if asking.jsonl else ("",)), file)
    if asking.jsonl:
        _write_objects(writer, given, request)
        return
    asked = _several(given, request, n)
    if asking.stream:
        _stream(writer, asked, request)
        return
    found = _write(writer, asked, request, separated=not fills, kept=picture is not None)
    if picture is not None:
        _draw(found, writer.config, picture, n)


def _check_forms(asking: Asking, n: int, picture: Path | None) -> None:
    """What can't be had together, whatever the model."""
    if picture is not None and (asking.stream or asking.jsonl or asking.request.n_best > 1):
        raise click.UsageError("--picture is of whole texts: leave out --stream, --jsonl and --nbest")
    if n > 1 and asking.jsonl:
        raise click.UsageError("--jsonl gives one object a line: write a line with its own seed for each result, without --n")
    if n > 1 and asking.request.n_best > 1:
        raise click.UsageError("--n draws and --nbest searches: give one of them")


def _given(prompts: tuple[str, ...], file: Path | None) -> Iterator[str]:
    """The prompts, with ``-`` and the file read."""
    from pellucid.cli.texts import STANDARD_INPUT, texts

    for prompt in prompts:
        yield from texts(STANDARD_INPUT) if prompt == "-" else [prompt]
    if file is not None:
        yield from texts(file)


def _several(prompts: Iterable[str], request: Request, n: int) -> Iterator[Asked]:
    """Each prompt as often as results are wanted."""
    from pellucid.tasks.request import Asked

    return (Asked(prompt, seed=request.seed + draw) for prompt in prompts for draw in range(n))


def _write(writer: Any, asked: Iterable[Asked], request: Request, *, separated: bool, kept: bool) -> list[str]:
    """The results as they come; gives their texts, if these are to be kept."""
    from pellucid.cli.answers import columns

    texts: list[str] = []
    for number, outputs in enumerate(writer.generate_lines(asked, request, window=_window()), start=1):
        for place, line in enumerate(columns(number, outputs, request)):
            if separated and (number > 1 or place > 0):
                click.echo(SEPARATOR)
            click.echo(line)
        texts += [outputs[0].text] if kept else []
    return texts


def _write_objects(writer: Any, lines: Iterable[str], request: Request) -> None:
    """One object a line; an empty line has none and is not asked."""
    from pellucid.cli.answers import as_json
    from pellucid.cli.asked_lines import AskedLines

    asked = AskedLines(lines, jsonl=True)
    stream = iter(asked)
    while some := list(islice(stream, _window())):
        kept = [asked.kept.popleft() for _ in some]
        full = [one for one, own in zip(some, kept, strict=True) if own is not None]
        answers = iter(writer.generate_lines(full, request))
        for own in kept:
            sys.stdout.write("\n" if own is None else f"{as_json(own, next(answers), request)}\n")
        sys.stdout.flush()


def _window() -> int:
    """Prompts read before the first is answered; somebody who types wants an answer to each."""
    from pellucid.cli.texts import WINDOW

    return 1 if sys.stdin.isatty() else WINDOW


def _stream(writer: Any, asked: Iterable[Asked], request: Request) -> None:
    """Each prompt and, token by token, what comes after it."""
    for number, one in enumerate(asked):
        if number:
            click.echo(SEPARATOR)
        pieces = writer.stream(one, request)
        sys.stdout.write(one.text)
        for piece in pieces:
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        sys.stdout.flush()


def _check_draws_pictures(config: RunConfig) -> None:
    from pellucid.tasks.pixels import draws

    if config.task != "language_modelling" or not draws(config):
        raise click.UsageError("this model writes text: --picture is for one that learnt pictures")


def _draw(texts: list[str], config: RunConfig, path: Path, n: int) -> None:
    """Results of one prompt side by side; of one each, all of them."""
    from pellucid.base.progress import say
    from pellucid.tasks.pixels import as_picture, save_drawings

    save_drawings([as_picture(text, config.model.picture) for text in texts], path, n if n > 1 else len(texts))
    say(f"wrote {path}")
