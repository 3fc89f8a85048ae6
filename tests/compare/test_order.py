"""Translation with and without positions, by length; and verdicts on made-up figures."""

from __future__ import annotations

import pytest
import torch

from pellucid.compare.corpus import END, LONGEST, longer_side, pairs_side_by_side, sentences
from pellucid.compare.experiment import Place
from pellucid.compare.experiments import order
from pellucid.compare.experiments.order import LONGER, SEEN


def test_the_longer_side_counts() -> None:
    ids = pairs_side_by_side("dev")
    french, english = sentences("dev")
    expected = [
        max(sum(token > END for token in row.tolist()) for row in pair) for pair in zip(french.ids, english.ids, strict=True)
    ]
    assert longer_side(ids).tolist() == expected
    assert max(expected) == LONGEST


SHIFTS: dict[Place, list[float]] = {"none": [0.0, 1e-6], "sinusoidal": [0.4, 0.401]}
RIGHT = {"none": [0.1, 0.1], "sinusoidal": [0.99, 1.0]}
LOSSES: dict[str, dict[Place, list[float]]] = {
    "none": {SEEN: [1.5, 1.51], LONGER: [3.0, 3.1]},
    "sinusoidal": {SEEN: [1.0, 1.01], LONGER: [4.0, 4.1]},
}


@pytest.mark.parametrize(
    ("shift", "none", "sinusoidal", "verdict"),
    [
        (0.0, 1.5, 1.0, "confirmed"),
        (0.0, 1.0, 1.0, "not confirmed here"),  # translations gain nothing
        (0.1, 1.5, 1.0, "not confirmed here"),  # the two sentences differ without positions
        (0.0, 4.5, 4.0, "undecided"),
    ],
)
def test_order_can_come_out_each_way(shift: float, none: float, sinusoidal: float, verdict: str) -> None:
    losses: dict[str, dict[Place, list[float]]] = {"none": {SEEN: [none] * 2}, "sinusoidal": {SEEN: [sinusoidal] * 2}}
    shifts: dict[Place, list[float]] = {**SHIFTS, "none": [shift, shift]}
    assert order.EXPERIMENT.rule.judge(order.judged(shifts, RIGHT, losses))[0] == verdict


def test_longer_pairs_are_not_judged() -> None:
    before = order.judged(SHIFTS, RIGHT, LOSSES)
    other = {scheme: {**points, LONGER: [9.0, 9.0]} for scheme, points in LOSSES.items()}
    assert order.judged(SHIFTS, RIGHT, other) == before
    assert torch.tensor(before[order.WORSE]).tolist() == pytest.approx([0.5, 0.5])
