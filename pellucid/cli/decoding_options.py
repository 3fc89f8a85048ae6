"""The options by which outputs are asked for: those of ``translate`` and ``generate``, declared once. No torch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import click

from pellucid.base.errors import UsageError
from pellucid.cli.options import voters
from pellucid.tasks.glossary import read_glossary
from pellucid.tasks.request import Request

PENALTIES = click.Choice(["gnmt", "power", "none"])
PRECISIONS = click.Choice(["float32", "bfloat16", "int8"])
FILE = click.Path(path_type=Path)

SEARCH = (
    click.option("--beams", type=click.IntRange(1, 1000), help="Width of the search; 1: greedy. Default: as trained."),
    click.option("--length-penalty", type=PENALTIES, help="gnmt: ((5+n)/6)^alpha, power: n^alpha."),
    click.option("--alpha", type=click.FloatRange(0, 10), help="Exponent of the length penalty."),
    click.option(
        "--nbest", "n_best", type=click.IntRange(1), default=1, help="Give the N best outputs, with number and score."
    ),
)
DRAWING = (
    click.option(
        "--temperature", type=click.FloatRange(0), help="Draw tokens, more evenly above 1; 0: search. Default: as trained."
    ),
    click.option("--top-k", type=click.IntRange(0), help="Draw among the K most probable tokens; 0: among all."),
    click.option(
        "--top-p", type=click.FloatRange(0, 1, min_open=True), help="Draw among the tokens that reach this probability."
    ),
    click.option("--min-p", type=click.FloatRange(0, 1), help="Draw among tokens with this share of the largest probability."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of what is drawn: the same request, the same text."),
    click.option("--mbr", "samples", metavar="N", type=click.IntRange(2), help="Draw N outputs, give the one they agree on."),
    click.option("--utility", type=click.Choice(["chrf", "bleu"]), default="chrf", help="What --mbr measures agreement by."),
)
RULES = (
    click.option("--repetition-penalty", type=click.FloatRange(0, 100, min_open=True), help="Above 1: repeat less."),
    click.option("--no-repeat-ngram", metavar="N", type=click.IntRange(0), help="No N tokens in a row twice in an output."),
    click.option("--min-length", type=click.IntRange(0), help="No end before so many tokens."),
    click.option("--tokens", type=click.IntRange(1), help="Most tokens that are written. Default: as the task has it."),
    click.option("--prefix", default="", help="Begin every output with this text."),
    click.option("--glossary", type=FILE, help="Write these terms: a file, one a line (see the reference on decoding)."),
    click.option("--ban", metavar="WORD", multiple=True, help="Never write this; may be given several times."),
    click.option("--ban-file", type=FILE, help="Never write the words in this file, one a line."),
)
MODELS = (
    voters,
    click.option("--draft", metavar="MODEL", type=FILE, help="A small model that proposes tokens: the same text, sooner."),
    click.option("--precision", type=PRECISIONS, default="float32", help="Of the weights while they are used."),
    click.option("--compile", "compiled", is_flag=True, help="Compile the steps: half a minute, once."),
)
FORMS = (
    click.option("--scores", is_flag=True, help="Give the score with each output; with --jsonl of every token, too."),
    click.option("--stream", is_flag=True, help="Write token by token, as soon as each is chosen."),
    click.option("--jsonl", is_flag=True, help="JSON Lines in and out: an object with the key text a line."),
)


@dataclass(frozen=True)
class Asking:
    """What the options say.

    Args:
        request: how outputs are found; in place of models the directories of these.
        precision: of the models' weights.
        compiled: whether steps are compiled.
        stream, jsonl: the form of the answers.
    """

    request: Request
    precision: str
    compiled: bool
    stream: bool
    jsonl: bool

    def load(self, model: Path, verb: str) -> tuple[Any, Request]:
        """The model that can do what the verb says, and the request with the other models loaded.

        Raises:
            ModelError: a model is missing or damaged.
            UsageError: the model's task is another one.
        """
        from pellucid.tasks.load import load
        from pellucid.tasks.needs import need

        loaded = need(load(model, self.precision), verb, model)
        others = [load(other, self.precision) for other in self.request.ensemble]
        draft = None if self.request.draft is None else load(self.request.draft, self.precision)
        if self.compiled:
            beams = self.request.decoding(loaded.config.decoding).beams
            for one in (loaded, *others, *([] if draft is None else [draft])):
                one.compile(beams)
        return loaded, replace(self.request, ensemble=others, draft=draft)


def decoding_options(*, sources: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb these options; it gets them as ``asking``.

    Args:
        sources: whether the terms of a glossary belong to words of a source.
    """

    def give(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def collected(**values: Any) -> Any:
            return command(asking=_asking(values, sources), **values)

        for option in reversed((*SEARCH, *DRAWING, *RULES, *MODELS, *FORMS)):
            collected = option(collected)
        return collected

    return give


def _asking(values: dict[str, Any], sources: bool) -> Asking:
    """Takes its values out of ``values``, and refuses what contradicts itself, before anything is loaded."""
    form = {name: values.pop(name) for name in ("precision", "compiled", "stream", "jsonl")}
    glossary, banned = values.pop("glossary"), values.pop("ban_file")
    own = {field.name for field in fields(Request)} - {"align"}  # which some verb may have, as another kind of value
    given = {name: values.pop(name) for name in own & values.keys()}
    given["samples"] = given["samples"] or 0
    given["ban"] = (*given["ban"], *(() if banned is None else _words(banned)))
    if glossary is not None:
        given["glossary"] = read_glossary(glossary, sources=sources)
    if form["stream"] and form["jsonl"]:
        raise UsageError("an object is known only when it is complete", found="--stream and --jsonl")
    request = Request(**given)
    return Asking(request.streamed() if form["stream"] else request, **form)


def _words(path: Path) -> Iterable[str]:
    from pellucid.cli.texts import texts

    return [word.strip() for word in texts(path) if word.strip()]
