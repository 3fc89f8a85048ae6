"""Does the recurrent network still win where there is little to learn from, and the Transformer where there is much?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch

from pellucid.base.config import ModelConfig
from pellucid.base.progress import Progress
from pellucid.compare.corpus import MULTI30K, Corpus, corpus_for, pairs_side_by_side, translator
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import sizes_in_words
from pellucid.compare.translating import LEARNT_SOMETHING, LSTM, TRANSFORMER, Budget, above, equal_translators, taught


@dataclass(frozen=True)
class Size:
    """How much is done."""

    width: int
    layers: int
    pairs: tuple[int, ...]  # to learn from; no more than there are
    steps: tuple[int, ...]  # to choose from, as of the rates
    budget: Budget
    dropout: float


SIZES: dict[Effort, Size] = {
    "smallest": Size(8, 1, (50, 100), (2, 4), Budget(0, 4, (0.01,), 2), 0.1),
    "quick": Size(32, 2, (500, 2000, 8000), (100, 400), Budget(0, 32, (0.003, 0.01, 0.03), 3), 0.2),
    "full": Size(64, 2, (500, 1000, 2000, 4000, 8000, 15000), (300, 1200), Budget(0, 32, (0.001, 0.003, 0.01), 3), 0.2),
}
ON_MULTI30K: dict[Effort, Size] = {
    "quick": Size(32, 2, (500, 2000, 8000, 29000), (400,), Budget(0, 32, (0.01, 0.03), 3), 0.2),
    "full": Size(64, 2, (500, 2000, 8000, 29000), (300, 1200), Budget(0, 32, (0.003, 0.01), 3), 0.2),
}


def best(config: ModelConfig, size: Size, pairs: int, seed: int, corpus: Corpus) -> tuple[list[float], str]:
    """Test losses after the number of steps that is best by validation for the first seed: with little to learn from, more
    steps are worse. And how it was chosen, in words."""
    every = pairs_side_by_side("train", corpus)
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))
    some = every[order[:pairs]]
    budgets = [replace(size.budget, steps=steps) for steps in size.steps]
    tried = {budget.steps: taught(partial(translator, config), budget, seed, some, corpus) for budget in budgets}
    steps = max(tried, key=lambda steps: max(tried[steps][0].scores.values()))
    learnt, losses = tried[steps]
    return losses, f"{pairs:,} pairs: {steps} steps, {learnt.rate}"


def run(effort: Effort, seed: int) -> Figures:
    """Train both on more and more pairs."""
    corpus = corpus_for(effort)
    size = (ON_MULTI30K if corpus is MULTI30K else SIZES)[effort]
    sizes = [min(pairs, len(pairs_side_by_side("train", corpus))) for pairs in size.pairs]
    configs = equal_translators(size.width, size.layers, size.dropout, corpus)
    losses: dict[str, dict[Place, list[float]]] = {kind: {} for kind in configs}
    chosen: dict[str, list[str]] = {kind: [] for kind in configs}
    with Progress(len(configs) * len(sizes), "trainings", "data_sizes") as progress:
        for pairs in sizes:
            for kind, config in configs.items():
                losses[kind][pairs], said = best(config, size, pairs, seed, corpus)
                chosen[kind].append(said)
                progress.update()
    return Figures(
        setup=(
            f"Translation from {corpus.in_words()}: loss on the test split, in nats a word, after training on so many "
            "pairs of the training split.",
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
            *(Line(f"{kind}: {LEARNT}", "at most", LEARNT_SOMETHING, needed=True) for kind in (TRANSFORMER, LSTM)),
            Line(FEW, "at least", 0.05),
            Line(MANY, "at least", 0.05),
        )
    ),
    run=run,
    reading=("Much is what the corpus has: Multi30k where it has been fetched; of millions of pairs this says nothing.",),
)
