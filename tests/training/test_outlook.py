"""What is said before a run and after its first steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.base.config import CheckpointConfig, RunConfig
from pellucid.tasks.train import train
from pellucid.training import outlook
from pellucid.training.memory import Memory
from pellucid.training.outlook import Forecast, short_of_disk, short_of_memory

NEEDED = Memory(weights=100, gradients=100, moments=200, average=0, activations=1600)


def test_a_run_begins_with_what_it_takes(config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """20 steps of 2 batches; 96 pairs of at most 7 tokens a side in batches of 64 tokens. Nothing to warn of."""
    train(config, tmp_path / "run")
    err = capsys.readouterr().err
    assert "20 steps are " in err
    assert "memory (an estimate): about " in err
    assert "activations of the largest batch" in err
    assert "warning" not in err
    train(config, tmp_path / "run")
    assert "estimate" not in capsys.readouterr().err  # finished: there is nothing ahead


def test_what_there_is_too_little_of_is_named_before_the_first_step(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlook, "free_memory", lambda device: 1000)
    monkeypatch.setattr(outlook.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 2000}))
    config = replace(config, optimizer=replace(config.optimizer, warmup=20))
    train(config, tmp_path / "run")
    err = capsys.readouterr().err
    assert "warning: optimizer.warmup: 20 is not over when the run ends at step 20" in err
    assert "warning: model: take fewer layers" in err
    assert "1.0 kB are free on cpu" in err
    assert "warning: checkpoints.keep: the disk has too little room" in err
    assert err.index("warning") < err.index("step 10: dev loss")


class TestMemory:
    def test_enough(self) -> None:
        assert short_of_memory(RunConfig(), NEEDED, 2000) is None
        assert short_of_memory(RunConfig(), NEEDED, None) is None

    def test_smaller_batches_will_do(self) -> None:
        """Beside 400 bytes of weights 500 are left for what takes 1600: a quarter of 4,096 tokens, four at a time."""
        line = short_of_memory(RunConfig(), NEEDED, 900)
        assert line is not None
        assert "training.batch_tokens: set it to 1,024 and training.accumulate to 4: the steps stay the same" in line
        assert "(2.0 kB are needed, 900 B are free on auto)" in line

    def test_no_batch_is_small_enough(self) -> None:
        line = short_of_memory(RunConfig(), NEEDED, 410)
        assert line is not None
        assert line.startswith("model: take fewer layers")


class TestDisk:
    def test_enough(self) -> None:
        assert short_of_disk(RunConfig(), 10, 10) is None

    @pytest.mark.parametrize(
        ("kept", "key"),
        [
            (CheckpointConfig(keep=5, average=3), "keep"),
            (CheckpointConfig(keep=2, average=20), "average"),
            (CheckpointConfig(every=100, keep_every=100), "keep_every"),
        ],
    )
    def test_what_takes_most_is_named(self, kept: CheckpointConfig, key: str) -> None:
        line = short_of_disk(replace(RunConfig(), checkpoints=kept), 2_000_000_000, 1_500_000_000)
        assert line is not None
        assert line.startswith(f"checkpoints.{key}: the disk has too little room (2.0 GB of checkpoints, 1.5 GB are free)")


class TestForecast:
    def test_the_first_step_does_not_count(self) -> None:
        """100 s, then 10 of 2 s: 989 are left."""
        forecast = Forecast(1000)
        told = [forecast.after(100.0), *(forecast.after(2.0) for _ in range(20))]
        assert told[10] == "about 33 min to go: 989 steps of 2 s, validations not counted (an estimate from 10 steps)"
        assert [line for line in told if line] == [told[10]]

    def test_slow_steps_are_not_waited_for(self) -> None:
        forecast = Forecast(5000)
        told = [forecast.after(30.0) for _ in range(4)]
        assert told[:3] == [None, None, None]
        assert told[3] is not None
        assert "about 41 h 38 min to go" in told[3]

    def test_a_short_rest_is_left_to_the_progress_bar(self) -> None:
        forecast = Forecast(40)
        assert [forecast.after(1.0) for _ in range(40)] == [None] * 40
