"""Products with few rows, written as sums, while a step of a decoder is compiled.

A step of one sentence multiplies one row, or one row a beam, with every matrix of the model. There is hardly any arithmetic in
that: the time goes into reading the matrices, and into calling a library that is made for large products. Written as a sum the
compiler puts the product into one loop with what stands before and after it, reads each matrix once for all rows, and calls
nothing.

Shapes: M rows, N outputs, K inputs, n blocks of outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from operator import add
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

FEW = 8  # rows; with more of them a library's product is the faster one
BLOCK = 16  # outputs side by side: a vector of float32 in the widest registers
PARTS = 4  # int8: so many independent sums, since one alone waits for its own last addition


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
    """``x W^T * scale + b`` of few rows: (..., K), (N, K), (N,), (N,) -> (..., N). A weight in int8 has a scale."""
    rows, width = _rows(x), x.shape[-1]
    parts = PARTS if scale is not None and width % PARTS == 0 and len(rows) == 1 else 1
    step = width // parts
    sums = [
        # Not by ``sum``, which begins at 0: adding that would cost as much as the product.
        reduce(add, [weight[:, at : at + step].to(x.dtype) * row[at : at + step] for at in range(0, width, step)]).sum(-1)
        for row in rows
    ]  # M of (N,): one loop, in which each number of the matrix is read once
    out = torch.stack(sums if scale is None else [one * scale for one in sums])
    out = out if bias is None else out + bias
    return out.reshape(*x.shape[:-1], len(weight))


def _rows(x: Tensor) -> Tensor:
    """(..., K) -> (M, K), which the compiler computes once: it would put what they come from into the loop over the outputs."""
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    return torch.as_strided(rows, rows.shape, (x.shape[-1], 1))


class BlockedLinear(nn.Module):
    """``x W^T * scale + b`` of several rows, with W in blocks: K times ``BLOCK`` numbers, of as many outputs side by side.

    A vector then holds sums of several outputs, and nothing is left to be added up across it: with the few inputs of a small
    model that took as long as the products.

    Args:
        weight: (N, K); it may be in int8.
        bias: (N,), or ``None``.
        scale: (N,) of a weight in int8, or ``None``.
    """

    weight: Tensor
    bias: Tensor | None
    scale: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, scale: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        whole = F.pad(weight.detach(), (0, 0, 0, -len(weight) % BLOCK))
        self.register_buffer("weight", whole.view(-1, BLOCK, self.in_features).transpose(1, 2).contiguous())  # (n, K, BLOCK)
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.register_buffer("scale", scale)

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        sums = [(self.weight.to(x.dtype) * row[:, None]).sum(1).flatten()[: self.out_features] for row in _rows(x)]
        out = torch.stack(sums if self.scale is None else [one * self.scale for one in sums])
        out = out if self.bias is None else out + self.bias
        return out.reshape(*x.shape[:-1], self.out_features)


def matmul(x: Tensor, y: Tensor) -> Tensor:
    """``x @ y`` of few rows: (..., M, K), (..., K, N) -> (..., M, N)."""
    if y.stride(-1) == 1:
        return (x[..., :, :, None] * y[..., None, :, :]).sum(-2)
    return (x[..., :, None, :] * y.transpose(-2, -1)[..., None, :, :]).sum(-1)


class Summed(TorchFunctionMode):
    """Inside ``with Summed():`` the products of few rows of any module are written as sums."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        rows = math.prod(args[0].shape[:-1]) if function is F.linear else None
        if isinstance(rows, int) and rows <= FEW:  # no int: while a step of any number of rows is traced
            return product(*args, **kwargs)
        if function in (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__) and args[0].shape[-2] <= FEW:
            return matmul(*args)
        return function(*args, **kwargs)
