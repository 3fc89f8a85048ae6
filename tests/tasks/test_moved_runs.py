"""A run directory is whole in itself: moved, copied, its data elsewhere, what it started from gone, it goes on bit for bit."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import pellucid
from pellucid.base.config import RunConfig, StartConfig
from pellucid.base.errors import DataError
from pellucid.tasks.train import train
from pellucid.training.loop import Trainer
from pellucid.training.signals import Interrupted

STOPPED_AT = 8  # between two checkpoints


def stop_half_way(config: RunConfig, run: Path) -> None:
    """Train until a signal comes in the middle of a step."""
    step = Trainer._step

    def signalled(self: Trainer, bar: Any) -> None:
        if self.progress.step == STOPPED_AT - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        step(self, bar)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_step", signalled)
        with pytest.raises(Interrupted):
            train(config, run)


def assert_same_run(one: Path, other: Path) -> None:
    """Model and newest checkpoint, every number."""
    for file in ("model/model.safetensors", "checkpoints/step-00000020/optimizer.safetensors"):
        left, right = load_file(one / file), load_file(other / file)
        assert left.keys() == right.keys()
        assert [name for name in left if not torch.equal(left[name], right[name])] == []


@pytest.fixture
def never_moved(config: RunConfig, tmp_path: Path) -> Path:
    train(config, tmp_path / "never moved")
    return tmp_path / "never moved"


def test_moved_half_way_it_goes_on(never_moved: Path, config: RunConfig, tmp_path: Path) -> None:
    stop_half_way(config, tmp_path / "here")
    (tmp_path / "another" / "place").mkdir(parents=True)
    there = shutil.move(tmp_path / "here", tmp_path / "another" / "place" / "run")
    assert not (tmp_path / "here").exists()
    train(config, there)
    assert_same_run(there, never_moved)
    assert not (tmp_path / "here").exists()  # nothing is written where it was


def test_a_copy_goes_on_by_itself(never_moved: Path, config: RunConfig, tmp_path: Path) -> None:
    """Also one made file by file, with other times of change."""
    stop_half_way(config, tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(tmp_path / "here")
    train(config, tmp_path / "copy")
    assert_same_run(tmp_path / "copy", never_moved)


def test_the_data_may_move_as_well(never_moved: Path, config: RunConfig, corpus: Path, tmp_path: Path) -> None:
    """To another directory, which the recipe then names; or to files of other names."""
    stop_half_way(config, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "other run")
    elsewhere = shutil.move(corpus, tmp_path / "elsewhere")
    train(replace(config, data=replace(config.data, directory=str(elsewhere))), tmp_path / "run")
    assert_same_run(tmp_path / "run", never_moved)
    files = {split: (str(shutil.move(elsewhere / f"{split}.tsv", tmp_path / f"my-{split}.tsv")),) for split in ("train", "dev")}
    data = replace(config.data, directory=None, train=files["train"], dev=files["dev"])
    train(replace(config, data=data), tmp_path / "other run")
    assert_same_run(tmp_path / "other run", never_moved)


def test_a_relative_place_is_relative_to_where_it_is_called(
    never_moved: Path, config: RunConfig, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, data=replace(config.data, directory="texts"))
    for name in ("one", "two"):
        shutil.copytree(corpus, tmp_path / name / "texts")
    monkeypatch.chdir(tmp_path / "one")
    stop_half_way(config, Path("run"))
    shutil.move("run", tmp_path / "two" / "run")
    monkeypatch.chdir(tmp_path / "two")
    train(config, Path("run"))
    assert_same_run(tmp_path / "two" / "run", never_moved)


def test_other_texts_at_the_new_place_are_refused(config: RunConfig, corpus: Path, tmp_path: Path) -> None:
    stop_half_way(config, tmp_path / "run")
    other = shutil.copytree(corpus, tmp_path / "other")
    (other / "train.tsv").write_text("a b\tB A\n" * 96, encoding="utf-8")
    with pytest.raises(DataError, match="the data of the split train have changed since this run began"):
        train(replace(config, data=replace(config.data, directory=str(other))), tmp_path / "run")


@pytest.mark.parametrize("rank", [0, 2], ids=["all weights learn", "LoRA"])
def test_what_it_started_from_is_needed_no_more(never_moved: Path, config: RunConfig, tmp_path: Path, rank: int) -> None:
    base = shutil.copytree(never_moved, tmp_path / "base")
    config = replace(config, start=StartConfig(model=str(base), lora_rank=rank))
    train(config, tmp_path / "whole")
    stop_half_way(config, tmp_path / "run")
    shutil.rmtree(base)
    train(config, tmp_path / "run")
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_moved_model_is_the_same_model(never_moved: Path, tmp_path: Path) -> None:
    before = pellucid.load(never_moved).translate(["a b c", "d"])
    moved = shutil.move(never_moved / "model", tmp_path / "model")
    shutil.rmtree(never_moved)
    assert pellucid.load(moved).translate(["a b c", "d"]) == before
