"""What a family of public models has to say for itself: its configuration as ours and back, and its pieces.

One file a family; :data:`FAMILIES` lists them. A family refuses what it cannot do exactly (:func:`refuse`), so that a model
that loads gives the logits that it gave where it came from.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from torch import Tensor

from pellucid.base.config import ModelConfig, Task
from pellucid.base.errors import ModelError
from pellucid.exchange.pieces import Piece

Settings = Mapping[str, Any]  # a config.json of theirs
Value = TypeVar("Value", bool, int, float, str)
_LARGEST, _MOST_LAYERS = 2**31 - 1, 10_000


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
        computed: regular expressions for ignored names -> what the model computes in their place; a file must have the same.
        settle: a described model, once the names of the weights in its files tell what config.json leaves open.
    """

    name: str
    classes: Mapping[str, Task]
    prefix: str
    describe: Callable[[Settings, str], Described]
    settings: Callable[[Described, str], dict[str, Any]]
    pieces: Callable[[ModelConfig, str], list[Piece]]
    ignored: tuple[str, ...] = ()
    copies: Mapping[str, str] = field(default_factory=dict)
    computed: Mapping[str, Callable[[ModelConfig], Tensor]] = field(default_factory=dict)
    settle: Callable[[Described, Collection[str]], Described] = lambda described, names: described


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


def required(settings: Settings, *names: str) -> list[int]:
    """These settings, which must be there and are sizes.

    Raises:
        ModelError: one is missing, or no whole number from 1.
    """
    there(settings, *names)
    return [_size(settings[name], name) for name in names]


def there(settings: Settings, *names: str) -> None:
    """See that these settings are there. Raises :class:`ModelError`."""
    for name in names:
        if name not in settings:
            raise ModelError("a setting is missing", where=f"config.json: {name}", advice=_ANEW)


def size(settings: Settings, name: str) -> int | None:
    """A size that may be left out, or null.

    Raises:
        ModelError: it is no whole number from 1.
    """
    return None if settings.get(name) is None else _size(settings[name], name)


def _size(value: object, name: str) -> int:
    largest = _MOST_LAYERS if "layer" in name else _LARGEST  # of layers each takes its time, before a weight has been seen
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= largest:
        raise mistaken(name, f"a whole number from 1 to {largest:,}", value)
    return value


def given(settings: Settings, name: str, default: Value) -> Value:
    """A setting that may be left out, of the type of its default.

    Raises:
        ModelError: it is of another type.
    """
    value = settings.get(name, default)
    kinds: dict[type, tuple[type, ...]] = {float: (int, float)}
    fits = isinstance(value, kinds.get(type(default), type(default))) and isinstance(value, bool) == isinstance(default, bool)
    if not fits or (isinstance(value, (int, float)) and not -_LARGEST <= value <= _LARGEST):
        names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
        raise mistaken(name, names[type(default)], value)
    return value


def mistaken(name: str, expected: str, found: object) -> ModelError:
    """The error for a setting that nothing can be made of."""
    return ModelError("a wrong value", where=f"config.json: {name}", expected=expected, found=repr(found)[:60], advice=_ANEW)


_ANEW = "copy the model anew"


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
    if not isinstance(name, str) or name not in known:
        where, expected = "config.json: activation", ", ".join(known)
        raise ModelError(f"this {family} model has another activation", where=where, expected=expected, found=name)
    return known[name]
