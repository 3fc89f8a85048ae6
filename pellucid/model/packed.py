"""A model for use alone: its matrices laid out beforehand as the processor's products read them, or kept in 8-bit integers.

With the few rows that decoding has, a product of PyTorch spends most of its time on bringing the matrix into that layout, anew
at every step.

Shapes: N outputs, K inputs.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.errors import UsageError
from pellucid.model.few_rows import product
from pellucid.model.transformer import Transformer

ModelType = TypeVar("ModelType", bound=Transformer)


class PackedLinear(nn.Module):
    """``x W^T + b`` with W laid out for oneDNN, in float32 or bfloat16. It cannot learn.

    Args:
        weight: (N, K), kept besides: compiled steps read it as it is.
        bias: (N,), or ``None``.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", None if bias is None else bias.detach())
        # inside a function, so that it is no tensor of the module's: it can be neither moved nor written down
        packed = torch.ops.mkldnn._reorder_linear_weight(self.weight)
        self._multiply = partial(_multiply, packed)

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        if torch.compiler.is_compiling():
            return F.linear(x, self.weight, self.bias)
        return self._multiply(x, self.bias)


def _multiply(packed: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return out


class Int8Linear(nn.Module):
    """``x W^T + b`` with W in 8 bits: a quarter of the memory to read, and four numbers where the processor had one.

    A weight is an integer from -127 to 127, with a scale for each output (the largest weight of its row over 127). What is
    multiplied with it is rounded to 8 bits as it comes, with one scale for all of it; sums are exact. In a compiled step only
    the weights are in 8 bits: with few rows the time goes into reading them.

    Args:
        weight: (N, K).
        bias: (N,), or ``None``.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        scale = weight.detach().abs().amax(dim=1).clamp(min=torch.finfo(torch.float32).tiny) / 127
        self.register_buffer("scale", scale)
        self.register_buffer("weight", (weight.detach() / scale[:, None]).round().to(torch.int8))
        self.register_buffer("bias", None if bias is None else bias.detach())
        # inside a function: torch's export looks for such objects among a module's attributes and cannot write them down
        self._multiply = partial(torch.ops.quantized.linear_dynamic, W_prepack=_in_8_bits(self.weight, scale, self.bias))

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        if torch.compiler.is_compiling():
            return product(x, self.weight, self.bias, self.scale)
        out: Tensor = self._multiply(x)
        return out


def _in_8_bits(weight: Tensor, scale: Tensor, bias: Tensor | None) -> Any:
    """For torch's operator that finds the scale of its input, rounds it and multiplies, all in one call."""
    zeros = torch.zeros(len(scale), dtype=torch.int64)
    with warnings.catch_warnings():
        # Tensors of integers with a scale are to leave torch one day; the operator has no other way in yet.
        warnings.filterwarnings("ignore", message=".*quantized tensor creation functions.*")
        whole = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
        return torch.ops.quantized.linear_prepack(whole, bias)


def packed(model: ModelType) -> ModelType:
    """The model for use alone, in the precision that it has; in 8 bits, elsewhere than on a CPU, or without oneDNN it is that
    already.

    It shares all weights with the model, and follows no later change of them.
    """
    elsewhere = model.weight("output").device.type != "cpu" or not torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if elsewhere or model.head.product is not None:
        return model
    return _with(PackedLinear, model)


def quantised(model: ModelType) -> ModelType:
    """The model with every projection, and the product with its output matrix, in 8 bits.

    Raises:
        UsageError: it is not on a CPU.
    """
    device = model.weight("output").device
    if device.type != "cpu":
        advice = "take bfloat16 there"
        raise UsageError("8-bit products are for CPUs", where="precision", expected="cpu", found=device, advice=advice)
    return _with(Int8Linear, model)


def _with(make: Callable[[Tensor, Tensor | None], nn.Module], model: ModelType) -> ModelType:
    """A copy with other products that shares everything else."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    replaced = [module for module in model.modules() if type(module) is nn.Linear]
    found = copy.deepcopy(model, shared | {id(module): make(module.weight, module.bias) for module in replaced})
    found.head.product = make(model.weight("output"), model.head.bias)
    return found.eval()
