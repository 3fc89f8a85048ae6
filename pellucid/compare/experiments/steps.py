"""How many steps of training, and how many seconds, do a Transformer and an LSTM with attention need for the same quality?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from pellucid.base.progress import Progress
from pellucid.compare.corpus import BUILTIN, MULTI30K, corpus_for, pairs_side_by_side, translator
from pellucid.compare.cost import clock_in_words, ratios, seconds
from pellucid.compare.curves import reached_at
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import sizes_in_words
from pellucid.compare.translating import LEARNT_SOMETHING, LSTM, TRANSFORMER, Budget, equal_translators, taught, training_step


@dataclass(frozen=True)
class Size:
    """How much is done."""

    width: int
    layers: int
    steps: tuple[int, ...]  # of one training each
    budget: Budget  # its steps are these, one after the other
    rounds: int  # of the clock


SIZES: dict[Effort, Size] = {
    "smallest": Size(8, 1, (2, 4), Budget(0, 4, (0.01,), 2), 2),
    "quick": Size(32, 2, (100, 200, 400), Budget(0, 32, (0.003, 0.01, 0.03), 3), 5),
    "full": Size(64, 2, (250, 500, 1000, 2000), Budget(0, 32, (0.001, 0.003, 0.01), 5), 10),
}
ON_MULTI30K: dict[Effort, Size] = {
    "quick": Size(32, 2, (100, 200, 400), Budget(0, 32, (0.01, 0.03), 3), 5),
    "full": Size(64, 2, (500, 1000, 2000), Budget(0, 32, (0.001, 0.003, 0.01), 3), 10),
}


def run(effort: Effort, seed: int) -> Figures:
    """Train both for more and more steps, each time from the start, and time a step of each."""
    corpus = corpus_for(effort)
    size = (ON_MULTI30K if corpus is MULTI30K else SIZES)[effort]
    configs = equal_translators(size.width, size.layers, corpus=corpus)
    losses: dict[str, dict[Place, list[float]]] = {kind: {} for kind in configs}
    rates: dict[str, list[str]] = {kind: [] for kind in configs}
    with Progress(len(configs) * len(size.steps), "trainings", "steps") as progress:
        for steps in size.steps:
            for kind, config in configs.items():
                budget = replace(size.budget, steps=steps)
                learnt, losses[kind][steps] = taught(partial(translator, config), budget, seed, corpus=corpus)
                rates[kind].append(str(learnt.rate))
                progress.update()
    pairs = pairs_side_by_side("train", corpus)[: size.budget.rows]
    works = {kind: training_step(translator(config, seed), pairs) for kind, config in configs.items()}
    times = seconds(works, rounds=size.rounds, least=0.0 if effort == "smallest" else 0.2)
    each = {kind: sum(found) / len(found) for kind, found in times.items()}
    return Figures(
        setup=(
            f"Translation from {corpus.in_words()}: loss on the test split, in nats a word, after trainings of so many "
            "steps, each with a schedule of its own.",
            f"{size.layers} layers a side: a pre-norm Transformer, and an LSTM that reads both ways with Luong's attention. "
            f"Matched: parameters: {sizes_in_words(configs)}; batches of {size.budget.rows} pairs, Adam; rates tried: "
            f"{size.budget.rates}, the best by validation for the first seed ("
            + "; ".join(f"{kind} {', '.join(found)}" for kind, found in rates.items())
            + f"). {size.budget.seeds} seeds.",
            f"{clock_in_words()}; the two take turns, {size.rounds} rounds. Not matched: seconds and operations of a step: "
            + ", ".join(f"{kind} {time * 1e3:.1f} ms" for kind, time in each.items())
            + ".",
            "Judged: the steps that either needs, by a straight line between the measured ones in the logarithm of the steps, "
            "to come to the loss that the less lucky of the two had at its best, for each seed.",
        ),
        panels=(
            Panel("Loss by steps", "steps", Y, _series(losses, dict.fromkeys(configs, 1.0)), log_x=True),
            Panel("Loss by seconds", "seconds of training", Y, _series(losses, each)),
        ),
        judged=judged(losses, ratios(times[TRANSFORMER], times[LSTM])),
        remarks=(
            "Both networks are small" + (", and the built-in sentences regular and short." if corpus is BUILTIN else "."),
        ),
    )


Y = "loss (nats a word)"


def _series(losses: Mapping[str, Mapping[Place, list[float]]], scale: Mapping[str, float]) -> tuple[Series, ...]:
    return tuple(
        Series(kind, {round(float(place) * scale[kind], 3): numbers for place, numbers in points.items()})
        for kind, points in losses.items()
    )


def judged(losses: Mapping[str, Mapping[Place, list[float]]], slower: list[float]) -> dict[str, list[float]]:
    """What the rule reads.

    Args:
        losses: by kind and steps, one a seed.
        slower: seconds of the Transformer's step by the LSTM's, one a round.
    """
    seeds = range(len(next(iter(losses[LSTM].values()))))
    fewer = []
    for seed in seeds:
        curves = {
            kind: {float(steps): numbers[seed] for steps, numbers in losses[kind].items()} for kind in (TRANSFORMER, LSTM)
        }
        target = max(min(curve.values()) for curve in curves.values())
        fewer.append(reached_at(curves[TRANSFORMER], target) / reached_at(curves[LSTM], target))
    typical = sum(slower) / len(slower)
    last = max(losses[LSTM], key=float)
    return {
        **{f"{kind}: {LEARNT}": losses[kind][last] for kind in (TRANSFORMER, LSTM)},
        FEWER: fewer,
        SOONER: [ratio * typical for ratio in fewer],
    }


LEARNT = "loss after most steps (nats a word)"
FEWER = "steps that the Transformer needs, times the LSTM's"
SOONER = "seconds that the Transformer needs, times the LSTM's"

EXPERIMENT = Experiment(
    name="steps",
    claim="A Transformer needs fewer steps of training than a recurrent network with attention of the same size to translate "
    "as well, and less time.",
    rule=Rule(
        (
            *(Line(f"{kind}: {LEARNT}", "at most", LEARNT_SOMETHING, needed=True) for kind in (TRANSFORMER, LSTM)),
            Line(FEWER, "at most", 0.9),
            Line(SOONER, "at most", 0.9),
        )
    ),
    run=run,
    clocked=True,
)
