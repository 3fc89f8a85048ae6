"""Whole models from the layout of others into ours and back: what they are, and their weights.

The tokenizer, the classes and our own configuration file are put beside them by :mod:`pellucid.tasks.imports`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pellucid.base.config import ConfigProblems, ModelConfig
from pellucid.base.errors import ModelError, UsageError
from pellucid.base.files import write_atomically
from pellucid.base.recipe import from_dict, to_dict
from pellucid.exchange.checkpoint import WEIGHTS, Checkpoint, Part, open_checkpoint, write_checkpoint
from pellucid.exchange.directory import damaged, read_json
from pellucid.exchange.equivalence import canonical, differences, our_names
from pellucid.exchange.family import FAMILIES, Described, Family, family_of, refuse
from pellucid.exchange.mapping import ADVICE, relevant, to_ours
from pellucid.exchange.pieces import Piece
from pellucid.model.build import build

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
# What a config.json that somebody else wrote may be made of, where it is not of the kind that a family expects.
_MISTAKES = (ConfigProblems, TypeError, ValueError, AttributeError, LookupError, ArithmeticError)


@dataclass(frozen=True)
class Source:
    """A model of theirs, understood and found to be whole; no weight has been read.

    Args:
        family, architecture: what it is.
        described: the same in our words.
        parts: its weights as ours.
    """

    family: Family
    architecture: str
    described: Described
    parts: Sequence[Part]


def open_source(directory: Path) -> Source:
    """Understand a model in the Hugging Face layout.

    Raises:
        ModelError: it is of no known family, has a setting that we have no part for, or wants code of its own to be run;
            a file is missing, damaged, unsafe or outside the directory; weights are missing, unknown or of another shape.
    """
    where = directory / CONFIG
    settings = read_json(directory, CONFIG)
    if not settings:
        raise ModelError("not a model in the Hugging Face layout", where=directory, expected=f"{CONFIG} in it")
    _refuse_code(settings, where)
    _refuse_code(read_json(directory, TOKENIZER_CONFIG), directory / TOKENIZER_CONFIG)
    family = family_of(settings.get("model_type"), f"{where}: model_type")
    refuse(settings, family.name, quantization_config=None)
    architecture = _architecture(settings, family, where)
    described, checkpoint = _described(settings, family, architecture, where), open_checkpoint(directory)
    described = family.settle(described, checkpoint.paths)
    _check_sizes(described.model, checkpoint, where)
    _check_computed(family, described.model, checkpoint)
    return Source(family, architecture, described, _our_parts(family, architecture, described, checkpoint))


def _refuse_code(settings: Mapping[str, Any], where: Path) -> None:
    for name in ("auto_map", "trust_remote_code"):
        if settings.get(name):
            advice = "pellucid never runs code of a model; take one of a family that it knows"
            raise ModelError("the model brings code of its own", where=f"{where}: {name}", found=settings[name], advice=advice)


def _architecture(settings: Mapping[str, Any], family: Family, where: Path) -> str:
    """The class of the model."""
    named = settings.get("architectures")
    found = named[0] if isinstance(named, list) and named else named
    if not isinstance(found, str) or found not in family.classes:
        what, expected = f"this {family.name} model is not of a kind that is read", ", ".join(family.classes)
        raise ModelError(what, where=f"{where}: architectures", expected=expected, found=found)
    return found


def _described(settings: Mapping[str, Any], family: Family, architecture: str, where: Path) -> Described:
    try:
        described = family.describe(settings, architecture)
    except ModelError as error:  # a family knows the name of the file, not its place
        place = str(error.where).replace(CONFIG, str(where), 1)
        raise ModelError(error.what, where=place, expected=error.expected, found=error.found, advice=error.advice) from None
    except _MISTAKES as error:
        raise damaged(where, f"the settings of a {family.name} model", error) from None
    # Through our own reader, which looks at every value's type.
    return replace(described, model=from_dict(ModelConfig, to_dict(described.model), where))


def _check_sizes(model: ModelConfig, checkpoint: Checkpoint, where: Path) -> None:
    """See that nothing is larger than the weights could be, before anything is built of that size."""
    room, layers = sum(path.stat().st_size for path in {*checkpoint.paths.values()}), 0  # a number takes two bytes or more
    sizes = [model.d_model, model.source_vocabulary, model.target_vocabulary, model.picture.patch**2, model.embedding.types]
    sizes += [model.max_length] if model.positions in ("sinusoidal", "learned") else []
    for stack in model.stacks().values():
        layers += stack.n_layers
        for each in (stack.n_heads, stack.n_kv_heads, stack.d_head, stack.d_ff):
            sizes.append(max(each) if isinstance(each, tuple) else each or 0)
    for what, largest, limit in (("layers", layers, len(checkpoint.paths)), ("numbers in a weight", max(sizes), room)):
        if largest > limit:
            found = f"{largest:,} {what}, but only {len(checkpoint.paths):,} weights of {room:,} bytes in all"
            raise ModelError("weights are missing", where=where, found=found, advice=ADVICE)


def _check_computed(family: Family, model: ModelConfig, checkpoint: Checkpoint) -> None:
    """See that tables in the file which are not read are those that the model computes, to the precision of 16 bits."""
    for pattern, compute in family.computed.items():
        for name in filter(re.compile(pattern).search, checkpoint.paths):
            expected, outline = compute(model), checkpoint.outline(name)
            if outline.shape != expected.shape or not torch.allclose(checkpoint.load(name).float(), expected, atol=1e-2):
                what, where = "this table is another one than the model's", f"{checkpoint.paths[name]}: {name}"
                raise ModelError(what, where=where, expected=f"sines and cosines, {tuple(expected.shape)}", found="others")


def _our_parts(family: Family, architecture: str, described: Described, checkpoint: Checkpoint) -> list[Part]:
    """The weights as ours, after a look at all their names, shapes and types."""
    pieces = family.pieces(described.model, architecture)

    def agree(one: str, other: str) -> bool:
        alike = [(outline.shape, outline.dtype) for outline in map(checkpoint.outline, (one, other))]
        return alike[0] == alike[1] and torch.equal(checkpoint.load(one), checkpoint.load(other))

    names = relevant(family, pieces, {name: name for name in checkpoint.paths}, agree)  # full name -> name in the file
    try:
        with torch.device("meta"):
            shapes = {name: tuple(weight.shape) for name, weight in build(described.model).state_dict().items()}
    except (RuntimeError, *_MISTAKES) as error:  # more numbers than can be counted
        raise damaged(checkpoint.where.parent / CONFIG, "sizes of a model", error) from None
    outlines = {full: checkpoint.outline(name) for full, name in names.items()}
    ours = to_ours(pieces, outlines, shapes, checkpoint.where)

    def part(piece: Piece) -> Part:
        return Part(
            {name: ours[name] for name in piece.ours},
            lambda: piece.read([checkpoint.load(names[theirs]) for theirs in piece.theirs]),
        )

    return [part(piece) for piece in pieces]


@dataclass(frozen=True)
class Target:
    """A model of ours as one of a family.

    Args:
        family, architecture: what it will be.
        described: in our words, as the family says it.
    """

    family: Family
    architecture: str
    described: Described


def find_target(described: Described, family: str | None, where: object) -> Target:
    """A family, of all or of that name, that can express a model exactly: all that it computes, with dropout left aside.

    Args:
        described: the model.
        family: its name; ``None``: whichever can.
        where: the model, for messages.

    Raises:
        UsageError: no such family, or none that can; the message says what differs from the nearest.
    """
    if family is not None and family not in FAMILIES:
        raise UsageError("no such family of models", where="--family", expected=", ".join(FAMILIES), found=family)
    described = replace(described, model=canonical(described.model))
    refusals: list[tuple[int, str]] = []
    for name in FAMILIES if family is None else (family,):
        found = family_of(name, name)
        for architecture in sorted(found.classes, key=lambda of: found.classes[of] != described.task):
            try:
                differing = _differing(found, architecture, described)
            except (ModelError, *_MISTAKES):  # so far off that the family has no words for it
                continue
            if not differing:
                return Target(found, architecture, described)
            refusals.append((len(differing), f"{architecture}: {'; '.join(differing)}"))
    what = "no family of public models can express this model" if family is None else f"{family} cannot express this model"
    nearest = min(refusals)[1] if refusals else f"another architecture than {described.model.architecture}"
    raise UsageError(what, where=where, expected="a model that is the same there", found=nearest)


def _differing(family: Family, architecture: str, described: Described) -> list[str]:
    """What a class cannot express, in words."""
    task = family.classes[architecture]
    if described.labels and task != described.task:
        return [f"task {described.task} here, {task} there"]
    varied = [
        f"{side}.{name} differs from layer to layer here, not there"
        for side, stack in described.model.stacks().items()
        for name in ("n_heads", "n_kv_heads", "d_ff")
        if isinstance(getattr(stack, name), tuple)
    ]
    if varied:
        return varied
    theirs = family.describe(family.settings(described, architecture), architecture)
    return differences(described.model, theirs.model)


def write_target(target: Target, model: ModelConfig, checkpoint: Checkpoint, out: Path) -> None:
    """Write settings and weights in their layout, the settings last.

    Args:
        target: from :func:`find_target`.
        model: ours, as its own file says it.
        checkpoint: our weights.
        out: a directory that exists.

    Raises:
        ModelError: the weights do not fit the configuration.
        StorageError: a file cannot be written.
    """
    pieces = target.family.pieces(target.described.model, target.architecture)
    names = our_names(model)  # name as the family knows it -> name in the file
    known, found = set(names.values()), checkpoint.paths.keys()
    if known != found:
        some = sorted(known ^ found)[0]
        raise ModelError("the weights do not fit config.json", where=checkpoint.where, found=f"{some} is in one of them only")

    def part(piece: Piece) -> Part:
        outlines = piece.write([checkpoint.outline(names[ours]) for ours in piece.ours])
        return Part(
            dict(zip(piece.theirs, outlines, strict=True)),
            lambda: piece.write([checkpoint.load(names[ours]) for ours in piece.ours]),
        )

    write_checkpoint(out / WEIGHTS, [part(piece) for piece in pieces], "writing")
    settings = target.family.settings(target.described, target.architecture)
    content = {"architectures": [target.architecture], "model_type": target.family.name, **settings}
    write_atomically(out / CONFIG, (json.dumps(content, indent=2) + "\n").encode())
