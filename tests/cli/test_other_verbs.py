"""``classify``, ``tag``, ``fill`` and ``generate``: what goes in, what comes out; the models are toys that learnt a little."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pellucid import load
from pellucid.base.config import (
    CheckpointConfig,
    DataConfig,
    DecodingConfig,
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    RuntimeConfig,
    StackConfig,
    Task,
    TextConfig,
    TrainingConfig,
)
from pellucid.base.progress import say
from pellucid.tasks.train import train

Run = Callable[..., int]
Feed = Callable[[bytes], None]
Capture = pytest.CaptureFixture[str]

ONE = StackConfig(1, 2, 24)
ENCODER = ModelConfig(architecture="encoder", d_model=16, encoder=ONE, norm="pre", tie="none", max_length=24, dropout=0.0)
MODELS: dict[Task, ModelConfig] = {
    "classification": replace(ENCODER, head=HeadConfig(pool="mean", bias=True)),
    "tagging": replace(ENCODER, head=HeadConfig(bias=True)),
    "masked_lm": replace(ENCODER, tie="all", head=HeadConfig(bias=True)),
    "language_modelling": ModelConfig(architecture="decoder", d_model=16, decoder=ONE, norm="pre", max_length=24, dropout=0.0),
}
LINES: dict[Task, list[str]] = {
    "classification": ["a good film\tpos", "a bad film\tneg"] * 20,
    "tagging": ["a good film\tD A N", "the film\tD N"] * 20,
    "masked_lm": ["a good film", "the bad plot"] * 20,
    "language_modelling": ["a good film", "the bad plot"] * 20,
}


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Task], Path]:
    """The run of a task, trained when it is first asked for; for reading only."""
    directory = tmp_path_factory.mktemp("verbs")

    def run_of(task: Task) -> Path:
        if not (directory / task / "run").exists():
            (directory / task).mkdir()
            ending = "tsv" if "\t" in LINES[task][0] else "txt"
            for split in ("train", "dev"):
                text = "".join(f"{line}\n" for line in LINES[task])
                (directory / task / f"{split}.{ending}").write_text(text, encoding="utf-8")
            config = RunConfig(
                task=task,
                model=MODELS[task],
                text=TextConfig(tokenizer="word", vocabulary=40, min_frequency=1, mask=task == "masked_lm"),
                data=DataConfig(**_places(directory / task)),
                training=TrainingConfig(steps=40, batch_tokens=128, validate_every=0, label_smoothing=0.0),
                optimizer=OptimizerConfig(schedule="constant", learning_rate=0.01, warmup=0),
                checkpoints=CheckpointConfig(every=40),
                decoding=DecodingConfig(beams=1),
                runtime=RuntimeConfig(precision="float32", device="cpu", threads=1),
            )
            train(config, directory / task / "run")
        return directory / task / "run"

    return run_of


def _places(directory: Path) -> dict[str, Any]:
    if (directory / "train.tsv").exists():
        return {"directory": str(directory)}
    return {split: (str(directory / f"{split}.txt"),) for split in ("train", "dev")}


class TestClassify:
    def test_a_class_and_its_probability_a_line(
        self, pellucid: Run, feed: Feed, capsys: Capture, run_of: Callable[[Task], Path]
    ) -> None:
        run = run_of("classification")
        feed(b"a good film\n\na bad film\n")
        assert pellucid("classify", run, "--quiet") == 0
        good, bad = load(run).classify(["a good film", "a bad film"])
        assert (good.label, bad.label) == ("pos", "neg")
        out = [f"pos\t{good.probabilities['pos']:.4f}", "", f"neg\t{bad.probabilities['neg']:.4f}", ""]
        assert capsys.readouterr().out == "\n".join(out)

    def test_all_classes_and_json(
        self, pellucid: Run, feed: Feed, capsys: Capture, run_of: Callable[[Task], Path], tmp_path: Path
    ) -> None:
        run = run_of("classification")
        (tmp_path / "texts.txt").write_text("a good film\n", encoding="utf-8")
        assert pellucid("classify", run, tmp_path / "texts.txt", "--all", "--quiet") == 0
        names = capsys.readouterr().out.split("\t")
        assert (names[0], {names[1], names[3]}) == ("pos", {"pos", "neg"})
        assert pellucid("classify", run, tmp_path / "texts.txt", "--json", "--quiet") == 0
        found = json.loads(capsys.readouterr().out)
        assert found["label"] == "pos"
        assert sum(found["probabilities"].values()) == pytest.approx(1.0, abs=1e-6)

    def test_several_models_vote(
        self, pellucid: Run, feed: Feed, capsys: Capture, run_of: Callable[[Task], Path], tmp_path: Path
    ) -> None:
        run, other = run_of("classification"), tmp_path / "other"
        shutil.copytree(run / "model", other)
        weights = load_file(other / "model.safetensors")
        weights["head.bias"] += torch.tensor([99.0, 0.0])
        save_file(weights, other / "model.safetensors")
        feed(b"a good film\n")
        assert pellucid("classify", run, "--json", "--quiet", "--ensemble", other, "--ensemble", other) == 0
        expected = load(run).classify("a good film", [load(other), load(other)])[0].probabilities
        assert json.loads(capsys.readouterr().out)["probabilities"] == expected
        assert expected["neg"] > 0.6
        assert pellucid("evaluate", run, "--split", "dev", "--json", "--quiet", "--ensemble", other) == 0
        assert json.loads(capsys.readouterr().out)["accuracy"] < 100.0

    def test_models_that_cannot_vote_are_refused(
        self, pellucid: Run, feed: Feed, said: Callable[[], str], run_of: Callable[[Task], Path]
    ) -> None:
        run = run_of("classification")
        feed(b"a film\n")
        assert pellucid("classify", run, "--ensemble", run_of("tagging")) == 2
        assert "cannot classify" in said()
        assert pellucid("evaluate", run_of("tagging"), "--ensemble", run) == 2
        assert "cannot classify" in said()
        assert pellucid("evaluate", run, "--ensemble", run, "--source", "a", "--reference", "b") == 2
        assert "--ensemble is for models that classify" in said()

    def test_another_models_verb_is_refused(
        self, pellucid: Run, feed: Feed, said: Callable[[], str], run_of: Callable[[Task], Path]
    ) -> None:
        feed(b"a film\n")
        assert pellucid("classify", run_of("tagging")) == 2
        assert "pellucid tag" in said()

    def test_what_is_no_text(self, pellucid: Run, feed: Feed, said: Callable[[], str], run_of: Callable[[Task], Path]) -> None:
        feed(b"a good film\na \xff film\n")
        assert pellucid("classify", run_of("classification")) == 3
        assert "standard input:2" in said()


def test_quiet_is_for_one_command(pellucid: Run, feed: Feed, capsys: Capture, run_of: Callable[[Task], Path]) -> None:
    feed(b"the film\n")
    assert pellucid("tag", run_of("tagging"), "--quiet") == 0
    say("heard")
    assert capsys.readouterr().err == "heard\n"


class TestEvaluate:
    def test_a_score_without_a_search_has_no_beams(
        self, pellucid: Run, said: Callable[[], str], run_of: Callable[[Task], Path]
    ) -> None:
        assert pellucid("evaluate", run_of("classification"), "--split", "dev", "--beams", 3) == 2
        assert "--beams" in said()

    def test_scores_stand_below_each_other(self, pellucid: Run, capsys: Capture, run_of: Callable[[Task], Path]) -> None:
        assert pellucid("evaluate", run_of("tagging"), "--split", "dev", "--quiet") == 0
        rows = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert rows == [["accuracy", "100.0000"], ["words", "100"], ["examples", "40"]]


def test_tag(pellucid: Run, feed: Feed, capsys: Capture, run_of: Callable[[Task], Path]) -> None:
    """N lines in, N lines out, whatever their lengths."""
    feed(b"the film\n\na good film\n")
    assert pellucid("tag", run_of("tagging"), "--quiet") == 0
    assert capsys.readouterr().out == "the/D film/N\n\na/D good/A film/N\n"


def test_tagged_alone_and_together(run_of: Callable[[Task], Path]) -> None:
    tagger = load(run_of("tagging"))
    texts = ["the film", "", "a good good film", "a"]
    assert tagger.tag(texts) == [tagger.tag(text)[0] for text in texts]
    assert tagger.tag("") == [[]]


class TestFill:
    def test_proposals_for_every_gap(self, pellucid: Run, capsys: Capture, run_of: Callable[[Task], Path]) -> None:
        assert pellucid("fill", run_of("masked_lm"), "a [MASK] film [MASK]", "--n", 2, "--quiet") == 0
        rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
        assert [row[0] for row in rows] == ["1", "1", "2", "2"]
        expected = load(run_of("masked_lm")).fill("a [MASK] film [MASK]", 2)
        assert [row[1:] for row in rows] == [[f.token, f"{f.probability:.4f}"] for gap in expected for f in gap]

    def test_lines_of_standard_input(self, pellucid: Run, feed: Feed, capsys: Capture, run_of: Callable[[Task], Path]) -> None:
        feed(b"a [MASK] film\nthe [MASK] plot\n")
        assert pellucid("fill", run_of("masked_lm"), "--n", 1, "--quiet") == 0
        assert [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()] == ["good", "bad"]

    def test_a_text_without_a_gap(self, pellucid: Run, said: Callable[[], str], run_of: Callable[[Task], Path]) -> None:
        assert pellucid("fill", run_of("masked_lm"), "a good film") == 3
        assert "[MASK]" in said()


class TestGenerate:
    def test_prompts_and_standard_input_and_a_file(
        self, pellucid: Run, feed: Feed, capsys: Capture, run_of: Callable[[Task], Path], tmp_path: Path
    ) -> None:
        run = run_of("language_modelling")
        (tmp_path / "prompts.txt").write_text("the bad\n", encoding="utf-8")
        feed(b"a\n")
        assert pellucid("generate", run, "the", "-", "--file", tmp_path / "prompts.txt", "--tokens", 2, "--quiet") == 0
        texts = load(run).generate(["the", "a", "the bad"], tokens=2)
        assert capsys.readouterr().out == "\n---\n".join(texts) + "\n"

    def test_several_of_a_prompt_from_seeds(self, pellucid: Run, capsys: Capture, run_of: Callable[[Task], Path]) -> None:
        run = run_of("language_modelling")
        assert pellucid("generate", run, "the", "--n", 3, "--temperature", 3, "--seed", 5, "--tokens", 6, "--quiet") == 0
        texts = load(run).generate(["the"] * 3, tokens=6, temperature=3.0, seed=[5, 6, 7])
        assert len(set(texts)) > 1
        assert capsys.readouterr().out == "\n---\n".join(texts) + "\n"

    def test_several_without_drawing_are_refused(
        self, pellucid: Run, said: Callable[[], str], run_of: Callable[[Task], Path]
    ) -> None:
        assert pellucid("generate", run_of("language_modelling"), "the", "--n", 2) == 2
        assert "--temperature" in said()

    def test_a_picture_of_a_model_of_texts_is_refused(
        self, pellucid: Run, said: Callable[[], str], run_of: Callable[[Task], Path], tmp_path: Path
    ) -> None:
        assert pellucid("generate", run_of("language_modelling"), "the", "--picture", tmp_path / "a.png") == 2
        assert "--picture" in said()
