"""Runs with damaged files: what is wrong and where; nothing is trained on top of it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pellucid.base.config import CheckpointConfig, RunConfig
from pellucid.base.errors import DataError, ModelError
from pellucid.base.recipe import read
from pellucid.tasks.train import train
from pellucid.training import checkpoints
from pellucid.training.averaging import average
from pellucid.training.checkpoints import Checkpoints, newest_progress
from pellucid.training.record import read_rows


@pytest.fixture
def learnt_copy(learnt: Path, tmp_path: Path) -> Path:
    """A run that is finished, to be damaged."""
    return shutil.copytree(learnt, tmp_path / "copy")


def damage_positions(run: Path, change: Callable[[Any], Any]) -> None:
    """Change the progress in every checkpoint, and its checksums with it."""
    for path in (run / "checkpoints").glob("step-*"):
        content = change(json.loads((path / "progress.json").read_text()))
        text = content if isinstance(content, str) else json.dumps(content)
        (path / "progress.json").write_text(text)
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["files"]["progress.json"] = {"size": len(text), "sha256": sha256(text.encode()).hexdigest()}
        (path / "manifest.json").write_text(json.dumps(manifest))


DAMAGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "cut": (lambda content: json.dumps(content)[:-20], "progress.json: the position of the run cannot be read"),
    "a list": (lambda content: [content], "progress.json: the position of the run cannot be read"),
    "another type": (
        lambda content: content | {"step": "20"},
        r"progress.json: the position of the run is damaged\n.*step: '20'",
    ),
    "another key": (lambda content: content | {"stride": 1}, r"progress.json: the position of the run is damaged\n.*stride: 1"),
    "another format": (lambda content: content | {"format_version": 99}, "the checkpoint has another format"),
}


@pytest.mark.parametrize(("change", "words"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_position_is_named(learnt_copy: Path, change: Callable[[Any], Any], words: str) -> None:
    """By whoever asks for it; a run passes the checkpoint over, as any that is damaged."""
    damage_positions(learnt_copy, change)
    with pytest.raises(ModelError, match=words) as refused:
        newest_progress(learnt_copy)
    assert refused.value.exit_code == 4
    with pytest.raises(ModelError, match="no checkpoint of this run is whole"):
        Checkpoints(learnt_copy, CheckpointConfig(), higher_is_better=True).latest()


def test_a_last_row_that_was_cut_off_is_dropped(learnt_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = learnt_copy / "metrics.jsonl"
    rows = read_rows(path)
    path.write_bytes(path.read_bytes()[:-5])
    assert read_rows(path) == rows[:-1]
    assert f"warning: {path}:{len(rows)}: the last line was cut off and is left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", [b'{"step": 1, "trai', b"[1]", b'{"loss": 1.0}', b'{"step": "1"}', b"\xff{}", b"[" * 100_000, b""]
)
def test_another_damaged_row_is_named(learnt_copy: Path, line: bytes) -> None:
    path = learnt_copy / "metrics.jsonl"
    first, _, *others = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([first, line, *others]))
    with pytest.raises(ModelError, match=rf"{path}:2: the record of the run is damaged") as refused:
        train(read(learnt_copy / "config.yaml"), learnt_copy)
    assert refused.value.exit_code == 4


def test_damaged_weights_to_average_are_named(learnt_copy: Path) -> None:
    damaged = learnt_copy / "model" / "model.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(ModelError, match=r"model\.safetensors: a checkpoint to average is damaged"):
        average([damaged])


def a_word_less(corpus: Path) -> None:
    path = corpus / "train.tsv"
    path.write_text(path.read_text().replace("a ", "", 1))


def cut_short(corpus: Path) -> None:
    path = corpus / "train.tsv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:60]))


@pytest.mark.parametrize(("change", "found"), [(a_word_less, "96 pairs"), (cut_short, "60 pairs")])
def test_data_that_have_changed_since_the_run_began_are_refused(
    config: RunConfig, corpus: Path, tmp_path: Path, change: Callable[[Path], None], found: str
) -> None:
    """Even where the prepared tokens are damaged as well; as they were, the run goes on."""
    run, file = tmp_path / "run", corpus / "train.tsv"
    config = replace(config, training=replace(config.training, validate_every=0, steps=5))
    longer = replace(config, training=replace(config.training, steps=10))
    train(config, run)
    before, prepared = file.read_text(), run / "data" / "train" / "tokens.bin"
    change(corpus)
    for content in (prepared.read_bytes(), prepared.read_bytes()[:-2]):
        prepared.write_bytes(content)
        with pytest.raises(DataError, match="the data of the split train have changed since this run began") as refused:
            train(longer, run)
        assert refused.value.exit_code == 3
        assert str(file) in str(refused.value)
        assert re.search(rf"expected: 96 pairs.*\n.*found: +{found}; changed since: input\n", str(refused.value))
        assert newest_progress(run).step == 5
    file.write_text(before)
    train(longer, run)
    assert newest_progress(run).step == 10


def test_prepared_tokens_that_are_damaged_are_prepared_anew(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the same data: the run goes on as if nothing had been."""
    config = replace(config, training=replace(config.training, validate_every=0, steps=5))
    longer = replace(config, training=replace(config.training, steps=10))
    for name in ("whole", "damaged"):
        train(config, tmp_path / name)
    prepared = tmp_path / "damaged" / "data" / "train" / "tokens.bin"
    content = prepared.read_bytes()
    prepared.write_bytes(content[:-2])
    for name in ("whole", "damaged"):
        train(longer, tmp_path / name)
    assert prepared.read_bytes() == content
    assert "preparing the split train anew" in capsys.readouterr().err
    files = [tmp_path / name / "checkpoints" / "step-00000010" / "model.safetensors" for name in ("whole", "damaged")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_killed_when_a_checkpoint_has_just_appeared_the_average_is_the_same(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is averaged at the end must be there as soon as the checkpoint is: a run that goes on from it comes by only once."""
    config = replace(config, training=replace(config.training, steps=15, validate_every=0))
    train(config, tmp_path / "whole")
    publish = checkpoints.publish_directory

    def killed(build: Callable[[Path], None], path: Path) -> None:
        publish(build, path)
        if path.name == "step-00000010":
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints, "publish_directory", killed)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "killed")
    monkeypatch.undo()
    train(config, tmp_path / "killed")
    models = [tmp_path / name / "model" / "model.safetensors" for name in ("whole", "killed")]
    assert models[0].read_bytes() == models[1].read_bytes()
