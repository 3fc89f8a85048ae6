"""``pellucid train --profile``: a trace that tools read, a table, and the same weights as without."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pellucid.base.config import RunConfig
from pellucid.base.recipe import to_yaml
from pellucid.tasks.train import train
from pellucid.training.profiling import RECORDED
from tests.training.started import ended, start


def steps_of(run: Path) -> list[str]:
    """The steps that the trace names; it must be what Chrome's tool reads."""
    content = json.loads((run / "profile" / "trace.json").read_text(encoding="utf-8"))
    events = [event for event in content["traceEvents"] if event.get("ph") == "X"]
    assert all(event["dur"] >= 0 and "ts" in event for event in events)
    return sorted({event["name"] for event in events if event["name"].startswith("ProfilerStep#")})


def test_a_trace_a_table_and_the_same_weights(config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(config, training=replace(config.training, steps=12))
    train(config, tmp_path / "watched", profile=True)
    err = capsys.readouterr().err
    assert "trace.json (open it in ui.perfetto.dev)" in err
    assert len(steps_of(tmp_path / "watched")) == RECORDED == 3
    table = (tmp_path / "watched" / "profile" / "operators.txt").read_text(encoding="utf-8")
    assert "Self CPU" in table
    assert any(name in table for name in ("aten::mm", "aten::addmm"))
    train(config, tmp_path / "alone")
    assert not (tmp_path / "alone" / "profile").exists()
    one, other = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("watched", "alone"))
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_a_run_too_short_says_so(config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(replace(config, training=replace(config.training, steps=4)), tmp_path / "run", profile=True)
    assert "warning: nothing was profiled: the run ended before step 10 of this call" in capsys.readouterr().err
    assert not (tmp_path / "run" / "profile").exists()


def test_of_two_processes_the_first_is_recorded(config: RunConfig, tmp_path: Path) -> None:
    recipe, run = tmp_path / "recipe.yaml", tmp_path / "run"
    recipe.write_text(to_yaml(replace(config, training=replace(config.training, steps=12))), encoding="utf-8")
    said = ended(process := start(2, ["-m", "pellucid", "train", str(recipe), "--out", str(run), "--profile"]))
    assert process.returncode == 0, said
    assert "USDT" not in said  # what the profiler says of itself
    assert said.count("profiled 3 steps of the first of 2 processes") == 1
    assert len(steps_of(run)) == 3
