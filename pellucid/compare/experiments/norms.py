"""Does a stack train without normalisation, and does it matter which one it has?"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from pellucid.base.config import ModelConfig, StackConfig
from pellucid.base.progress import Progress
from pellucid.base.taps import Tap
from pellucid.compare.corpus import LONGEST, draw_from, loss_on, next_words, sentences
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.learner import learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import decoder, made
from pellucid.model.residual import LayerNorm
from pellucid.model.transformer import DecoderOnly

POST, PRE, RMS, BATCH, NONE = "layer, after the sum", "layer, before", "RMS, before", "batch, before", "none"


class BatchNorm(nn.BatchNorm1d):
    """Each number over all positions of the batch, in place of each position over its numbers."""

    def forward(self, x: Tensor, tap: Tap | None = None) -> Tensor:
        """(B, T, D) -> (B, T, D); (N, D) -> (N, D)."""
        return super().forward(x.flatten(0, -2)).view_as(x)


class NoNorm(nn.Module):
    """Leaves everything as it is."""

    def forward(self, x: Tensor, tap: Tap | None = None) -> Tensor:
        """(..., D) -> (..., D)."""
        return x


@dataclass(frozen=True)
class Size:
    """How much is done."""

    layers: int
    width: int
    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int


SIZES: dict[Effort, Size] = {
    "smallest": Size(2, 8, 20, 8, (0.03,), 2),
    "quick": Size(6, 32, 200, 16, (0.001, 0.01), 3),
    "full": Size(12, 128, 2000, 32, (0.0003, 0.001, 0.003, 0.01), 5),
}


def configuration(kind: str, size: Size) -> ModelConfig:
    """A language model of English; what the package has no norm for has its layer norms replaced by :func:`model_of`."""
    vocabulary = len(sentences("train")[1].names)
    config = decoder("Transformer", width=size.width, vocabulary=vocabulary, layers=size.layers, max_length=LONGEST + 2)
    config = replace(config, decoder=StackConfig(size.layers, 4, 4 * size.width))
    return replace(config, norm="post" if kind == POST else "pre", norm_kind="rms" if kind == RMS else "layer")


def model_of(kind: str, size: Size, seed: int) -> DecoderOnly:
    """An untrained model; all kinds have the same projections and embeddings for a seed."""
    model = made(configuration(kind, size), seed)
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if kind in (BATCH, NONE) and isinstance(child, LayerNorm):
                setattr(module, name, BatchNorm(size.width) if kind == BATCH else NoNorm())
    return model


def run(effort: Effort, seed: int) -> Figures:
    """Train a deep stack with each normalisation, each at the rate that is best for it."""
    size = SIZES[effort]
    train, dev, test = (sentences(split)[1].ids for split in ("train", "dev", "test"))
    chance = math.log(len(sentences("train")[1].names))
    losses: dict[Place, list[float]] = {}
    by_rate: dict[str, dict[Place, list[float]]] = {}
    chosen: dict[str, float] = {}
    kinds = (POST, PRE, RMS, BATCH, NONE)
    with Progress(len(kinds), "norms", "norms") as progress:
        for kind in kinds:
            learnt = learn(
                partial(model_of, kind, size),
                draw_from(train, next_words, size.rows),
                steps=size.steps,
                rates=size.rates,
                seeds=range(seed, seed + size.seeds),
                score=lambda model: -_finite(loss_on(model, dev, next_words), chance),
            )
            chosen[kind] = learnt.rate
            losses[kind] = [_finite(loss_on(model, test, next_words), chance) for model in learnt.models]
            by_rate[kind] = {f"{rate:g}": [_finite(-score, chance)] for rate, score in learnt.scores.items()}
            progress.update()
    return Figures(
        setup=(
            f"A language model of the built-in corpus's English sentences, {size.layers} layers, width {size.width}: the loss "
            "on the test split, in nats a word. Layer normalisation after each sum as in the paper, or one before each "
            "sublayer: of each position (layer, RMS), of each number over the batch (batch), or none.",
            f"Matched: projections and embeddings to begin with; batches; {size.steps} steps of {size.rows} sentences, Adam "
            f"with warm-up; rates tried: {size.rates}, the best by validation for the first seed: "
            + ", ".join(f"{kind}: {rate}" for kind, rate in chosen.items())
            + ".",
            "Not matched: the norms' own parameters, which are few.",
            f"A loss that is not finite, or above guessing evenly, counts as that: {chance:.2f}. {size.seeds} seeds; "
            "differences are taken seed by seed.",
        ),
        panels=(
            Panel("Loss at the best rate", "norm", "loss (nats a word)", (Series("test split", losses),)),
            Panel(
                "Validation loss of the first seed by rate",
                "learning rate",
                "loss (nats a word)",
                tuple(Series(kind, points) for kind, points in by_rate.items()),
            ),
        ),
        judged={
            WITHOUT: _above(losses[NONE], losses[PRE]),
            POST_NAME: _above(losses[POST], losses[PRE]),
            RMS_NAME: _above(losses[RMS], losses[PRE]),
            BATCH_NAME: _above(losses[BATCH], losses[PRE]),
        },
    )


def _finite(loss: float, chance: float) -> float:
    return min(loss, chance) if math.isfinite(loss) else chance


def _above(losses: list[float], others: list[float]) -> list[float]:
    return [loss - other for loss, other in zip(losses, others, strict=True)]


_THAN = "loss above that of layer normalisation before each sublayer (nats a word)"
WITHOUT, POST_NAME, RMS_NAME, BATCH_NAME = (
    f"{name}: {_THAN}" for name in ("no normalisation", "layer normalisation after", "RMS", "batch normalisation")
)

EXPERIMENT = Experiment(
    name="norms",
    claim="Without normalisation a deep stack trains worse, at whatever rate; RMS normalisation does as well as layer "
    "normalisation.",
    rule=Rule((Line(WITHOUT, "at least", 0.1), Line(RMS_NAME, "at most", 0.1))),
    run=run,
    reading=("Batch normalisation and the norm after the sum are shown beside these two, and not judged.",),
)
