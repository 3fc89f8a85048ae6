"""Once or at every layer, with which base, and layers with weights of their own or shared: three choices of the paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.base.config import ModelConfig
from pellucid.base.progress import Progress
from pellucid.compare.corpus import LONGEST, Translator, translator
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.experiments import order
from pellucid.compare.learner import TEST, accuracy, learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import matched, parameters
from pellucid.compare.translating import WORTH_A_LOOK, Budget, above, taught, transformer, wider
from pellucid.model.positions import Positions, SinusoidalPositions
from pellucid.model.transformer import EncoderOnly

LAYERS = 3
PAPER, EVERY, SHARED, WIDE = "as in the paper", "positions at every layer", "one encoder layer, three times", "the same, wider"
VARIANTS = (PAPER, EVERY, SHARED, WIDE)
OWN = 10_000  # the paper's base
BASES = (10, 100, 1_000, OWN, 100_000, 1_000_000)


@dataclass(frozen=True)
class Size:
    """How much is done: translators, and encoders that name the token before."""

    width: int
    budget: Budget
    naming: order.Size


SIZES: dict[Effort, Size] = {
    "smallest": Size(8, Budget(3, 4, (0.01,), 2), order.Size(4, 8, 3, 4, (0.01,), 2)),
    "quick": Size(32, Budget(400, 32, (0.003, 0.01), 3), order.Size(64, 32, 600, 16, (0.003, 0.01), 3)),
    "full": Size(64, Budget(2000, 32, (0.001, 0.003, 0.01), 5), order.Size(128, 64, 800, 16, (0.003, 0.01), 3)),
}


def add_positions(positions: Positions, layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    """Before a layer: its input (R, T, D), or (N, D) where padding was left out, with the positions added once more."""
    x, packing = given[0], named["packing"]
    rows, length = x.shape[:2] if packing is None else packing.shape
    added = positions.added(torch.arange(length, device=x.device)[None])  # (1, T, D); padding stands on the right
    if added is not None:
        added = added.expand(rows, -1, -1)
        x = x + (added if packing is None else packing.pack(added))
    return (x, *given[1:]), named


def variant(config: ModelConfig, name: str, seed: int) -> Translator:
    """An untrained translator with one choice of the paper made otherwise."""
    model = translator(config, seed)
    encoder, decoder = model.model.encoder, model.model.decoder
    if name == EVERY:
        for stack in (encoder, decoder):
            for layer in list(stack.layers)[1:]:  # into the first one they come with the embedding
                layer.register_forward_pre_hook(partial(add_positions, stack.positions), with_kwargs=True)
    if name in (SHARED, WIDE):
        encoder.layers = nn.ModuleList([encoder.layers[0]] * LAYERS)
    return model


def weights(config: ModelConfig, name: str) -> int:
    """Number of weights of a variant, counted without memory for them."""
    with torch.device("meta"):
        return sum(weight.numel() for weight in variant(config, name, 0).parameters())


def configuration(name: str, width: int) -> ModelConfig:
    """Alike, but for wider feed-forward layers where what sharing saves is spent on them."""
    config = transformer(width, LAYERS)
    return matched(partial(wider, config), weights(config, PAPER), partial(weights, name=name)) if name == WIDE else config


def with_base(config: ModelConfig, base: float, seed: int) -> EncoderOnly:
    """An untrained encoder with sinusoids of another base: wavelengths from 2 pi to nearly base times that."""
    model = order.untrained(config, seed)
    assert isinstance(model, EncoderOnly)
    assert isinstance(model.encoder.positions, SinusoidalPositions)
    table = model.encoder.positions.table
    table.copy_(sinusoids(len(table), table.shape[1], base))
    return model


def sinusoids(length: int, width: int, base: float) -> Tensor:
    """``sin(pos / base^(2i / D))`` and its cosine in turn, (length, D)."""
    angle = torch.arange(length)[:, None] / base ** (torch.arange(0, width, 2, dtype=torch.float64) / width)
    return torch.stack((angle.sin(), angle.cos()), dim=2).flatten(1).float()


def run(effort: Effort, seed: int) -> Figures:
    """Train a translator for each variant, and an encoder for each base."""
    size = SIZES[effort]
    losses: dict[Place, list[float]] = {}
    right: dict[Place, list[float]] = {}
    said: list[str] = []
    naming = size.naming
    task = partial(order.batch, length=naming.length, rows=naming.rows)
    encoder = order.config_of("encoder", "sinusoidal", naming)
    with Progress(len(VARIANTS) + len(BASES), "variants", "positions") as progress:
        for name in VARIANTS:
            config = configuration(name, size.width)
            learnt, losses[name] = taught(partial(variant, config, name), size.budget, seed)
            said.append(f"{name} {weights(config, name):,} (d_ff {config.encoder.d_ff}, rate {learnt.rate})")
            progress.update()
        for base in BASES:
            seeds = range(seed, seed + naming.seeds)
            named = learn(partial(with_base, encoder, base), task, steps=naming.steps, rates=naming.rates, seeds=seeds)
            right[base] = [accuracy(model, task, batches=4, seed=TEST) for model in named.models]
            progress.update()
    return Figures(
        setup=(
            f"Translation from French to English of the built-in corpus, sentences of at most {LONGEST} words: loss on the "
            f"test split, in nats a word. {LAYERS} layers a side, width {size.width}, 4 heads, pre-norm, sinusoidal positions.",
            "*Positions at every layer*: added again to what enters the second and each later layer, of both stacks. *One "
            f"encoder layer, three times*: the encoder's {LAYERS} layers are one and the same; *wider*: and its feed-forward "
            "layers take the weights that this saves.",
            f"Parameters: {'; '.join(said)}. Matched: parameters but for the shared layer that is not wider, which is matched "
            f"in operations; {size.budget}. {size.budget.seeds} seeds; differences are taken seed by seed.",
            f"Bases: encoders of two layers, width {naming.width}, name the token before each of {naming.length} random ones, "
            f"as in `order`. Matched: parameters: {parameters(encoder):,}; {naming.steps} steps of {naming.rows} sequences; "
            f"rates tried: {naming.rates}, the best by validation for the first seed. {naming.seeds} seeds.",
        ),
        panels=(
            Panel("Loss of translators", "variant", "loss (nats a word)", (Series("test split", losses),)),
            Panel("Naming the token before", "base of the sinusoids", "share right", (Series("encoder", _named(right)),)),
        ),
        judged=judged(losses, right),
        remarks=("Of the other bases the best one counts, seed by seed, which favours them.",),
    )


def _named(right: Mapping[Place, list[float]]) -> dict[Place, list[float]]:
    return {f"{base:,}": numbers for base, numbers in right.items()}


def judged(losses: Mapping[Place, list[float]], right: Mapping[Place, list[float]]) -> dict[str, list[float]]:
    """What the rule reads."""
    others = [max(numbers) for numbers in zip(*(right[base] for base in BASES if base != OWN), strict=True)]
    return {
        LEARNT: losses[PAPER],
        FOUND: right[OWN],
        ONCE: above(losses[PAPER], losses[EVERY]),
        LOST: above(losses[SHARED], losses[PAPER]),
        LOST_WIDE: above(losses[WIDE], losses[PAPER]),
        BETTER: above(others, right[OWN]),
    }


LEARNT = "as in the paper: loss (nats a word)"
FOUND = "base 10,000: tokens before named rightly"
ONCE = "positions added once: loss above that with positions at every layer (nats a word)"
LOST = "one encoder layer three times, equal operations: loss above the paper's (nats a word)"
LOST_WIDE = "the same with as many parameters: loss above the paper's (nats a word)"
BETTER = "the best other base: more named rightly than with base 10,000"

EXPERIMENT = Experiment(
    name="positions",
    claim="To add positions once is enough; 10,000 is as good a base as any; and the encoder's layers do better with weights "
    "of their own than as one layer that is applied again and again.",
    rule=Rule(
        (
            Line(LEARNT, "at most", WORTH_A_LOOK, needed=True),
            Line(FOUND, "at least", 0.5, needed=True),
            Line(ONCE, "at most", 0.05),
            Line(BETTER, "at most", 0.05),
            Line(LOST, "at least", 0.05),
            Line(LOST_WIDE, "at least", 0.05),
        )
    ),
    run=run,
)
