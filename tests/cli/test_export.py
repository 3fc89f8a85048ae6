"""``pellucid export``: the program that is named gets the model, and options of another one are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ctranslate2
import pytest

Run = Callable[..., int]


def test_to_ctranslate2(pellucid: Run, learnt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pellucid("export", learnt, tmp_path / "out", "--to", "ctranslate2", "--quantization", "int8") == 0
    written = capsys.readouterr()
    assert written.out == ""
    assert "README.md shows how" in written.err
    assert ctranslate2.contains_model(str(tmp_path / "out"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "onnx", "--family", "bert"], "--family: this option belongs to another program"),
        (["--to", "onnx", "--quantization", "int8"], "--quantization: this option belongs to another program"),
        (["--quantization", "int8"], "--to ctranslate2"),
        (["--to", "ctranslate2", "--quantization", "int4"], "'int4' is not one of"),
        (["--to", "gguf"], "'gguf' is not one of"),
        ([], "no family of public models can express this model"),
    ],
    ids=" ".join,
)
def test_a_refusal_writes_nothing(
    arguments: list[str], message: str, pellucid: Run, said: Callable[[], str], learnt: Path, tmp_path: Path
) -> None:
    assert pellucid("export", learnt, tmp_path / "out", *arguments) == 2
    assert message in said()
    assert not (tmp_path / "out").exists()


def test_no_model(pellucid: Run, said: Callable[[], str], tmp_path: Path) -> None:
    assert pellucid("export", tmp_path, tmp_path / "out", "--to", "onnx") == 4
    assert "not a model directory" in said()
