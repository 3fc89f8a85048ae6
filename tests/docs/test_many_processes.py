"""Everything that the page on many processes shows, run as it stands there; only the training is shorter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shown import blocks_of, run

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "many-processes.md"
BLOCKS = blocks_of(PAGE)
SHORT = "training.log_every=1 training.validate_every=0 training.validate_sentences=2 checkpoints.every=2 --quiet"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's recipe lies."""
    directory = tmp_path_factory.mktemp("reader")
    (directory / "small.yaml").write_text(BLOCKS["small.yaml"], encoding="utf-8")
    return directory


def losses(run: Path) -> dict[int, float]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["train_loss"] for row in rows if "train_loss" in row}


def test_a_run_of_two_processes_goes_on_with_one(directory: Path) -> None:
    run(f"{BLOCKS['two'].strip()} {SHORT} training.steps=2", directory)
    assert list(losses(directory / "runs/small")) == [1, 2]
    run(f"{BLOCKS['one'].strip()} {SHORT} training.steps=3", directory)
    assert list(losses(directory / "runs/small")) == [1, 2, 3]
    assert (directory / "runs/small/model/model.safetensors").is_file()


def test_weights_are_shared_out(directory: Path) -> None:
    run(f"{BLOCKS['shard'].strip()} {SHORT} training.steps=2", directory)
    assert list(losses(directory / "runs/sharded")) == [1, 2]
    assert (directory / "runs/sharded/model/model.safetensors").is_file()


def test_every_block_but_that_of_several_machines_is_run() -> None:
    assert set(BLOCKS) == {"small.yaml", "two", "one", "shard"}
    assert PAGE.read_text(encoding="utf-8").count("```") // 2 == len(BLOCKS) + 1
