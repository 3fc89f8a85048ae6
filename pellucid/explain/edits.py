"""Edits: changes of one number, vector or head on its way through the model, by the taps that also show it.

Shapes: R rows, H heads, T queries, S keys, K width of a head, D width of the model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from pellucid.base.errors import UsageError
from pellucid.explain.trace import Trace


@runtime_checkable
class Edit(Protocol):
    """A change of one tap."""

    @property
    def place(self) -> str:
        """The name of the tap."""
        ...

    def __call__(self, tensor: Tensor, /) -> Tensor:
        """The tensor with the change, a new one; the very same one where there is nothing to change (yet)."""
        ...


@dataclass(frozen=True)
class ZeroHead:
    """A head that hands over nothing: its ``z`` is zero, so that nothing of it reaches W^O.

    Args:
        attention: as ``"decoder.layers.1.cross_attn"``.
        head: from 0.
    """

    attention: str
    head: int

    @property
    def place(self) -> str:
        return f"{self.attention}.z"

    def __call__(self, z: Tensor, /) -> Tensor:
        _within(self.head, z.shape[1], "head", self)
        z = z.clone()  # (R, H, T, K)
        z[:, self.head] = 0.0
        return z

    def __str__(self) -> str:
        return f"head {self.head} of {self.attention} set to zero"


@dataclass(frozen=True)
class MeanHead:
    """A head that hands over the same everywhere: the mean of its ``z`` over the positions.

    In a decoder each position gets the mean of itself and those before it: the later ones are not written yet.

    Args:
        attention, head: as for :class:`ZeroHead`.
    """

    attention: str
    head: int

    @property
    def place(self) -> str:
        return f"{self.attention}.z"

    def __call__(self, z: Tensor, /) -> Tensor:
        _within(self.head, z.shape[1], "head", self)
        z, own = z.clone(), z[:, self.head]  # (R, T, K)
        if self.attention.startswith("decoder"):
            z[:, self.head] = own.cumsum(1) / torch.arange(1, own.shape[1] + 1, device=z.device)[:, None]
        else:
            z[:, self.head] = own.mean(1, keepdim=True)
        return z

    def __str__(self) -> str:
        return f"head {self.head} of {self.attention} set to its mean"


@dataclass(frozen=True)
class SetWeights:
    """One row of attention weights, set by hand. The shares are divided by their sum, so that the row sums to 1 as before.

    Args:
        attention, head: as for :class:`ZeroHead`.
        query: the row: the position that attends.
        shares: for each key, by its position from 0, its share; keys left out get nothing.
    """

    attention: str
    head: int
    query: int
    shares: Mapping[int, float] = field(hash=False)

    @property
    def place(self) -> str:
        return f"{self.attention}.weights"

    def __call__(self, weights: Tensor, /) -> Tensor:
        _within(self.head, weights.shape[1], "head", self)
        if not sum(self.shares.values()) > 0.0 or min(self.shares.values()) < 0.0:
            raise UsageError("shares of attention are at least 0, and some are above", where="edits", found=dict(self.shares))
        if self.query >= weights.shape[2] or max(self.shares) >= weights.shape[3]:
            return weights  # not written yet
        weights = weights.clone()  # (R, H, T, S)
        row = torch.zeros_like(weights[0, 0, 0])
        for key, share in self.shares.items():
            row[key] = share / sum(self.shares.values())
        weights[:, self.head, self.query] = row
        return weights

    def __str__(self) -> str:
        shares = ", ".join(f"{key}: {share / sum(self.shares.values()):.3g}" for key, share in self.shares.items())
        return f"weights of head {self.head} of {self.attention}, query {self.query}, set to {{{shares}}}"


@dataclass(frozen=True)
class Patch:
    """One position's vector, put there from another trace.

    Args:
        name: of the tap, as ``"decoder.layers.1.out"``; of one with heads, all of them are patched, or ``head`` alone.
        position: where to put it.
        source: the other trace, of the same model.
        of: the position in it; ``None``: the same.
        head: where the tap has heads.
    """

    name: str
    position: int
    source: Trace = field(repr=False, hash=False, compare=False)
    of: int | None = None
    head: int | None = None

    @property
    def place(self) -> str:
        return self.name

    def __call__(self, tensor: Tensor, /) -> Tensor:
        tapped = self.source[self.name]
        given = torch.from_numpy(tapped.array).to(tensor)
        of, at = self.position if self.of is None else self.of, given.ndim - 2
        _within(of, given.shape[at], "position", self)
        if at < 0 or given.shape[-1] != tensor.shape[-1]:
            expected = f"vectors of {tensor.shape[-1]}"
            raise UsageError("what is patched does not fit", where=self.name, expected=expected, found=str(tapped))
        if self.head is not None and given.ndim < 3:
            raise UsageError("what is patched has no heads", where=self.name, expected="no head", found=self.head)
        if self.position >= tensor.shape[-2]:
            return tensor  # not written yet
        tensor, vector = tensor.clone(), given.select(at, of)
        if self.head is None:
            tensor[..., self.position, :] = vector
        else:
            _within(self.head, tensor.shape[1], "head", self)
            tensor[:, self.head, self.position] = vector[self.head]
        return tensor

    def __str__(self) -> str:
        of = self.position if self.of is None else self.of
        head = "" if self.head is None else f", head {self.head}"
        return f"{self.name}{head} at position {self.position} patched with position {of} of {self.source.text!r}"


@dataclass(frozen=True)
class Ban:
    """A token that may not come: its logit is -inf at every position; the others share out its probability.

    Args:
        token: its id.
    """

    token: int

    @property
    def place(self) -> str:
        return "logits"

    def __call__(self, logits: Tensor, /) -> Tensor:
        _within(self.token, logits.shape[-1], "token", self)
        return logits.index_fill(-1, torch.tensor([self.token], device=logits.device), -torch.inf)

    def __str__(self) -> str:
        return f"token {self.token} banned"


def _within(number: int, size: int, what: str, edit: Edit) -> None:
    if not 0 <= number < size:
        raise UsageError(f"there is no such {what}", where=f"edits: {edit.place}", expected=f"0 to {size - 1}", found=number)
