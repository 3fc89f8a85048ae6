"""What training asks of a task. A task implements this; training never imports one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from pellucid.training.parallel import ALONE, Ranks

Stopped = Callable[[], bool]


class Plan(Protocol):
    """The batches of one epoch: a pure function of seed and epoch."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> np.ndarray[Any, Any]:
        """Numbers of the examples in one batch."""


@dataclass(frozen=True)
class Validation:
    """What a validation found.

    Args:
        metrics: by name; ``"loss"`` (per real token, without smoothing) is always there.
        samples: texts to show, one line each.
    """

    metrics: dict[str, float]
    samples: list[str]


class Task(Protocol):
    """Examples to tensors, loss, metric, and what is saved."""

    def plan(self, epoch: int) -> Plan:
        """The batches of an epoch."""

    def worst(self) -> np.ndarray[Any, Any]:
        """The examples of the batch that needs most memory."""

    def batch(self, examples: np.ndarray[Any, Any]) -> Any:
        """The tensors of a batch, with a method ``to(device)``."""

    def count(self, batch: Any) -> int:
        """Real target tokens of a batch: what the loss is divided by."""

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The training loss, summed over the real target tokens of a batch."""

    def validate(self, model: nn.Module, stopped: Stopped, ranks: Ranks = ALONE) -> Validation:
        """Loss, metrics and samples on the dev split. Gives up early, with what it has, when ``stopped()`` says so.

        Each of the ``ranks`` works on a part of it; all find the same, and make the same calls whatever ``stopped()`` says.
        """

    def describe(self, examples: Sequence[int]) -> list[str]:
        """One line for each example, to name it in a message."""

    def save_model(self, weights: dict[str, Tensor], directory: Path) -> None:
        """Write what is needed to use the model."""
