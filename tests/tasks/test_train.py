"""Runs: what they leave behind, how they go on, how they stop."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import pellucid
from pellucid.base.config import CheckpointConfig, OptimizerConfig, RunConfig, StackConfig, TrainingConfig
from pellucid.base.errors import DivergedError, MemoryLimitError, ModelError, UsageError
from pellucid.base.files import locked
from pellucid.base.recipe import to_yaml
from pellucid.model.build import build, initialise
from pellucid.tasks.train import train
from pellucid.tasks.translation import Translation
from pellucid.training.loop import Trainer
from pellucid.training.signals import Interrupted


def state_of(run: Path, step: int) -> dict[str, Tensor]:
    """Weights and moments of a checkpoint; copies, since what safetensors gives is mapped from the file."""
    directory = run / "checkpoints" / f"step-{step:08d}"
    moments = {f"moments/{name}": value for name, value in load_file(directory / "optimizer.safetensors").items()}
    both = load_file(directory / "model.safetensors") | moments
    return {name: value.clone() for name, value in both.items()}


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


@pytest.fixture
def whole_run(config: RunConfig, tmp_path: Path) -> Path:
    """A run that nothing interrupted."""
    train(config, tmp_path / "whole")
    return tmp_path / "whole"


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, action: Any) -> None:
    """Call ``action`` in the middle of a step, once."""
    original = Trainer._step

    def stepping(self: Trainer, bar: Any) -> None:
        if self.progress.step == step - 1:
            action()
        original(self, bar)

    monkeypatch.setattr(Trainer, "_step", stepping)


def test_a_run_leaves_everything_that_a_reader_needs(whole_run: Path, config: RunConfig) -> None:
    rows = [json.loads(line) for line in (whole_run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "train_loss" in row] == [5, 10, 15, 20]
    assert [row["step"] for row in rows if "dev_bleu" in row] == [10, 20, 20]  # the last one: of the average
    with (whole_run / "metrics.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == [str(row["step"]) for row in rows]
    assert (whole_run / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "--- step 20" in (whole_run / "samples.txt").read_text()
    assert sorted(path.name for path in (whole_run / "checkpoints").iterdir()) == [
        "step-00000015",
        "step-00000020",
        "weights-00000015.safetensors",
        "weights-00000020.safetensors",
    ]
    names = {path.name for path in (whole_run / "model").iterdir()}
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "README.md"}
    assert "nrefs:1" in (whole_run / "model" / "README.md").read_text()


def test_the_model_is_the_mean_of_the_last_checkpoints(whole_run: Path) -> None:
    parts = [load_file(whole_run / "checkpoints" / f"weights-000000{step}.safetensors") for step in (15, 20)]
    model = load_file(whole_run / "model" / "model.safetensors")
    for name, weight in model.items():
        torch.testing.assert_close(weight, (parts[0][name] + parts[1][name]) / 2, rtol=1e-6, atol=1e-8)


def test_the_same_seed_gives_the_same_weights(whole_run: Path, config: RunConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "again")
    assert_same(state_of(tmp_path / "again", 20), state_of(whole_run, 20))
    train(replace(config, seed=2), tmp_path / "other")
    weights, others = state_of(whole_run, 20), state_of(tmp_path / "other", 20)
    assert not torch.equal(weights["weights.shared"], others["weights.shared"])


@pytest.mark.parametrize(("step", "number", "code"), [(8, signal.SIGTERM, 143), (10, signal.SIGINT, 130)])
def test_a_signal_finishes_the_step_and_the_run_goes_on_bit_for_bit(
    whole_run: Path,
    config: RunConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    number: signal.Signals,
    code: int,
) -> None:
    run = tmp_path / "stopped"
    with monkeypatch.context() as patch:
        at_step(patch, step, lambda: os.kill(os.getpid(), number))
        with pytest.raises(Interrupted) as stopped:
            train(config, run)
    assert stopped.value.exit_code == code
    assert (run / "checkpoints" / f"step-{step:08d}").is_dir()
    train(config, run)
    assert_same(state_of(run, 20), state_of(whole_run, 20))
    assert_same(load_file(run / "model" / "model.safetensors"), load_file(whole_run / "model" / "model.safetensors"))


def test_a_signal_during_validation_is_heard(
    whole_run: Path, config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "stopped"
    validate = Translation.validate

    def signalled(self: Translation, model: Any, stopped: Any, ranks: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(self, model, stopped, ranks)

    with monkeypatch.context() as patch:
        patch.setattr(Translation, "validate", signalled)
        with pytest.raises(Interrupted):
            train(config, run)
    train(config, run)
    scored = [row for row in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "dev_bleu" in row]
    assert [row["step"] for row in scored] == [10, 20, 20]
    assert_same(state_of(run, 20), state_of(whole_run, 20))


def test_a_validation_leaves_nothing_to_chance(config: RunConfig, tmp_path: Path) -> None:
    """Whatever the recipe says of drawing tokens."""
    task = Translation(config, tmp_path)
    model = build(task.config.model)
    initialise(model, seed=5)
    model.eval()
    greedy = task.validate(model, lambda: False)
    task.config = replace(task.config, decoding=replace(config.decoding, beams=1, temperature=2.0))
    assert task.validate(model, lambda: False) == greedy
    assert len(set(greedy.samples)) == 4


def test_killed_without_warning_it_goes_on_bit_for_bit(config: RunConfig, tmp_path: Path) -> None:
    """kill -9 once the checkpoint of step 10 is there, wherever the process is by then; dropout is on."""
    config = replace(config, training=replace(config.training, steps=120))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(to_yaml(config))
    command = [sys.executable, "-m", "pellucid", "train", str(recipe), "--quiet", "--out"]
    process = subprocess.Popen([*command, str(tmp_path / "killed")])
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "checkpoints" / "step-00000010").is_dir() and time.monotonic() < deadline:
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "checkpoints" / "step-00000120").exists(), "it was too late to kill"
    subprocess.run([*command, str(tmp_path / "killed")], check=True)
    train(config, tmp_path / "whole")
    assert_same(state_of(tmp_path / "killed", 120), state_of(tmp_path / "whole", 120))


def test_a_finished_run_says_so(whole_run: Path, config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    before = state_of(whole_run, 20)
    train(config, whole_run)
    assert "finished" in capsys.readouterr().err
    assert_same(state_of(whole_run, 20), before)


def test_a_finished_run_goes_on_to_more_steps(whole_run: Path, config: RunConfig, tmp_path: Path) -> None:
    longer = replace(config, training=replace(config.training, steps=30))
    train(longer, whole_run)
    train(longer, tmp_path / "at once")
    assert_same(state_of(whole_run, 30), state_of(tmp_path / "at once", 30))


def test_a_damaged_checkpoint_is_passed_over(whole_run: Path, config: RunConfig, capsys: pytest.CaptureFixture[str]) -> None:
    expected = state_of(whole_run, 20)
    damaged = whole_run / "checkpoints" / "step-00000020" / "model.safetensors"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    train(config, whole_run)
    assert "going on from step 15" in capsys.readouterr().err
    assert_same(state_of(whole_run, 20), expected)


def test_when_every_checkpoint_is_damaged_nothing_is_trained(whole_run: Path, config: RunConfig) -> None:
    for step in (15, 20):
        (whole_run / "checkpoints" / f"step-000000{step}" / "optimizer.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="no checkpoint of this run is whole"):
        train(config, whole_run)


def test_a_second_run_in_the_same_directory_is_refused(config: RunConfig, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with locked(run), pytest.raises(ModelError, match=str(os.getpid())) as refused:
        train(config, run)
    assert refused.value.exit_code == 4


def test_other_settings_are_refused(whole_run: Path, config: RunConfig) -> None:
    changed = replace(config, optimizer=OptimizerConfig(warmup=99), training=replace(config.training, batch_tokens=128))
    with pytest.raises(UsageError) as refused:
        train(changed, whole_run)
    assert "optimizer.warmup: 10 -> 99" in str(refused.value)
    assert "training.batch_tokens: 64 -> 128" in str(refused.value)


def test_a_loss_that_is_not_finite_names_the_pairs_and_keeps_the_checkpoint(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss = Translation.loss
    calls = []

    def poisoned(self: Translation, model: Any, batch: Any) -> Tensor:
        calls.append(1)
        return loss(self, model, batch) * (float("inf") if len(calls) == 16 else 1.0)  # 1 trial batch + 7 steps of 2 + 1

    monkeypatch.setattr(Translation, "loss", poisoned)
    with pytest.raises(DivergedError, match=r"pair \d+: [a-h ]+ \| [A-H ]+"):
        train(config, tmp_path / "run")
    assert [path.name for path in (tmp_path / "run" / "checkpoints").glob("step-*")] == ["step-00000005"]


def test_running_out_of_memory_names_the_setting(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(self: Translation, model: Any, batch: Any) -> Tensor:
        return torch.empty(2**62, dtype=torch.uint8)  # no machine has that much

    monkeypatch.setattr(Translation, "loss", too_much)
    with pytest.raises(MemoryLimitError) as refused:
        train(config, tmp_path / "run")
    assert refused.value.exit_code == 6
    assert "training.batch_tokens" in str(refused.value)


def test_patience_ends_a_run_that_no_longer_improves(
    config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # With a learning rate of almost nothing no validation is better than the first one.
    config = replace(
        config,
        training=replace(config.training, steps=200, validate_every=5, patience=3, metric="bleu"),
        optimizer=OptimizerConfig(schedule="constant", learning_rate=1e-12, warmup=0),
    )
    train(config, tmp_path / "run")
    assert "stopping at step 20: no better validation since step 5" in capsys.readouterr().err


def test_the_best_checkpoints_are_averaged_when_asked_for(config: RunConfig, tmp_path: Path) -> None:
    config = replace(
        config,
        training=replace(config.training, validate_every=5, metric="loss"),
        checkpoints=CheckpointConfig(every=5, average=2, average_of="best"),
    )
    train(config, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = {row["step"]: row["dev_loss"] for row in rows if "dev_loss" in row and "averaged" not in row}
    best = sorted(losses, key=lambda step: losses[step])[:2]
    kept = sorted(int(path.stem[-8:]) for path in (tmp_path / "run" / "checkpoints").glob("weights-*"))
    assert kept == sorted(best)


def test_weights_along_the_way_are_kept_when_asked_for(config: RunConfig, tmp_path: Path) -> None:
    train(replace(config, checkpoints=CheckpointConfig(every=5, keep_every=10)), tmp_path / "run")
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("weights-*"))
    assert kept == ["weights-00000010.safetensors", "weights-00000020.safetensors"]


def test_the_moving_average_is_what_is_validated_and_saved(config: RunConfig, tmp_path: Path) -> None:
    """Against the definition, applied outside to the weights after each step."""
    config = replace(
        config,
        training=TrainingConfig(steps=6, batch_tokens=64, ema=0.7, validate_every=6, validate_sentences=2),
        checkpoints=CheckpointConfig(every=1, keep=9, keep_every=0),
    )
    run = tmp_path / "run"
    train(config, run)
    steps = [load_file(run / "checkpoints" / f"step-{step:08d}" / "model.safetensors") for step in range(1, 7)]
    task = Translation(config, tmp_path / "start")
    model = build(task.config.model)
    initialise(model, config.seed)
    mean = {name: weight.double() for name, weight in model.state_dict().items()}
    for weights in steps:
        mean = {name: 0.7 * mean[name] + 0.3 * weights[name].double() for name in mean}
    saved = load_file(run / "model" / "model.safetensors")
    for name in saved:
        torch.testing.assert_close(saved[name].double(), mean[name], rtol=1e-5, atol=1e-6)


def test_it_learns_and_pellucid_load_uses_it(config: RunConfig, corpus: Path, tmp_path: Path) -> None:
    """Memorised pairs come back word for word from a search that never sees the target: training and decoding agree."""
    two = StackConfig(2, 4, 64)
    config = replace(
        config,
        model=replace(config.model, d_model=32, encoder=two, decoder=two, dropout=0.0, norm="pre"),
        training=replace(config.training, steps=300, batch_tokens=256, accumulate=1, validate_every=0, label_smoothing=0.0),
        optimizer=OptimizerConfig(schedule="cosine", learning_rate=0.01, warmup=20, clip=1.0),
        checkpoints=CheckpointConfig(every=100),
    )
    train(config, tmp_path / "run")
    pairs = [line.split("\t") for line in (corpus / "train.tsv").read_text().splitlines()][:32]
    translator = pellucid.load(tmp_path / "run")
    assert translator.translate([source for source, _ in pairs], beams=1) == [target for _, target in pairs]
    assert translator.translate(["", "  "]) == ["", ""]


def test_a_recorded_loss_curve(config: RunConfig, tmp_path: Path) -> None:
    """Recorded by this test itself, on x86-64 with one thread in float32: a change in any part of training shows here."""
    config = replace(config, training=replace(config.training, steps=50, log_every=10, validate_every=0))
    train(config, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["train_loss"] for row in rows if "train_loss" in row]
    assert losses == pytest.approx([3.07372, 2.53344, 2.40067, 2.28214, 2.23207], rel=1e-3)
