"""Dropout with cheap noise."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Dropout(nn.Module):
    """Sets each element to zero with probability ``p`` while training, and scales the rest so that the mean stays.

    On a CPU the noise of :func:`torch.nn.functional.dropout` costs more than the matrix product beside it. There one random
    byte an element decides: ``p`` is rounded to the nearest 1/256 (0.1 becomes 26/256 = 0.1016), and the scale uses the
    rounded value, so that the expectation is exact but for the rounding of the scale itself, 0.3 % in bfloat16. Other devices
    use torch's, and so does compiled code: a compiler fuses that noise, and would have to break its graph for this one.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return F.dropout(x, self.p)
        dropped = min(round(self.p * 256), 255)
        noise = torch.empty((x.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)  # eight bytes each
        noise = noise.view(torch.uint8)[: x.numel()].view(x.shape)
        # Compared as numbers, which 0 to 255 are exactly in every type: tensors of truth values take four times as long.
        return x * noise.to(x.dtype).ge_(dropped).mul_(256 / (256 - dropped))

    def extra_repr(self) -> str:
        return f"p={self.p}"
