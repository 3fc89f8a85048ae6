"""Do several heads learn what one of the same size does not, and do they look at different things?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import combinations

import torch
from torch import Tensor, nn

from pellucid.base.progress import Progress
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.learner import TEST, Batch, accuracy, learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import decoder, made, parameters

VOCABULARY = 16
BACK = (1, 4)  # how far back the two tokens stand that the answer depends on


@dataclass(frozen=True)
class Size:
    """How much is done."""

    heads: tuple[int, ...]
    length: int
    width: int
    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int


SIZES: dict[Effort, Size] = {
    "smallest": Size((1, 2), 6, 8, 3, 4, (0.01,), 2),
    "quick": Size((1, 2, 4, 8), 24, 32, 400, 16, (0.005, 0.01), 3),
    "full": Size((1, 2, 4, 8), 48, 64, 2000, 32, (0.001, 0.003, 0.01), 5),
}


def batch(generator: torch.Generator, *, size: Size) -> Batch:
    """Random tokens; the answer at each position is the larger of two, one and four places before it."""
    ids = torch.randint(VOCABULARY, (size.rows, size.length), generator=generator)
    far = max(BACK)
    wanted = torch.ones_like(ids, dtype=torch.bool)
    wanted[:, :far] = False
    one, other = (ids[:, far - back : size.length - back] for back in BACK)
    return Batch(ids, wanted, torch.maximum(one, other).flatten())


@torch.no_grad()
def maps(model: nn.Module, ids: Tensor) -> Tensor:
    """Attention weights of the only layer, (B, H, T, T)."""
    caught: list[Tensor] = []

    def catch(name: str, tensor: Tensor) -> Tensor:
        if name == "decoder.layers.0.self_attn.weights":
            caught.append(tensor)
        return tensor

    model.eval()
    model(ids, tap=catch)
    return caught[0]


def difference(weights: Tensor) -> float:
    """Mean over pairs of heads, rows and queries of the share of weight that would have to be moved: 0 alike, 1 disjoint."""
    pairs = [(weights[:, one] - weights[:, other]).abs().sum(-1) / 2 for one, other in combinations(range(weights.shape[1]), 2)]
    return float(torch.stack(pairs)[..., max(BACK) :].mean())


def run(effort: Effort, seed: int) -> Figures:
    """One layer with more and more heads."""
    size = SIZES[effort]
    seeds = range(seed, seed + size.seeds)
    task = partial(batch, size=size)
    tested = task(torch.Generator().manual_seed(TEST)).ids
    right: dict[Place, list[float]] = {}
    apart: dict[str, dict[Place, list[float]]] = {"before training": {}, "after training": {}}
    rates = []
    of = partial(decoder, "Transformer", width=size.width, vocabulary=VOCABULARY, layers=1, max_length=size.length)
    with Progress(len(size.heads), "numbers of heads", "heads") as progress:
        for heads in size.heads:
            make = partial(made, of(heads=heads))
            learnt = learn(make, task, steps=size.steps, rates=size.rates, seeds=seeds)
            right[heads] = [accuracy(model, task, batches=4, seed=TEST) for model in learnt.models]
            if heads > 1:
                apart["before training"][heads] = [difference(maps(make(each), tested)) for each in seeds]
                apart["after training"][heads] = [difference(maps(model, tested)) for model in learnt.models]
            rates.append(f"{heads}: {learnt.rate}")
            progress.update()
    most, fewest = max(size.heads), min(size.heads)
    gained = [more - less for more, less in zip(right[most], right[fewest], strict=True)]
    return Figures(
        setup=(
            f"Random tokens out of {VOCABULARY}; at each position the larger of two is to be named, of those {BACK[0]} and "
            f"{BACK[1]} places before it: two places to look at once.",
            f"One layer of width {size.width}; heads share that width, so that more heads are narrower ones. "
            f"Matched: parameters: {parameters(of(heads=1)):,} whatever the heads; operations; {size.steps} steps of "
            f"{size.rows} sequences of {size.length} tokens; rates tried: {size.rates}, the best by validation for the first "
            f"seed ({', '.join(rates)}). {size.seeds} seeds.",
            "The difference of two maps is the share of weight that would have to be moved to make one of the other: 0 alike, "
            "1 disjoint; the mean over pairs of heads.",
        ),
        panels=(
            Panel("Quality", "heads", "share right", (Series("Transformer", right),), log_x=True),
            Panel(
                "Difference between heads",
                "heads",
                "share of weight",
                tuple(Series(*each) for each in apart.items()),
                log_x=True,
            ),
        ),
        judged={BETTER: gained, LEARNT: right[most], APART: apart["after training"][most]},
    )


LEARNT = "most heads: share right"
BETTER = "most heads: gained over one head of the same size"
APART = "most heads: difference between their maps after training"

EXPERIMENT = Experiment(
    name="heads",
    claim="Several heads look at different things at once, and so do better than one head of the same size.",
    rule=Rule((Line(LEARNT, "at least", 0.5, needed=True), Line(BETTER, "at least", 0.05), Line(APART, "at least", 0.3))),
    run=run,
)
