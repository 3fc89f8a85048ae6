"""What a decoder keeps of the tokens written so far, so that a step computes only the new one: keys and values, or the states
of recurrent layers.

Shapes: R rows, H heads, T new positions, L all positions so far, K width of a head, N recurrent states, D width of one.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Cache(Protocol):
    """What the state of a decoder asks of each of its caches."""

    @property
    def length(self) -> int:
        """L."""
        ...

    def select(self, rows: Tensor, spare: Tensor | None = None) -> Tensor | None:
        """Keep these rows, in this order, in ``spare`` memory if it fits; what is free afterwards."""
        ...

    def truncate(self, length: int) -> None:
        """Forget everything from position ``length`` on."""
        ...


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


class StateCache:
    """The states of all layers of a recurrent decoder, after each position so far.

    The last ones are enough to go on from. Earlier ones are kept as they were, and the choices of rows since beside them: then
    beams are reordered without copying the past, and the past is there when positions are forgotten.

    Args:
        begun: (N, R, D) before the first position; ``None``: zeros, of as many rows as come.
    """

    def __init__(self, begun: Tensor | None = None) -> None:
        self.now = begun
        self._chosen: list[Tensor] = []  # rows, in the order of the choices
        self._past: list[tuple[Any, int]] = [(begun, 0)]  # states after each position, and how many choices came before

    @property
    def length(self) -> int:
        """L."""
        return len(self._past) - 1

    def append(self, states: Tensor) -> None:
        """The states (N, R, D) after one more position."""
        self.now = states
        self._past.append((states, len(self._chosen)))

    def select(self, rows: Tensor, spare: Tensor | None = None) -> Tensor | None:
        """Keep these rows, in this order; a row may be named several times."""
        self._chosen.append(rows)
        self.now = None if self.now is None else self.now[:, rows]
        return spare

    def truncate(self, length: int) -> None:
        """Forget everything from position ``length`` on."""
        if length < self.length:
            del self._past[length + 1 :]
            self.now, before = self._past[length]
            for rows in self._chosen[before:]:
                self.now = None if self.now is None else self.now[:, rows]


def same_rows(rows: Tensor, n_rows: int) -> bool:
    """Whether selecting ``rows`` would change nothing."""
    return len(rows) == n_rows and torch.equal(rows, torch.arange(n_rows, device=rows.device))
