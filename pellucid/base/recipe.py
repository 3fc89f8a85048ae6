"""Recipes: YAML and command-line overrides in, :class:`~pellucid.base.config.RunConfig` out, and back.

Types are read from the dataclasses' annotations, so a field is declared once. Every mistake of a recipe is reported in
one error, each with file, line, dotted key, what was expected and what was found.
"""

from __future__ import annotations

import dataclasses
import math
import re
import types
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from pellucid.base.config import ConfigProblems, RunConfig
from pellucid.base.errors import ModelError, UsageError
from pellucid.base.presets import MODEL_PRESETS
from pellucid.base.yaml_tree import (
    MAX_DEPTH,
    Listing,
    Scalar,
    Section,
    Tree,
    is_null,
    overlay,
    parse_file,
    parse_text,
    tree_of,
)

T = TypeVar("T")

_COMMAND_LINE = "command line"
_SECTION = 'a section of "key: value" lines'
_LONGEST_NUMBER = 40  # characters
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]*(_[0-9]+)*)")  # no 010: YAML 1.1 means eight by it, nobody else does
_NUMBER = re.compile(r"[-+]?([0-9]+(_[0-9]+)*\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_TRUE = ("true", "yes", "on")  # YAML 1.1
_BROKEN = object()  # stands for a value that could not be read, its mistake already noted


def read(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a recipe file.

    Args:
        path: a YAML file in UTF-8.
        overrides: values that win over the file's, by dotted path: ``"training.steps=100"``,
            ``"--training.steps=100"`` or the pair ``"--training.steps", "100"``. The value is YAML, as in
            ``"model.encoder.d_ff=[512, 256]"``.

    Raises:
        UsageError: naming every mistake of file and overrides at once.
    """
    mistakes: list[UsageError] = []
    tree = _read_file(Path(path), mistakes)
    for override in _parse_overrides(overrides, mistakes):
        tree = overlay(tree, override)
    tree = _expand_preset(tree, mistakes)
    config = _Reader(tree, mistakes).value(RunConfig, tree, "")
    if mistakes:
        raise _together(mistakes)
    assert isinstance(config, RunConfig)
    return config


def to_dict(config: Any) -> dict[str, Any]:
    """A configuration dataclass as plain dicts, lists, numbers and text, ready for JSON."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config)}


def from_dict(cls: type[T], data: object, source: str | Path) -> T:
    """The configuration that :func:`to_dict` made ``data`` from. Missing keys take their defaults.

    Args:
        cls: any dataclass of :mod:`pellucid.base.config`.
        data: what a JSON file held.
        source: that file, for the message.

    Raises:
        ModelError: naming every mistake at once.
    """
    mistakes: list[UsageError] = []
    tree = tree_of(data, str(source))
    config = _Reader(tree, mistakes).value(cls, tree, "")
    if mistakes:
        advice = "the file was changed by hand or written by another version; take an undamaged copy"
        raise ModelError(str(_together(mistakes)), advice=advice)
    assert isinstance(config, cls)
    return config


def to_yaml(config: RunConfig) -> str:
    """The configuration with every value written out, as YAML that :func:`read` understands."""
    return yaml.dump(to_dict(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


class _Dumper(yaml.SafeDumper):
    """Lists on one line; text with odd characters in the only style that keeps them all."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        return super().represent_sequence(tag, sequence, flow_style=True)


_Dumper.add_representer(str, _Dumper.represent_str)


def _together(mistakes: Sequence[UsageError]) -> UsageError:
    """One error that says everything; a single mistake is that error itself."""
    if len(mistakes) == 1:
        return mistakes[0]
    return UsageError("\n".join([f"{len(mistakes)} mistakes in the configuration", *map(str, mistakes)]))


# The file, overrides and presets: sections laid over each other


def _read_file(path: Path, mistakes: list[UsageError]) -> Section:
    """What the file says; nothing, and the mistake noted, when it cannot be understood."""
    nothing = Section(str(path), {})
    try:
        tree = parse_file(path, mistakes)
    except UsageError as mistake:
        mistakes.append(mistake)
        return nothing
    if isinstance(tree, Section):
        return tree
    what = "the recipe is empty" if is_null(tree) else "not a recipe"
    advice = "begin with where the data are, for example: data: {corpus: builtin}"
    mistakes.append(UsageError(what, where=path, expected=_SECTION, found=_describe(tree), advice=advice))
    return nothing


def _parse_overrides(arguments: Sequence[str], mistakes: list[UsageError]) -> Iterator[Section]:
    rest = iter(arguments)
    for argument in rest:
        key, equals, text = argument.removeprefix("--").partition("=")
        where = f"{_COMMAND_LINE}: {key}"
        if not equals and argument.startswith("--"):
            text, equals = next(rest, ""), "a space"
        if not text or not key or not equals:
            expected = "KEY=VALUE, as in training.steps=100"
            mistakes.append(UsageError("a value is missing", where=where, expected=expected, found=argument))
            continue
        try:
            yield _nest(key.split(".", MAX_DEPTH), parse_text(text, where, mistakes))
        except UsageError as mistake:
            mistakes.append(mistake)


def _nest(names: Sequence[str], value: Tree) -> Section:
    """``["training", "steps"], 100`` -> ``training: {steps: 100}``."""
    *outer, last = names
    section = Section(_COMMAND_LINE, {last: dataclasses.replace(value, place=_COMMAND_LINE)})
    for name in reversed(outer):
        section = Section(_COMMAND_LINE, {name: section})
    return section


def _expand_preset(tree: Section, mistakes: list[UsageError]) -> Section:
    """Put the shape that ``model.preset`` names under the other values of ``model``."""
    model = tree.entries.get("model")
    if not isinstance(model, Section) or "preset" not in model.entries:
        return tree
    said = Section(model.place, {key: item for key, item in model.entries.items() if key != "preset"})
    preset = model.entries["preset"]
    name = preset.text if isinstance(preset, Scalar) else ""
    if name not in MODEL_PRESETS:
        where, advice = f"{preset.place}: model.preset", _did_you_mean(name, list(MODEL_PRESETS))
        expected, found = _one_of(MODEL_PRESETS), _describe(preset)
        mistakes.append(UsageError("no such preset", where=where, expected=expected, found=found, advice=advice))
    values = MODEL_PRESETS.get(name, {})
    shape = Section(preset.place, {key: tree_of(value, preset.place) for key, value in values.items()})
    return Section(tree.place, {**tree.entries, "model": overlay(shape, said)})


# Trees into dataclasses


class _Mismatch(Exception):
    """A tree is not of the type asked for."""


class _Reader:
    """Reads dataclasses from a tree, noting every mistake."""

    def __init__(self, root: Tree, mistakes: list[UsageError]) -> None:
        self.root, self.mistakes = root, mistakes

    def value(self, hint: Any, tree: Tree, key: str) -> Any:
        """The tree as a value of type ``hint``, or ``_BROKEN``."""
        if dataclasses.is_dataclass(hint):
            return self.section(hint, tree, key)
        try:
            return _convert(hint, tree)
        except _Mismatch:
            advice = None
            if get_origin(hint) is Literal and isinstance(tree, Scalar):
                advice = _did_you_mean(tree.text, get_args(hint))
            expected, found = _describe_type(hint), _describe(tree)
            self.note("wrong value", tree.place, key, expected=expected, found=found, advice=advice)
            return _BROKEN

    def section(self, cls: Any, tree: Tree, key: str) -> Any:
        if is_null(tree):  # "training:" with everything below it commented out
            tree = Section(tree.place, {})
        if not isinstance(tree, Section):
            self.note("wrong value", tree.place, key, expected=_SECTION, found=_describe(tree))
            return _BROKEN
        hints = _hints(cls)
        values: dict[str, Any] = {}
        for name, item in tree.entries.items():
            dotted = f"{key}.{name}" if key else name
            if name in hints:
                values[name] = self.value(hints[name], item, dotted)
            else:
                advice = _did_you_mean(name, list(hints)) or _elsewhere(name)
                self.note("unknown key", item.place, dotted, expected=None if advice else _one_of(hints), advice=advice)
        broken = {name for name, value in values.items() if value is _BROKEN}
        try:
            config = cls(**{name: value for name, value in values.items() if name not in broken})
        except ConfigProblems as error:
            self.note_problems(error, key, broken)
            return _BROKEN
        return _BROKEN if broken else config

    def note_problems(self, error: ConfigProblems, key: str, broken: set[str]) -> None:
        """Note what a dataclass found wrong, except what only follows from a value that could not be read.

        The text of a problem names the other fields that its rule depends on; a broken field has its default for now.
        """
        for name, text in error.problems:
            if broken.isdisjoint(re.findall(r"\w+", f"{name} {text}")):
                dotted = f"{key}.{name}" if key else name
                self.note(text, self.place(dotted), dotted)

    def note(self, what: str, place: str, key: str, **parts: str | None) -> None:
        self.mistakes.append(UsageError(what, where=f"{place}: {key}" if key else place, **parts))

    def place(self, dotted: str) -> str:
        """Where the key stands, or else the nearest section around it."""
        tree = self.root
        for name in dotted.split("."):
            if not isinstance(tree, Section) or name not in tree.entries:
                break
            tree = tree.entries[name]
        return tree.place


def _convert(hint: Any, tree: Tree) -> Any:
    """A tree as a value of a type that is no dataclass. Raises :class:`_Mismatch`."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _convert_first(get_args(hint), tree)
    if origin is tuple:  # tuple[X, ...]; a single value stands for a list of one
        items = tree.items if isinstance(tree, Listing) else (tree,)
        return tuple(_convert(get_args(hint)[0], item) for item in items)
    if hint is types.NoneType and is_null(tree):
        return None
    if not isinstance(tree, Scalar) or is_null(tree):
        raise _Mismatch
    if origin is Literal and tree.text in get_args(hint):
        return tree.text
    if hint is str:  # whatever YAML takes it for: "no" is also a language, 2016 also a directory
        return tree.text
    if hint is bool and tree.kind == "bool":
        return tree.text.lower() in _TRUE
    if len(tree.text) <= _LONGEST_NUMBER:
        if hint is int and tree.kind == "int" and _WHOLE.fullmatch(tree.text):
            return int(tree.text)
        if hint is float and tree.kind in ("int", "float", "str") and _NUMBER.fullmatch(tree.text):
            number = float(tree.text)  # "str": YAML 1.1 takes 1e-9 for text
            if math.isfinite(number):  # 1e999 is not
                return number
    raise _Mismatch


def _convert_first(hints: Sequence[Any], tree: Tree) -> Any:
    for hint in hints:
        try:
            return _convert(hint, tree)
        except _Mismatch:
            continue
    raise _Mismatch


# Words for messages


def _describe_type(hint: Any) -> str:
    origin = get_origin(hint)
    if origin is Literal:
        return _one_of(get_args(hint))
    if origin is tuple:
        return "a list, each item " + _describe_type(get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return ", or ".join(_describe_type(option) for option in get_args(hint))
    return {int: "a whole number", float: "a number", str: "text", bool: "true or false", types.NoneType: "null"}[hint]


def _describe(tree: Tree) -> str:
    if isinstance(tree, Section):
        return "a section"
    if isinstance(tree, Listing):
        return f"a list of {len(tree.items)}"
    if tree.kind == "null":
        return "nothing"
    text = tree.text if len(tree.text) <= 60 else tree.text[:57] + "..."
    return f"the text {text!r}" if tree.kind == "str" else text


def _one_of(names: Any) -> str:
    return "one of " + ", ".join(names)


def _did_you_mean(name: str, known: Sequence[str]) -> str | None:
    import difflib  # only a mistake needs it

    nearest = difflib.get_close_matches(name[:100], known, n=1)
    return f"did you mean {nearest[0]}?" if nearest else None


def _elsewhere(name: str) -> str | None:
    """For a key that belongs to another section."""
    homes = (dotted for dotted in _dotted_keys(RunConfig, "") if dotted.rpartition(".")[2] == name)
    home = next(homes, None)
    return None if home is None else f"did you mean {home}?"


def _dotted_keys(cls: Any, prefix: str) -> Iterator[str]:
    for name, hint in _hints(cls).items():
        yield prefix + name
        if dataclasses.is_dataclass(hint):
            yield from _dotted_keys(hint, f"{prefix}{name}.")


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)
