"""Does the recurrent network still win where there is little to learn from, and the Transformer where there is much?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch

from pellucid.base.config import ModelConfig
from pellucid.base.progress import Progress
from pellucid.compare.corpus import LONGEST, pairs_side_by_side, translator
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import sizes_in_words
from pellucid.compare.translating import LSTM, TRANSFORMER, WORTH_A_LOOK, Budget, above, equal_translators, taught


@dataclass(frozen=True)
class Size:
    """How much is done."""

    width: int
    layers: int
    pairs: tuple[int, ...]  # to learn from
    steps: tuple[int, ...]  # to choose from, as of the rates
    budget: Budget
    dropout: float


SIZES: dict[Effort, Size] = {
    "smallest": Size(8, 1, (50, 100), (2, 4), Budget(0, 4, (0.01,), 2), 0.1),
    "quick": Size(32, 2, (500, 2000, 8000), (100, 400), Budget(0, 32, (0.003, 0.01, 0.03), 3), 0.2),
    "full": Size(64, 2, (500, 1000, 2000, 4000, 8000, 15000), (300, 1200), Budget(0, 32, (0.001, 0.003, 0.01), 3), 0.2),
}


def best(config: ModelConfig, size: Size, pairs: int, seed: int) -> tuple[list[float], str]:
    """Test losses after the number of steps that is best by validation for the first seed: with little to learn from, more
    steps are worse. And how it was chosen, in words."""
    every = pairs_side_by_side("train")
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))
    some = every[order[:pairs]]
    tried = {steps: taught(partial(translator, config), replace(size.budget, steps=steps), seed, some) for steps in size.steps}
    steps = max(tried, key=lambda steps: max(tried[steps][0].scores.values()))
    learnt, losses = tried[steps]
    return losses, f"{pairs:,} pairs: {steps} steps, {learnt.rate}"


def run(effort: Effort, seed: int) -> Figures:
    """Train both on more and more pairs."""
    size = SIZES[effort]
    configs = equal_translators(size.width, size.layers, dropout=size.dropout)
    losses: dict[str, dict[Place, list[float]]] = {kind: {} for kind in configs}
    chosen: dict[str, list[str]] = {kind: [] for kind in configs}
    with Progress(len(configs) * len(size.pairs), "trainings", "data_sizes") as progress:
        for pairs in size.pairs:
            for kind, config in configs.items():
                losses[kind][pairs], said = best(config, size, pairs, seed)
                chosen[kind].append(said)
                progress.update()
    return Figures(
        setup=(
            f"Translation from French to English of the built-in corpus, sentences of at most {LONGEST} words: loss on the "
            "test split, in nats a word, after training on so many pairs of the training split.",
            f"{size.layers} layers a side, dropout {size.dropout}: a pre-norm Transformer, and an LSTM that reads both ways "
            f"with Luong's attention. Matched: parameters: {sizes_in_words(configs)}; the same pairs; batches of "
            f"{size.budget.rows}, Adam; steps tried: {size.steps}, rates tried: {size.budget.rates}, the best by validation "
            "for the first seed ("
            + ". ".join(f"{kind}: {'; '.join(found)}" for kind, found in chosen.items())
            + "). Not matched: seconds and operations.",
            f"{size.budget.seeds} seeds; differences are taken seed by seed.",
        ),
        panels=(
            Panel(
                "Loss by what there is to learn from",
                "pairs",
                "loss (nats a word)",
                tuple(Series(kind, points) for kind, points in losses.items()),
                log_x=True,
            ),
        ),
        judged=judged(losses),
        remarks=("A pair may be drawn many times; few pairs are seen often, many pairs seldom.",),
    )


def judged(losses: Mapping[str, Mapping[Place, list[float]]]) -> dict[str, list[float]]:
    """What the rule reads: the two ends."""
    few, many = min(losses[LSTM], key=float), max(losses[LSTM], key=float)
    return {
        **{f"{kind}: {LEARNT}": losses[kind][many] for kind in (TRANSFORMER, LSTM)},
        FEW: above(losses[TRANSFORMER][few], losses[LSTM][few]),
        MANY: above(losses[LSTM][many], losses[TRANSFORMER][many]),
    }


LEARNT = "loss with most pairs (nats a word)"
FEW = "fewest pairs: the Transformer's loss above the LSTM's (nats a word)"
MANY = "most pairs: the LSTM's loss above the Transformer's (nats a word)"

EXPERIMENT = Experiment(
    name="data_sizes",
    claim="A recurrent network still wins where there is little to learn from, and a Transformer of the same size where there "
    "is much.",
    rule=Rule(
        (
            *(Line(f"{kind}: {LEARNT}", "at most", WORTH_A_LOOK, needed=True) for kind in (TRANSFORMER, LSTM)),
            Line(FEW, "at least", 0.05),
            Line(MANY, "at least", 0.05),
        )
    ),
    run=run,
    reading=("Much is what the built-in corpus has; of millions of pairs this says nothing.",),
)
