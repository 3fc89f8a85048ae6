"""Is word order lost without positions, and which scheme brings it back, also beyond the length trained on?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from pellucid.base.config import ModelConfig, Positions, StackConfig
from pellucid.base.progress import Progress
from pellucid.compare.corpus import draw_from, longer_side, loss_on, pairs_side_by_side, translations, translator
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.learner import TEST, Batch, accuracy, learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import parameters
from pellucid.compare.translating import WORTH_A_LOOK, Budget, above, transformer
from pellucid.model.build import build, initialise

SCHEMES: tuple[Positions, ...] = ("none", "sinusoidal", "learned", "rotary", "alibi")
STACKS = ("encoder", "decoder")  # without a mask, and with the causal one
VOCABULARY = 16

# The same words in another order, and with it another meaning; the forms of a word count as one.
WORDS = {"I": 0, "me": 0, "like": 1, "likes": 1, "eating": 2, "pizza": 3}
EATING, EATEN = "I like eating pizza", "pizza likes eating me"


@dataclass(frozen=True)
class Size:
    """How much is done."""

    length: int  # trained on; twice and four times it is tested
    width: int
    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int


SIZES: dict[Effort, Size] = {
    "smallest": Size(4, 8, 3, 4, (0.01,), 2),
    "quick": Size(16, 32, 250, 16, (0.01,), 3),
    "full": Size(32, 64, 1000, 32, (0.001, 0.003, 0.01), 5),
}
BUDGETS: dict[Effort, Budget] = {  # of the translators
    "smallest": Budget(3, 4, (0.01,), 2),
    "quick": Budget(300, 32, (0.003, 0.01), 3),
    "full": Budget(1000, 32, (0.003, 0.01), 3),
}
SHORT = 6  # words of the longer side: translators are trained on no longer pairs
SEEN, LONGER = f"at most {SHORT} words", f"more than {SHORT} words"


def config_of(stack: str, scheme: Positions, size: Size) -> ModelConfig:
    """Two layers of either stack, alike but for the positions and the mask."""
    layers = StackConfig(2, 4, 4 * size.width)
    return ModelConfig(
        architecture="encoder" if stack == "encoder" else "decoder",
        d_model=size.width,
        encoder=layers,
        decoder=layers,
        norm="pre",
        dropout=0.0,
        positions=scheme,
        max_length=4 * size.length,
        source_vocabulary=VOCABULARY,
        target_vocabulary=VOCABULARY,
    )


def untrained(config: ModelConfig, seed: int) -> nn.Module:
    """With weights from a seed."""
    model = build(config)
    initialise(model, seed)
    return model


def batch(generator: torch.Generator, *, length: int, rows: int) -> Batch:
    """Random tokens; the answer at each position but the first is the token before it: nothing but order tells it."""
    ids = torch.randint(VOCABULARY, (rows, length), generator=generator)
    wanted = torch.ones_like(ids, dtype=torch.bool)
    wanted[:, 0] = False
    return Batch(ids, wanted, ids[:, :-1].flatten())


@torch.no_grad()
def shift(model: nn.Module) -> float:
    """How much the mean output of one sentence differs from that of the other: the largest part of the distance of all logits,
    divided by their standard deviation."""
    model.eval()
    one, other = (model(torch.tensor([[WORDS[word] for word in text.split()]])).mean(1) for text in (EATING, EATEN))
    return float((one - other).abs().max() / one.std())


def translated(scheme: Positions, width: int, budget: Budget, seed: int) -> dict[Place, list[float]]:
    """Losses of translators on test pairs that are as long as those trained on, and on longer ones."""
    splits = {split: pairs_side_by_side(split) for split in ("train", "dev", "test")}
    short = {split: ids[longer_side(ids) <= SHORT] for split, ids in splits.items()}
    learnt = learn(
        partial(translator, replace(transformer(width, 2), positions=scheme)),
        draw_from(short["train"], translations, budget.rows),
        steps=budget.steps,
        rates=budget.rates,
        seeds=range(seed, seed + budget.seeds),
        score=lambda model: -loss_on(model, short["dev"], translations),
    )
    tested = {SEEN: short["test"], LONGER: splits["test"][longer_side(splits["test"]) > SHORT]}
    return {name: [loss_on(model, ids, translations) for model in learnt.models] for name, ids in tested.items()}


def run(effort: Effort, seed: int) -> Figures:
    """The two sentences through untrained models, the task of naming the token before, and translation."""
    size = SIZES[effort]
    seeds = range(seed, seed + size.seeds)
    lengths = (size.length, 2 * size.length, 4 * size.length)
    shifts: dict[Place, list[float]] = {}
    right: dict[str, dict[str, dict[Place, list[float]]]] = {stack: {} for stack in STACKS}
    losses: dict[str, dict[Place, list[float]]] = {}
    budget = BUDGETS[effort]
    with Progress((len(STACKS) + 1) * len(SCHEMES), "models", "order") as progress:
        for stack in STACKS:
            for scheme in SCHEMES:
                make: Callable[[int], nn.Module] = partial(untrained, config_of(stack, scheme, size))
                if stack == "encoder":
                    shifts[scheme] = [shift(make(each)) for each in seeds]
                task = partial(batch, length=size.length, rows=size.rows)
                learnt = learn(make, task, steps=size.steps, rates=size.rates, seeds=seeds)
                right[stack][scheme] = {
                    length: [
                        accuracy(model, partial(batch, length=length, rows=size.rows), batches=4, seed=TEST)
                        for model in learnt.models
                    ]
                    for length in lengths
                }
                progress.update()
        for scheme in SCHEMES:
            losses[scheme] = translated(scheme, size.width, budget, seed)
            progress.update()
    return Figures(
        setup=(
            f"*{EATING}* and *{EATEN}*, the forms of a word taken as one, through untrained encoders: the largest difference "
            "between the mean logits of one and of the other, in their standard deviations.",
            f"Quality: random tokens out of {VOCABULARY}, and at each position the token before it is to be named, which "
            f"nothing but order tells; trained at length {size.length}, tested there and at twice and four times that. "
            f"Chance is {1 / VOCABULARY:.3f}.",
            f"Two layers each, width {size.width}. Matched: parameters: {parameters(config_of('encoder', 'none', size)):,}; "
            f"learned positions have {4 * size.length * size.width:,} more. Matched: {size.steps} steps of "
            f"{size.rows} sequences; rates tried: {size.rates}, the best by validation for the first seed. {size.seeds} seeds.",
            f"Translation from French to English of the built-in corpus: trained on pairs of at most {SHORT} words a side, "
            f"tested on such and on longer ones; two layers a side, width {size.width}, the scheme in both stacks. Matched: "
            f"parameters: {parameters(transformer(size.width, 2)):,}, more for learned positions; {budget}. "
            "Differences are taken seed by seed.",
        ),
        panels=(
            Panel("Two orders of the same words, untrained encoder", "positions", "difference", (Series("encoder", shifts),)),
            *(
                Panel(
                    f"Naming the token before: {stack} ({'no mask' if stack == 'encoder' else 'causal mask'})",
                    "length (tokens)",
                    "share right",
                    tuple(Series(scheme, points) for scheme, points in right[stack].items()),
                    log_x=True,
                )
                for stack in STACKS
            ),
            Panel(
                "Translation, by the length of the test pairs",
                "pairs",
                "loss (nats a word)",
                tuple(Series(scheme, points) for scheme, points in losses.items()),
            ),
        ),
        judged=judged(shifts, {scheme: points[size.length] for scheme, points in right["encoder"].items()}, losses),
        remarks=(
            "A causal mask tells something of the order by itself: the first position sees one token, the second two.",
            "In an encoder ALiBi's bias is the same to both sides: it tells how far, not which way.",
        ),
    )


def judged(
    shifts: Mapping[Place, list[float]], right: Mapping[str, list[float]], losses: Mapping[str, Mapping[Place, list[float]]]
) -> dict[str, list[float]]:
    """What the rule reads: differences of untrained encoders, tokens before named by encoders, losses of translators."""
    return {
        SAME: shifts["none"],
        OTHER: shifts["sinusoidal"],
        LOST: right["none"],
        FOUND: right["sinusoidal"],
        LEARNT: losses["sinusoidal"][SEEN],
        WORSE: above(losses["none"][SEEN], losses["sinusoidal"][SEEN]),
    }


SAME = "no positions: difference between two orders of the same words"
OTHER = "sinusoidal positions: difference between two orders of the same words"
LOST = "no positions: tokens before named rightly"
FOUND = "sinusoidal positions: tokens before named rightly"
LEARNT = "sinusoidal positions: loss of translators (nats a word)"
WORSE = "no positions: loss of translators above that (nats a word)"

EXPERIMENT = Experiment(
    name="order",
    claim="Attention by itself sees a set: without positions *I like eating pizza* and *pizza likes eating me* are the same to "
    "an encoder. Positions bring the order back, and translations gain by it.",
    rule=Rule(
        (
            Line(SAME, "at most", 0.001),
            Line(OTHER, "at least", 0.01),
            Line(LOST, "at most", 0.3),
            Line(FOUND, "at least", 0.9),
            Line(LEARNT, "at most", WORTH_A_LOOK, needed=True),
            Line(WORSE, "at least", 0.05),
        )
    ),
    run=run,
    reading=("Which scheme is best, and how each does beyond the length trained on, is shown below and not judged.",),
)
