"""LoRA (Hu et al., 2022): a trained projection stays as it is, and two thin matrices beside it learn the difference.

Handed to the builders as their ``linear=``; merged, the model is as it was before, with other numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ADDED = ("lora_in", "lora_out")


class LoRALinear(nn.Linear):
    """``x W^T + b + (alpha / rank) x A^T B^T``, of which only A and B learn. B begins at zero: so does the difference.

    Args:
        d_in, d_out: widths.
        bias: whether there is one.
        rank: rows of A.
        alpha: how much the product counts, times rank.
    """

    def __init__(self, d_in: int, d_out: int, bias: bool = True, *, rank: int, alpha: float) -> None:
        super().__init__(d_in, d_out, bias)
        self.scale = alpha / rank
        self.lora_in = nn.Parameter(torch.empty(rank, d_in))  # A
        self.lora_out = nn.Parameter(torch.empty(d_out, rank))  # B

    def initialise(self, generator: torch.Generator) -> None:
        """A uniform as the paper's code has it, B zero."""
        bound = 1 / math.sqrt(self.in_features)
        nn.init.uniform_(self.lora_in, -bound, bound, generator=generator)
        nn.init.zeros_(self.lora_out)

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d_out)."""
        return super().forward(x) + F.linear(F.linear(x, self.lora_in), self.lora_out) * self.scale

    def merged(self) -> Tensor:
        """``W + (alpha / rank) B A``, (d_out, d_in)."""
        return self.weight + self.scale * self.lora_out @ self.lora_in


def lora(rank: int, alpha: float) -> Callable[..., nn.Module]:
    """What to hand to a builder as ``linear=``; rank 0: plain projections."""
    return partial(LoRALinear, rank=rank, alpha=alpha) if rank else nn.Linear


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """The model's weights under the names that it has without LoRA, what was added merged in."""
    weights = {name: weight for name, weight in model.state_dict().items() if name.rpartition(".")[2] not in ADDED}
    for name, module in model.named_modules():
        if isinstance(module, LoRALinear):
            weights[f"{name}.weight"] = module.merged().detach()
    return weights
