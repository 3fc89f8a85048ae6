"""The course of a training, as a panel of a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from torch import nn

from pellucid.compare.experiment import Panel, Place, Series
from pellucid.compare.learner import Learnt

Model = TypeVar("Model", bound=nn.Module)


def training_panel(learnt: Mapping[str, Learnt[Model]]) -> Panel:
    """Mean loss of each tenth of the training, by what was trained."""

    def points(losses: list[list[float]]) -> dict[Place, list[float]]:
        steps = min(map(len, losses))
        tenths = [(steps * part // 10, steps * (part + 1) // 10) for part in range(10)]
        return {end: [sum(each[begin:end]) / (end - begin) for each in losses] for begin, end in tenths if end > begin}

    series = tuple(Series(name, points(each.losses)) for name, each in learnt.items())
    return Panel("Training", "step", "loss (nats an answer)", series)
