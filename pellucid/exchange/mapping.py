"""Weights of theirs into weights of ours and back, checked name by name and shape by shape."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from pellucid.base.errors import ModelError
from pellucid.exchange.family import Family
from pellucid.exchange.pieces import Piece

Shapes = Mapping[str, tuple[int, ...]]


def to_ours(pieces: Sequence[Piece], theirs: Mapping[str, Tensor], shapes: Shapes, where: object) -> dict[str, Tensor]:
    """Our weights, from all of theirs.

    Args:
        pieces: what belongs together.
        theirs: their weights, without those that hold nothing of ours.
        shapes: of every weight of our model.
        where: their file or directory, for messages.

    Raises:
        ModelError: a weight is missing, unknown or of another shape.
    """
    known = {name for piece in pieces for name in piece.theirs}
    for what, names in (("missing", known - theirs.keys()), ("unknown", theirs.keys() - known)):
        if names:
            some = ", ".join(sorted(names)[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            advice = "config.json and the weights must come from the same model"
            raise ModelError(f"weights are {what}", where=where, found=some, advice=advice)
    ours: dict[str, Tensor] = {}
    for piece in pieces:
        try:
            found = piece.read([theirs[name] for name in piece.theirs])
        except (RuntimeError, IndexError) as error:  # a tensor that cannot be cut or turned as this piece is
            names = ", ".join(piece.theirs)
            raise ModelError(
                "a weight has another shape than config.json says", where=f"{where}: {names}", found=error
            ) from None
        ours.update(zip(piece.ours, found, strict=True))
    for name, shape in shapes.items():
        if name not in ours or tuple(ours[name].shape) != shape:
            found_shape = tuple(ours[name].shape) if name in ours else "no such weight"
            advice = "config.json and the weights must come from the same model"
            raise ModelError(
                f"the weights do not fit config.json at {name}", where=where, expected=shape, found=found_shape, advice=advice
            )
    return ours


def to_theirs(pieces: Sequence[Piece], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their weights, from all of ours."""
    theirs: dict[str, Tensor] = {}
    for piece in pieces:
        written = piece.write([ours[name] for name in piece.ours])
        theirs.update(zip(piece.theirs, (tensor.contiguous() for tensor in written), strict=True))
    return theirs


def relevant(family: Family, pieces: Sequence[Piece], theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their weights under their full names, without those that hold nothing of ours.

    Some files leave out the family's prefix, and old ones call gain and bias of a norm gamma and beta.
    """
    known = {name for piece in pieces for name in piece.theirs}
    found = {}
    for name, tensor in theirs.items():
        full = re.sub(r"LayerNorm\.(gamma|beta)$", lambda m: "LayerNorm." + {"gamma": "weight", "beta": "bias"}[m[1]], name)
        if full not in known and family.prefix + full in known:
            full = family.prefix + full
        if full in known or not any(re.search(pattern, full) for pattern in family.ignored):
            found[full] = tensor
    return found
