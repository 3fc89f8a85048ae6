"""Products with many rows, as calls of oneDNN, while a step of a decoder is compiled.

The matrix is laid out beforehand as oneDNN reads it: a tensor without numbers of its own, which is put into the compiled code
when that is loaded. Until then a tensor of the same shape stands for it.

Shapes: R rows, N outputs, K inputs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.model.packed import Int8Linear, PackedLinear

LARGEST = 127  # number of 8 bits
MIDDLE = 128  # what is added to such a number: oneDNN's fast products read rows without a sign
TINY = 1e-30  # taken for the largest number of a row of zeros: it can be divided by
SOME = 16  # constants of fewer numbers are written into the code, under names of the compiler's own


class Called(nn.Module):
    """What both have in common.

    Args:
        matrix: as oneDNN reads it.
        stand_in: of its shape and type; never written, so that it takes no memory.
    """

    laid_out: Tensor

    def __init__(self, matrix: Tensor, stand_in: Tensor) -> None:
        super().__init__()
        self.register_buffer("laid_out", stand_in)
        self.matrix = [matrix]  # in a list: as an attribute it would be exported


class CalledLinear(Called):
    """``x W^T + b`` with W laid out for oneDNN, in float32 or bfloat16.

    Args:
        weight, bias: (N, K), and (N,) or ``None``.
        matrix: the weight as oneDNN reads it.
    """

    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, matrix: Tensor) -> None:
        super().__init__(matrix, torch.empty_like(weight))
        self.out_features, self.in_features = weight.shape
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.laid_out, self.bias, "none", [], "")
        return out


class CalledInt8Linear(Called):
    """``x W^T * scale + b`` with W in 8 bits: the integers are multiplied by oneDNN, all else is left to the compiler.

    What is multiplied with W is rounded to 8 bits with one scale a row, so that a row does not depend on the others.

    Args:
        weight, scale, bias: (N, K) in int8, (N,), and (N,) or ``None``.
    """

    scale: Tensor
    bias: Tensor | None
    surplus: Tensor
    ones: Tensor
    zeros: Tensor

    def __init__(self, weight: Tensor, scale: Tensor, bias: Tensor | None) -> None:
        matrix = torch.ops.onednn.qlinear_prepack(weight, None)
        super().__init__(matrix, torch.empty(weight.shape[::-1], dtype=torch.int8))
        self.out_features, self.in_features = weight.shape
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)
        self.register_buffer("surplus", MIDDLE * weight.sum(dim=1).float())  # of the sums, through what is added to the rows
        self.register_buffer("ones", torch.ones(max(SOME, len(weight))))
        self.register_buffer("zeros", torch.zeros(max(SOME, len(weight)), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        rows = x.reshape(-1, self.in_features)  # (R, K)
        step = rows.abs().amax(dim=1, keepdim=True).clamp(min=TINY) / LARGEST  # (R, 1)
        whole = (rows * step.reciprocal()).round().add(MIDDLE).to(torch.uint8)
        ones, zeros = self.ones[: self.out_features], self.zeros[: self.out_features]
        sums = torch.ops.onednn.qlinear_pointwise(
            whole, self.ones[0], self.zeros[0], self.laid_out, ones, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )  # (R, N) integers
        out = (sums - self.surplus) * (step * self.scale)
        out = out if self.bias is None else out + self.bias
        return out.reshape(*x.shape[:-1], self.out_features)


def called(module: nn.Module) -> nn.Module:
    """What calls oneDNN in place of a product whose matrix is laid out; others are called as they are."""
    if type(module) is Int8Linear:
        return CalledInt8Linear(module.weight, module.scale, module.bias)
    if type(module) is PackedLinear and module.packed is not None:
        return CalledLinear(module.weight, module.bias, module.packed)
    return module


def matrices(module: nn.Module) -> dict[str, Tensor]:
    """The matrices of all products inside, by the names of what stands for them."""
    return {f"{name}.laid_out": part.matrix[0] for name, part in module.named_modules() if isinstance(part, Called)}
