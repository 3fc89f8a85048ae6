"""The learning rate: a pure function of the step."""

from __future__ import annotations

import math

from pellucid.base.config import OptimizerConfig


def learning_rate(step: int, config: OptimizerConfig, *, d_model: int, steps: int) -> float:
    """The rate of one step.

    Args:
        step: counted from 1.
        config: schedule, rate and warm-up.
        d_model: width of the model, which the paper's formula contains (section 5.3).
        steps: the last step of the run, where the cosine ends.
    """
    if config.schedule == "paper":
        formula: float = d_model**-0.5 * min(step**-0.5, step * config.warmup**-1.5)
        return config.learning_rate * formula
    if step < config.warmup:
        return config.learning_rate * step / config.warmup
    if config.schedule == "inverse_sqrt":
        return config.learning_rate * math.sqrt(max(config.warmup, 1) / step)
    if config.schedule == "cosine":
        done = min((step - config.warmup) / max(steps - config.warmup, 1), 1.0)
        return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))
    return config.learning_rate
