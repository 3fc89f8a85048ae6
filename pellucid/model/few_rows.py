"""Products with few rows, written as sums, while a step of a decoder is compiled.

A step of one sentence multiplies one row, or one row a beam, with every matrix of the model. There is hardly any arithmetic in
that: the time goes into reading the matrices, and into calling a library that is made for large products. Written as a sum the
compiler puts the product into one loop with what stands before and after it, reads each matrix once for all rows, and calls
nothing.

Shapes: M rows, N outputs, K inputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

FEW = 8  # rows; with more of them a library's product is the faster one
PARTS = 4  # int8: so many independent sums, since one alone waits for its own last addition


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
    """``x W^T * scale + b`` of few rows: (..., K), (N, K), (N,), (N,) -> (..., N). A weight in int8 has a scale."""
    width = x.shape[-1]
    rows = x.reshape(-1, width).contiguous()
    # Makes the compiler compute the rows once: it would put what they come from into the loop over the N outputs.
    rows = torch.as_strided(rows, rows.shape, (width, 1))
    parts = PARTS if scale is not None and width % PARTS == 0 and len(rows) == 1 else 1
    step = width // parts
    sums = [
        sum(weight[:, at : at + step].to(x.dtype) * row[at : at + step] for at in range(0, width, step)).sum(-1) for row in rows
    ]  # M of (N,): one loop, in which each number of the matrix is read once
    out = torch.stack(sums if scale is None else [one * scale for one in sums])
    out = out if bias is None else out + bias
    return out.reshape(*x.shape[:-1], len(weight))


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
        if function is F.linear and math.prod(args[0].shape[:-1]) <= FEW:
            return product(*args, **kwargs)
        if function in (torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__) and args[0].shape[-2] <= FEW:
            return matmul(*args)
        return function(*args, **kwargs)
