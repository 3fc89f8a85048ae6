"""Real processes, really hurt: a few trials of each experiment in ``benchmarks/reliability.py``; all of them are slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import reliability

# The share of an experiment's trials that is quick enough for every day.
SHARES = {
    "kills": 0.06,
    "two_ranks": 0.1,
    "controls": 1.0,
    "signals": 1.0,
    "full_disk": 0.05,
    "file_limit": 0.2,
    "read_only": 1.0,
    "damage": 0.2,
    "readers": 0.0,  # a round of each reader
    "large_corpora": 0.0,  # takes minutes
    "crashes": 0.03,
    "not_a_number": 1.0,
    "divergence": 1.0,
    "memory": 1.0,
}


def check(row: reliability.Row) -> None:
    assert row.failures == []
    assert row.held == row.of > 0, row.seen


@pytest.mark.parametrize("name", [name for name in SHARES if name != "large_corpora"])
def test_some_trials_hold(name: str, tmp_path: Path) -> None:
    check(reliability.EXPERIMENTS[name](tmp_path, SHARES[name]))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, share in SHARES.items() if share < 1.0])
def test_all_trials_hold(name: str, tmp_path: Path) -> None:
    check(reliability.EXPERIMENTS[name](tmp_path, 1.0))


def test_every_experiment_is_tried() -> None:
    assert SHARES.keys() == reliability.EXPERIMENTS.keys()
