"""``pellucid info``: what it says of a recipe, a run, a model and a folder of runs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.base import machine
from pellucid.base.config import RunConfig
from pellucid.base.recipe import to_yaml
from pellucid.tasks.train import train

Run = Callable[..., int]
Said = Callable[..., dict[str, str]]
RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.fixture
def info(pellucid: Run, capsys: pytest.CaptureFixture[str]) -> Said:
    """The lines of ``pellucid info PATH`` by their names; of several with one name the last."""

    def info(*path: Path) -> dict[str, str]:
        assert pellucid("info", *path) == 0
        lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
        return {line.split()[0]: line.partition(" ")[2].strip() for line in lines}

    return info


@pytest.fixture
def half(config: RunConfig, recipe: Path, pellucid: Run, tmp_path: Path) -> Path:
    """A run of 10 steps, by the command line."""
    assert pellucid("train", recipe, "training.steps=10", "--out", tmp_path / "runs" / "half", "--quiet") == 0
    return tmp_path / "runs" / "half"


def test_the_machine_says_what_it_lacks(info: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "missing", lambda: ["hub: models by name (pip install)"])
    said = info()
    assert said["missing"] == "hub: models by name (pip install)"
    assert "cores" in said["devices"]
    assert said["memory"].endswith("free")
    assert said["disk"].endswith("free here")


class TestRecipes:
    def test_classes_of_pictures_are_no_vocabulary(self, info: Said) -> None:
        """By hand: four layers, 16 + 1 learned positions, the projection of 49 pixels with its bias, class token, last norm."""
        layer = 4 * (96 * 96 + 96) + (96 * 192 + 192) + (192 * 96 + 96) + 2 * 2 * 96
        whole = 4 * layer + 17 * 96 + (49 * 96 + 96) + 96 + 2 * 96
        assert info(RECIPES / "mnist.yaml")["parameters"] == f"{whole:,} and 97 for each class"

    def test_classes_of_texts_come_beside_the_vocabulary(self, info: Said) -> None:
        said = info(RECIPES / "sst2.yaml")["parameters"]
        assert said.endswith("with a vocabulary of 16,000 and 257 for each class")

    def test_memory_is_estimated_and_odd_settings_are_named(self, info: Said, config: RunConfig, tmp_path: Path) -> None:
        recipe = tmp_path / "odd.yaml"
        recipe.write_text(to_yaml(replace(config, optimizer=replace(config.optimizer, warmup=99))), encoding="utf-8")
        said = info(recipe)
        assert said["memory"].startswith("about ")
        assert "activations of the largest batch" in said["memory"]
        assert said["warning"].startswith("optimizer.warmup: 99 is not over when the run ends at step 20")

    def test_a_recipe_for_another_machine(self, info: Said, config: RunConfig, tmp_path: Path) -> None:
        recipe = tmp_path / "gpu.yaml"
        recipe.write_text(to_yaml(replace(config, runtime=replace(config.runtime, device="cuda:7"))), encoding="utf-8")
        assert info(recipe)["memory"].endswith("on cuda:7")


class TestRuns:
    def test_settings_scores_and_provenance(self, info: Said, half: Path, recipe: Path) -> None:
        said = info(half)
        rows = [json.loads(line) for line in (half / "metrics.jsonl").read_text().splitlines()]
        assert f"loss {rows[-1]['dev_loss']:.4g}" in said["scores"]
        assert "the average of 2 checkpoints" in said["scores"]
        assert "batches of 64 tokens x 2, inverse_sqrt schedule, rate 0.005, warmup 10" in said["settings"]
        assert "seed 1" in said["settings"]
        meta = json.loads((half / "data" / "train" / "meta.json").read_text())
        assert said["train"] == f"96 pairs, SHA-256 {meta['fingerprint']['input'][0][:12]}"
        assert said["command"] == f"pellucid train {recipe} training.steps=10 --out {half}"
        assert "torch " in said["versions"]
        assert said["begun"].startswith("20")
        assert "continued" not in said
        assert said["disk"].endswith("B")

    def test_a_run_that_went_on(self, info: Said, half: Path, recipe: Path, pellucid: Run) -> None:
        before = info(half)
        assert pellucid("train", recipe, "training.steps=15", "--out", half, "--quiet") == 0
        said = info(half)
        assert said["continued"].startswith("1 times, last 20")
        assert (said["begun"], said["command"]) == (before["begun"], before["command"])

    def test_of_an_earlier_version(self, info: Said, half: Path) -> None:
        """Which kept no history: what is known is said."""
        (half / "history.jsonl").unlink()
        said = info(half)
        assert "step 10 finished" in said["training"]
        assert "command" not in said

    def test_a_history_cut_short_is_no_mistake(self, info: Said, half: Path) -> None:
        with (half / "history.jsonl").open("a") as file:
            file.write('{"time": "20')
        assert info(half)["command"].startswith("pellucid train")

    def test_without_a_model_yet(self, info: Said, half: Path) -> None:
        shutil.rmtree(half / "model")
        said = info(half)
        assert said["model"] == "none yet: the first validation writes it"
        assert "step 10" in said["training"]

    def test_a_model_alone_has_the_scores_of_its_card(self, info: Said, half: Path) -> None:
        said = info(half / "model")
        assert said["scores"].startswith("dev bleu ")
        assert "command" not in said


class TestFolders:
    @pytest.fixture
    def runs(self, half: Path, config: RunConfig) -> Path:
        """Three runs, one of them scored by its loss; a model; something else."""
        folder = half.parent
        for name, score, metric in (("good", 40.5, "bleu"), ("better", 41.25, "bleu"), ("by loss", 2.125, "loss")):
            run = shutil.copytree(half, folder / name)
            run_config = replace(config, training=replace(config.training, metric=metric))
            (run / "config.yaml").write_text(to_yaml(run_config), encoding="utf-8")
            progress = run / "checkpoints" / "step-00000010" / "progress.json"
            content = json.loads(progress.read_text()) | {"best": score, "best_step": 10, "finished": name != "good"}
            progress.write_text(json.dumps(content))
        shutil.move(half / "model", folder / "a model")
        shutil.rmtree(half)
        (folder / "notes").mkdir()
        return folder

    def test_a_table_the_best_first(self, pellucid: Run, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert pellucid("info", runs) == 0
        heading, *rows = capsys.readouterr().out.splitlines()
        assert heading.split() == ["run", "task", "best", "on", "dev", "at", "step", "steps", "state", "last", "change"]
        assert [row.split("  ")[0] for row in rows] == ["better", "good", "a model", "by loss"]
        assert "bleu 41.25" in rows[0]
        assert "finished" in rows[0]
        assert "stopped or running, of 20" in rows[1]
        assert "loss 2.125" in rows[3]

    def test_damaged_ones_are_named_and_the_others_shown(
        self, pellucid: Run, runs: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (runs / "good" / "config.yaml").write_text("training: {stepz: 3}", encoding="utf-8")
        (runs / "better" / "checkpoints" / "step-00000010" / "progress.json").write_text("{", encoding="utf-8")
        weights = runs / "a model" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:1000])
        assert pellucid("info", runs) == 0
        _, *rows = capsys.readouterr().out.splitlines()
        assert [row.split("  ")[0] for row in rows[:1]] == ["by loss"]
        assert [row.split(":")[:2] for row in rows[1:]] == [
            ["damaged", " a model"],
            ["damaged", " better"],
            ["damaged", " good"],
        ]
        assert "unknown key" in rows[3]


def test_from_python_the_command_is_not_known(info: Said, config: RunConfig, tmp_path: Path) -> None:
    train(replace(config, training=replace(config.training, steps=2)), tmp_path / "run")
    assert info(tmp_path / "run")["command"] == "called from Python"
