"""What positions give, written from their formulas in NumPy: the side of :mod:`.formulas` that knows of position schemes.

Shapes: T positions, H heads, K width of a head, D width of the model.
"""

from __future__ import annotations

import math

import numpy as np

from pellucid.base.config import ModelConfig, RotaryConfig
from pellucid.explain.trace import Array


def added(config: ModelConfig, positions: Array, table: Array | None) -> Array:
    """The vector that is added at each position, (T, D): learned ones from their table, else sines and cosines."""
    if table is not None:
        return table[positions]
    width = config.d_model
    angle = positions[:, None] / 10_000.0 ** (np.arange(0, width, 2) / width)  # (T, D / 2)
    if config.positional.halves:
        return np.concatenate((np.sin(angle), np.cos(angle)), axis=1)
    return np.stack((np.sin(angle), np.cos(angle)), axis=2).reshape(len(positions), width)


def rotated(x: Array, positions: Array, config: RotaryConfig) -> Array:
    """Numbers i and i + K / 2 of every head (H, T, K), turned by ``position * base^(-2i / K)``."""
    half = x.shape[-1] // 2
    angle = positions[:, None] * frequencies(x.shape[-1], config)  # (T, K / 2)
    first, second = x[..., :half], x[..., half:]
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.concatenate((first * cosine - second * sine, second * cosine + first * sine), axis=-1)


def frequencies(width: int, config: RotaryConfig) -> Array:
    """By how much each pair of a head's numbers turns from one position to the next, in radians, (K / 2,)."""
    half = width // 2
    return np.array([_slower(config.base ** (-i / half), config) for i in range(half)])


def _slower(frequency: float, config: RotaryConfig) -> float:
    """The frequency of a model that was stretched to longer texts."""
    if config.scaling == "none":
        return frequency
    if config.scaling == "linear":
        return frequency / config.factor
    waves = config.original_length * frequency / (2.0 * math.pi)
    kept = np.clip((waves - config.low_frequency) / (config.high_frequency - config.low_frequency), 0.0, 1.0)
    return float(kept * frequency + (1.0 - kept) * frequency / config.factor)


def score_bias(config: ModelConfig, positions: Array, n_heads: int, table: Array | None, *, both_ways: bool) -> Array:
    """What is added to the scaled scores, (H, T, T): ALiBi's slopes, or T5's learned numbers."""
    offset = positions[None, :] - positions[:, None]  # key minus query
    if table is None:
        return -np.array(_slopes(n_heads))[:, None, None] * np.abs(offset)
    buckets = _buckets(offset, len(table), config.positional.relative.max_distance, both_ways=both_ways)
    return table[buckets].transpose(2, 0, 1)


def _slopes(n_heads: int) -> list[float]:
    power = 2 ** int(math.log2(n_heads))
    slopes = [2.0 ** (-8.0 * (head + 1) / power) for head in range(power)]
    between = [2.0 ** (-8.0 * (head + 0.5) / power) for head in range(power)]
    return (slopes + between)[:n_heads]


def _buckets(offset: Array, count: int, max_distance: int, *, both_ways: bool) -> Array:
    """Which row of the table each offset has: near ones one each, far ones in widening groups."""
    behind = np.zeros_like(offset)
    distance = np.maximum(-offset, 0)
    if both_ways:
        count //= 2
        behind, distance = np.where(offset > 0, count, 0), np.abs(offset)
    near = count // 2
    # In float32, as the model: where a distance falls on the edge between two rows, rounding decides.
    share = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(near)) / np.float32(math.log(max_distance / near))
    far = near + (share * np.float32(count - near)).astype(np.int64)
    return behind + np.where(distance < near, distance, np.minimum(far, count - 1))
