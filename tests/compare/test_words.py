"""Closeness inside groups and across them."""

from __future__ import annotations

import pytest
import torch

from pellucid.compare.corpus import english_lines
from pellucid.compare.experiments.words import GROUPS, closeness


def test_every_word_is_in_one_group_and_in_the_text() -> None:
    words = [word for group in GROUPS.values() for word in group.split()]
    known = {word for line in english_lines() for word in line}
    assert [word for word in words if word not in known or words.count(word) > 1] == []


def test_groups_that_point_one_way_each() -> None:
    names = [word for group in GROUPS.values() for word in group.split()]
    ways = torch.eye(len(GROUPS), 7)
    vectors = torch.stack(
        [ways[number] * (1 + place) for number, group in enumerate(GROUPS.values()) for place in range(len(group.split()))]
    )
    within, across = closeness(vectors, names)
    assert within == pytest.approx(dict.fromkeys(GROUPS, 1.0))
    assert across == 0.0


def test_half_a_group_turned_round() -> None:
    names = [word for group in GROUPS.values() for word in group.split()]
    vectors = torch.ones(len(names), 3)
    vectors[0] = -1.0  # one of the eight animals
    within, across = closeness(vectors, names)
    assert within["animals"] == pytest.approx((7 * 6 - 2 * 7) / (8 * 7))  # ordered pairs: 42 agree, 14 do not
    assert within["cities"] == pytest.approx(1.0)
    assert across < 1.0
