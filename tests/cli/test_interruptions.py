"""Ctrl-C and SIGTERM, in processes of their own: exit codes 130 and 143, whole lines or nothing, no traceback.

What training does beyond that is in ``test_errors.py``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pellucid.base.config import RunConfig
from pellucid.base.recipe import to_yaml
from pellucid.decoding.batching import WINDOW

BOTH = pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
PIPE = subprocess.PIPE


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "pellucid", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    null = subprocess.DEVNULL
    with subprocess.Popen(
        command, stdin=null, stdout=PIPE, stderr=PIPE, env=environment, bufsize=0, preexec_fn=as_in_a_terminal
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def as_in_a_terminal() -> None:
    """What a shell runs in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def exit_code(process: subprocess.Popen[bytes]) -> int:
    """As a shell has it: Python itself may end by the signal, when a library called from C has seen it."""
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


@BOTH
def test_translate_has_delivered_whole_lines(
    learnt: Path, tmp_path: Path, number: signal.Signals, code: int, word: str
) -> None:
    """A window of empty lines is done at once, the end of it in a buffer when the signal comes; the next one takes long."""
    (tmp_path / "in").write_text("\n" * WINDOW + "a b c d e f\n" * WINDOW)
    with started("translate", learnt, tmp_path / "in", "--beams", 4, "--nbest", 2, "--batch", 1) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        process.send_signal(number)
        rest, err = process.communicate()
    assert (exit_code(process), err.decode()) == (code, f"{word}\n")
    text = (first + rest).decode()
    assert 0 < text.count("\n") <= WINDOW
    assert text == "".join(f"{line}\t0.0000\t\n" for line in range(1, text.count("\n") + 1))


@BOTH
def test_evaluate_writes_nothing(learnt: Path, tmp_path: Path, number: signal.Signals, code: int, word: str) -> None:
    (tmp_path / "in").write_text("a b c d e f g h " * 8 + "\n" + "a b c d e f g h\n" * WINDOW)
    files = ["--source", tmp_path / "in", "--reference", tmp_path / "in", "--output", tmp_path / "out"]
    with started("evaluate", learnt, *files, "--beams", 20) as process:
        assert process.stderr is not None
        assert b"line 1 has" in process.stderr.readline()  # too long for the model; all are read before the search
        process.send_signal(number)
        out, err = process.communicate()
    assert (exit_code(process), out, err.decode().endswith(f"{word}\n")) == (code, b"", True)
    assert b"Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def until(process: subprocess.Popen[bytes], happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not happened() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)


@BOTH
def test_data_half_prepared_are_swept_away(
    config: RunConfig, corpus: Path, tmp_path: Path, number: signal.Signals, code: int, word: str
) -> None:
    (corpus / "train.tsv").write_text("a b c d e f g h\tH G F E D C B A\n" * 60_000)
    (tmp_path / "recipe.yaml").write_text(to_yaml(config))
    data = tmp_path / "run" / "data"
    with started("train", tmp_path / "recipe.yaml", "--out", tmp_path / "run") as process:
        until(process, lambda: data.is_dir() and list(data.glob(".train.*")))
        process.send_signal(number)
        out, err = process.communicate()
    assert (exit_code(process), out, err.decode().endswith(f"\n{word}\n")) == (code, b"", True)
    assert b"Traceback" not in err
    assert [path.name for path in data.iterdir()] == ["tokenizer.json"]
