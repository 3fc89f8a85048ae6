"""Keys and values of the tokens written so far, so that a step computes only the new one.

Shapes: R rows, H heads, T new positions, L all positions so far, K width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor


class KeyValueCache:
    """Keys and values of one attention, on memory that is laid out ahead and doubled when it is full.

    Positions come first, so that what is there is one piece.
    """

    def __init__(self, capacity: int = 32) -> None:
        self.capacity = capacity
        self.length = 0
        self._store: Tensor | None = None  # (capacity, 2, R, H, K): keys, values

    def update(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Append (R, H, T, K) and return all keys and values so far, (R, H, L, K)."""
        rows, heads, new, width = key.shape
        end = self.length + new
        if self._store is None or end > len(self._store):
            while self.capacity < end:
                self.capacity *= 2
            grown = key.new_empty(self.capacity, 2, rows, heads, width)
            if self._store is not None:
                grown[: self.length] = self._store[: self.length]
            self._store = grown
        self._store[self.length : end, 0] = key.permute(2, 0, 1, 3)
        self._store[self.length : end, 1] = value.permute(2, 0, 1, 3)
        self.length = end
        return self.stored()

    def stored(self) -> tuple[Tensor, Tensor]:
        """All keys and values so far, (R, H, L, K) each; there is at least one position."""
        assert self._store is not None
        both = self._store[: self.length].permute(1, 2, 3, 0, 4)  # (2, R, H, L, K)
        return both[0], both[1]

    def select(self, rows: Tensor, spare: Tensor | None = None) -> Tensor | None:
        """Keep these rows, in this order; a row may be named several times.

        Args:
            rows: (R',) numbers of rows.
            spare: memory that is free, taken if it fits: fresh memory costs more than what is copied into it.

        Returns:
            Memory that is free now.
        """
        if self._store is None:
            return spare
        if self._store.requires_grad:
            self._store = self._store.index_select(2, rows)
            return None
        shape = (*self._store.shape[:2], len(rows), *self._store.shape[3:])
        if spare is None or spare.shape != shape:
            spare = self._store.new_empty(shape)
        torch.index_select(self._store[: self.length], 2, rows, out=spare[: self.length])
        self._store, spare = spare, self._store
        return spare

    def truncate(self, length: int) -> None:
        """Forget everything from position ``length`` on."""
        self.length = min(self.length, length)


def same_rows(rows: Tensor, n_rows: int) -> bool:
    """Whether selecting ``rows`` would change nothing."""
    return len(rows) == n_rows and torch.equal(rows, torch.arange(n_rows, device=rows.device))
