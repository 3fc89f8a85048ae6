"""The course of a training by tenths."""

from __future__ import annotations

from torch import nn

from pellucid.compare.curves import training_panel
from pellucid.compare.learner import Learnt


def test_each_tenth_has_its_mean() -> None:
    learnt = Learnt([nn.Identity()], 0.1, {0.1: 1.0}, [[float(step) for step in range(20)], [2.0] * 20])
    [series] = training_panel({"one": learnt}).series
    assert series.name == "one"
    assert list(series.points) == list(range(2, 21, 2))
    assert list(series.points.values()) == [[2 * tenth + 0.5, 2.0] for tenth in range(10)]


def test_few_steps_have_few_points() -> None:
    learnt = Learnt([nn.Identity()], 0.1, {0.1: 1.0}, [[5.0, 3.0, 1.0]])
    [series] = training_panel({"one": learnt}).series
    assert list(series.points.items()) == [(1, [5.0]), (2, [3.0]), (3, [1.0])]
