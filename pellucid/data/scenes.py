"""Small generated pictures of a few things, each with the one sentence that describes it.

A picture shows two or three things, each of one size, colour and shape, no two alike in all three, on black:

    "a small red circle is left of a large blue square"
    "a large white cross is right of a small red square and below a small green circle"

The picture decides the sentence:

- Of **two things** the smaller is named first; of two alike in size the one whose colour comes first in `COLOURS`; of two
  alike in both the one whose shape comes first in `SHAPES`. Their centres lie at least twice as far apart along the axis of the
  relation as along the other.
- **Three things** stand in three quarters of the picture. Named first is the one in the corner that they form: it alone has one
  thing beside it, which is named second, and one above or below it, which is named last.

The sentence does not decide the picture: things are moved about at random within those limits. They never touch.

The split `compositional` shows what no other split does: a size, a colour and a shape on the same thing (`HELD_OUT_THINGS`), or
two things in the same picture (`HELD_OUT_PAIRS`), of which each part is known from other company. Sentences of dev, test and
compositional are all different, and none stands in train, where a sentence may come again with another picture.

Drawn with a counter-based generator: a picture depends on the seed, the split and its index alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]  # (C, H, W)

VERSION = 1  # of what a seed gives: another number when pictures or sentences change
SPLITS = ("train", "dev", "test", "compositional")
COUNTS = {"train": 20_000, "dev": 500, "test": 500, "compositional": 500}
SIDE = 32  # height and width of a picture in pixels

SIZES = {"small": 8, "large": 13}  # height and width in pixels
COLOURS = {
    "red": (230, 40, 40),
    "green": (40, 190, 60),
    "blue": (60, 90, 250),
    "yellow": (240, 215, 40),
    "purple": (190, 60, 220),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "cross")

HELD_OUT_THINGS = frozenset(
    {
        ("small", "red", "triangle"),
        ("large", "green", "circle"),
        ("small", "blue", "cross"),
        ("large", "yellow", "square"),
        ("small", "purple", "circle"),
        ("large", "white", "triangle"),
    }
)
HELD_OUT_PAIRS = frozenset(  # colour and shape of each of the two, of whatever size
    frozenset(pair)
    for pair in (
        (("yellow", "circle"), ("purple", "square")),
        (("red", "square"), ("yellow", "cross")),
        (("blue", "circle"), ("green", "triangle")),
        (("white", "cross"), ("purple", "triangle")),
    )
)

_BESIDE = ("left of", "right of")
_UPRIGHT = ("above", "below")
_GAP = 2  # least pixels between two things
_CELL = SIDE // 2


class Thing(NamedTuple):
    """What stands in a picture."""

    size: str
    colour: str
    shape: str

    def __str__(self) -> str:
        return " ".join(self)

    @property
    def rank(self) -> tuple[int, int, int]:
        """Of two things, the one of lower rank is named first."""
        return list(SIZES).index(self.size), list(COLOURS).index(self.colour), SHAPES.index(self.shape)


class Scene(NamedTuple):
    """Two or three things in the order in which they are named, and how the first stands to each of the others."""

    things: tuple[Thing, ...]
    relations: tuple[str, ...]

    @property
    def sentence(self) -> str:
        others = zip(self.relations, self.things[1:], strict=True)
        return f"a {self.things[0]} is " + " and ".join(f"{relation} a {thing}" for relation, thing in others)

    @property
    def held_out(self) -> str | None:
        """Which kind of combination that belongs to the compositional split alone is in it, if any."""
        if not HELD_OUT_THINGS.isdisjoint(self.things):
            return "thing"
        kinds = [(thing.colour, thing.shape) for thing in self.things]
        return "pair" if any(frozenset(pair) in HELD_OUT_PAIRS for pair in combinations(kinds, 2)) else None


class ScenePictures:
    """The pictures of some scenes, drawn when asked for: ``pictures[index]`` is uint8 (3, 32, 32)."""

    shape = (3, SIDE, SIDE)

    def __init__(self, scenes: tuple[Scene, ...], seed: int, split: str) -> None:
        self._scenes, self._seed, self._split = scenes, seed, split

    def __len__(self) -> int:
        return len(self._scenes)

    def __getitem__(self, index: int) -> Picture:
        scene = self._scenes[index]
        return _draw(scene, _Numbers(self._seed, self._split, range(len(self))[index]))


@dataclass(frozen=True)
class Scenes:
    """The pictures of one split, and their sentences in the same order."""

    pictures: ScenePictures
    sentences: list[str]


def scenes(split: str, seed: int = 1) -> Scenes:
    """The pictures and sentences of one of `SPLITS`; the same seed gives the same on every machine.

    Raises KeyError for a name that is not in `SPLITS`.
    """
    chosen = _by_split(seed)[split]
    return Scenes(ScenePictures(chosen, seed, split), [scene.sentence for scene in chosen])


class _Numbers:
    """Random numbers that depend on these three alone.

    Taken raw from the generator, whose stream numpy fixes; it does not promise that for its `integers`.
    """

    def __init__(self, seed: int, split: str, counter: int, ahead: int = 8) -> None:
        key = np.array([seed % (1 << 64), SPLITS.index(split)], dtype=np.uint64)
        self._raw = np.random.Philox(key=key, counter=np.array([0, 0, 0, counter], dtype=np.uint64)).random_raw
        self._ahead, self._ready = ahead, list[int]()

    def below(self, limit: int) -> int:
        """A whole number from 0 to ``limit`` - 1. The bias of the remainder, under 1e-17, is nothing."""
        if not self._ready:
            self._ready = self._raw(self._ahead).tolist()
        return self._ready.pop() % limit

    def between(self, first: int, last: int) -> int:
        """A whole number from ``first`` to ``last``, both included."""
        return first + self.below(last - first + 1)


@lru_cache(maxsize=4)
def _by_split(seed: int) -> dict[str, tuple[Scene, ...]]:
    """What every split shows. The splits of different sentences come first, so that train can leave those out."""
    found: dict[str, tuple[Scene, ...]] = {}
    apart: set[str] = set()
    for split in ("dev", "test", "compositional", "train"):
        # The last counter is no picture's, so what is shown and where it stands are drawn independently.
        numbers = _Numbers(seed, split, (1 << 64) - 1, ahead=4096)
        room: dict[str | None, int] = {None: COUNTS[split]}
        if split == "compositional":
            room = {"thing": COUNTS[split] // 2, "pair": COUNTS[split] - COUNTS[split] // 2}
        chosen: list[Scene] = []
        while len(chosen) < COUNTS[split]:
            scene = _choose(numbers)
            if room.get(scene.held_out, 0) and scene.sentence not in apart:
                chosen.append(scene)
                room[scene.held_out] -= 1
                if split != "train":
                    apart.add(scene.sentence)
        found[split] = tuple(chosen)
    return found


def _choose(numbers: _Numbers) -> Scene:
    count = numbers.between(2, 3)
    things: list[Thing] = []
    while len(things) < count:
        size, colour, shape = (list(choices)[numbers.below(len(choices))] for choices in (SIZES, COLOURS, SHAPES))
        if (thing := Thing(size, colour, shape)) not in things:
            things.append(thing)
    if count == 2:
        return Scene(tuple(sorted(things, key=lambda thing: thing.rank)), ((_BESIDE + _UPRIGHT)[numbers.below(4)],))
    return Scene(tuple(things), (_BESIDE[numbers.below(2)], _UPRIGHT[numbers.below(2)]))


def _draw(scene: Scene, numbers: _Numbers) -> Picture:
    picture = np.zeros((3, SIDE, SIDE), np.uint8)
    places = _places_of_two(scene, numbers) if len(scene.things) == 2 else _places_of_three(scene, numbers)
    for thing, (top, left) in zip(scene.things, places, strict=True):
        mask = _mask(thing.shape, SIZES[thing.size])
        height, width = mask.shape
        picture[:, top : top + height, left : left + width] += mask * np.array(COLOURS[thing.colour], np.uint8)[:, None, None]
    return picture


def _places_of_two(scene: Scene, numbers: _Numbers) -> list[tuple[int, int]]:
    """Top and left of each thing: one before the other along the axis of the relation, nearly level along the other."""
    (relation,) = scene.relations
    first_leads = relation in ("left of", "above")
    sides = [SIZES[thing.size] for thing in scene.things]
    before, after = sides if first_leads else sides[::-1]
    start = numbers.between(0, SIDE - before - _GAP - after)
    end = numbers.between(start + before + _GAP, SIDE - after)
    apart = (2 * end + after) - (2 * start + before)  # between the centres, in half pixels
    level = numbers.between(0, SIDE - before)
    # 2 * |2 * other + after - (2 * level + before)| <= apart
    lowest = max(0, -((apart // 2 + after - 2 * level - before) // 2))
    highest = min(SIDE - after, (apart // 2 - after + 2 * level + before) // 2)
    places = [(level, start), (numbers.between(lowest, highest), end)]
    if relation in _UPRIGHT:
        places = [place[::-1] for place in places]
    return places if first_leads else places[::-1]


def _places_of_three(scene: Scene, numbers: _Numbers) -> list[tuple[int, int]]:
    """Top and left of each thing, every one within its quarter of the picture."""
    column, row = _BESIDE.index(scene.relations[0]), _UPRIGHT.index(scene.relations[1])
    quarters = [(row, column), (row, 1 - column), (1 - row, column)]
    return [
        (_within(quarter[0], SIZES[thing.size], numbers), _within(quarter[1], SIZES[thing.size], numbers))
        for thing, quarter in zip(scene.things, quarters, strict=True)
    ]


def _within(quarter: int, side: int, numbers: _Numbers) -> int:
    """Where a thing of this side begins: at most two pixels from the middle of its quarter, and clear of the next one."""
    middle = (_CELL - side) // 2
    reach = min(middle, 2)
    return quarter * _CELL + numbers.between(middle - reach, middle + reach)


@lru_cache(maxsize=16)
def _mask(shape: str, side: int) -> npt.NDArray[np.uint8]:
    """1 where a shape covers its box, 0 elsewhere: (side, side)."""
    rows, columns = np.indices((side, side))
    across, down = np.abs(columns - (side - 1) / 2), np.abs(rows - (side - 1) / 2)  # from the middle
    covers = {
        "circle": across**2 + down**2 <= (side / 2) ** 2,
        "square": np.full((side, side), True),
        "triangle": across <= (rows + 1) / 2,  # pointing up
        "cross": np.minimum(across, down) <= side / 7,
    }
    return covers[shape].astype(np.uint8)
