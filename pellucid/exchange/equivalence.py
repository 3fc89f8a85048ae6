"""When two of our configurations are the same model: what it computes, apart from dropout.

A configuration can say one thing in several ways, and says things that a model has no use for: the heads of an encoder that is
not there, the base of rotary positions that it does not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import torch

from pellucid.base.config import ModelConfig, PositionalConfig, StackConfig, Tie
from pellucid.base.recipe import to_dict
from pellucid.model.build import ROLES, build
from pellucid.model.transformer import Transformer

_TIES = ("none", "all", "decoder", "embeddings")  # of several that come to the same, the first
_LIMITED = ("sinusoidal", "learned")  # position schemes that end somewhere


def canonical(model: ModelConfig) -> ModelConfig:
    """The same model said in one way, its dropout kept."""
    encoder, decoder = (_canonical_stack(stack, model) for stack in (model.encoder, model.decoder))
    if model.architecture != "encoder-decoder":
        encoder = decoder = encoder if model.architecture == "encoder" else decoder
    reads = decoder.reads
    if reads is not None and set(reads) == {encoder.n_layers - 1}:
        decoder = replace(decoder, reads=None)
    changed = replace(model, encoder=encoder, decoder=decoder, positional=_positional(model), tie="none")
    reads_text = model.architecture != "decoder" and not model.picture.patch
    source = model.source_vocabulary if reads_text else model.target_vocabulary
    return replace(changed, source_vocabulary=source, tie=_canonical_tie(model))


def _canonical_stack(stack: StackConfig, model: ModelConfig) -> StackConfig:
    values = {name: _one(getattr(stack, name)) for name in ("n_heads", "n_kv_heads", "d_ff")}
    if values["n_kv_heads"] == values["n_heads"]:
        values["n_kv_heads"] = None
    same_width = isinstance(values["n_heads"], int) and stack.d_head == model.d_model // values["n_heads"]
    bias = None if stack.attention_bias == model.bias else stack.attention_bias
    return replace(stack, **values, d_head=None if same_width else stack.d_head, attention_bias=bias)


def _one(value: Any) -> Any:
    """All layers alike are one number."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def _positional(model: ModelConfig) -> PositionalConfig:
    """The details of the scheme that the model has, all others as they are by themselves."""
    field = {"sinusoidal": "halves", "rotary": "rotary", "relative": "relative"}.get(model.positions)
    return replace(PositionalConfig(), **({} if field is None else {field: getattr(model.positional, field)}))


def _canonical_tie(model: ModelConfig) -> Tie:
    def groups(tie: str) -> set[frozenset[str]]:
        names = {role: ROLES[tie][role] for role in roles}
        return {frozenset(role for role in roles if names[role] == name) for name in names.values()}

    roles = _outline(model).roles
    return cast(Tie, next(tie for tie in _TIES if groups(tie) == groups(model.tie)))


def _outline(model: ModelConfig) -> Transformer:
    with torch.device("meta"):
        return build(model)


def our_names(model: ModelConfig) -> dict[str, str]:
    """Name of each weight in :func:`canonical` -> its name in ``model``."""
    outline = _outline(model)
    tie = _canonical_tie(model)
    renamed = {f"weights.{ROLES[tie][role]}": f"weights.{name}" for role, name in outline.roles.items()}
    others = {name: name for name in outline.state_dict() if not name.startswith("weights.")}
    return {**others, **renamed}


def differences(ours: ModelConfig, theirs: ModelConfig) -> list[str]:
    """What two canonical configurations disagree about, in words; empty where they are the same model."""
    found, other = dict(_leaves(to_dict(_comparable(ours)))), dict(_leaves(to_dict(_comparable(theirs))))
    keys = sorted(found.keys() | other.keys())
    if ours.positions != theirs.positions:  # the rest about positions only follows from that
        keys = [key for key in keys if key != "max_length" and not key.startswith("positional.")]
    return [f"{key} {found.get(key)} here, {other.get(key)} there" for key in keys if found.get(key) != other.get(key)]


def _comparable(model: ModelConfig) -> ModelConfig:
    model = canonical(model)
    head = replace(model.head, dropout=0.0, activation=model.head.activation if model.head.transform != "none" else "tanh")
    length = model.max_length if model.positions in _LIMITED else 1
    return replace(model, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, head=head, max_length=length)


def _leaves(tree: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Every value by its dotted path."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
