"""Learning word vectors: two groups of words separate, runs resume bit for bit, parts give unseen words a vector."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pellucid import load
from pellucid.base.config import (
    CheckpointConfig,
    ConfigProblems,
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    RuntimeConfig,
    StartConfig,
    TextConfig,
    TrainingConfig,
    WordVectorsConfig,
)
from pellucid.base.errors import DataError, ModelError, UsageError
from pellucid.tasks.model_directory import find, read_config
from pellucid.tasks.train import train
from pellucid.tasks.word_vectors import WordVectorModel
from pellucid.text.tokenizer import Tokenizer
from pellucid.text.vectors import cosine

ANIMALS = ["cat", "dog", "cow", "hen", "pig", "ewe"]
NUMBERS = ["one", "two", "three", "four", "five", "six"]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lines of animals and lines of numbers; what all lines have in common tells nothing."""
    chooser = random.Random(5)
    lines = [" ".join(["the", *chooser.choices(chooser.choice([ANIMALS, NUMBERS]), k=6), "."]) for _ in range(500)]
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def config_for(text: Path, **settings: object) -> RunConfig:
    return RunConfig(
        task="word_vectors",
        model=ModelConfig(architecture="vectors", d_model=7, tie="none"),
        text=TextConfig(tokenizer="word", vocabulary=100, min_frequency=1),
        data=DataConfig(train=(str(text),), holdout=0.1),
        training=TrainingConfig(steps=40, batch_tokens=1024, validate_every=20),
        word_vectors=WordVectorsConfig(**{"window": 3, "subsample": 0.1, **settings}),  # type: ignore[arg-type]
        optimizer=OptimizerConfig(schedule="constant", learning_rate=0.05, warmup=0),
        checkpoints=CheckpointConfig(every=20),
        runtime=RuntimeConfig(precision="float32", device="cpu", threads=1),
    )


def groups(model: WordVectorModel) -> tuple[float, float]:
    """The smallest cosine within a group, and the largest between the two."""
    every = model.vectors.get
    vectors = [[every(word) for word in words] for words in (ANIMALS, NUMBERS)]
    within = [cosine(one, other) for some in vectors for one in some for other in some]  # type: ignore[arg-type]
    between = [cosine(one, other) for one in vectors[0] for other in vectors[1]]  # type: ignore[arg-type]
    return min(within), max(between)


@pytest.mark.parametrize(
    "settings", [{}, {"objective": "cbow"}, {"buckets": 60}, {"objective": "cbow", "buckets": 60}], ids=str
)
def test_two_groups_of_words_separate(text: Path, tmp_path: Path, settings: dict[str, object]) -> None:
    config = config_for(text, **settings)
    config = replace(config, training=replace(config.training, steps=100))
    train(config, tmp_path)
    within, between = groups(load(tmp_path))
    assert within > between
    samples = (tmp_path / "samples.txt").read_text(encoding="utf-8").rpartition("--- step 100\n")[2]
    assert " -> " in samples


@pytest.fixture(scope="module")
def whole(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 steps with parts of words."""
    directory = tmp_path_factory.mktemp("whole")
    train(config_for(text, buckets=30), directory)
    return directory


def test_a_resumed_run_equals_one_never_stopped(text: Path, whole: Path, tmp_path: Path) -> None:
    config = config_for(text, buckets=30)
    train(replace(config, training=replace(config.training, steps=20)), tmp_path)
    train(config, tmp_path)
    first, second = (load_file(run / "checkpoints" / "step-00000040" / "model.safetensors") for run in (whole, tmp_path))
    assert {name: tuple(weight.shape) for name, weight in first.items()} == {"input": (14 + 30, 7), "output": (14, 7)}
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_known_words_and_words_made_of_parts(whole: Path) -> None:
    model = load(whole)
    assert sorted(model.vectors.words) == sorted([*ANIMALS, *NUMBERS, "the", "."])
    table = load_file(whole / "model" / "model.safetensors")["input"]
    rows = model._parts.of_unknown("cats")
    assert len(rows) == 4 + 3 + 2 + 1  # <cats> has six characters: parts of 3, 4, 5 and 6
    assert np.allclose(model.vector("cats"), table[rows].mean(0).numpy(), atol=1e-6)
    assert np.array_equal(model.vector("cat"), model.vectors.matrix[model.vectors.numbers["cat"]])


def test_without_parts_an_unknown_word_has_none(text: Path, tmp_path: Path) -> None:
    config = config_for(text)
    train(replace(config, training=replace(config.training, steps=2, validate_every=0)), tmp_path)
    assert load(tmp_path).vector("cats") is None


def test_a_model_whose_vocabulary_is_another_s(whole: Path, tmp_path: Path) -> None:
    for file in find(whole).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    Tokenizer.train(["a b c"], TextConfig(tokenizer="word", min_frequency=1)).save(tmp_path / "tokenizer.json")
    with pytest.raises(ModelError, match="the tokenizer does not belong to these vectors"):
        WordVectorModel.open(tmp_path, read_config(tmp_path))


def test_what_vectors_cannot_do_is_said(whole: Path) -> None:
    model = load(whole)
    with pytest.raises(UsageError, match="word vectors have no score on a split"):
        model.evaluate_split("test")
    assert model.searches is False


def test_a_text_that_is_too_short(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("one two\n" * 20, encoding="utf-8")
    with pytest.raises(DataError, match="a text"):
        train(config_for(tmp_path / "text.txt"), tmp_path / "run")


def test_a_batch_that_is_too_small(text: Path, tmp_path: Path) -> None:
    config = config_for(text)
    with pytest.raises(UsageError, match="a batch too small"):
        train(replace(config, training=replace(config.training, batch_tokens=100)), tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": ModelConfig(architecture="vectors", d_model=8)}, 'model.tie: the task word_vectors needs "none"'),
        ({"text": TextConfig()}, 'text.tokenizer: the task word_vectors needs "word"'),
        ({"start": StartConfig(vectors="v.txt")}, "start: the task word_vectors begins from nothing"),
        ({"start": StartConfig(model="run")}, "start: the task word_vectors begins from nothing"),
        ({"model": ModelConfig(tie="none")}, "model.architecture"),
    ],
)
def test_contradictions(text: Path, changed: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigProblems, match=message):
        replace(config_for(text), **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window"),
        ({"negatives": 0}, "negatives"),
        ({"shortest": 5, "longest": 4}, "longest"),
        ({"buckets": -1}, "b"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigProblems, match=message):
        WordVectorsConfig(**settings)  # type: ignore[arg-type]
