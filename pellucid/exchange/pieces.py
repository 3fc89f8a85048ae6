"""How the weights of a public model and ours belong together: a list of pieces that is read in both directions.

A *piece* is a few tensors of theirs that make a few of ours. Most are one tensor under two names; some are turned, cut or
joined on the way. Nothing is ever computed with them, so that going there and back gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = Sequence[Tensor]


@dataclass(frozen=True)
class Piece:
    """Some tensors of theirs and the tensors of ours that they hold.

    Args:
        ours, theirs: names.
        read: theirs -> ours, in the order of the names.
        write: ours -> theirs.
    """

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    read: Callable[[Tensors], Tensors]
    write: Callable[[Tensors], Tensors]


def same(ours: str, theirs: str) -> Piece:
    """One tensor under two names."""
    return Piece((ours,), (theirs,), _as_it_is, _as_it_is)


def linear(ours: str, theirs: str, *, bias: bool = True) -> list[Piece]:
    """Weight and bias of a projection, or of a norm."""
    names = ("weight", "bias") if bias else ("weight",)
    return [same(f"{ours}.{name}", f"{theirs}.{name}") for name in names]


def turned(ours: str, theirs: str) -> Piece:
    """A matrix that they keep transposed: (in, out) there, (out, in) here."""
    return Piece((ours,), (theirs,), _turn, _turn)


def shaped(ours: str, theirs: str, our_shape: Sequence[int], their_shape: Sequence[int]) -> Piece:
    """The same numbers in another shape."""
    return Piece(
        (ours,), (theirs,), lambda found: [found[0].reshape(*our_shape)], lambda found: [found[0].reshape(*their_shape)]
    )


def without_first_rows(ours: str, theirs: str, n: int) -> Piece:
    """A table whose first ``n`` rows they never use; written as zeros."""
    return Piece(
        (ours,),
        (theirs,),
        lambda found: [found[0][n:].contiguous()],
        lambda found: [torch.cat((found[0].new_zeros(n, *found[0].shape[1:]), found[0]))],
    )


def stacked(ours: Sequence[str], theirs: str, sizes: Sequence[int] | None = None) -> Piece:
    """Several tensors of ours that they keep as one, one below the other; of equal ``sizes`` where none are given."""
    return Piece(
        tuple(ours),
        (theirs,),
        lambda found: [part.contiguous() for part in found[0].split(list(sizes) if sizes else found[0].shape[0] // len(ours))],
        lambda found: [torch.cat(list(found))],
    )


def _as_it_is(found: Tensors) -> Tensors:
    return found


def _turn(found: Tensors) -> Tensors:
    return [found[0].t().contiguous()]
