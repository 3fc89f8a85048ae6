"""A small training loop for tasks that are made up on the spot. Both sides of a comparison go through it.

Shapes: B rows, T positions, N positions with a wanted answer, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.config import OptimizerConfig
from pellucid.base.progress import Progress
from pellucid.training.schedule import learning_rate

Model = TypeVar("Model", bound=nn.Module)


@dataclass(frozen=True)
class Batch:
    """Examples of a task.

    Args:
        ids: (B, T) tokens.
        wanted: (B, T) True where an answer is wanted.
        answers: (N,) the right ones, in the order of ``ids[wanted]``.
    """

    ids: Tensor
    wanted: Tensor
    answers: Tensor


Draw = Callable[[torch.Generator], Batch]  # a task: one more batch, from the generator's numbers alone


def train(model: nn.Module, draw: Draw, *, steps: int, rate: float, seed: int) -> list[float]:
    """Train on fresh batches with Adam: warm-up over a tenth of the steps, then a cosine to 0, gradients clipped to 1.

    Returns:
        The loss of each step, in nats an answer. A run that is no longer finite ends there.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # dropout
    config = OptimizerConfig(schedule="cosine", learning_rate=rate, warmup=max(1, steps // 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, betas=(0.9, 0.98))
    model.train()
    losses: list[float] = []
    with Progress(steps, "steps", "training") as progress:
        for step in range(1, steps + 1):
            optimizer.param_groups[0]["lr"] = learning_rate(step, config, d_model=1, steps=steps)
            batch = draw(generator)
            loss = F.cross_entropy(model(batch.ids, wanted=batch.wanted), batch.answers)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                break
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            progress.update(loss=losses[-1])
    return losses


@torch.no_grad()
def accuracy(model: nn.Module, draw: Draw, *, batches: int, seed: int) -> float:
    """Share of right answers on batches of their own."""
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    right = count = 0
    for _ in range(batches):
        batch = draw(generator)
        right += int((model(batch.ids, wanted=batch.wanted).argmax(-1) == batch.answers).sum())
        count += len(batch.answers)
    return right / count


# Seeds of three streams that never meet: what is trained on, what a rate is chosen by, what is reported.
VALIDATION, TEST = 1_000_003, 2_000_003


@dataclass(frozen=True)
class Learnt(Generic[Model]):
    """What :func:`learn` gives.

    Args:
        models: trained ones, one a seed.
        rate: learning rate that was best.
        scores: validation score of the first seed, by rate.
        losses: of each step, for each seed.
    """

    models: list[Model]
    rate: float
    scores: dict[float, float]
    losses: list[list[float]]


def learn(
    make: Callable[[int], Model],
    draw: Draw,
    *,
    steps: int,
    rates: Sequence[float],
    seeds: Sequence[int],
    score: Callable[[Model], float] | None = None,
) -> Learnt[Model]:
    """Train one model a seed, at the rate that is best for the first of them.

    Args:
        make: an untrained model, from a seed.
        draw: the task.
        steps: of each training.
        rates: to choose from; the same for all that are compared.
        seeds: of weights and batches.
        score: what the rate is chosen by, more is better; ``None``: accuracy on four validation batches.
    """
    score = score or (lambda model: accuracy(model, draw, batches=4, seed=VALIDATION))

    def run(seed: int, rate: float) -> tuple[Model, list[float]]:
        model = make(seed)
        return model, train(model, draw, steps=steps, rate=rate, seed=seed)

    tried = {rate: run(seeds[0], rate) for rate in rates}
    scores = {rate: score(model) if math.isfinite(losses[-1]) else -math.inf for rate, (model, losses) in tried.items()}
    best = max(scores, key=lambda rate: scores[rate])
    runs = [tried[best], *(run(seed, best) for seed in seeds[1:])]
    return Learnt([model for model, _ in runs], best, scores, [losses for _, losses in runs])
