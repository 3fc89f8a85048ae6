"""Position schemes: what tells attention, which by itself sees a set, the order of its vectors (section 3.5 of the paper).

A scheme is asked by a stack, once a forward, for what it gives: vectors to add to the embedding, cosines and sines to rotate
queries and keys with, or a bias for the scores. Layers receive plain tensors and never ask for its name.

Shapes: B batch, T query positions, S key positions, D width of the model, H heads, K width of a head.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.config import RotaryConfig
from pellucid.base.errors import DataError

Rotation = tuple[Tensor, Tensor]  # cosines and sines, (B or 1, 1, T, K) each


def position_ids(mask: Tensor | None, length: int, device: torch.device) -> Tensor:
    """Positions counted from the first real token, so that padding on the left changes nothing.

    Args:
        mask: (B, T) True = real token, or ``None``: no padding.
        length: T.

    Returns:
        (B, T), or (1, T) without a mask.
    """
    if mask is None:
        return torch.arange(length, device=device)[None]
    return (mask.cumsum(1) - 1).clamp_(min=0)


class Positions(nn.Module):
    """What a scheme may give; this one, the base of all, gives nothing: the order stays unknown.

    Args:
        max_length: number of positions that there is a vector for; ``None``: no limit.
    """

    def __init__(self, max_length: int | None = None) -> None:
        super().__init__()
        self.max_length = max_length

    def check(self, length: int) -> None:
        """Refuse a sequence that the positions do not reach.

        Raises:
            DataError: it has more than ``max_length`` tokens.
        """
        if self.max_length is not None and length > self.max_length:
            raise DataError(
                "a sequence is longer than the model's positions reach",
                expected=f"at most {self.max_length} tokens (model.max_length)",
                found=length,
                advice="shorten the text, or train with a larger model.max_length",
            )

    def added(self, positions: Tensor) -> Tensor | None:
        """To add to the embedding: (B, T) -> (B, T, D)."""
        return None

    def rotation(self, positions: Tensor, like: Tensor) -> Rotation | None:
        """To rotate queries and keys with, in the type of ``like``: (B, T) -> two of (B, 1, T, K)."""
        return None

    def bias(self, queries: Tensor, keys: Tensor) -> Tensor | None:
        """To add to the scaled scores: (B, T), (B, S) -> (B, H, T, S)."""
        return None


class SinusoidalPositions(Positions):
    """``PE(pos, 2i) = sin(pos / 10000^(2i / D))``, ``PE(pos, 2i + 1) = cos(pos / 10000^(2i / D))``.

    Args:
        max_length: rows of the table.
        d_model: D.
        halves: all sines first, then all cosines, as in tensor2tensor and Marian; else in turn, as in the paper.
    """

    table: Tensor

    def __init__(self, max_length: int, d_model: int, *, halves: bool = False) -> None:
        super().__init__(max_length)
        self.halves = halves
        self.register_buffer("table", torch.empty(max_length, d_model), persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """Fill the table; it is computed in float64, since an angle near 1,000 has few digits left in float32."""
        if self.table.is_meta:
            return  # nothing to fill; and to compute on this device torch would first import its compiler, for a second
        max_length, d_model = self.table.shape
        pairs = torch.arange(0, d_model, 2, dtype=torch.float64, device=self.table.device)
        position = torch.arange(max_length, dtype=torch.float64, device=self.table.device)
        angle = position[:, None] / 10000 ** (pairs / d_model)  # (position, D / 2)
        both = torch.stack([angle.sin(), angle.cos()], dim=1 if self.halves else 2)
        self.table.copy_(both.flatten(1))

    def added(self, positions: Tensor) -> Tensor:
        return F.embedding(positions, self.table)


class LearnedPositions(Positions):
    """A learned vector for each position (the paper's Table 3, row E)."""

    def __init__(self, max_length: int, d_model: int) -> None:
        super().__init__(max_length)
        self.weight = nn.Parameter(torch.empty(max_length, d_model))

    def added(self, positions: Tensor) -> Tensor:
        return F.embedding(positions, self.weight)


class RotaryPositions(Positions):
    """Queries and keys turned by an angle that grows with their position, so that their product depends on the distance alone
    (Su et al., "RoFormer", 2021, section 3.2).

    Numbers ``i`` and ``i + K / 2`` of a head make a pair, turned by ``pos * base^(-2i / K)``: the order of LLaMA in the
    Hugging Face layout. (The paper pairs neighbours; the two differ by a fixed order of the rows of W^Q and W^K.)

    Args:
        d_head: K.
        config: base, and how the angles shrink for texts longer than those trained on.
    """

    def __init__(self, d_head: int, config: RotaryConfig) -> None:
        super().__init__()
        frequencies = [config.base ** (-2 * i / d_head) for i in range(d_head // 2)]
        # Plain numbers, not a buffer: cast to bfloat16 with the weights, they could not tell positions above 256 apart.
        self.frequencies = [_scaled(frequency, config) for frequency in frequencies]

    def rotation(self, positions: Tensor, like: Tensor) -> Rotation:
        frequencies = torch.tensor(self.frequencies, dtype=torch.float64, device=positions.device)
        angle = (positions[:, None, :, None] * frequencies).repeat(1, 1, 1, 2)  # (B, 1, T, K)
        return angle.cos().to(like.dtype), angle.sin().to(like.dtype)


def _scaled(frequency: float, config: RotaryConfig) -> float:
    """A frequency made slower. "linear": all alike (Chen et al., 2023). "llama3": slow ones by ``factor``, quick ones not,
    those between in part (Llama 3.1's release; a wave is quick when it fits ``high_frequency`` times into the old length).
    """
    if config.scaling == "linear":
        return frequency / config.factor
    if config.scaling == "llama3":
        turns = config.original_length * frequency / (2 * math.pi)  # of the wave over the length trained on
        share = (turns - config.low_frequency) / (config.high_frequency - config.low_frequency)
        share = min(max(share, 0.0), 1.0)
        return (1 - share) * frequency / config.factor + share * frequency
    return frequency


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn each pair of numbers of each head, (B, H, T, K), by the angle of its position. The type stays."""
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return (x * cosine + torch.cat((-second, first), dim=-1) * sine).to(x.dtype)  # under autocast angles are in float32


class AlibiPositions(Positions):
    """A bias of ``-slope * distance``, with a slope of its own for each head (Press et al., 2022)."""

    def __init__(self, n_heads: int) -> None:
        super().__init__()
        self.slopes = alibi_slopes(n_heads)

    def bias(self, queries: Tensor, keys: Tensor) -> Tensor:
        distance = (queries[:, None, :, None] - keys[:, None, None, :]).abs()  # (B, 1, T, S)
        slopes = torch.tensor(self.slopes, dtype=torch.float64, device=queries.device)
        return -slopes[:, None, None] * distance  # (B, H, T, S)


def alibi_slopes(n_heads: int) -> list[float]:
    """``2^(-8 i / n)`` for i = 1..n, n a power of two; else every second slope of the next power fills up."""
    power = 2 ** math.floor(math.log2(n_heads))
    slopes = [2 ** (-8 * i / power) for i in range(1, power + 1)]
    finer = [2 ** (-4 * i / power) for i in range(1, 2 * power + 1, 2)]
    return slopes + finer[: n_heads - power]


class RelativePositions(Positions):
    """A learned bias for each head and distance, distances in buckets that widen (Raffel et al., "T5", 2020, section 2.1).

    Half of the buckets hold one distance each, the others grow logarithmically up to ``max_distance``. A stack has one table
    for all its layers.

    Args:
        n_heads: H.
        buckets: number of rows.
        max_distance: from here on all distances are the same.
        both_ways: keys stand before and behind a query (encoder); else only before it (decoder).
    """

    def __init__(self, n_heads: int, *, buckets: int, max_distance: int, both_ways: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(buckets, n_heads))
        self.max_distance, self.both_ways = max_distance, both_ways

    def bias(self, queries: Tensor, keys: Tensor) -> Tensor:
        bucket = self.bucket(keys[:, None, :] - queries[:, :, None])  # (B, T, S)
        return F.embedding(bucket, self.weight).permute(0, 3, 1, 2)  # (B, H, T, S)

    def bucket(self, offset: Tensor) -> Tensor:
        """The row for each offset, key minus query."""
        n_buckets, first = len(self.weight), torch.zeros_like(offset)
        if self.both_ways:
            n_buckets //= 2
            first = (offset > 0) * n_buckets
            distance = offset.abs()
        else:
            distance = (-offset).clamp(min=0)
        exact = n_buckets // 2
        growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        wide = (exact + (growth * (n_buckets - exact)).long()).clamp(max=n_buckets - 1)
        return first + torch.where(distance < exact, distance, wide)
