"""What all tests share: a corpus that a model of a few thousand weights learns in seconds, and runs that train on it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import settings

from pellucid.base.config import (
    CheckpointConfig,
    DataConfig,
    DecodingConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    RuntimeConfig,
    StackConfig,
    TextConfig,
    TrainingConfig,
)

# A shared machine can stall any example; no property here is about time.
settings.register_profile("pellucid", deadline=None)
settings.load_profile("pellucid")

WORDS = ["a", "b", "c", "d", "e", "f", "g", "h"]


def write_corpus(directory: Path) -> Path:
    """Sentences of letters, and the same letters in upper case and in reverse order: a tab-separated file for each split."""
    chooser = random.Random(7)
    directory.mkdir(exist_ok=True)
    for split, count in (("train", 96), ("dev", 12), ("test", 12)):
        lines = []
        for _ in range(count):
            words = [chooser.choice(WORDS) for _ in range(chooser.randint(1, 6))]
            lines.append(" ".join(words) + "\t" + " ".join(reversed(words)).upper() + "\n")
        (directory / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    return directory


def config_for(corpus: Path) -> RunConfig:
    """A run of 20 steps with dropout, accumulation, averaging and a checkpoint every 5 steps."""
    return RunConfig(
        model=ModelConfig(
            d_model=16,
            encoder=StackConfig(1, 2, 24),
            decoder=StackConfig(1, 4, 24),
            dropout=0.1,
            max_length=32,
        ),
        text=TextConfig(tokenizer="word", vocabulary=40, min_frequency=1),
        data=DataConfig(directory=str(corpus), source="x", target="y"),
        training=TrainingConfig(steps=20, batch_tokens=64, accumulate=2, log_every=5, validate_every=10, validate_sentences=4),
        optimizer=OptimizerConfig(schedule="inverse_sqrt", learning_rate=0.005, warmup=10),
        checkpoints=CheckpointConfig(every=5, average=2),
        decoding=DecodingConfig(beams=2, max_extra=5),
        runtime=RuntimeConfig(precision="float32", device="cpu", threads=1),
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """The corpus, for one test."""
    return write_corpus(tmp_path / "corpus")


@pytest.fixture
def config(corpus: Path) -> RunConfig:
    """The short run on it."""
    return config_for(corpus)


@pytest.fixture(scope="session")
def shared_config(tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """The short run on a corpus that several tests may train on; for reading only."""
    return config_for(write_corpus(tmp_path_factory.mktemp("shared") / "corpus"))


@pytest.fixture(scope="session")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that knows its training pairs by heart, single letters among them; for reading only."""
    from pellucid.tasks.train import train

    directory = tmp_path_factory.mktemp("learnt")
    corpus, two = write_corpus(directory / "corpus"), StackConfig(2, 4, 64)
    with (corpus / "train.tsv").open("a", encoding="utf-8") as file:
        file.writelines(f"{word}\t{word.upper()}\n" for word in WORDS)
    config = config_for(corpus)
    config = replace(
        config,
        model=replace(config.model, d_model=32, encoder=two, decoder=two, dropout=0.0, norm="pre"),
        training=replace(config.training, steps=200, batch_tokens=256, accumulate=1, log_every=50, validate_every=0),
        optimizer=OptimizerConfig(schedule="cosine", learning_rate=0.01, warmup=20, clip=1.0),
        checkpoints=CheckpointConfig(every=50),
    )
    train(config, directory / "run")
    return directory / "run"
