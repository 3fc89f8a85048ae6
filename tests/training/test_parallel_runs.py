"""Whole runs of several processes: they end as those of one, go on with another number, and stop as one."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from started import ended, free_port, start

from pellucid.base.config import RunConfig
from pellucid.base.recipe import to_yaml
from pellucid.tasks.train import train
from pellucid.training.checkpoints import read_moments

PATIENCE = 120.0  # seconds until a test gives up; nothing waits for so long where all is well


@pytest.fixture
def recipe(config: RunConfig, tmp_path: Path) -> RunConfig:
    """The short run without dropout, every step in its record."""
    plain = replace(config.model, dropout=0.0)
    config = replace(config, model=plain, training=replace(config.training, log_every=1))
    (tmp_path / "recipe.yaml").write_text(to_yaml(config), encoding="utf-8")
    return config


def command(directory: Path, *overrides: str) -> list[str]:
    return ["-m", "pellucid", "train", str(directory / "recipe.yaml"), "--out", str(directory / "run"), *overrides]


def rows(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def until(there: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that the processes do."""
    deadline = time.monotonic() + PATIENCE
    while not there():
        if time.monotonic() > deadline or process.poll() is not None:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"it did not come about: {process.communicate()[0]}")
        time.sleep(0.05)


def ranks_of(run: Path) -> dict[int, int]:
    """The living processes that train in a directory: their numbers by their rank."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            said, given = (entry / "cmdline").read_bytes(), (entry / "environ").read_bytes()
        except (OSError, ValueError):
            continue
        rank = re.search(rb"(?:^|\0)RANK=(\d+)\0", given)
        if rank and str(run).encode() in said:
            found[int(rank[1])] = int(entry.name)
    return found


def checkpoints(run: Path) -> list[int]:
    return sorted(int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("step-*"))


def test_a_run_goes_on_with_another_number_of_processes(recipe: RunConfig, tmp_path: Path) -> None:
    """Two processes, the same with sharded weights, then one, and two again, against one that nothing interrupted."""
    train(recipe, tmp_path / "whole")
    for said, steps in ((["runtime.shard=none"], 7), (["runtime.shard=full"], 11), (None, 14), (["runtime.shard=full"], 20)):
        if said is None:
            train(replace(recipe, training=replace(recipe.training, steps=steps)), tmp_path / "run")
            continue
        process = start(2, command(tmp_path, *said, f"training.steps={steps}"))
        heard = ended(process)
        assert process.returncode == 0, heard
    wanted, found = rows(tmp_path / "whole"), rows(tmp_path / "run")
    losses = [{row["step"]: row["train_loss"] for row in some if "train_loss" in row} for some in (wanted, found)]
    assert list(losses[0]) == list(range(1, 21))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5, abs=1.1e-5)  # the record has five decimals
    assert found[-1] == pytest.approx(wanted[-1], rel=1e-4)
    progress = [
        json.loads((tmp_path / name / "checkpoints/step-00000020/progress.json").read_text()) for name in ("whole", "run")
    ]
    for key in ("step", "epoch", "batch", "tokens"):
        assert progress[0][key] == progress[1][key]
    last = [tmp_path / name / "checkpoints/step-00000020" for name in ("whole", "run")]
    for read in (lambda path: load_file(path / "model.safetensors"), read_moments):
        weights, others = map(read, last)
        assert weights.keys() == others.keys()
        for name in sorted(weights):
            if ".key.bias" in name:  # it moves all scores of a row alike: its gradient is rounding error, which Adam blows up
                continue
            torch.testing.assert_close(others[name], weights[name], rtol=1e-4, atol=1e-5, msg=name)
    assert not ranks_of(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("shard", ["none", "full"])
def test_compiled_blocks_learn_the_same(recipe: RunConfig, tmp_path: Path, shard: str) -> None:
    train(replace(recipe, training=replace(recipe.training, steps=6)), tmp_path / "whole")
    asked = ["training.steps=6", "training.compile=true", f"runtime.shard={shard}", "runtime.timeout=600"]
    process = start(2, command(tmp_path, *asked))
    heard = ended(process, 600.0)
    assert process.returncode == 0, heard
    losses = [[row["train_loss"] for row in rows(tmp_path / name) if "train_loss" in row] for name in ("whole", "run")]
    assert len(losses[0]) == 6
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_with_one_checkpoint(recipe: RunConfig, tmp_path: Path, number: signal.Signals) -> None:
    run = tmp_path / "run"
    process = start(2, command(tmp_path, "training.steps=100000", "checkpoints.every=50000", "training.validate_every=0"))
    until(lambda: len(rows(run)) > 3, process)
    process.send_signal(number)
    said = ended(process)
    assert process.returncode != 0
    assert said.count(f"stopped by {number.name}") == 2
    assert len(checkpoints(run)) == 1
    assert not ranks_of(run)
    [step] = checkpoints(run)
    train(replace(recipe, training=replace(recipe.training, steps=step + 2)), run)
    assert checkpoints(run)[-1] == step + 2


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all(recipe: RunConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(2, command(tmp_path, "training.steps=100000", "checkpoints.every=50000", "training.validate_every=0"))
    until(lambda: len(rows(run)) > 3, process)
    os.kill(ranks_of(run)[1], signal.SIGTERM)
    said = ended(process)
    assert process.returncode == 1
    assert re.search(r"exitcode +: 143", said)
    assert said.count("stopped by SIGTERM") == 2
    assert len(checkpoints(run)) == 1


@pytest.mark.slow
def test_a_killed_process_is_named_and_the_run_is_taken_up(recipe: RunConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(2, command(tmp_path, "training.steps=400", "training.validate_every=0"), ["--max-restarts", "1"])
    until(lambda: bool(checkpoints(run)), process)
    os.kill(ranks_of(run)[1], signal.SIGKILL)
    said = ended(process)
    assert process.returncode == 0, said
    assert "rank 0: another process of the run is gone or hangs\n  found:    no answer from rank 1" in said
    assert re.search(r"going on from step \d+", said)
    assert [row["step"] for row in rows(run) if "train_loss" in row] == list(range(1, 401))


@pytest.mark.slow
def test_a_process_that_hangs_is_named(recipe: RunConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(2, command(tmp_path, "training.steps=100000", "runtime.timeout=5", "training.validate_every=0"))
    until(lambda: len(rows(run)) > 3, process)
    os.kill(ranks_of(run)[1], signal.SIGSTOP)
    said = ended(process)
    assert process.returncode == 1
    assert "no answer from rank 1" in said
    assert not ranks_of(run)


@pytest.mark.slow
def test_a_run_that_diverges_ends_on_all(recipe: RunConfig, tmp_path: Path) -> None:
    process = start(2, command(tmp_path, "optimizer.learning_rate=1e30", "training.validate_every=0"))
    said = ended(process)
    assert process.returncode == 1
    assert re.search(r"exitcode +: 5", said)
    assert "the weights are as they were before it" in said
    assert re.search(r"pair \d+: ", said)


@pytest.mark.slow
def test_two_nodes_hold_a_whole_model_each(recipe: RunConfig, tmp_path: Path) -> None:
    """Two agents on one machine stand for two machines, with two processes each: hybrid sharding on a mesh of 2 x 2."""
    train(recipe, tmp_path / "whole")
    port = free_port()
    agents = [
        start(2, command(tmp_path, "runtime.shard=hybrid"), ["--nnodes", "2", "--node-rank", str(node)], port)
        for node in (0, 1)
    ]
    said = [ended(agent) for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    losses = [
        {row["step"]: row["train_loss"] for row in rows(tmp_path / name) if "train_loss" in row} for name in ("whole", "run")
    ]
    assert list(losses[0]) == list(range(1, 21))
    assert losses[1] == pytest.approx(losses[0], rel=1e-5, abs=1.1e-5)
