"""Do recurrent networks still win where counting is asked for?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from pellucid.base.config import ModelConfig
from pellucid.base.progress import Progress
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.learner import Batch, learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import equal_decoders, made, sizes_in_words
from pellucid.compare.whole import right_rows, share_right
from pellucid.model.transformer import DecoderOnly

BEGIN, A, B, END = range(4)
PLAIN, WITHOUT, RECURRENT = "Transformer", "Transformer without positions", "LSTM"


@dataclass(frozen=True)
class Size:
    """How much is done."""

    trained: int  # the largest n in training; tested up to twice that
    width: int
    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int


SIZES: dict[Effort, Size] = {
    "smallest": Size(4, 8, 4, 4, (0.01,), 2),
    "quick": Size(16, 32, 500, 16, (0.003, 0.01), 3),
    "full": Size(50, 64, 3000, 32, (0.001, 0.003, 0.01), 10),
}


def batch(numbers: Tensor) -> Batch:
    """``begin a^n b^n end`` for each n of (B,). What follows each b is wanted: n answers, b as long as there are fewer than a.

    Before the first b nothing tells how many a there will be, so that there is no right answer. Rows end in END.
    """
    n = numbers.unsqueeze(1)  # (B, 1)
    places = torch.arange(2 * int(numbers.max()) + 2)  # (T + 1,)
    written = torch.where(places <= n, A, torch.where(places <= 2 * n, B, END))  # (B, T + 1)
    written[:, 0] = BEGIN
    wanted = ((places > n) & (places <= 2 * n))[:, :-1]
    return Batch(written[:, :-1], wanted, written[:, 1:][wanted])


def drawn(generator: torch.Generator, *, size: Size) -> Batch:
    """Strings for training, each n as likely."""
    return batch(torch.randint(1, size.trained + 1, (size.rows,), generator=generator))


def configurations(size: Size) -> dict[str, ModelConfig]:
    """Of equal size. Positions of neither Transformer have weights."""
    kinds = equal_decoders((PLAIN, RECURRENT), width=size.width, vocabulary=END + 1, max_length=4 * size.trained + 2)
    return {PLAIN: kinds[PLAIN], WITHOUT: replace(kinds[PLAIN], positions="none"), RECURRENT: kinds[RECURRENT]}


def run(effort: Effort, seed: int) -> Figures:
    """Train each kind on short strings, and test it on every string up to twice as long."""
    size = SIZES[effort]
    configs = configurations(size)
    inside, beyond = torch.arange(1, size.trained + 1), torch.arange(size.trained + 1, 2 * size.trained + 1)
    found: dict[str, list[list[float]]] = {}
    rates: dict[str, float] = {}
    with Progress(len(configs), "kinds of network", "counting") as progress:
        for kind, config in configs.items():
            learnt = learn(
                partial(made, config),
                partial(drawn, size=size),
                steps=size.steps,
                rates=size.rates,
                seeds=range(seed, seed + size.seeds),
                score=_score(inside),
            )
            rates[kind] = learnt.rate
            found[kind] = [right_rows(model, batch(torch.cat((inside, beyond)))).double().tolist() for model in learnt.models]
            progress.update()
    return Figures(
        setup=(
            "The language a^n b^n: n times a, then as often b. Wanted is what follows each b: another b, or the end after the "
            "n-th. A string is right where all n answers are.",
            f"Trained on n from 1 to {size.trained}, each as likely; tested on each n once, up to {2 * size.trained}.",
            f"Two layers each; one Transformer has sinusoidal positions, one none (the causal mask is all it knows of order). "
            f"Matched: parameters: {sizes_in_words(configs)}.",
            f"Matched: {size.steps} steps of {size.rows} strings, Adam; rates tried: {size.rates}, the best by the strings of "
            "trained lengths for the first seed: " + ", ".join(f"{kind} {rate}" for kind, rate in rates.items()) + ".",
            f"Not matched: operations and seconds. {size.seeds} seeds.",
        ),
        panels=(Panel("Strings that are right, by n", "n", "share right", _series(found)),),
        judged=_judged(found, size.trained),
        remarks=(f"From n = {size.trained + 1} on strings are longer than any in training.",),
    )


def _score(inside: Tensor) -> Callable[[DecoderOnly], float]:
    return lambda model: share_right(model, batch(inside))


def _series(found: dict[str, list[list[float]]]) -> tuple[Series, ...]:
    def points(runs: list[list[float]]) -> dict[Place, list[float]]:
        return {n + 1: [rights[n] for rights in runs] for n in range(len(runs[0]))}

    return tuple(Series(kind, points(runs)) for kind, runs in found.items())


def _judged(found: dict[str, list[list[float]]], trained: int) -> dict[str, list[float]]:
    inside = {kind: [sum(rights[:trained]) / trained for rights in runs] for kind, runs in found.items()}
    beyond = {kind: [sum(rights[trained:]) / trained for rights in runs] for kind, runs in found.items()}
    judged = {f"{kind}: {IN}": numbers for kind, numbers in inside.items()}
    for kind in (PLAIN, WITHOUT):
        judged[f"{RECURRENT}: {BEYOND} {kind}"] = [a - b for a, b in zip(beyond[RECURRENT], beyond[kind], strict=True)]
    return judged


IN = "strings of trained lengths that are right"
BEYOND = "more longer strings right than"

EXPERIMENT = Experiment(
    name="counting",
    claim="Recurrent networks still win in some contexts: an LSTM learns to count from short strings and goes on to longer "
    "ones; a Transformer does not.",
    rule=Rule(
        (
            Line(f"{PLAIN}: {IN}", "at least", 0.9, needed=True),
            Line(f"{RECURRENT}: {IN}", "at least", 0.9, needed=True),
            Line(f"{RECURRENT}: {BEYOND} {PLAIN}", "at least", 0.1),
            Line(f"{RECURRENT}: {BEYOND} {WITHOUT}", "at least", 0.1),
        )
    ),
    run=run,
    reading=("One language of one counter: that an LSTM counts here does not say that it wins wherever texts get longer.",),
)
