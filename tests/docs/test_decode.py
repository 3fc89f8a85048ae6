"""Everything that the page on decoding shows, run as it stands there on toy models."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest
from shown import blocks_of

from pellucid.cli import generate, translate
from pellucid.cli.main import main
from pellucid.tasks.request import Request

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "how-to" / "decode.md"
BLOCKS = blocks_of(PAGE)
REFERENCE = (DOCS / "reference" / "decoding.md").read_text(encoding="utf-8")
LINES = BLOCKS["in.fr"].split("\n")[:-1]
SHORT = "training.steps=4 training.batch_tokens=256 training.validate_every=0 checkpoints.every=4 runtime.device=cpu --quiet"
TRANSLATOR = """
model: {d_model: 16, encoder: {n_layers: 2, n_heads: 2, d_ff: 24}, decoder: {n_layers: 2, n_heads: 2, d_ff: 24}, max_length: 64}
text: {tokenizer: word, min_frequency: 1, vocabulary: 2000}
data: {directory: pairs, source: fr, target: en}
decoding: {max_extra: 8}
"""
WRITER = """
task: language_modelling
model: {architecture: decoder, d_model: 16, decoder: {n_layers: 1, n_heads: 2, d_ff: 24}, positions: rotary, max_length: 32}
text: {tokenizer: character, min_frequency: 1}
data: {train: text.txt, holdout: 0.1}
"""


def call(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command prints."""
    verb, *arguments = shlex.split(command)
    assert verb == "pellucid"
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out, err = capsys.readouterr()
    assert left.value.code == 0, err
    return out


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with the files and the runs that the page speaks of, entered."""
    directory = tmp_path_factory.mktemp("reader")
    before = Path.cwd()
    os.chdir(directory)
    for name in ("in.fr", "glossary.tsv", "known.tsv", "in.jsonl"):
        Path(name).write_text(BLOCKS[name], encoding="utf-8")
    Path("pairs").mkdir()
    pairs = [(LINES[0], "the car is red ."), (LINES[2], "the cat sees the little car ."), ("le chien voit", "a dog sees cars")]
    for split, count in (("train", 40), ("dev", 2)):
        Path("pairs", f"{split}.tsv").write_text("".join(f"{fr}\t{en}\n" for fr, en in pairs * count), encoding="utf-8")
    Path("text.txt").write_text("the teacher sees a quick brown fox jump over the lazy dog .\n" * 60, encoding="utf-8")
    recipes = {"mine": (TRANSLATOR, ""), "small": (TRANSLATOR, "model.d_model=8"), "writer": (WRITER, "")}
    for name, (recipe, change) in recipes.items():
        Path(f"{name}.yaml").write_text(recipe, encoding="utf-8")
        with pytest.raises(SystemExit) as left:
            main(["train", f"{name}.yaml", *change.split(), "--out", f"runs/{name}", *SHORT.split()])
        assert left.value.code == 0
    yield directory
    os.chdir(before)


@pytest.mark.parametrize("name", ["search", "risk", "glossary", "scores", "jsonl", "stream", "models"])
def test_commands(directory: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    found = [call(command, capsys) for command in BLOCKS[name].splitlines()]
    for command, out in zip(BLOCKS[name].splitlines(), found, strict=True):
        if "translate" in command:
            check(command, out)
        else:
            assert out.strip()
    if name == "models":
        assert found[1] == call("pellucid translate runs/mine in.fr --beams 1", capsys)


def check(command: str, out: str) -> None:
    """Every line has its answer, and what was asked for holds."""
    rows = out.split("\n")[:-1]
    if "--nbest" in command:
        assert [row.split("\t")[0] for row in rows] == ["1", "1", "1", "2", "3", "3", "3"]
        return
    assert len(rows) == 3
    if "--jsonl" in command:
        answers = [json.loads(row) for row in rows]
        assert [answer["id"] for answer in answers] == [1, 2, 3]
        assert all(answer["tokens"] and answer["reason"] for answer in answers)
        return
    texts = [row.split("\t")["--scores" in command] for row in rows]
    assert texts[1] == ""
    if "--glossary" in command:
        assert all("car" in text for text in (texts[0], texts[2]))
        assert "cat" in texts[2]
        assert "dog" not in out
    if "--prefix" in command:
        assert all(text.startswith("the cat") for text in (texts[0], texts[2]))
    if "--align" in command:
        assert [len(row.split("\t")) for row in rows] == [2, 2, 2]


def test_python(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(BLOCKS["python"], "decode.md", "exec", dont_inherit=True), {})
    assert "log_probability" in capsys.readouterr().out


def test_every_block_is_run() -> None:
    assert PAGE.read_text(encoding="utf-8").count("```") // 2 == len(BLOCKS) == 12


def test_the_reference_has_every_option_and_every_field() -> None:
    [table] = re.findall(r"(?ms)^\| command \| Python .*?\n\n", REFERENCE)
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.strip().splitlines()[2:]]
    options = {option for row in rows for option in re.findall(r"`(--[a-z-]+)`", row[0])}
    both = [one for one in {*translate.translate.params} | {*generate.generate.params} if isinstance(one, click.Option)]
    others = {"--quiet", "--debug", "--help", "-h", "--batch", "--file", "--n", "--picture", "--precision"}
    assert options == {opt for one in both for opt in one.opts} - others
    named = {name for row in rows for name in re.findall(r"`([a-z_]+)`", row[1])}
    assert named == {field.name for field in fields(Request)}
