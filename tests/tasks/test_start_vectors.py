"""An embedding that begins with word vectors: which rows, how large, how many; frozen ones stay."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pellucid.base.config import (
    CheckpointConfig,
    ConfigProblems,
    DataConfig,
    HeadConfig,
    ModelConfig,
    RunConfig,
    RuntimeConfig,
    StackConfig,
    StartConfig,
    TextConfig,
    TrainingConfig,
)
from pellucid.base.errors import DataError, UsageError
from pellucid.data.vector_files import write_vectors
from pellucid.model.build import build, initialise
from pellucid.tasks.start_vectors import whole_words
from pellucid.tasks.train import train
from pellucid.text.tokenizer import Tokenizer
from pellucid.text.vectors import Vectors

WORDS = ["good", "bad", "film", ".", "the"]
MATRIX = np.random.default_rng(2).normal(size=(5, 8)).astype(np.float32)
D = 8


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.txt"
    write_vectors(path, Vectors(WORDS, MATRIX))
    return path


def config_for(tmp_path: Path, **start: object) -> RunConfig:
    """A classifier of 4 steps whose vocabulary has 8 words: 3 of the file as they are, "The" in lower case, and 4 others."""
    lines = ["The good film .\t1", "a bad movie !\t0", "odd good .\t1"] * 10
    for split in ("train", "dev"):
        (tmp_path / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return RunConfig(
        task="classification",
        model=ModelConfig(
            architecture="encoder", d_model=D, encoder=StackConfig(1, 2, 12), tie="none", max_length=16, head=HeadConfig("mean")
        ),
        text=TextConfig(tokenizer="word", vocabulary=50, min_frequency=1),
        data=DataConfig(directory=str(tmp_path)),
        training=TrainingConfig(steps=4, batch_tokens=64, validate_every=2),
        start=StartConfig(**start),  # type: ignore[arg-type]
        checkpoints=CheckpointConfig(every=2),
        runtime=RuntimeConfig(precision="float32", device="cpu", threads=1),
    )


def embedding(run: Path, step: int) -> torch.Tensor:
    return load_file(run / "checkpoints" / f"step-{step:08d}" / "model.safetensors")["weights.source"]


def test_found_rows_share_and_what_is_frozen(tmp_path: Path, vectors: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, run = config_for(tmp_path, vectors=str(vectors), freeze_vectors=True), tmp_path / "run"
    train(config, run)
    tokenizer = Tokenizer.load(run / "data" / "tokenizer.json")
    shape = replace(config.model, source_vocabulary=tokenizer.vocabulary_size, target_vocabulary=2)
    fresh = build(shape)
    initialise(fresh, config.seed)
    expected = fresh.weights["source"].detach().clone()
    found = {tokenizer.encode(word)[0]: MATRIX[WORDS.index(word.lower())] for word in ("The", "good", "film", ".", "bad")}
    rows = torch.tensor(np.stack(list(found.values())))
    size = rows.double().square().mean().sqrt()  # one number for all: their mean square becomes 1 / d_model
    expected[list(found)] = rows * float(D**-0.5 / size)
    for step in (2, 4):  # frozen: as it was, to the bit
        assert torch.equal(embedding(run, step), expected)
    record = json.loads((run / "vectors.json").read_text(encoding="utf-8"))
    assert record["embeddings"] == {"source": {"found": 5, "words": 9, "share": 5 / 9}}
    assert (record["frozen"], record["vectors"]) == (True, str(vectors))
    assert "5 of 9 words (55.6 %)" in capsys.readouterr().err


def test_not_frozen_they_learn(tmp_path: Path, vectors: Path) -> None:
    train(config_for(tmp_path, vectors=str(vectors)), tmp_path / "run")
    first, last = (embedding(tmp_path / "run", step) for step in (2, 4))
    assert not torch.equal(first, last)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_resumed_run_equals_one_never_stopped_and_needs_no_file(tmp_path: Path, vectors: Path, frozen: bool) -> None:
    config = config_for(tmp_path, vectors=str(vectors), freeze_vectors=frozen)
    train(config, tmp_path / "whole")
    train(replace(config, training=replace(config.training, steps=2)), tmp_path / "run")
    vectors.unlink()
    train(config, tmp_path / "run")
    first, second = (
        load_file(tmp_path / run / "checkpoints" / "step-00000004" / "model.safetensors") for run in ("whole", "run")
    )
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_vectors_of_another_width(tmp_path: Path) -> None:
    write_vectors(tmp_path / "wide.txt", Vectors(["good"], np.ones((1, 6), np.float32)))
    with pytest.raises(UsageError, match=r"(?s)not as wide as the model.*expected: 8 .*found: +6 .*set model.d_model to 6"):
        train(config_for(tmp_path, vectors=str(tmp_path / "wide.txt")), tmp_path / "run")


def test_vectors_of_other_words(tmp_path: Path) -> None:
    write_vectors(tmp_path / "other.txt", Vectors(["bon"], np.ones((1, D), np.float32)))
    with pytest.raises(DataError, match=r"no word of the vocabulary has a vector\n.*0 of 9"):
        train(config_for(tmp_path, vectors=str(tmp_path / "other.txt")), tmp_path / "run")


def test_a_file_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "vectors.txt").write_text("good 1 2 3\nbad 1 2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"vectors.txt:2: not a word and its vector"):
        train(config_for(tmp_path, vectors=str(tmp_path / "vectors.txt")), tmp_path / "run")


def test_a_whole_word_of_pieces_begins_with_its_space() -> None:
    texts = ["the theatre, the theatre"] * 5
    tokenizer = Tokenizer.train(texts, TextConfig(vocabulary=264, min_frequency=2))
    shown = dict(enumerate(tokenizer.tokens(range(tokenizer.vocabulary_size))))
    found = whole_words(tokenizer, "bpe")
    with_space = {token: word for token, word in found.items() if any(map(str.isalnum, word))}
    assert with_space
    assert all(shown[token] == f"▁{word}" for token, word in with_space.items())
    assert "," in found.values()
    assert all(word not in found.values() for word in ("e", "h"))  # pieces inside words


def test_every_entry_of_a_word_vocabulary_is_a_word() -> None:
    tokenizer = Tokenizer.train(["the (the\tcat)"], TextConfig(tokenizer="word", min_frequency=1))
    assert sorted(whole_words(tokenizer, "word").values()) == sorted(["the", "the", "(", ")", "cat"])


def with_start(**changed: object) -> RunConfig:
    start = StartConfig(vectors="v.txt", freeze_vectors=bool(changed.pop("freeze_vectors", False)))
    return RunConfig(start=start, **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"freeze_vectors": True}, "start.freeze_vectors: with model.tie: all the embedding is the output matrix too"),
        ({"freeze_vectors": True, "model": ModelConfig(tie="decoder")}, "start.freeze_vectors: with model.tie: decoder"),
        ({"text": TextConfig(tokenizer="byte")}, "start.vectors: no piece of a vocabulary of text.tokenizer byte is a word"),
        ({"text": TextConfig(tokenizer="character")}, "start.vectors: no piece"),
    ],
)
def test_contradictions(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigProblems, match=message):
        with_start(**changed)


def test_where_the_output_matrix_is_another_the_embedding_may_be_frozen() -> None:
    for tie in ("embeddings", "none"):
        assert with_start(freeze_vectors=True, model=ModelConfig(tie=tie)).start.freeze_vectors  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ({"vectors": "v.txt", "model": "run"}, "vectors: not with start.model"),
        ({"freeze_vectors": True}, "freeze_vectors: there are"),
    ],
)
def test_half_a_start(start: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigProblems, match=message):
        StartConfig(**start)  # type: ignore[arg-type]
