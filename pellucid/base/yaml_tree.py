"""YAML text as a tree in which every value knows its place, so that a mistake can be reported with file and line.

Only the composing half of PyYAML's safe loader is used: no object is ever constructed from a tag. Aliases are refused,
and depth and size are bounded, since a few lines of aliases can stand for gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pellucid.base.errors import UsageError

MAX_BYTES = 65_536  # a recipe has a few thousand; the limit keeps a refusal under a second whatever the file holds
MAX_DEPTH = 20
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Scalar:
    """A single value as written. ``kind``: what YAML takes it for (``str, int, float, bool, null, ...``)."""

    place: str
    kind: str
    text: str


@dataclass(frozen=True)
class Listing:
    place: str
    items: tuple[Tree, ...]


@dataclass(frozen=True)
class Section:
    place: str
    entries: dict[str, Tree]


Tree = Scalar | Listing | Section


def parse_file(path: Path, mistakes: list[UsageError]) -> Tree:
    """The tree of a YAML file. Mistakes that leave a tree (a key given twice) are appended to ``mistakes``.

    Raises:
        UsageError: when no tree can be made of the file.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError("no such file", where=path, advice="check the path; recipes end in .yaml") from None
    except OSError as error:
        raise UsageError("cannot read the recipe", where=path, found=error.strerror) from None
    if len(data) > MAX_BYTES:
        raise UsageError("too large for a recipe", where=path, expected=f"at most {MAX_BYTES} bytes", found=len(data))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = f"byte 0x{data[error.start]:02x} at offset {error.start}"
        advice = "save the file as UTF-8"
        raise UsageError("not UTF-8 text", where=f"{path}:{line}", found=found, advice=advice) from None
    return parse_text(text, str(path), mistakes, numbered=True)


def parse_text(text: str, source: str, mistakes: list[UsageError], *, numbered: bool = False) -> Tree:
    """As :func:`parse_file`. ``source`` names where the text stands; line numbers are added to it when ``numbered``.

    An empty text is the scalar null.
    """
    converter = _Converter(source, numbered, mistakes)
    try:
        node = yaml.compose(text, Loader=_BoundedLoader)
    except yaml.MarkedYAMLError as error:
        what = "the YAML cannot be read: " + " ".join(part for part in (error.context, error.problem) if part)
        advice = _advice(error.problem or "")
        raise UsageError(what, where=converter.place(error.problem_mark), advice=advice) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"U+{ord(text[error.position]):04X}"
        where = f"{source}:{line}" if numbered else source
        raise UsageError("a character that YAML does not allow", where=where, found=found) from None
    return Scalar(source, "null", "") if node is None else converter.tree(node, source)


def tree_of(value: object, place: str, depth: int = 0) -> Tree:
    """The tree of plain Python values (what JSON can hold), all in one place. What is past ``MAX_DEPTH`` is cut off."""
    if depth > MAX_DEPTH:
        return Scalar(place, "str", "...")
    if isinstance(value, dict):
        return Section(place, {str(key): tree_of(item, place, depth + 1) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return Listing(place, tuple(tree_of(item, place, depth + 1) for item in value))
    if value is None:
        return Scalar(place, "null", "null")
    if isinstance(value, bool):
        return Scalar(place, "bool", str(value).lower())
    return Scalar(place, type(value).__name__, str(value))


def overlay(base: Section, top: Section) -> Section:
    """``top`` over ``base``: sections key by key, anything else replaced. A section left empty changes nothing."""
    entries = dict(base.entries)
    for key, item in top.entries.items():
        below = entries.get(key)
        if isinstance(below, Section) and isinstance(item, Section):
            item = overlay(below, item)
        elif isinstance(below, Section) and is_null(item):
            item = below
        entries[key] = item
    return Section(top.place, entries)


def is_null(tree: Tree) -> bool:
    return isinstance(tree, Scalar) and tree.kind == "null"


class _BoundedLoader(yaml.SafeLoader):
    """Composes nodes; refuses aliases and too many levels."""

    level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs leave its types out
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not allowed", problem_mark=mark)
        if self.level > MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem="too many levels", problem_mark=mark)
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node


class _Converter:
    """Turns PyYAML's nodes into a :data:`Tree`, noting keys that are repeated or are no plain text."""

    def __init__(self, source: str, numbered: bool, mistakes: list[UsageError]) -> None:
        self.source, self.numbered, self.mistakes = source, numbered, mistakes

    def place(self, mark: Any) -> str:
        return f"{self.source}:{mark.line + 1}" if self.numbered and mark is not None else self.source

    def tree(self, node: yaml.Node, place: str, path: str = "") -> Tree:
        if isinstance(node, yaml.MappingNode):
            return Section(place, dict(self.entries(node, path)))
        if isinstance(node, yaml.SequenceNode):
            return Listing(place, tuple(self.tree(item, self.place(item.start_mark), path) for item in node.value))
        return Scalar(place, node.tag.removeprefix(_TAG), node.value)

    def entries(self, node: yaml.MappingNode, path: str) -> Iterator[tuple[str, Tree]]:
        seen: dict[str, str] = {}
        for key_node, value_node in node.value:
            place = self.place(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self.mistakes.append(UsageError("a key must be a single word", where=place))
                continue
            key: str = key_node.value
            dotted = f"{path}.{key}" if path else key
            if key in seen:
                what = "the key is given twice"
                self.mistakes.append(UsageError(what, where=f"{place}: {dotted}", found=f"the first is at {seen[key]}"))
                continue
            seen[key] = place
            yield key, self.tree(value_node, place, dotted)


def _advice(problem: str) -> str:
    if "'\\t'" in problem:
        return "indent with spaces, YAML allows no tabs"
    if "alias" in problem:
        return "write the value out where it is used"
    return 'check indentation and colons; put text with special characters in "quotes"'
