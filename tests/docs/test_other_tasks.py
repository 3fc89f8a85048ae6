"""Everything that the page on other tasks shows, run as it stands there; only the training is shorter."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from shown import blocks_of, run

from pellucid.data import corpus

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "other-tasks.md"
BLOCKS = blocks_of(PAGE)
SHORT = "training.steps=4 training.validate_every=2 checkpoints.every=2 --quiet"
ENDING = {
    "classify": r"(sees|likes)\t0\.\d+\n",
    "vote": r"loss +\d",
    "tag": "the/[A-Z]+ ",
    "fill": r"\t0\.\d+\n",
    "write": "^the teacher",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that the page speaks of."""
    directory = tmp_path_factory.mktemp("reader")
    for name, text in BLOCKS.items():
        if name.endswith(".yaml"):
            (directory / name).write_text(text, encoding="utf-8")
    for split, count in (("train", 200), ("dev", 20)):
        pairs = [(pair, corpus.tagged(pair, "en")) for pair in corpus.pairs(split)[:count]]
        rows = {
            "reviews": [(pair.english, ("likes", "sees")[number % 2]) for number, (pair, _) in enumerate(pairs)],
            "tags": [tagged for _, tagged in pairs],
            "shapes": [(f"{number % 2}.png", ("dark", "light")[number % 2]) for number in range(count)],
            "captions": [(f"{number % 2}.png", ("it is dark .", "it is light .")[number % 2]) for number in range(count)],
        }
        for name, lines in rows.items():
            (directory / name).mkdir(exist_ok=True)
            (directory / name / f"{split}.tsv").write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
        name = {"train": "texts.txt", "dev": "more-texts.txt"}[split]
        (directory / name).write_text("".join(f"{pair.english}\n" for pair, _ in pairs), encoding="utf-8")
    for name in ("shapes", "captions"):
        (directory / name / "images").mkdir()
        for picture, grey in (("0", 30), ("1", 220), ("new", 200)):
            Image.fromarray(np.full((28, 28, 3), grey, np.uint8)).save(directory / name / "images" / f"{picture}.png")
    return directory


@pytest.mark.parametrize("name", ["classify", "vote", "tag", "fill", "write", "restore", "look", "caption"])
def test_the_commands_of_a_task(directory: Path, name: str) -> None:
    if name == "vote" and not (directory / "runs" / "reviews").exists():
        run(BLOCKS["classify"].splitlines()[0] + f" {SHORT}", directory)
    command = re.sub(r"(pellucid train .*)", rf"\1 {SHORT}", BLOCKS[name])
    output = run(command, directory)
    assert re.search(ENDING.get(name, r"\S"), output), output


def test_a_classifier_that_begins_from_a_masked_language_model(directory: Path) -> None:
    """Tokenizer and sizes are those of the model it begins from, whatever its own recipe says of them."""
    if not (directory / "runs" / "texts").exists():
        run(BLOCKS["fill"].splitlines()[0] + f" {SHORT}", directory)
    run(BLOCKS["start"].strip() + f" {SHORT}", directory)
    assert (directory / "runs" / "reviews-from-texts" / "model" / "model.safetensors").exists()


def test_every_block_is_run() -> None:
    assert PAGE.read_text(encoding="utf-8").count("```") // 2 == len(BLOCKS)
    assert len([name for name in BLOCKS if name.endswith(".yaml")]) == 7
