"""Noticing a loss that climbs, by losses made up here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pellucid.base.config import RunConfig, TrainingConfig
from pellucid.base.errors import DivergedError
from pellucid.training.checkpoints import Progress
from pellucid.training.divergence import Watch


def steps_until_stopped(losses: list[float], first: float | None = None, factor: float = 2.0) -> int | None:
    """How many losses are taken in; None: all of them, without a word."""
    progress = Progress(first_loss=first)
    watch = Watch(RunConfig(training=TrainingConfig(divergence=factor)), progress)
    for number, loss in enumerate(losses, start=1):
        progress.step = number
        try:
            watch.look_at(loss)
        except DivergedError:
            return number
    return None


def test_a_loss_that_climbs_is_noticed() -> None:
    # The limit is 2 x 3 = 6; the mean of 3, 4, ..., 12 is 7.5 when the tenth has come.
    assert steps_until_stopped([3.0 + number for number in range(60)]) == 10


def test_what_to_change_is_named() -> None:
    watch = Watch(RunConfig(), Progress(step=10, first_loss=3.0))
    for _ in range(9):
        watch.look_at(6.1)
    with pytest.raises(DivergedError, match=r"optimizer\.learning_rate, now 1") as stopped:
        watch.look_at(6.1)
    assert stopped.value.exit_code == 5


def test_the_mean_of_ten_steps_decides() -> None:
    # Nine steps of 3 and then of 13: with k of 13 among the last ten the mean is 3 + k, above 6 with the fourth.
    assert steps_until_stopped([3.0] * 9 + [13.0] * 20) == 9 + 4
    assert steps_until_stopped([3.0] * 9 + [13.0] * 3 + [3.0] * 40) is None


def test_noise_and_a_loss_that_falls_are_left_alone() -> None:
    assert steps_until_stopped([3.0, 5.9, 3.0, 5.9] * 20) is None
    assert steps_until_stopped([9.0 / number for number in range(1, 80)]) is None


def test_a_model_that_knows_its_task_may_begin_near_nothing() -> None:
    assert steps_until_stopped([0.01] + [1.9] * 30) is None
    assert steps_until_stopped([0.01] + [2.5] * 30) == 10  # the mean is 2.251


def test_a_run_that_goes_on_compares_with_its_first_step() -> None:
    assert steps_until_stopped([7.0] * 30) is None
    assert steps_until_stopped([7.0] * 30, first=3.0) == 10


def test_it_can_be_switched_off() -> None:
    assert steps_until_stopped([3.0] + [1e9] * 40, factor=0.0) is None


def test_so_many_bad_steps_may_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    config = RunConfig()
    progress = Progress(step=7)
    error = DivergedError("the loss is nan")
    assert not Watch(config, progress).may_skip(error)
    lenient = Watch(replace(config, training=TrainingConfig(skip_bad_steps=2)), progress)
    assert [lenient.may_skip(error) for _ in range(3)] == [True, True, False]
    assert progress.skipped == 2
    assert "step 7 is left out, number 1 of at most 2: the loss is nan" in capsys.readouterr().err
