"""Examples that a learner types: words with their vectors, weights, and what the learner got, out of a YAML file.

Shapes: T words, D numbers a word, H heads, K width of a head.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pellucid.base.errors import UsageError
from pellucid.base.yaml_tree import Listing, Scalar, Section, Tree, parse_file

SHIPPED = Path(__file__).parent / "examples"
Row = tuple[float, ...]
Matrix = tuple[Row, ...]

KEYS = (
    "title",
    "words",
    "layers",
    "heads",
    "scale",
    "mask",
    "positions",
    "residual",
    "norm",
    "query",
    "key",
    "value",
    "output",
    "feed_forward",
    "one_at_a_time",
    "walk",
    "mine",
    "tolerance",
)
FEED_FORWARD = ("hidden", "hidden_bias", "output", "output_bias")
WALK = ("position", "d_model", "positions")


@dataclass(frozen=True)
class Mine:
    """One row that the learner computed: of a tap, perhaps of a head, at a word."""

    tap: str
    head: int
    row: str
    values: Row
    place: str


@dataclass(frozen=True)
class Typed:
    """The two layers of a feed-forward as typed: a number stands for that many times the identity."""

    hidden: Matrix | float
    hidden_bias: Row | float
    output: Matrix | float
    output_bias: Row | float


@dataclass(frozen=True)
class Walk:
    """A vector of positions to be computed element by element."""

    position: int
    d_model: int
    positions: int


@dataclass(frozen=True)
class Example:
    """What is to be computed, each part on or off.

    Args:
        title: for the reader.
        words: with their vectors, (T, D).
        layers, heads: how many.
        scale: scores divided by sqrt(d_head).
        mask: no word sees a later one.
        positions: sines and cosines are added.
        residual, norm: what stands around each sublayer; the norm comes last.
        query, key, value: W^Q, W^K, W^V, (D, H * K), a vector times the matrix; ``None``: the vectors themselves.
        output: W^O, (H * K, D); ``None``: the heads side by side are the result.
        feed_forward: ``None``: none.
        one_at_a_time: show each query by itself before the product of matrices.
        walk: positions element by element.
        mine: what the learner got.
        tolerance: how far that may be off and still be right.
    """

    title: str
    words: dict[str, Row] = field(default_factory=dict)
    layers: int = 1
    heads: int = 1
    scale: bool = True
    mask: bool = False
    positions: bool = False
    residual: bool = True
    norm: bool = True
    query: Matrix | None = None
    key: Matrix | None = None
    value: Matrix | None = None
    output: Matrix | None = None
    feed_forward: Typed | None = None
    one_at_a_time: bool = False
    walk: Walk | None = None
    mine: tuple[Mine, ...] = ()
    tolerance: float = 0.005

    @property
    def width(self) -> int:
        """D."""
        return len(next(iter(self.words.values())))


def read(path: Path) -> Example:
    """Read an example, or one that is shipped, by its name.

    Raises:
        UsageError: no such file, or something in it is wrong; the message names file and line.
    """
    if not path.suffix and not path.exists():
        shipped = SHIPPED / f"{path.name}.yaml"
        if not shipped.is_file():
            known = sorted(found.stem for found in SHIPPED.glob("*.yaml"))
            raise UsageError("no such example", found=path, expected=f"a file, or one of {', '.join(known)}")
        path = shipped
    mistakes: list[UsageError] = []
    tree = parse_file(path, mistakes)
    if mistakes:
        raise mistakes[0]
    return _example(_section(tree, KEYS))


def _example(entries: dict[str, Tree]) -> Example:
    found: dict[str, Any] = {"title": "an example"}
    readers: dict[str, Any] = {
        "title": _text,
        "layers": _count,
        "heads": _count,
        **dict.fromkeys(("scale", "mask", "positions", "residual", "norm", "one_at_a_time"), _switch),
        **dict.fromkeys(("query", "key", "value", "output"), _matrix),
        "feed_forward": _feed_forward,
        "walk": _walk,
        "tolerance": _number,
    }
    if "words" in entries:
        words = {word: _row(tree) for word, tree in _section(entries["words"]).items()}
        _check(
            len({len(row) for row in words.values()}) == 1, entries["words"], "every word needs as many numbers as the others"
        )
        found["words"] = words
    for name, reader in readers.items():
        if name in entries:
            found[name] = reader(entries[name])
    if "mine" in entries:
        found["mine"] = tuple(_mine(_section(entries["mine"])))
    example = Example(**found)
    if not example.words and example.walk is None:
        raise UsageError(
            "there is nothing to compute", expected="words with their vectors, or a walk", found=", ".join(entries)
        )
    if example.words:
        _fits(example, entries)
    return example


def _fits(example: Example, entries: dict[str, Tree]) -> None:
    """The matrices go together."""
    width, inner = example.width, example.width
    for name in ("query", "key", "value"):
        matrix = getattr(example, name)
        if matrix is not None:
            _check(len(matrix) == width, entries[name], f"needs {width} rows, one for each number of a vector")
            inner = len(matrix[0])
    for name in ("query", "key", "value"):
        matrix = getattr(example, name)
        columns = width if matrix is None else len(matrix[0])
        place = entries.get(name, entries["words"])
        _check(columns == inner, place, f"W^Q, W^K and W^V need as many columns as each other, {inner}")
    _check(inner % example.heads == 0, entries.get("heads", entries["words"]), f"heads must divide {inner}")
    if example.output is not None:
        _check(len(example.output) == inner, entries["output"], f"needs {inner} rows, as many as the heads have numbers")
        _check(len(example.output[0]) == width, entries["output"], f"needs {width} columns, so that layers can follow")
    else:
        _check(inner == width, entries["words"], "without output (W^O) the heads must be as wide as the vectors")


def _mine(entries: dict[str, Tree], tap: str = "", head: int = 0) -> list[Mine]:
    """Rows by tap, perhaps by head, and by word."""
    found = []
    for name, tree in entries.items():
        if not tap:
            found += _mine(_section(tree), name) if isinstance(tree, Section) else [Mine(name, 0, "", _row(tree), tree.place)]
        elif isinstance(tree, Section):
            word, _, number = name.partition(" ")
            _check(word == "head" and number.isdigit(), tree, "a head is written as: head 0")
            found += _mine(tree.entries, tap, int(number))
        else:
            found.append(Mine(tap, head, name, _row(tree), tree.place))
    return found


def _feed_forward(tree: Tree) -> Typed | None:
    if isinstance(tree, Scalar) and tree.kind == "null":
        return None
    entries = _section(tree, FEED_FORWARD)
    for name in ("hidden", "output"):
        _check(name in entries, tree, f"the feed-forward needs {name}")

    def matrix(name: str) -> Matrix | float:
        found = entries[name]
        return _number(found) if isinstance(found, Scalar) else _rows(found)

    def bias(name: str) -> Row | float:
        found = entries.get(name)
        return 0.0 if found is None else _number(found) if isinstance(found, Scalar) else _row(found)

    return Typed(matrix("hidden"), bias("hidden_bias"), matrix("output"), bias("output_bias"))


def _walk(tree: Tree) -> Walk:
    entries = _section(tree, WALK)
    numbers = {name: _count(entries[name]) for name in WALK if name in entries}
    walk = Walk(numbers.get("position", 1), numbers.get("d_model", 4), numbers.get("positions", 10))
    _check(walk.position < walk.positions, tree, f"position must be below positions, {walk.positions}")
    _check(walk.d_model % 2 == 0, tree, "d_model must be even: every sine has its cosine")
    return walk


def _section(tree: Tree, known: Sequence[str] | None = None) -> dict[str, Tree]:
    if not isinstance(tree, Section):
        raise UsageError("names with values are needed here", where=tree.place)
    for name, entry in tree.entries.items():
        if known is not None and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise UsageError("unknown key", where=entry.place, found=name, advice=advice)
    return tree.entries


def _text(tree: Tree) -> str:
    _check(isinstance(tree, Scalar), tree, "a text is needed here")
    assert isinstance(tree, Scalar)
    return tree.text


def _switch(tree: Tree) -> bool:
    if isinstance(tree, Scalar) and tree.kind == "bool":
        return tree.text.lower() in ("true", "yes", "on")
    raise UsageError("on or off is needed here", where=tree.place)


def _count(tree: Tree) -> int:
    number = _number(tree)
    _check(number == int(number) and number >= 1, tree, "a whole number of at least 1 is needed here")
    return int(number)


def _number(tree: Tree) -> float:
    if isinstance(tree, Scalar) and len(tree.text) <= 40:
        try:
            number = float(tree.text)
        except ValueError:
            number = math.nan
        if math.isfinite(number):
            return number
    raise UsageError("a number is needed here", where=tree.place)


def _row(tree: Tree) -> Row:
    if not isinstance(tree, Listing) or not tree.items:
        raise UsageError("a list of numbers is needed here", where=tree.place)
    return tuple(_number(item) for item in tree.items)


def _matrix(tree: Tree) -> Matrix | None:
    return None if isinstance(tree, Scalar) and tree.kind == "null" else _rows(tree)


def _rows(tree: Tree) -> Matrix:
    if not isinstance(tree, Listing) or not tree.items:
        raise UsageError("a matrix is needed here: a list of rows", where=tree.place)
    rows = tuple(_row(item) for item in tree.items)
    _check(len({len(row) for row in rows}) == 1, tree, "the rows of a matrix are of one length")
    return rows


def _check(holds: bool, tree: Tree, what: str) -> None:
    if not holds:
        raise UsageError(what, where=tree.place)
