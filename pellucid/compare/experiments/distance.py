"""Is a symbol forgotten on its way through a recurrent network, and seen by attention at any distance?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pellucid.base.progress import Progress
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Series
from pellucid.compare.learner import TEST, VALIDATION, Batch, Learnt, accuracy, learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import equal_decoders, made, sizes_in_words
from pellucid.model.transformer import DecoderOnly

SYMBOLS = 16  # that may have to be recalled; after them as many others, which only fill the way, and the question
QUESTION = 2 * SYMBOLS
KINDS = ("Transformer", "LSTM", "GRU")


@dataclass(frozen=True)
class Size:
    """How much is done."""

    distances: tuple[int, ...]
    width: int
    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int
    batches: int  # of the test, at each distance


SIZES: dict[Effort, Size] = {
    "smallest": Size((4, 8), 8, 4, 4, (0.01,), 2, 1),
    "quick": Size((8, 16, 32, 64, 128, 256, 512), 32, 300, 16, (0.003, 0.01), 3, 8),
    "full": Size((8, 16, 32, 64, 128, 256, 512), 64, 1000, 32, (0.001, 0.003, 0.01), 5, 16),
}


def batch(generator: torch.Generator, *, distance: int, rows: int) -> Batch:
    """A symbol, ``distance - 1`` fillers, the question; the answer is the symbol."""
    symbols = torch.randint(SYMBOLS, (rows, 1), generator=generator)
    fillers = torch.randint(SYMBOLS, 2 * SYMBOLS, (rows, distance - 1), generator=generator)
    ids = torch.cat((symbols, fillers, torch.full((rows, 1), QUESTION)), dim=1)
    wanted = torch.zeros_like(ids, dtype=torch.bool)
    wanted[:, -1] = True
    return Batch(ids, wanted, symbols[:, 0])


def mixed(generator: torch.Generator, *, size: Size) -> Batch:
    """A batch at one of the distances, each as likely."""
    drawn = int(torch.randint(len(size.distances), (), generator=generator))
    return batch(generator, distance=size.distances[drawn], rows=size.rows)


def run(effort: Effort, seed: int) -> Figures:
    """Train each kind on all distances at once, and test it at each."""
    size = SIZES[effort]
    configs = equal_decoders(KINDS, width=size.width, vocabulary=2 * SYMBOLS + 1, max_length=max(size.distances) + 1)
    seeds = range(seed, seed + size.seeds)
    learnt: dict[str, Learnt[DecoderOnly]] = {}
    with Progress(len(KINDS), "kinds of network", "distance") as progress:
        for kind, config in configs.items():
            learnt[kind] = learn(
                partial(made, config),
                partial(mixed, size=size),
                steps=size.steps,
                rates=size.rates,
                seeds=seeds,
                score=_score(size),
            )
            progress.update()
    found = {kind: _by_distance(each, size) for kind, each in learnt.items()}
    return Figures(
        setup=(
            f"Recall: one of {SYMBOLS} symbols, random fillers of another alphabet, a question; the answer is the symbol. "
            f"Chance is {1 / SYMBOLS:.3f}.",
            "The distance is the number of steps from the symbol to the question. Each batch has one distance, drawn evenly.",
            f"Two layers each, sinusoidal positions in the Transformer. Matched: parameters: {sizes_in_words(configs)}.",
            f"Matched: {size.steps} steps of {size.rows} sequences, Adam; rates tried: {size.rates}, the best by validation "
            "for the first seed: " + ", ".join(f"{kind} {each.rate}" for kind, each in learnt.items()) + ".",
            f"Not matched: operations and seconds. {size.seeds} seeds; {size.batches * size.rows} questions at each distance.",
        ),
        panels=(
            Panel(
                "Recall by distance",
                "distance (steps)",
                "share right",
                tuple(Series(kind, points) for kind, points in found.items()),
                log_x=True,
            ),
            _losses(learnt),
        ),
        judged=_judged(found, size),
    )


def _score(size: Size) -> Callable[[DecoderOnly], float]:
    return lambda model: sum(
        accuracy(model, partial(batch, distance=distance, rows=size.rows), batches=1, seed=VALIDATION)
        for distance in size.distances
    )


def _by_distance(learnt: Learnt[DecoderOnly], size: Size) -> dict[float | str, list[float]]:
    return {
        distance: [
            accuracy(model, partial(batch, distance=distance, rows=size.rows), batches=size.batches, seed=TEST)
            for model in learnt.models
        ]
        for distance in size.distances
    }


def _losses(learnt: dict[str, Learnt[DecoderOnly]]) -> Panel:
    """Mean loss of each tenth of the training."""

    def points(losses: list[list[float]]) -> dict[float | str, list[float]]:
        steps = len(losses[0])
        tenths = [(steps * part // 10, steps * (part + 1) // 10) for part in range(10)]
        return {end: [float(Tensor([each[begin:end]]).mean()) for each in losses] for begin, end in tenths if end > begin}

    series = tuple(Series(kind, points(each.losses)) for kind, each in learnt.items())
    return Panel("Training", "step", "loss (nats an answer)", series)


def _judged(found: dict[str, dict[float | str, list[float]]], size: Size) -> dict[str, list[float]]:
    near, far = min(size.distances), max(size.distances)
    judged = {f"{kind}: right at the shortest distance": found[kind][near] for kind in KINDS}
    judged["Transformer: right at the longest distance"] = found["Transformer"][far]
    for kind in ("LSTM", "GRU"):
        pairs = zip(found[kind][near], found[kind][far], strict=True)
        judged[f"{kind}: lost between the shortest and the longest distance"] = [first - last for first, last in pairs]
    return judged


EXPERIMENT = Experiment(
    name="distance",
    claim="Information is lost along the chain of a recurrent network, the more the longer the way; attention sees any "
    "distance in one step.",
    rule=Rule(
        (
            Line("Transformer: right at the shortest distance", "at least", 0.9, needed=True),
            Line("LSTM: right at the shortest distance", "at least", 0.9, needed=True),
            Line("GRU: right at the shortest distance", "at least", 0.9, needed=True),
            Line("Transformer: right at the longest distance", "at least", 0.9),
            Line("LSTM: lost between the shortest and the longest distance", "at least", 0.1),
            Line("GRU: lost between the shortest and the longest distance", "at least", 0.1),
        )
    ),
    run=run,
    reading=("One symbol is little to carry: how much fits into a state is another question than how long it stays there.",),
)
