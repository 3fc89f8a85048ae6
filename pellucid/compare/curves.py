"""Curves that fall: the course of a training, as a panel of a report, and where a curve comes down to some loss."""

from __future__ import annotations

import math
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


def reached_at(points: Mapping[float, float], target: float) -> float:
    """Where the loss first is at most ``target``: between two measured places by a straight line over their logarithm.

    Args:
        points: losses by steps, seconds or whatever was spent, in order.
        target: of the loss.

    Raises:
        ValueError: it is not reached.
    """
    before: tuple[float, float] | None = None
    for place, loss in points.items():
        if loss <= target:
            if before is None:
                return place
            share = (before[1] - target) / (before[1] - loss)
            return math.exp(math.log(before[0]) + share * (math.log(place) - math.log(before[0])))
        before = place, loss
    raise ValueError("the target is not reached")
