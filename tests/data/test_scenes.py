"""The built-in scenes: every picture is read back here without their code, and must give its sentence."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
import pytest

from pellucid.data.scenes import (
    COLOURS,
    COUNTS,
    HELD_OUT_PAIRS,
    HELD_OUT_THINGS,
    SPLITS,
    VERSION,
    Picture,
    Scenes,
    scenes,
)

# How many pixels each shape fills, counted by hand on squared paper, by its height and width.
SHAPE_OF = {
    (8, 64): "square",
    (8, 52): "circle",
    (8, 40): "triangle",
    (8, 28): "cross",
    (13, 169): "square",
    (13, 137): "circle",
    (13, 97): "triangle",
    (13, 69): "cross",
}
NAMES = {value: name for name, value in COLOURS.items()}
COLOUR_ORDER = ["red", "green", "blue", "yellow", "purple", "white"]
SHAPE_ORDER = ["circle", "square", "triangle", "cross"]

SMALL = {
    "circle": "..####.. .######. ######## ######## ######## ######## .######. ..####..",
    "square": "######## ######## ######## ######## ######## ######## ######## ########",
    "triangle": "...##... ...##... ..####.. ..####.. .######. .######. ######## ########",
    "cross": "...##... ...##... ...##... ######## ######## ...##... ...##... ...##...",
}


class Seen(NamedTuple):
    """A thing found in a picture: its description and the middle of its box."""

    size: str
    colour: str
    shape: str
    down: float
    right: float

    def __str__(self) -> str:
        return f"a {self.size} {self.colour} {self.shape}"


def find(picture: Picture) -> list[Seen]:
    """The things in a picture: patches of pixels that hang together, corners included."""
    left = {(int(row), int(column)) for row, column in np.argwhere(picture.any(axis=0))}
    found = []
    while left:
        patch, edge = set[tuple[int, int]](), [left.pop()]
        while edge:
            row, column = edge.pop()
            patch.add((row, column))
            near = {(row + down, column + right) for down in (-1, 0, 1) for right in (-1, 0, 1)} & left
            left -= near
            edge.extend(near)
        rows, columns = zip(*patch, strict=True)
        side = max(rows) - min(rows) + 1
        assert side == max(columns) - min(columns) + 1
        (colour,) = {tuple(map(int, picture[:, row, column])) for row, column in patch}
        middle = (min(rows) + max(rows)) / 2, (min(columns) + max(columns)) / 2
        found.append(Seen({8: "small", 13: "large"}[side], NAMES[colour], SHAPE_OF[side, len(patch)], *middle))
    return found


def relation(first: Seen, second: Seen) -> str:
    """How the first stands to the second, along the axis on which they are at least twice as far apart."""
    down, right = second.down - first.down, second.right - first.right
    if abs(right) >= 2 * abs(down):
        return "left of" if right > 0 else "right of"
    assert abs(down) >= 2 * abs(right), "neither beside nor above"
    return "above" if down > 0 else "below"


def naming_order(thing: Seen) -> tuple[bool, int, int]:
    return thing.size == "large", COLOUR_ORDER.index(thing.colour), SHAPE_ORDER.index(thing.shape)


def describe(picture: Picture) -> str:
    """The sentence, from the pixels and the rules as the documentation states them."""
    things = find(picture)
    assert len({thing[:3] for thing in things}) == len(things)
    if len(things) == 2:
        first, second = sorted(things, key=naming_order)
        return f"{first} is {relation(first, second)} {second}"
    assert len(things) == 3
    # The corner is nearest to the others taken together: those two stand across from each other.
    corner = min(
        things, key=lambda thing: sum(abs(thing.down - other.down) + abs(thing.right - other.right) for other in things)
    )
    others = [thing for thing in things if thing != corner]
    (beside,) = (thing for thing in others if relation(corner, thing) in ("left of", "right of"))
    (upright,) = (thing for thing in others if thing != beside)
    assert relation(corner, upright) in ("above", "below")
    return f"{corner} is {relation(corner, beside)} {beside} and {relation(corner, upright)} {upright}"


def combinations_in(sentence: str) -> tuple[set[tuple[str, ...]], set[frozenset[tuple[str, ...]]]]:
    """Sizes with colours and shapes, and which colours and shapes stand together."""
    words = sentence.split()
    things = [tuple(words[place + 1 : place + 4]) for place, word in enumerate(words) if word == "a"]
    return set(things), {frozenset(pair) for pair in combinations([thing[1:] for thing in things], 2)}


@pytest.fixture(scope="module")
def splits() -> dict[str, Scenes]:
    return {split: scenes(split) for split in SPLITS}


class TestPictures:
    @pytest.mark.parametrize("split", SPLITS)
    def test_each_decides_its_sentence(self, splits: dict[str, Scenes], split: str) -> None:
        pictures, sentences = splits[split].pictures, splits[split].sentences
        assert [describe(pictures[index]) for index in range(200)] == sentences[:200]

    def test_the_four_shapes_at_the_small_size(self, splits: dict[str, Scenes]) -> None:
        shown = {}
        for picture in map(splits["dev"].pictures.__getitem__, range(100)):
            for thing in find(picture):
                if thing.size == "small":
                    top, left = int(thing.down - 3.5), int(thing.right - 3.5)
                    box = picture[:, top : top + 8, left : left + 8].any(axis=0)
                    shown[thing.shape] = " ".join("".join(".#"[pixel] for pixel in row) for row in box.astype(int))
        assert shown == SMALL

    def test_are_bytes_of_the_stated_shape(self, splits: dict[str, Scenes]) -> None:
        pictures = splits["dev"].pictures
        assert pictures[3].dtype == np.uint8
        assert pictures[3].shape == pictures.shape == (3, 32, 32)

    def test_depend_on_their_index_alone(self, splits: dict[str, Scenes]) -> None:
        pictures = splits["test"].pictures
        backwards = [pictures[index] for index in reversed(range(20))]
        assert all((pictures[index] == picture).all() for index, picture in zip(reversed(range(20)), backwards, strict=True))
        assert (pictures[-1] == pictures[499]).all()
        with pytest.raises(IndexError):
            pictures[500]

    def test_of_one_sentence_differ(self, splits: dict[str, Scenes]) -> None:
        train = splits["train"]
        (sentence, count), *_ = Counter(train.sentences).most_common(1)
        shown = {train.pictures[index].tobytes() for index, other in enumerate(train.sentences) if other == sentence}
        assert len(shown) >= count - 2 > 5

    def test_and_sentences_are_those_of_this_version(self) -> None:
        """The checksum is of what version 1 gave first. When it changes, so must VERSION, by which prepared data are known."""
        digest = sha256()
        for split in SPLITS:
            found = scenes(split, seed=7)
            digest.update("\n".join(found.sentences).encode())
            digest.update(b"".join(found.pictures[index].tobytes() for index in range(50)))
        assert (VERSION, digest.hexdigest()[:16]) == (1, "a075d49bc132a61b")


class TestSplits:
    def test_have_the_stated_sizes(self, splits: dict[str, Scenes]) -> None:
        assert {split: len(found.sentences) for split, found in splits.items()} == COUNTS
        assert {split: len(found.pictures) for split, found in splits.items()} == COUNTS
        assert COUNTS == {"train": 20_000, "dev": 500, "test": 500, "compositional": 500}

    def test_share_no_sentence(self, splits: dict[str, Scenes]) -> None:
        held_back = [sentence for split in ("dev", "test", "compositional") for sentence in splits[split].sentences]
        assert len(set(held_back)) == 1500
        assert not set(held_back) & set(splits["train"].sentences)

    @pytest.mark.parametrize("split", ["train", "dev", "test"])
    def test_of_ordinary_scenes_have_no_combination_held_out(self, splits: dict[str, Scenes], split: str) -> None:
        for sentence in splits[split].sentences:
            things, pairs = combinations_in(sentence)
            assert not things & HELD_OUT_THINGS
            assert not pairs & HELD_OUT_PAIRS

    def test_compositional_has_one_in_every_sentence_half_of_each_kind(self, splits: dict[str, Scenes]) -> None:
        found = [combinations_in(sentence) for sentence in splits["compositional"].sentences]
        things = [bool(things & HELD_OUT_THINGS) for things, _ in found]
        pairs = [bool(pairs & HELD_OUT_PAIRS) for _, pairs in found]
        assert all(thing or pair for thing, pair in zip(things, pairs, strict=True))
        assert sum(things) == 250
        assert set.union(*(things for things, _ in found)) >= HELD_OUT_THINGS
        assert set.union(*(pairs for _, pairs in found)) >= HELD_OUT_PAIRS

    def test_train_shows_each_half_of_what_is_held_out(self, splits: dict[str, Scenes]) -> None:
        counts: Counter[tuple[str, ...]] = Counter()
        for sentence in splits["train"].sentences:
            counts.update(combinations_in(sentence)[0])
        assert set(counts) == set(product(("small", "large"), COLOUR_ORDER, SHAPE_ORDER)) - HELD_OUT_THINGS
        assert min(counts.values()) > 500

    def test_relations_and_numbers_of_things_are_balanced(self, splits: dict[str, Scenes]) -> None:
        sentences = splits["train"].sentences
        assert 0.48 < sum(" and " in sentence for sentence in sentences) / len(sentences) < 0.56
        for words in ("left of", "right of", "above", "below"):
            share = sum(words in sentence for sentence in sentences if " and " not in sentence)
            assert 0.23 < share / sum(" and " not in sentence for sentence in sentences) < 0.27

    def test_follow_the_seed(self, splits: dict[str, Scenes]) -> None:
        other = scenes("dev", seed=2)
        assert other.sentences != splits["dev"].sentences
        assert describe(other.pictures[0]) == other.sentences[0]

    def test_of_another_name_are_refused(self) -> None:
        with pytest.raises(KeyError, match="valid"):
            scenes("valid")
