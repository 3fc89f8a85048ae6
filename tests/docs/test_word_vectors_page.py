"""Everything that the page on word vectors shows, run as it stands there; only the training is shorter."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from shown import blocks_of, run

from pellucid.base.config import WordVectorsConfig
from pellucid.data import corpus

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "word-vectors.md"
BLOCKS = blocks_of(PAGE)
SHORT = "training.steps=4 training.validate_every=2 checkpoints.every=2 --quiet"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reader's directory, after the first commands of the page; its text is small, so that batches are as well."""
    directory = tmp_path_factory.mktemp("reader")
    for name, text in BLOCKS.items():
        (directory / name).write_text(text, encoding="utf-8")
    english = [pair.english for pair in corpus.pairs("train")[:1500]]
    (directory / "texts.txt").write_text("\n".join(english) + "\n", encoding="utf-8")
    (directory / "pairs.tsv").write_text("cat\tdog\t8\nteacher\tcat\t3\nteacher\tgalaxy\t1\n", encoding="utf-8")
    (directory / "reviews").mkdir()
    for split, some in (("train", english[:200]), ("dev", english[200:220])):
        rows = [f"{text}\t{('likes', 'sees')[number % 2]}\n" for number, text in enumerate(some)]
        (directory / "reviews" / f"{split}.tsv").write_text("".join(rows), encoding="utf-8")
    run(shorter("learn"), directory)
    return directory


def shorter(name: str) -> str:
    """The commands of a block with a shorter training."""
    small = {"begin": SHORT}.get(name, f"{SHORT} training.batch_tokens=1024")
    return re.sub(r"(pellucid train .*)", rf"\1 {small}", BLOCKS[name])


def test_learning(directory: Path) -> None:
    words, width = (directory / "vectors.txt").read_text(encoding="utf-8").split("\n")[0].split(" ")
    assert (int(words) > 50, width) == (True, "100")


def test_parts(directory: Path) -> None:
    output = run(shorter("parts"), directory)
    assert [line.split("\t")[0] for line in output.splitlines()] == ["teachers"] * 5


def test_asking(directory: Path) -> None:
    output = run(shorter("ask"), directory)
    asked = [line.split("\t")[0] for line in output.splitlines()]
    assert asked == ["teacher"] * 10 + ["cat"] * 10 + ["man woman king"] * 3 + ["pairs.tsv"]
    assert output.endswith("2 of 3 pairs\n")


def test_python(directory: Path) -> None:
    assert run("python python.py", directory).count("('") == 3


def test_beginning(directory: Path) -> None:
    found = json.loads(run(shorter("begin"), directory))
    assert found["embeddings"]["source"]["share"] > 0.5
    frozen = json.loads((directory / "runs" / "reviews-frozen" / "vectors.json").read_text(encoding="utf-8"))
    assert frozen == {**found, "frozen": True}


def test_every_block_is_run() -> None:
    assert set(BLOCKS) == {"vectors.yaml", "learn", "parts", "ask", "python.py", "begin.yaml", "begin"}
    assert PAGE.read_text(encoding="utf-8").count("```") // 2 == len(BLOCKS)


def test_the_defaults_that_the_table_gives() -> None:
    config = WordVectorsConfig()
    assert (config.noise, config.window, config.negatives, config.shortest, config.longest) == (0.75, 5, 5, 3, 6)
