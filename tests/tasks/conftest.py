"""A corpus that a model of a few thousand weights learns in seconds, and the run that trains on it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

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

WORDS = ["a", "b", "c", "d", "e", "f", "g", "h"]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Sentences of letters, and the same letters in upper case and in reverse order: a tab-separated file for each split."""
    chooser = random.Random(7)
    directory = tmp_path / "corpus"
    directory.mkdir()
    for split, count in (("train", 96), ("dev", 12), ("test", 12)):
        lines = []
        for _ in range(count):
            words = [chooser.choice(WORDS) for _ in range(chooser.randint(1, 6))]
            lines.append(" ".join(words) + "\t" + " ".join(reversed(words)).upper() + "\n")
        (directory / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")
    return directory


@pytest.fixture
def config(corpus: Path) -> RunConfig:
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
