"""Does each role of attention need weights of its own, and what mixes the heads? And may layers have other numbers of heads?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from pellucid.base.config import ModelConfig
from pellucid.base.progress import Progress
from pellucid.compare.corpus import LONGEST, Translator, translator
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import matched
from pellucid.compare.translating import WORTH_A_LOOK, Budget, above, taught, transformer, wider
from pellucid.model.attention import MultiHeadAttention

LAYERS = 3
WHOLE, NO_OUTPUT, SAME_KEY, ONE, UNEVEN = "W^Q, W^K, W^V, W^O", "no W^O", "W^Q = W^K", "W^Q = W^K = W^V", "heads 1-8-1"
VARIANTS = (WHOLE, NO_OUTPUT, SAME_KEY, ONE, UNEVEN)


@dataclass(frozen=True)
class Size:
    """How much is done."""

    width: int
    budget: Budget


SIZES: dict[Effort, Size] = {
    "smallest": Size(8, Budget(3, 4, (0.01,), 2)),
    "quick": Size(32, Budget(500, 32, (0.003, 0.01), 3)),
    "full": Size(64, Budget(2000, 32, (0.001, 0.003, 0.01), 5)),
}


def variant(config: ModelConfig, name: str, seed: int) -> Translator:
    """An untrained translator in whose attention parts are left out, or one stands in two places."""
    model = translator(config, seed)
    for attention in model.modules():
        if isinstance(attention, MultiHeadAttention):
            if name == NO_OUTPUT:
                attention.output = nn.Identity()  # the heads' outputs stand side by side, and that is all
            if name in (SAME_KEY, ONE):
                attention.key = attention.query
            if name == ONE:
                attention.value = attention.query
    return model


def weights(config: ModelConfig, name: str) -> int:
    """Number of weights of a variant, counted without memory for them."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in variant(config, name, 0).parameters())


def configuration(name: str, width: int) -> ModelConfig:
    """What a variant lacks in weights its feed-forward layers have more."""
    config = transformer(width, LAYERS, (1, 8, 1) if name == UNEVEN else 4)
    return matched(partial(wider, config), weights(transformer(width, LAYERS), WHOLE), partial(weights, name=name))


def run(effort: Effort, seed: int) -> Figures:
    """Train a translator for each variant."""
    size = SIZES[effort]
    losses: dict[Place, list[float]] = {}
    said: list[str] = []
    with Progress(len(VARIANTS), "variants", "roles") as progress:
        for name in VARIANTS:
            config = configuration(name, size.width)
            learnt, losses[name] = taught(partial(variant, config, name), size.budget, seed)
            said.append(f"{name} {weights(config, name):,} (d_ff {config.encoder.d_ff}, rate {learnt.rate})")
            progress.update()
    return Figures(
        setup=(
            f"Translation from French to English of the built-in corpus, sentences of at most {LONGEST} words: loss on the "
            "test split, in nats a word.",
            f"{LAYERS} layers a side, width {size.width}, 4 heads, pre-norm. In every attention, of both stacks and between "
            "them: without W^O the heads' outputs stand side by side unmixed; W^Q = W^K is one matrix for both; or one "
            "serves for all three. *Heads 1-8-1*: one head in the first and the last layer, eight in the middle one.",
            f"Matched: parameters, by wider feed-forward layers where attention has fewer: {'; '.join(said)}.",
            f"Matched: {size.budget}. Not matched: operations and seconds. {size.budget.seeds} seeds; differences are taken "
            "seed by seed.",
        ),
        panels=(
            Panel("Loss by what attention consists of", "attention", "loss (nats a word)", (Series("test split", losses),)),
        ),
        judged=judged(losses),
    )


def judged(losses: Mapping[Place, list[float]]) -> dict[str, list[float]]:
    """What the rule reads."""
    whole = losses[WHOLE]
    return {LEARNT: whole, **{f"{name}: {WORSE}": above(losses[name], whole) for name in VARIANTS[1:]}}


LEARNT = "loss with all four, heads 4-4-4 (nats a word)"
WORSE = "loss above that (nats a word)"

EXPERIMENT = Experiment(
    name="roles",
    claim="Queries, keys and values need weights of their own, and W^O mixes what the heads found: with one of these matrices "
    "less, a model of the same size does worse. The number of heads may differ from layer to layer.",
    rule=Rule(
        (
            Line(LEARNT, "at most", WORTH_A_LOOK, needed=True),
            *(Line(f"{name}: {WORSE}", "at least", 0.05) for name in (NO_OUTPUT, SAME_KEY, ONE)),
            Line(f"{UNEVEN}: {WORSE}", "at most", 0.05),
        )
    ),
    run=run,
)
