"""Closeness inside groups and across them."""

from __future__ import annotations

import pytest
import torch

from pellucid.compare.corpus import english_lines
from pellucid.compare.experiments import words
from pellucid.compare.experiments.words import AFTER, BEFORE, GRADIENTS, GROUPS, PAIRS, closeness, cosines
from pellucid.compare.reviews import SENTIMENT, sentiment_cosines, sentiment_vectors


def test_every_word_is_in_one_group_and_in_the_text() -> None:
    grouped = [word for group in GROUPS.values() for word in group.split()]
    known = {word for line in english_lines() for word in line}
    assert [word for word in grouped if word not in known or grouped.count(word) > 1] == []
    assert [word for pair in PAIRS for word in pair if word not in known] == []


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


def test_cosines_of_pairs_by_hand() -> None:
    vectors = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, -2.0]])
    found = cosines(vectors, ["a", "b", "c"], (("a", "b"), ("c", "a")))
    assert found == pytest.approx({"a, b": 0.6, "c, a": -0.8})


def _close(within: float, across: float) -> list[tuple[dict[str, float], float]]:
    return [(dict.fromkeys(GROUPS, within + seed), across) for seed in (0.0, 0.001)]


@pytest.mark.parametrize(
    ("before", "after", "gradients", "verdict"),
    [
        (0.0, 0.9, 0.6, "confirmed"),
        (0.0, 0.3, 0.6, "not confirmed here"),  # no closer than words of two groups
        (0.5, 0.9, 0.6, "not confirmed here"),  # close from the start
        (0.0, 0.9, 0.0, "not confirmed here"),
    ],
)
def test_words_can_come_out_each_way(before: float, after: float, gradients: float, verdict: str) -> None:
    found = words.judged({BEFORE: _close(before, 0.0), AFTER: _close(after, 0.3), GRADIENTS: _close(gradients, 0.1)})
    assert words.EXPERIMENT.rule.judge(found)[0] == verdict


def test_words_of_praise_come_together_where_sentiment_is_told() -> None:
    good, bad = (words.split() for words in SENTIMENT.values())
    read = [([word, "film"], 1) for word in good] + [([word, "film"], 0) for word in bad]
    before, after, names = sentiment_vectors(read, 4, 200, 1)
    assert sorted(names) == sorted([*good, *bad, "film"])
    assert not torch.equal(before, after)
    found = sentiment_cosines(after, names)
    assert found["two positive words"] > 0.5
    assert found["two negative words"] > 0.5
    assert found["one of each"] < 0.0
    again = sentiment_vectors(read, 4, 200, 1)
    assert torch.equal(again[1], after)
