"""Is word order lost without positions, and which scheme brings it back, also beyond the length trained on?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from pellucid.base.config import ModelConfig, Positions, StackConfig
from pellucid.base.progress import Progress
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.learner import TEST, Batch, accuracy, learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import parameters
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


def run(effort: Effort, seed: int) -> Figures:
    """The two sentences through untrained models, then the task of naming the token before."""
    size = SIZES[effort]
    seeds = range(seed, seed + size.seeds)
    lengths = (size.length, 2 * size.length, 4 * size.length)
    shifts: dict[Place, list[float]] = {}
    right: dict[str, dict[str, dict[Place, list[float]]]] = {stack: {} for stack in STACKS}
    with Progress(len(STACKS) * len(SCHEMES), "models", "order") as progress:
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
        ),
        judged={
            SAME: shifts["none"],
            OTHER: shifts["sinusoidal"],
            LOST: right["encoder"]["none"][size.length],
            FOUND: right["encoder"]["sinusoidal"][size.length],
        },
        remarks=(
            "A causal mask tells something of the order by itself: the first position sees one token, the second two.",
            "In an encoder ALiBi's bias is the same to both sides: it tells how far, not which way.",
        ),
    )


SAME = "no positions: difference between two orders of the same words"
OTHER = "sinusoidal positions: difference between two orders of the same words"
LOST = "no positions: tokens before named rightly"
FOUND = "sinusoidal positions: tokens before named rightly"

EXPERIMENT = Experiment(
    name="order",
    claim="Attention by itself sees a set: without positions *I like eating pizza* and *pizza likes eating me* are the same to "
    "an encoder. Positions bring the order back.",
    rule=Rule(
        (
            Line(SAME, "at most", 0.001),
            Line(OTHER, "at least", 0.01),
            Line(LOST, "at most", 0.3),
            Line(FOUND, "at least", 0.9),
        )
    ),
    run=run,
    reading=("Which scheme is best, and how each does beyond the length trained on, is shown below and not judged.",),
)
