"""This package's own training step, as ``pellucid train`` takes it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.contender import (
    BETAS,
    EPSILON,
    LABEL_SMOOTHING,
    LEARNING_RATE,
    PAD,
    VOCABULARY,
    Batch,
    Size,
    Step,
    run,
)
from pellucid.base.config import ModelConfig, OptimizerConfig, StackConfig
from pellucid.model.build import build, initialise
from pellucid.tasks.pairs import PairBatch, pair_loss
from pellucid.training.step import make_optimizer, train_step


class Prepared:
    """The part of a task that a step needs, over batches that are given."""

    def __init__(self, batches: list[Batch]) -> None:
        self.batches = [_tensors(batch) for batch in batches]

    def batch(self, examples: Sequence[int]) -> PairBatch:
        return self.batches[examples[0]]

    def count(self, batch: PairBatch) -> int:
        return len(batch.target_output)

    def loss(self, model: nn.Module, batch: PairBatch) -> Tensor:
        return pair_loss(model, batch, LABEL_SMOOTHING)

    def describe(self, examples: Sequence[int]) -> list[str]:
        return [f"batch {number}" for number in examples]


def _tensors(batch: Batch) -> PairBatch:
    source, target = torch.from_numpy(batch.source), torch.from_numpy(batch.target)
    real, wanted = source != PAD, target[:, 1:] != PAD
    return PairBatch(source, None if real.all() else real, target[:, :-1], target[:, 1:][wanted], wanted)


def make_step(size: Size, batches: list[Batch], precision: str) -> Step:
    stack = StackConfig(size.n_layers, size.n_heads, size.d_ff)
    config = ModelConfig(
        d_model=size.d_model,
        encoder=stack,
        decoder=stack,
        dropout=size.dropout,
        source_vocabulary=VOCABULARY,
        target_vocabulary=VOCABULARY,
    )
    model = build(config)
    initialise(model, seed=1)
    model.train()
    optimizer = make_optimizer(model, OptimizerConfig(beta1=BETAS[0], beta2=BETAS[1], epsilon=EPSILON))
    task = Prepared(batches)

    def step(index: int) -> int:
        result = train_step(
            task,  # type: ignore[arg-type]
            model,
            optimizer,
            [[index]],
            rate=LEARNING_RATE,
            clip=0.0,
            precision=precision,
            device="cpu",
        )
        return result.tokens

    return step


if __name__ == "__main__":
    run(make_step, packages=("torch", "pellucid"))
