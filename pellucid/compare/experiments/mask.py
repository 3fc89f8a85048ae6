"""What does a model learn that may look ahead, and what does it then write?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from pellucid.base.config import ModelConfig, StackConfig
from pellucid.base.progress import Progress
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.learner import TEST, Batch, learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import parameters
from pellucid.model.build import build, initialise

VOCABULARY = 8
RULED = 0.8  # of all tokens follow the rule, the others are drawn evenly
SIDES = ("causal mask", "no mask")


@dataclass(frozen=True)
class Size:
    """How much is done."""

    length: int
    width: int
    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int
    written: int  # tokens that each model goes on with


SIZES: dict[Effort, Size] = {
    "smallest": Size(5, 8, 10, 4, (0.01,), 2, 2),
    "quick": Size(16, 32, 500, 16, (0.003, 0.01), 3, 16),
    "full": Size(32, 64, 2000, 32, (0.001, 0.003, 0.01), 5, 32),
}


def following(token: Tensor) -> Tensor:
    """The rule: three times the token before, and one more, modulo 8."""
    return (3 * token + 1) % VOCABULARY


def sentences(generator: torch.Generator, *, length: int, rows: int) -> Tensor:
    """A language of one rule, :func:`following`; now and then it is any token. (B, T)."""
    drawn = torch.randint(VOCABULARY, (rows, length), generator=generator)
    ruled = torch.rand(rows, length, generator=generator) < RULED
    for at in range(1, length):
        drawn[:, at] = torch.where(ruled[:, at], following(drawn[:, at - 1]), drawn[:, at])
    return drawn


def entropy() -> float:
    """Nats of the next token for one who knows the rule: no honest loss is lower."""
    likely, other = RULED + (1 - RULED) / VOCABULARY, (1 - RULED) / VOCABULARY
    return -likely * math.log(likely) - (VOCABULARY - 1) * other * math.log(other)


def batch(generator: torch.Generator, *, size: Size) -> Batch:
    """Every next token."""
    ids = sentences(generator, length=size.length + 1, rows=size.rows)
    return Batch(ids[:, :-1], torch.ones_like(ids[:, 1:], dtype=torch.bool), ids[:, 1:].flatten())


def config_of(side: str, size: Size) -> ModelConfig:
    """The same two layers: a decoder that stands alone, or an encoder, which has no mask."""
    layers = StackConfig(2, 4, 4 * size.width)
    return ModelConfig(
        architecture="decoder" if side == "causal mask" else "encoder",
        d_model=size.width,
        encoder=layers,
        decoder=layers,
        norm="pre",
        dropout=0.0,
        max_length=size.length + size.written,
        source_vocabulary=VOCABULARY,
        target_vocabulary=VOCABULARY,
    )


def make(side: str, size: Size, seed: int) -> nn.Module:
    """One of either side; the same seed gives both the same weights."""
    model = build(config_of(side, size))
    initialise(model, seed)
    return model


@torch.no_grad()
def written_by_rule(model: nn.Module, size: Size) -> float:
    """Share of the tokens that follow the rule when the model goes on by itself, the likeliest token each time."""
    generator = torch.Generator().manual_seed(TEST)
    model.eval()
    ids = sentences(generator, length=size.length // 2, rows=4 * size.rows)
    right = 0
    for _ in range(size.written):
        written = model(ids)[:, -1].argmax(-1)
        right += int((written == following(ids[:, -1])).sum())
        ids = torch.cat((ids, written[:, None]), dim=1)
    return right / (size.written * len(ids))


def run(effort: Effort, seed: int) -> Figures:
    """Train both, then let both write."""
    size = SIZES[effort]
    seeds = range(seed, seed + size.seeds)
    losses: dict[str, list[list[float]]] = {}
    follows: dict[Place, list[float]] = {}
    with Progress(len(SIDES), "sides", "mask") as progress:
        for side in SIDES:
            learnt = learn(
                partial(make, side, size), partial(batch, size=size), steps=size.steps, rates=size.rates, seeds=seeds
            )
            losses[side] = learnt.losses
            follows[side] = [written_by_rule(model, size) for model in learnt.models]
            progress.update()
    tail = max(1, size.steps // 10)
    last = {side: [sum(each[-tail:]) / tail for each in runs] for side, runs in losses.items()}
    return Figures(
        setup=(
            f"A language of one rule: the next token is three times the one before, and one, modulo {VOCABULARY}, in "
            f"{RULED:.0%} of all places, and any token in the others. Who knows the rule has a loss of {entropy():.3f} "
            "nats; no honest one is lower.",
            f"Then each goes on by itself from {size.length // 2} tokens, {size.written} times the likeliest token; counted is "
            f"how many follow the rule. By chance {1 / VOCABULARY:.3f} would.",
            f"Matched: parameters: {parameters(config_of(SIDES[0], size)):,} both, with the same first weights; {size.steps} "
            f"steps of {size.rows} sentences of {size.length} tokens; rates tried: {size.rates}, the best by validation for "
            f"the first seed. {size.seeds} seeds.",
        ),
        panels=(
            Panel("Training", "step", "loss (nats a token)", tuple(_curve(side, runs) for side, runs in losses.items())),
            Panel("Writing", "side", "share that follows the rule", (Series("likeliest token each time", follows),)),
        ),
        judged={LOW: last["no mask"], HONEST: last["causal mask"], WRITES: follows["causal mask"], FAILS: follows["no mask"]},
    )


def _curve(side: str, runs: list[list[float]]) -> Series:
    every = max(1, len(runs[0]) // 20)
    ends = range(every, len(runs[0]) + 1, every)
    return Series(side, {end: [sum(each[end - every : end]) / every for each in runs] for end in ends})


LOW = "no mask: loss in the last tenth of training"
HONEST = "causal mask: loss in the last tenth of training"
WRITES = "causal mask: written by the rule"
FAILS = "no mask: written by the rule"

EXPERIMENT = Experiment(
    name="mask",
    claim="Without the causal mask a model is trained on what it is to predict: its loss falls below what is possible, and "
    "what it writes by itself is worthless.",
    rule=Rule(
        (
            Line(WRITES, "at least", 0.9, needed=True),
            Line(HONEST, "at least", round(0.95 * entropy(), 3)),
            Line(LOW, "at most", round(0.5 * entropy(), 3)),
            Line(FAILS, "at most", 0.5),
        )
    ),
    run=run,
    reading=(
        "To look ahead has to be learnt, too, and the rule is easier. In a first quick run, of 150 steps, the side without a "
        "mask had a loss of 0.757 and wrote 99.5 % by the rule: not confirmed. Quick runs have 500 steps since; the thresholds "
        "are as they were.",
    ),
)
