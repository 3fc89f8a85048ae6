"""What a family of public models has to say for itself: its configuration as ours and back, and its pieces.

One file a family; :data:`FAMILIES` lists them. A family refuses what it cannot do exactly (:func:`refuse`), so that a model
that loads gives the logits that it gave where it came from.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pellucid.base.config import ModelConfig, Task
from pellucid.base.errors import ModelError
from pellucid.exchange.pieces import Piece

Settings = Mapping[str, Any]  # a config.json of theirs


@dataclass(frozen=True)
class Described:
    """A model of theirs in our words.

    Args:
        task: what it does here.
        model: its shape.
        labels: names of the classes, where it has any.
        controls: ids named in config.json, by our names: pad, start (what its decoder reads first), end.
    """

    task: Task
    model: ModelConfig
    labels: tuple[str, ...] = ()
    controls: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Family:
    """One family.

    Args:
        name: ``model_type`` in their config.json.
        classes: their class to our task.
        prefix: of their weights' names in a class with a head; some files leave it out.
        describe: their config.json and the class -> ours. Raises ModelError.
        settings: ours -> their config.json, without "architectures" and "model_type".
        pieces: the weights of a described model, for one of the classes.
        ignored: regular expressions for names of theirs that hold nothing of ours (buffers, heads of other tasks).
        copies: where matrices are tied, the name of a copy -> the name that ``pieces`` knows; a file holds either or both.
    """

    name: str
    classes: Mapping[str, Task]
    prefix: str
    describe: Callable[[Settings, str], Described]
    settings: Callable[[Described, str], dict[str, Any]]
    pieces: Callable[[ModelConfig, str], list[Piece]]
    ignored: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)


# model_type -> the module of this package that has FAMILY for it.
FAMILIES = {
    "bert": "bert",
    "roberta": "roberta",
    "distilbert": "distilbert",
    "gpt2": "gpt2",
    "t5": "t5",
    "bart": "bart",
    "marian": "marian",
    "bloom": "bloom",
    "llama": "llama",
    "vit": "vit",
}


def family_of(model_type: object, where: object) -> Family:
    """The family of that name.

    Raises:
        ModelError: there is none.
    """
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        expected = ", ".join(FAMILIES)
        raise ModelError("no such family of models", where=where, expected=expected, found=model_type)
    module = importlib.import_module(f"pellucid.exchange.{FAMILIES[model_type]}")
    family: Family = module.FAMILY
    return family


def refuse(settings: Settings, family: str, **allowed: object) -> None:
    """Refuse a model with a setting that we have no part for: each named one must be absent or have the value given here.

    Raises:
        ModelError: naming the setting, the value that is understood and the one found.
    """
    for name, value in allowed.items():
        if settings.get(name, value) != value:
            raise ModelError(
                f"this {family} model has a setting that pellucid has no part for",
                where=f"config.json: {name}",
                expected=value,
                found=settings[name],
            )


def required(settings: Settings, *names: str) -> list[Any]:
    """These settings, which must be there.

    Raises:
        ModelError: one is missing.
    """
    for name in names:
        if name not in settings:
            raise ModelError("a setting is missing", where=f"config.json: {name}", advice="copy the model anew")
    return [settings[name] for name in names]


_CONTROLS = {"start": "bos_token_id", "end": "eos_token_id", "pad": "pad_token_id"}


def controls_of(settings: Settings) -> dict[str, int | None]:
    """The ids of control tokens of a decoder that stands alone; of several end tokens the first."""
    ids: dict[str, Any] = {ours: settings.get(theirs) for ours, theirs in _CONTROLS.items()}
    return {ours: found[0] if isinstance(found, list) and found else found for ours, found in ids.items()}


def control_settings(controls: Mapping[str, int | None]) -> dict[str, int | None]:
    """The reverse of :func:`controls_of`."""
    return {theirs: controls.get(ours) for ours, theirs in _CONTROLS.items()}


def activation_of(name: object, known: Mapping[str, str], family: str) -> Any:
    """Our name of an activation of theirs.

    Raises:
        ModelError: it is none of ``known``.
    """
    if name not in known:
        where, expected = "config.json: activation", ", ".join(known)
        raise ModelError(f"this {family} model has another activation", where=where, expected=expected, found=name)
    return known[str(name)]
