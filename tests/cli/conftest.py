"""The command line, called in this process: a fresh one takes seconds to import torch."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pellucid.base.progress import set_quiet
from pellucid.cli.main import main

Run = Callable[..., int]


@pytest.fixture
def pellucid() -> Iterator[Run]:
    """``pellucid("train", recipe, "--out", run)`` gives the exit code; capsys has what was written."""

    def run(*arguments: object) -> int:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        assert isinstance(left.value.code, int)
        return left.value.code

    yield run
    set_quiet(False)


@pytest.fixture
def feed(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Put bytes on standard input."""
    return lambda data: monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


@pytest.fixture
def model(learnt: Path, tmp_path: Path) -> Path:
    """A copy of the model that has learnt, to be damaged."""
    return shutil.copytree(learnt / "model", tmp_path / "model")
