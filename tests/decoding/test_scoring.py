"""Outputs that are given: the log probability of every token, against numbers worked out one by one."""

from __future__ import annotations

import pytest
from toys import END, START, Toy, log_softmax, padded, random_table

from pellucid.decoding.scoring import log_probabilities, token_log_probabilities

TABLE = random_table(71, vocabulary=7)
SOURCES = [(6, 5, 3), (4,)]
TARGETS = [(5, 3, END), (6, 1, 5, 4, 3)]


def test_every_token_of_outputs_of_different_lengths() -> None:
    source, mask = padded(SOURCES)
    found = token_log_probabilities(Toy(TABLE), source, mask, TARGETS, start=START)
    for one, target, values in zip(SOURCES, TARGETS, found, strict=True):
        expected = [log_softmax(TABLE(one, target[:at]))[token] for at, token in enumerate(target)]
        assert values == pytest.approx(expected, abs=1e-5)
    assert log_probabilities(Toy(TABLE), source, mask, TARGETS, start=START) == pytest.approx([sum(one) for one in found])


def test_an_output_of_no_tokens() -> None:
    source, mask = padded(SOURCES)
    assert token_log_probabilities(Toy(TABLE), source, mask, [(), ()], start=START) == [[], []]
    assert log_probabilities(Toy(TABLE), source, mask, [(), (5,)], start=START)[0] == 0.0
