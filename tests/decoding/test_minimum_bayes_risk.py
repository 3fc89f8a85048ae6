"""The candidate that agrees best with the others, worked by hand with toy utilities, and with sentence scores of sacreBLEU."""

from __future__ import annotations

import random

import pytest
from sacrebleu import sentence_bleu, sentence_chrf

from pellucid.base.errors import UsageError
from pellucid.decoding.minimum_bayes_risk import least_risk, mean_utilities

TEXTS = ["a man rides a red bike", "a man rides a bike", "the man is riding a red bicycle", "dogs run", "a man on a red bike"]


def longer_wins(hypothesis: str, reference: str) -> float:
    """Not symmetrical: 3 for each letter of the hypothesis beyond the reference, 1 for each the other way."""
    more = len(hypothesis) - len(reference)
    return 3.0 * more if more > 0 else float(-more)


def test_mean_utilities_by_hand() -> None:
    """Lengths 1, 4, 2. Of 1: (3 + 1) / 2; of 4: (9 + 6) / 2; of 2: (3 + 2) / 2. The other way round 2 would win."""
    assert mean_utilities(["x", "abcd", "yz"], longer_wins) == [2.0, 7.5, 2.5]
    assert least_risk(["x", "abcd", "yz"], longer_wins) == 1
    assert least_risk(["x", "abcd", "yz"], lambda hypothesis, reference: longer_wins(reference, hypothesis)) == 0


def test_duplicates_count_as_often_as_they_come_and_are_compared_once() -> None:
    """Of "a": itself once more (5), b twice (2 each), c (0): 9 / 4. Of "b": itself (5), a twice (1 each), c (3): 10 / 4."""
    table = {("a", "a"): 5.0, ("a", "b"): 2.0, ("a", "c"): 0.0, ("b", "a"): 1.0, ("b", "b"): 5.0, ("b", "c"): 3.0}
    table |= {("c", "a"): 1.0, ("c", "b"): 1.5}
    asked = []

    def utility(hypothesis: str, reference: str) -> float:
        asked.append((hypothesis, reference))
        return table[hypothesis, reference]

    candidates = ["a", "b", "c", "a", "b"]
    assert mean_utilities(candidates, utility) == [9 / 4, 10 / 4, 5 / 4, 9 / 4, 10 / 4]
    assert sorted(asked) == sorted(table)  # each once, and c, which comes once, never with itself
    assert least_risk(candidates, utility) == 1


def test_of_equally_good_ones_the_first_and_a_single_one_as_it_is() -> None:
    assert least_risk(["b", "a", "c"], lambda hypothesis, reference: 1.0) == 0
    assert least_risk(["b", "a", "c", "a"], lambda hypothesis, reference: float(hypothesis == "a")) == 1
    assert least_risk(["alone"]) == 0
    assert mean_utilities(["alone"]) == [0.0]


@pytest.mark.parametrize("name", ["chrf", "bleu"])
def test_named_utilities_are_the_sentence_scores_of_sacrebleu(name: str) -> None:
    """Every pair scored afresh, duplicates too: no text against itself but its own copies."""
    candidates = [*TEXTS, TEXTS[1], "", TEXTS[3], TEXTS[1]]

    def score(hypothesis: str, reference: str) -> float:
        if name == "chrf":
            return float(sentence_chrf(hypothesis, [reference]).score)
        return float(sentence_bleu(hypothesis, [reference], use_effective_order=True).score)

    expected = [
        sum(score(text, other) for at, other in enumerate(candidates) if at != place) / (len(candidates) - 1)
        for place, text in enumerate(candidates)
    ]
    found = mean_utilities(candidates, name)  # type: ignore[arg-type]
    assert found == pytest.approx(expected, abs=1e-9)
    best = least_risk(candidates, name)  # type: ignore[arg-type]
    assert best == 1  # by its copies
    assert expected[best] == pytest.approx(max(expected), abs=1e-9)
    assert least_risk(TEXTS, name) == 0  # type: ignore[arg-type]  # without the copy


def test_what_is_drawn_most_often_wins_over_noise() -> None:
    numbers = random.Random(1)
    noise = ["".join(numbers.choices("qwzxjvkp ", k=20)) for _ in range(8)]
    assert least_risk([*noise[:4], "a man rides a bike", *noise[4:], "a man rides a red bike", "a man drives a bike"]) == 4


def test_nothing_to_choose_from_and_unknown_names() -> None:
    with pytest.raises(UsageError, match="nothing to choose from"):
        least_risk([])
    with pytest.raises(UsageError, match=r"no such utility\n.*chrf, bleu\n.*meteor"):
        least_risk(["a", "b"], "meteor")  # type: ignore[arg-type]
