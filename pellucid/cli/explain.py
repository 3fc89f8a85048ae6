"""``pellucid explain``."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pellucid.cli.options import common

if TYPE_CHECKING:
    from pellucid.explain.terminal import Look


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option("--step", help="Show one step: a name of the taps, its end (cross_attn.weights), or a glob. Default: all.")
@click.option("--layer", type=click.IntRange(0), help="Show this layer. Default: the first; with --step all.")
@click.option("--head", type=click.IntRange(0), help="Show this head. Default: the first; with --step all.")
@click.option(
    "--example",
    type=click.Path(path_type=Path),
    help="Compute numbers that you typed: a YAML file, or jane, thinking-machines, positions or block.",
)
@click.option("--watch", is_flag=True, help="Print each step of decoding as it is done, with its five best tokens.")
@click.option(
    "--training-step",
    is_flag=True,
    help="Open the step that training would take next: on TEXT and --output, or on the first training example.",
)
@click.option("--check", "checked", is_flag=True, help="Compute every number again in float64, and say how far they differ.")
@click.option("--beams", type=click.IntRange(1, 1000), help="Width of the search; 1: greedy. Default: as trained.")
@click.option("--temperature", type=click.FloatRange(0), help="Draw tokens; 0: search. Default: as trained.")
@click.option("--top-k", type=click.IntRange(0), help="Draw among the K most probable tokens.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="Draw among the tokens that reach this probability.")
@click.option(
    "--min-p", type=click.FloatRange(0, 1), help="Draw among the tokens with this share of the best one's probability."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
@click.option("--tokens", type=click.IntRange(1), help="Most tokens to write.")
@click.option("--output", help="A text to feed in place of what the model would write.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the trace: .npz, .json, .html, .svg or .png.")
@click.option(
    "--html", type=click.Path(path_type=Path), help="Write the trace as one page for a browser, which needs no network."
)
@click.option("--json", "as_json", is_flag=True, help="Print the trace as JSON.")
@click.option("--plain", is_flag=True, help="No colour and no shades.")
@click.option("--width", type=click.IntRange(20), help="Columns. Default: those of the terminal.")
@common
def explain(
    model: Path | None,
    text: str | None,
    example: Path | None,
    step: str | None,
    layer: int | None,
    head: int | None,
    watch: bool,
    training_step: bool,
    checked: bool,
    save: Path | None,
    html: Path | None,
    as_json: bool,
    plain: bool,
    width: int | None,
    **ways: Any,
) -> None:
    """Show how MODEL computes its answer to TEXT (or picture), step by step, with every number."""
    from pellucid.explain.terminal import Look

    if html is not None and html.suffix != ".html":
        raise click.UsageError(f"--html writes a file that ends in .html, not {html}")
    look = Look(_width(width), "plain" if plain else _ink(), step, layer, head)
    if example is not None:
        from pellucid.explain.example_file import read

        found = read(example)  # refused, if it is, before torch is imported
        from pellucid.explain.example import lines

        _print(lines(found, look))
        return
    if model is not None and training_step:
        _training_step(model, text, ways["output"], look)
        return
    if model is None or text is None:
        raise click.UsageError("give a model and a text")
    _trace(model, text, look, watch=watch, checked=checked, saves=(save, html), as_json=as_json, ways=ways)


def _trace(
    model: Path,
    text: str,
    look: Look,
    *,
    watch: bool,
    checked: bool,
    saves: tuple[Path | None, ...],
    as_json: bool,
    ways: dict[str, Any],
) -> None:
    from pellucid.explain.explain import finish, watched
    from pellucid.explain.files import as_tree
    from pellucid.explain.terminal import lines, of_step
    from pellucid.tasks.explaining import subject_of
    from pellucid.tasks.load import load

    subject, steps = subject_of(load(model), text, **ways), []
    search = watched(subject)
    while True:
        try:
            found = next(search)
        except StopIteration as end:
            hypothesis = end.value
            break
        steps.append(found)
        if watch:
            _print(of_step(found, look))
            sys.stdout.flush()
    trace = finish(subject, steps, hypothesis)
    if as_json:
        click.echo(json.dumps(as_tree(trace, look.step), ensure_ascii=False))
    elif watch:
        click.echo(f"output: {trace.output}")
    elif not any(saves) or look.step is not None:
        _print(lines(trace, look))
    if checked:
        click.echo(f"\n{trace.check()}")
    for path in filter(None, saves):
        from pellucid.base.progress import say

        trace.save(path)
        say(f"wrote {path}")


def _training_step(model: Path, text: str | None, output: str | None, look: Look) -> None:
    from pellucid.explain.step_told import lines
    from pellucid.tasks.load import load
    from pellucid.tasks.opened import open_step

    _print(lines(open_step(load(model), model, text, output), look))


def _print(some: Iterable[str]) -> None:
    for line in some:
        sys.stdout.write(f"{line}\n")


def _width(given: int | None) -> int:
    return shutil.get_terminal_size((100, 24)).columns if given is None else given


def _ink() -> Any:
    """Colour on a terminal that has it, unless the reader wants none (no-color.org); else shades."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return "colour" if sys.stdout.isatty() and wanted else "shades"
