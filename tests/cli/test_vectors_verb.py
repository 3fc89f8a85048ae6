"""``pellucid vectors``, from a text to answers, in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pellucid.data.vector_files import read_vectors

Run = Callable[..., int]

RECIPE = """
task: word_vectors
model: {architecture: vectors, d_model: 6, tie: none}
text: {tokenizer: word, min_frequency: 1}
data: {train: TEXT, holdout: 0.1}
training: {steps: 3, batch_tokens: 512, validate_every: 0}
word_vectors: {buckets: 20, subsample: 0}
optimizer: {schedule: constant, learning_rate: 0.01, warmup: 0}
runtime: {precision: float32, device: cpu, threads: 1}
"""
FILE = "king 3 1\nqueen 3 -1\nman 1 1\nwoman 1 -1\nrock -5 0.5\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.txt"
    path.write_text(FILE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("the cat sees the dog .\n" * 300, encoding="utf-8")
    return path


def test_from_a_text_to_answers(pellucid: Run, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, run, out = tmp_path / "recipe.yaml", tmp_path / "run", tmp_path / "out.txt"
    recipe.write_text(RECIPE.replace("TEXT", str(text)), encoding="utf-8")
    assert pellucid("train", recipe, "--out", run, "--quiet") == 0
    assert pellucid("vectors", run, "--out", out) == 0
    assert sorted(read_vectors(out).words) == [".", "cat", "dog", "sees", "the"]
    assert pellucid("vectors", run) == 0
    assert capsys.readouterr().out == "5 words, 6 numbers each\n"
    assert pellucid("vectors", run, "--neighbours", "cats", "--count", 2) == 0  # from its parts
    answered = capsys.readouterr().out
    assert pellucid("info", run) == 0
    assert "5 words, skip_gram, window 5, 20 buckets for parts" in capsys.readouterr().out
    assert [line.split("\t")[0] for line in answered.splitlines()] == ["cats", "cats"]
    for verb in (
        ["evaluate", run],
        ["explain", run, "cat"],
        ["look", run, "--no-browser"],
        ["translate", run],
        ["export", run, tmp_path / "elsewhere"],
    ):
        assert pellucid(*verb) == 2, verb


def test_neighbours_and_an_analogy(pellucid: Run, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pellucid("vectors", file, "--neighbours", "king", "--analogy", "man", "woman", "king", "--count", 1) == 0
    # king (3, 1): queen 8/10, man 4/sqrt(20) = 0.8944; woman - man + king = (0, -1.4142) + (0.9487, 0.3162): queen.
    nearest, answer = capsys.readouterr().out.splitlines()
    assert nearest == "king\tman\t0.8944"
    assert answer.split("\t")[:2] == ["man woman king", "queen"]


def test_similarity_with_the_pairs_that_are_covered(
    pellucid: Run, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("King\tqueen\t8\nman\twoman\t2\nking\trock\t1\nking\tcabbage\t5\n", encoding="utf-8")
    assert pellucid("vectors", file, "--similarity", pairs) == 0
    assert capsys.readouterr().out == f"{pairs}\t1.0000\t3 of 4 pairs\n"  # cosines 0.8, 0, below 0: the same order
    assert pellucid("vectors", file, "--similarity", pairs, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"pairs": str(pairs), "spearman": pytest.approx(1.0), "covered": 3, "of": 4}


def test_a_similarity_that_is_not_defined(
    pellucid: Run, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("a\tb\t8\n", encoding="utf-8")
    assert pellucid("vectors", file, "--similarity", pairs, "--json") == 0
    assert json.loads(capsys.readouterr().out)["spearman"] is None


def test_from_text_to_binary_and_back(pellucid: Run, file: Path, tmp_path: Path) -> None:
    assert pellucid("vectors", file, "--out", tmp_path / "vectors.bin", "--first", 3) == 0
    assert read_vectors(tmp_path / "vectors.bin").words == ["king", "queen", "man"]


def test_as_json(pellucid: Run, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pellucid("vectors", file, "--neighbours", "king", "--count", 1, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"asked": "king", "found": [{"word": "man", "cosine": pytest.approx(0.8944, abs=1e-4)}]}


def test_mistakes(pellucid: Run, file: Path, tmp_path: Path, learnt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pellucid("vectors", file, "--neighbours", "cabbage") == 3
    assert "no vector for this word" in capsys.readouterr().err
    assert pellucid("vectors", tmp_path / "nothing.txt") == 3
    assert pellucid("vectors", learnt, "--neighbours", "a") == 2
    assert "this model holds no word vectors\n  found:    the task translation" in capsys.readouterr().err
    assert pellucid("vectors", tmp_path) == 4
    assert pellucid("vectors", file, "--similarity", tmp_path / "nothing.tsv") == 3
