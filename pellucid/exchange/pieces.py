"""How the weights of a public model and ours belong together: a list of pieces that is read in both directions.

A *piece* is a few tensors of theirs that make a few of ours. Most are one tensor under two names; some are turned, cut or
joined on the way. Nothing is ever computed with them, so that going there and back gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.base.config import ModelConfig
from pellucid.model.build import ROLES

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

    def read(found: Tensors) -> Tensors:
        rows = list(sizes) if sizes else [len(found[0]) // len(ours)] * len(ours)
        return [part.contiguous() for part in torch.split(found[0], rows)]

    return Piece(tuple(ours), (theirs,), read, lambda found: [torch.cat(list(found))])


def interleaved(ours: Sequence[str], theirs: str, n_heads: int) -> Piece:
    """Several tensors of ours that they keep as one: of the first head the rows of each, then of the second, and so on."""

    def read(found: Tensors) -> Tensors:
        rest = found[0].shape[1:]
        by_head = found[0].reshape(n_heads, len(ours), -1, *rest)  # (H, parts, K, ...)
        return [by_head[:, part].reshape(-1, *rest) for part in range(len(ours))]

    def write(found: Tensors) -> Tensors:
        rest = found[0].shape[1:]
        return [torch.stack([part.reshape(n_heads, -1, *rest) for part in found], dim=1).reshape(-1, *rest)]

    return Piece(tuple(ours), (theirs,), read, write)


def tied(model: ModelConfig) -> bool:
    """Whether a decoder's embedding and output projection are one matrix."""
    return ROLES[model.tie]["target"] == ROLES[model.tie]["output"]


def matrices(model: ModelConfig, embedding: str, output: str) -> list[Piece]:
    """Embedding and output projection of a decoder that stands alone; where they are tied, only the first."""
    roles = {"target": embedding} if tied(model) else {"target": embedding, "output": output}
    return [same(f"weights.{ROLES[model.tie][role]}", theirs) for role, theirs in roles.items()]


def _as_it_is(found: Tensors) -> Tensors:
    return found


def _turn(found: Tensors) -> Tensors:
    return [found[0].t().contiguous()]
