"""This package's own training step of a language model, as ``pellucid train`` takes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from benchmarks.gpt import BETAS, CLIP, LEARNING_RATE, VOCABULARY, WEIGHT_DECAY, Setting, Step, run
from pellucid.base.config import EmbeddingConfig, ModelConfig, OptimizerConfig, StackConfig
from pellucid.model.build import build, initialise
from pellucid.tasks.language_modelling import WindowBatch
from pellucid.tasks.windows import window_loss
from pellucid.training.step import make_optimizer, train_step


class Given:
    """The part of a task that a step needs; its examples are batches."""

    def batch(self, examples: Sequence[WindowBatch]) -> WindowBatch:
        return examples[0]

    def count(self, batch: WindowBatch) -> int:
        return batch.target.numel()

    def loss(self, model: nn.Module, batch: WindowBatch) -> Tensor:
        return window_loss(model, batch.ids, batch.target)


def make_step(setting: Setting, precision: str) -> tuple[nn.Module, Step]:
    stack = StackConfig(setting.n_layers, setting.n_heads, 4 * setting.d_model)
    config = ModelConfig(
        architecture="decoder",
        d_model=setting.d_model,
        encoder=stack,
        decoder=stack,
        dropout=0.0,
        norm="pre",
        activation="gelu",
        positions="learned",
        max_length=setting.context,
        embedding=EmbeddingConfig(scale=False),
        source_vocabulary=VOCABULARY,
        target_vocabulary=VOCABULARY,
    )
    model = build(config)
    initialise(model, seed=1)
    model.train()
    optimizer = make_optimizer(model, OptimizerConfig(beta1=BETAS[0], beta2=BETAS[1], weight_decay=WEIGHT_DECAY))
    task: Any = Given()

    def step(inputs: Tensor, targets: Tensor) -> float:
        examples = [[WindowBatch(inputs, targets)]]
        result = train_step(task, model, optimizer, examples, rate=LEARNING_RATE, clip=CLIP, precision=precision, device="cpu")
        return result.loss / result.tokens

    return model, step


if __name__ == "__main__":
    run(make_step)
