"""Dot product, scaled dot product or additive attention: quality, the softmax at the start, time and memory by width."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from pellucid.base.config import Attention, ModelConfig
from pellucid.base.progress import Progress
from pellucid.compare.cost import Work, clock_in_words, peak_bytes, ratios, seconds
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.experiments.distance import QUESTION, batch
from pellucid.compare.learner import TEST, accuracy, learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import decoder, made
from pellucid.model.attention import Additive, DotProduct, Score

KINDS: dict[str, Attention] = {"dot": "dot-unscaled", "scaled dot": "dot", "additive": "additive"}


@dataclass(frozen=True)
class Size:
    """How much is done."""

    widths: tuple[int, ...]  # d_k, of the only head
    keys: int
    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int
    least: float


SIZES: dict[Effort, Size] = {
    "smallest": Size((4, 8), 8, 3, 4, (0.01,), 2, 0.0),
    "quick": Size((8, 32, 128, 512), 32, 100, 16, (0.003, 0.01), 3, 0.02),
    "full": Size((8, 16, 32, 64, 128, 256, 512), 32, 300, 16, (0.001, 0.003, 0.01), 5, 0.2),
}


def scores_of(kind: str, width: int, generator: torch.Generator) -> Score:
    """One head's score; what additive attention learns begins as the package's models have it: Xavier uniform."""
    if kind != "additive":
        return DotProduct(width, scaled=kind == "scaled dot")
    score = Additive(1, width)
    reach = math.sqrt(6 / (width + 1))
    with torch.no_grad():
        score.weight.copy_((torch.rand(1, width, generator=generator) * 2 - 1) * reach)
    return score


def start(kind: str, width: int, size: Size, seed: int) -> tuple[float, float]:
    """Entropy of the weights, as a share of the largest possible, and the norm of a random output's gradient with respect to
    the scores, for queries and keys whose numbers are drawn from a normal distribution (the paper's footnote 4)."""
    generator = torch.Generator().manual_seed(seed)
    query, key = (torch.randn(16, 1, size.keys, width, generator=generator) for _ in range(2))
    with torch.no_grad():
        score = scores_of(kind, width, generator)
        scores = score(query, key) * score.scale
    weights = torch.softmax(scores.requires_grad_(), dim=-1)
    entropy = float(torch.special.entr(weights.detach()).sum(-1).mean()) / math.log(size.keys)
    drawn = torch.randn(weights.shape, generator=generator)
    (gradient,) = torch.autograd.grad((weights * drawn).sum(), scores)
    return entropy, float(gradient.square().sum(-1).mean().sqrt())


def config_of(kind: str, width: int, size: Size) -> ModelConfig:
    """A decoder of one layer with one head of ``width``, the rest always the same."""
    config = decoder("Transformer", width=16, vocabulary=QUESTION + 1, layers=1, heads=1, max_length=size.keys + 1)
    return replace(config, attention=KINDS[kind], decoder=replace(config.decoder, d_head=width))


def pass_of(kind: str, width: int, size: Size, seed: int) -> Work:
    """Scores, weights and their gradient."""
    generator = torch.Generator().manual_seed(seed)
    query, key = (torch.randn(1, 1, size.keys, width, generator=generator, requires_grad=True) for _ in range(2))
    score = scores_of(kind, width, generator)

    def work() -> tuple[Tensor, ...]:
        weights = torch.softmax(score(query, key) * score.scale, dim=-1)
        return torch.autograd.grad(weights[..., 0].sum(), (query, key))

    return work


def run(effort: Effort, seed: int) -> Figures:
    """The start, quality and cost of each kind at each width."""
    size = SIZES[effort]
    seeds = range(seed, seed + size.seeds)
    task = partial(batch, distance=size.keys, rows=size.rows)
    found: dict[str, dict[str, dict[Place, list[float]]]] = {
        part: {kind: {} for kind in KINDS} for part in ("entropy", "gradient", "right", "time", "memory")
    }
    with Progress(len(size.widths), "widths", "additive") as progress:
        for width in size.widths:
            times = seconds({kind: pass_of(kind, width, size, seed) for kind in KINDS}, rounds=size.seeds, least=size.least)
            for kind in KINDS:
                starts = [start(kind, width, size, each) for each in seeds]
                found["entropy"][kind][width] = [entropy for entropy, _ in starts]
                found["gradient"][kind][width] = [gradient for _, gradient in starts]
                learnt = learn(
                    partial(made, config_of(kind, width, size)), task, steps=size.steps, rates=size.rates, seeds=seeds
                )
                found["right"][kind][width] = [accuracy(model, task, batches=4, seed=TEST) for model in learnt.models]
                found["time"][kind][width] = [each * 1e3 for each in times[kind]]
                found["memory"][kind][width] = [peak_bytes(pass_of(kind, width, size, seed)) / 2**20]
            progress.update()
    wide = max(size.widths)
    return Figures(
        setup=(
            f"At the start: queries and keys of unit variance, {size.keys} each, one head; entropy of the weights as a share "
            "of the largest possible, and the norm of a random output's gradient with respect to the scores.",
            f"Quality: recall of one of 16 symbols after {size.keys} steps, as in `distance`; one layer, width 16, one head of "
            f"d_k. Matched: parameters: but for the {wide} and fewer of additive attention's own; {size.steps} steps of "
            f"{size.rows} sequences, rates tried: {size.rates}, the best by validation for the first seed. {size.seeds} seeds.",
            f"Cost: scores, weights and their gradient for one sequence of {size.keys}. {clock_in_words()}.",
        ),
        panels=tuple(
            Panel(title, "d_k", y, tuple(Series(kind, points) for kind, points in found[part].items()), True, log)
            for part, title, y, log in (
                ("entropy", "Softmax at the start", "entropy (share of the largest)", False),
                ("gradient", "Gradient through the softmax at the start", "norm", True),
                ("right", "Recall after training", "share right", False),
                ("time", "Time", "milliseconds", True),
                ("memory", "Memory", "MiB", True),
            )
        ),
        judged={
            FLAT: found["entropy"]["scaled dot"][wide],
            SHARP: found["entropy"]["dot"][wide],
            WEAK: ratios(found["gradient"]["dot"][wide], found["gradient"]["scaled dot"][wide]),
            SLOW: ratios(found["time"]["additive"][wide], found["time"]["scaled dot"][wide]),
            LARGE: ratios(found["memory"]["additive"][wide], found["memory"]["scaled dot"][wide]),
        },
    )


FLAT = "scaled dot at the greatest d_k: entropy at the start"
SHARP = "dot at the greatest d_k: entropy at the start"
WEAK = "dot at the greatest d_k: gradient at the start, times that of scaled dot"
SLOW = "additive at the greatest d_k: time, times that of scaled dot"
LARGE = "additive at the greatest d_k: memory, times that of scaled dot"

EXPERIMENT = Experiment(
    name="additive",
    claim="Dot products grow with d_k and push the softmax to where its gradient is small, which division by sqrt(d_k) "
    "prevents; additive attention needs no such thing, but takes more time and memory.",
    rule=Rule(
        (
            Line(FLAT, "at least", 0.8),
            Line(SHARP, "at most", 0.3),
            Line(WEAK, "at most", 0.8),
            Line(SLOW, "at least", 2.0),
            Line(LARGE, "at least", 2.0),
        )
    ),
    run=run,
    clocked=True,
    reading=("Whether the start matters for what is learnt is shown below under recall, and not judged.",),
)
