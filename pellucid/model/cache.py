"""Keys and values of the tokens written so far, so that a step computes only the new one.

Shapes: R rows, H heads, T new positions, L all positions so far, K width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor


class KeyValueCache:
    """Keys and values of one attention, on memory that is laid out ahead and doubled when it is full."""

    def __init__(self, capacity: int = 32) -> None:
        self.capacity = capacity
        self.length = 0
        self._store: Tensor | None = None  # (2, R, H, capacity, K): keys, values

    def update(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append (R, H, T, K) and return all keys and values so far, (R, H, L, K)."""
        rows, heads, new, width = key.shape
        end = self.length + new
        if self._store is None or end > self._store.shape[3]:
            while self.capacity < end:
                self.capacity *= 2
            grown = key.new_empty(2, rows, heads, self.capacity, width)
            if self._store is not None:
                grown[..., : self.length, :] = self._store[..., : self.length, :]
            self._store = grown
        self._store[0, ..., self.length : end, :] = key
        self._store[1, ..., self.length : end, :] = value
        self.length = end
        return self._store[0, ..., :end, :], self._store[1, ..., :end, :]

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be named several times."""
        if self._store is not None:
            kept = self._store.new_empty(2, len(rows), *self._store.shape[2:])
            kept[..., : self.length, :] = self._store[..., : self.length, :].index_select(1, rows)
            self._store = kept

    def truncate(self, length: int) -> None:
        """Forget everything from position ``length`` on."""
        self.length = min(self.length, length)


def same_rows(rows: Tensor, n_rows: int) -> bool:
    """Whether selecting ``rows`` would change nothing."""
    return len(rows) == n_rows and torch.equal(rows, torch.arange(n_rows, device=rows.device))
