"""A model for use alone: its matrices laid out beforehand as the processor's products read them, or kept in 8-bit integers.

With the few rows that decoding has, a product of PyTorch spends most of its time on bringing the matrix into that layout, anew
at every step.

Shapes: N outputs, K inputs.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.errors import UsageError
from pellucid.base.taps import Tap
from pellucid.model.attention import MultiHeadAttention, split_heads
from pellucid.model.block import Block
from pellucid.model.few_rows import product
from pellucid.model.packing import Packing
from pellucid.model.positions import Rotation, rotate
from pellucid.model.transformer import Transformer

ModelType = TypeVar("ModelType", bound=Transformer)

SMALL = 1 << 17  # numbers of a float32 matrix up to which oneDNN takes longer to be called than it saves
WIDE = 1 << 12  # outputs, such as a vocabulary's, from which on oneDNN's products in 8 bits take less time than torch's others
SMALL_FUSED = 1 << 19  # numbers up to which the projections of self-attention are fused: they are copied, and kept besides


class PackedLinear(nn.Module):
    """``x W^T + b`` with W laid out for oneDNN, in float32 or bfloat16, unless it is small. It cannot learn.

    Args:
        weight: (N, K), kept besides: compiled steps read it as it is, and so do all where it is small.
        bias: (N,), or ``None``.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", None if bias is None else bias.detach())
        self._small = self.weight.dtype == torch.float32 and self.weight.numel() <= SMALL
        if not self._small:
            # inside a function, so that it is no tensor of the module's: it can be neither moved nor written down
            self._multiply = partial(_multiply, torch.ops.mkldnn._reorder_linear_weight(self.weight))

    @property
    def packed(self) -> Tensor | None:
        """W as oneDNN reads it; ``None``: it is small."""
        return None if self._small else self._multiply.args[0]

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        if self._small or torch.compiler.is_compiling():
            return F.linear(x, self.weight, self.bias)
        return self._multiply(x, self.bias)


def _multiply(packed: Tensor, x: Tensor, bias: Tensor | None) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    return out


class Int8Linear(nn.Module):
    """``x W^T + b`` with W in 8 bits: a quarter of the memory to read, and four numbers where the processor had one.

    A weight is an integer from -127 to 127, with a scale for each output (the largest weight of its row over 127). What is
    multiplied with it is rounded to 8 bits as it comes, with one scale for all of it; sums are exact. In a compiled step of
    one sentence only the weights are in 8 bits: with few rows the time goes into reading them.

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


class FusedProjections(MultiHeadAttention):
    """Self-attention whose queries, keys and values come out of one product.

    Args:
        attention: whose parts it takes over.
        product: with the three matrices under each other, D -> (H + 2 G) * K.
    """

    def __init__(self, attention: MultiHeadAttention, product: nn.Module) -> None:
        nn.Module.__init__(self)
        self.product, self.output = product, attention.output
        self.score, self.dropout = attention.score, attention.dropout
        self.n_heads, self.n_kv_heads = attention.n_heads, attention.n_kv_heads

    def project_all(
        self, x: Tensor, rotation: Rotation | None = None, tap: Tap | None = None, packing: Packing | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of those that attend to each other."""
        sizes = [self.n_heads, self.n_kv_heads, self.n_kv_heads]
        query, key, value = torch.split(split_heads(self.product(x), sum(sizes), packing), sizes, dim=1)
        if tap is not None:
            key, value, query = tap("k_projected", key), tap("v_projected", value), tap("q_projected", query)
        if rotation is not None:
            key, query = rotate(key, rotation), rotate(query, rotation)
        return query, key, value


def _in_8_bits(weight: Tensor, scale: Tensor, bias: Tensor | None) -> Any:
    """For torch's operator that finds the scale of its input, rounds it and multiplies, all in one call."""
    zeros = torch.zeros(len(scale), dtype=torch.int64)
    with warnings.catch_warnings(), _engine_for(len(scale)):
        # Tensors of integers with a scale are to leave torch one day; the operator has no other way in yet.
        warnings.filterwarnings("ignore", message=".*quantized tensor creation functions.*")
        whole = torch._make_per_channel_quantized_tensor(weight, scale.double(), zeros, 0)
        return torch.ops.quantized.linear_prepack(whole, bias)


@contextmanager
def _engine_for(outputs: int) -> Iterator[None]:
    """Inside, matrices are laid out for oneDNN's products in 8 bits where these are faster: those of many outputs, on a
    processor that multiplies 8 bits in one instruction. Else for torch's choice."""
    usual = torch.backends.quantized.engine
    if outputs >= WIDE and torch.cpu._is_vnni_supported():
        torch.backends.quantized.engine = "onednn"
    try:
        yield
    finally:
        torch.backends.quantized.engine = usual


def packed(model: ModelType) -> ModelType:
    """The model for use alone, in the precision that it has; in 8 bits, elsewhere than on a CPU, or without oneDNN it is that
    already.

    It shares all weights with the model, and follows no later change of them.
    """
    elsewhere = model.weight("output").device.type != "cpu" or not torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if elsewhere or model.head.product is not None:
        return model
    return _with(PackedLinear, model, SMALL_FUSED)


def quantised(model: ModelType) -> ModelType:
    """The model with every projection, and the product with its output matrix, in 8 bits.

    Raises:
        UsageError: it is not on a CPU.
    """
    device = model.weight("output").device
    if device.type != "cpu":
        advice = "take bfloat16 there"
        raise UsageError("8-bit products are for CPUs", where="precision", expected="cpu", found=device, advice=advice)
    return _with(Int8Linear, model, math.inf)


def _with(make: Callable[[Tensor, Tensor | None], nn.Module], model: ModelType, largest: float) -> ModelType:
    """A copy with other products that shares everything else.

    Queries, keys and values of self-attention come out of one product where it has at most ``largest`` numbers.
    """
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    fused = [_fusable(block.self_attn, largest) for block in blocks]
    gone = {id(part) for parts in fused for part in parts}
    made: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    for module in model.modules():
        if type(module) is nn.Linear and id(module) not in gone:
            made[id(module)] = make(module.weight, module.bias)
    found = copy.deepcopy(model, made)
    found.head.product = make(model.weight("output"), model.head.bias)
    for block, parts in zip((module for module in found.modules() if isinstance(module, Block)), fused, strict=True):
        if parts:
            weight = torch.cat([part.weight for part in parts])
            bias = None if parts[0].bias is None else torch.cat([part.bias for part in parts])
            block.self_attn = FusedProjections(block.self_attn, make(weight, bias))
    return found.eval()


def _fusable(attention: MultiHeadAttention, largest: float) -> list[nn.Linear]:
    """The projections of queries, keys and values, if they can be fused; else none."""
    parts = [attention.query, attention.key, attention.value]
    linear = [part for part in parts if type(part) is nn.Linear]
    same = len(linear) == 3 and len({part.bias is None for part in linear}) == 1
    return linear if same and sum(part.weight.numel() for part in linear) <= largest else []
