"""The command line, called in this process: a fresh one takes seconds to import torch."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pellucid import load
from pellucid.base.config import RunConfig
from pellucid.base.recipe import to_yaml
from pellucid.cli.main import main
from pellucid.tasks.translator import Translator

Run = Callable[..., int]


@pytest.fixture
def pellucid() -> Run:
    """``pellucid("train", recipe, "--out", run)`` gives the exit code; capsys has what was written."""

    def run(*arguments: object) -> int:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        assert isinstance(left.value.code, int)
        return left.value.code

    return run


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Put bytes on standard input."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture
def model(learnt: Path, tmp_path: Path) -> Path:
    """A copy of the model that has learnt, to be damaged."""
    return shutil.copytree(learnt / "model", tmp_path / "model")


@pytest.fixture
def recipe(config: RunConfig, tmp_path: Path) -> Path:
    """The short run as a file."""
    path = tmp_path / "recipe.yaml"
    path.write_text(to_yaml(config), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def translator(learnt: Path) -> Translator:
    """The model that has learnt, as Python has it."""
    return load(learnt)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What stands on stderr; nothing may be on stdout, and no traceback anywhere."""

    def said() -> str:
        out, err = capsys.readouterr()
        assert out == ""
        assert "Traceback" not in err
        return err

    return said


@pytest.fixture
def pairs_of(learnt: Path) -> Callable[[str], list[tuple[str, str]]]:
    """The pairs of a split that the model has learnt, or of one that it has not seen."""

    def pairs_of(split: str) -> list[tuple[str, str]]:
        lines = (learnt.parent / "corpus" / f"{split}.tsv").read_text(encoding="utf-8").split("\n")[:-1]
        return [(source, target) for source, target in (line.split("\t") for line in lines)]

    return pairs_of
