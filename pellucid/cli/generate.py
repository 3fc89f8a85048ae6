"""``pellucid generate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pellucid.cli.options import common

if TYPE_CHECKING:
    from pellucid.base.config import DecodingConfig, RunConfig

SEPARATOR = "---"  # between results that may have several lines


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("prompts", nargs=-1)
@click.option("--file", type=click.Path(path_type=Path), help="Take the prompts from this file, one a line.")
@click.option(
    "--tokens",
    type=click.IntRange(1),
    help="Most new tokens. Default: 100, or a whole picture; where gaps are filled, as the recipe says.",
)
@click.option("--beams", type=click.IntRange(1, 1000), help="Width of the search; 1: greedy. Default: as trained.")
@click.option(
    "--temperature", type=click.FloatRange(0), help="Draw tokens, more evenly above 1; 0: search. Default: as trained."
)
@click.option("--top-k", type=click.IntRange(0), help="Draw among the K most probable tokens; 0: among all.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="Draw among the tokens that reach this probability.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn.")
@click.option(
    "--n", type=click.IntRange(1), default=1, show_default=True, help="Results for each prompt, from seed, seed + 1, ..."
)
@click.option(
    "--picture", type=click.Path(path_type=Path), help="Of a model that draws: write a picture of the results, a row a prompt."
)
@common
def generate(
    model: Path,
    prompts: tuple[str, ...],
    file: Path | None,
    tokens: int | None,
    beams: int | None,
    temperature: float | None,
    top_k: int | None,
    top_p: float | None,
    seed: int,
    n: int,
    picture: Path | None,
) -> None:
    """Go on writing after each PROMPT with a language model; with a denoiser fill in its gaps, each written [MASK].

    Without a PROMPT a language model begins a text. - stands for the lines of standard input. Several results of a language
    model are separated by a line with --- alone; those of a denoiser have one line each.
    """
    from pellucid.tasks.drawing import asked
    from pellucid.tasks.load import load
    from pellucid.tasks.needs import need

    writer = need(load(model), "generate", model)
    ways: dict[str, Any] = {"beams": beams, "temperature": temperature, "top_k": top_k, "top_p": top_p}
    _check_draws(n, asked(writer.config.decoding, **ways))
    fills = writer.config.task == "denoising"
    if picture is not None:
        _check_draws_pictures(writer.config)
    if fills and not prompts and file is None:
        raise click.UsageError("give a text with gaps, such as: the [MASK] of France")
    given = _given(prompts or (() if file else ("",)), file)
    length = {} if tokens is None else {"tokens": tokens}
    wanted = [(prompt, seed + draw) for prompt in given for draw in range(n)]
    found = writer.generate([prompt for prompt, _ in wanted], **length, **ways, seed=[one for _, one in wanted])
    for number, text in enumerate(found):
        if number and not fills:
            click.echo(SEPARATOR)
        click.echo(text)
    if picture is not None:
        _draw(found, writer.config, picture, n)


def _given(prompts: tuple[str, ...], file: Path | None) -> list[str]:
    """The prompts, with ``-`` and the file read."""
    from pellucid.cli.texts import STANDARD_INPUT, texts

    found: list[str] = []
    for prompt in prompts:
        found += texts(STANDARD_INPUT) if prompt == "-" else [prompt]
    return found + ([] if file is None else list(texts(file)))


def _check_draws(n: int, decoding: DecodingConfig) -> None:
    if n > 1 and decoding.temperature == 0.0:
        raise click.UsageError("several results have to be drawn: give --temperature, --top-k or --top-p with --n")


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
