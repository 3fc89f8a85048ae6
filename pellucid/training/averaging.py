"""Averages of weights: over checkpoints (section 6.1 of the paper), and exponentially while training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pellucid.base.errors import ModelError

_ADVICE = "move the file away: the run then takes the mean of the others"


def average(files: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of the weights in several safetensors files, added up in float64, one file in memory at a time.

    Raises:
        ModelError: a file is damaged, or they hold different weights.
    """
    total: dict[str, Tensor] = {}
    dtypes: dict[str, torch.dtype] = {}
    for path in files:
        try:
            weights = load_file(path)
        except (SafetensorError, OSError) as error:
            raise ModelError("a checkpoint to average is damaged", where=path, found=error, advice=_ADVICE) from error
        if total and weights.keys() != total.keys():
            other = sorted(weights.keys() ^ total.keys())
            raise ModelError("the checkpoints to average hold different weights", where=path, found=", ".join(other[:5]))
        for name, weight in weights.items():
            dtypes[name] = weight.dtype
            total[name] = total[name].add_(weight) if name in total else weight.double()
    return {name: (weight / len(files)).to(dtypes[name]) for name, weight in total.items()}


class MovingAverage:
    """``average = decay * average + (1 - decay) * weights`` after each step."""

    def __init__(self, weights: dict[str, Tensor], decay: float) -> None:
        self.decay = decay
        self.weights = {name: weight.detach().clone() for name, weight in weights.items()}

    @torch.no_grad()
    def update(self, weights: dict[str, Tensor]) -> None:
        """Move towards ``weights``."""
        for name, mean in self.weights.items():
            mean.lerp_(weights[name], 1.0 - self.decay)
