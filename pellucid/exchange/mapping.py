"""Weights of theirs into weights of ours and back, checked name by name and shape by shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from pellucid.base.errors import ModelError
from pellucid.exchange.family import Family
from pellucid.exchange.pieces import Piece

Weight = TypeVar("Weight")
Shapes = Mapping[str, tuple[int, ...]]
ADVICE = "config.json and the weights must come from the same model"


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
            raise ModelError(f"weights are {what}", where=where, found=some, advice=ADVICE)
    ours: dict[str, Tensor] = {}
    for piece in pieces:
        named = f"{where}: {', '.join(piece.theirs)}"
        try:
            found = piece.read([theirs[name] for name in piece.theirs])
        except (RuntimeError, IndexError, TypeError, ValueError) as error:  # a tensor that cannot be cut or turned so
            raise _misshapen(named, None, error) from None
        for name, tensor in zip(piece.ours, found, strict=True):
            if tuple(tensor.shape) != shapes.get(name):
                raise _misshapen(named, f"{shapes.get(name)} ({name})", tuple(tensor.shape))
            ours[name] = tensor
    for name in shapes.keys() - ours.keys():
        raise _misshapen(where, f"a weight for {name}", "no such weight")
    return ours


def _misshapen(where: object, expected: object, found: object) -> ModelError:
    what = "a weight has another shape than config.json says"
    return ModelError(what, where=where, expected=expected, found=found, advice=ADVICE)


def to_theirs(pieces: Sequence[Piece], ours: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Their weights, from all of ours."""
    theirs: dict[str, Tensor] = {}
    for piece in pieces:
        written = piece.write([ours[name] for name in piece.ours])
        theirs.update(zip(piece.theirs, (tensor.contiguous() for tensor in written), strict=True))
    return theirs


def relevant(
    family: Family, pieces: Sequence[Piece], theirs: Mapping[str, Weight], agree: Callable[[Weight, Weight], bool]
) -> dict[str, Weight]:
    """Their weights (or whatever stands for them) under their full names, without those that hold nothing of ours.

    Some files leave out the family's prefix, and old ones call gain and bias of a norm gamma and beta. Of tied matrices a
    file may hold several copies.

    Args:
        family: theirs.
        pieces: of the model.
        theirs: by the names in the file.
        agree: whether two of them are the same.

    Raises:
        ModelError: matrices that are tied differ.
    """
    known = {name for piece in pieces for name in piece.theirs}
    copies = _copies(family, known)
    found = {}
    for name, tensor in theirs.items():
        full = re.sub(r"LayerNorm\.(gamma|beta)$", lambda m: "LayerNorm." + {"gamma": "weight", "beta": "bias"}[m[1]], name)
        if full not in known and family.prefix + full in known | copies.keys():
            full = family.prefix + full
        if full in known or not any(re.search(pattern, full) for pattern in family.ignored):
            found[full] = tensor
    for copy, name in copies.items():
        if copy in found and not agree(found.setdefault(name, found[copy]), found[copy]):
            what, expected = "the model has tied these weights, but its file has different numbers for them", f"those of {name}"
            raise ModelError(what, where=copy, expected=expected, found="others", advice=ADVICE)
    return {name: tensor for name, tensor in found.items() if name not in copies}


def _copies(family: Family, known: Collection[str]) -> dict[str, str]:
    """Names that are copies in this model, and the known names of what they are copies of."""
    cut = "" if any(name.startswith(family.prefix) for name in known) else family.prefix
    pairs = {copy.removeprefix(cut): name.removeprefix(cut) for copy, name in family.copies.items()}
    found = {}
    for copy in pairs.keys() - known:
        name = copy
        while name not in known and name in pairs:
            name = pairs[name]
        if name in known:
            found[copy] = name
    return found
