"""What ``benchmarks/fuzz.py`` calls a failure: anything but our own errors, too long, too much memory, a dead process."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import fuzz
from benchmarks.mutations import changed
from pellucid.base.errors import DataError


def refuse(place: Path, chooser: random.Random) -> None:
    raise DataError("no")


def fail(place: Path, chooser: random.Random) -> None:
    raise KeyError("a bug")


def hang(place: Path, chooser: random.Random) -> None:
    while True:
        pass


def hoard(place: Path, chooser: random.Random) -> None:
    bytearray(2 * fuzz.MEMORY)


def die(place: Path, chooser: random.Random) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def read(place: Path, chooser: random.Random) -> None:
    assert [path.name for path in place.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    ("reader", "read", "refused", "failure"),
    [
        (read, 3, 0, None),
        (refuse, 0, 3, None),
        (fail, 0, 0, "KeyError"),
        (hang, 0, 0, "_TooLong"),
        (hoard, 0, 0, "MemoryError"),
        (die, 0, 0, "5: the process ended with -9"),
    ],
)
def test_failures_are_told_apart(
    reader: Callable[[Path, random.Random], None],
    read: int,
    refused: int,
    failure: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fuzz, "SECONDS", 0.05)
    found = fuzz.one_round(fuzz.Reader([{"a.txt": b"1 2 3\n"}], reader), tmp_path, range(5, 8))
    assert (found.read, found.refused) == (read, refused)
    assert bool(found.failures) == (failure is not None)
    assert all(failure is not None and failure in said for said in found.failures)


def test_the_same_seed_gives_the_same_change() -> None:
    content = b'{"a": [1, 2, {"b": null}]}'
    first, again = ([changed(content, "a.json", random.Random(seed)) for seed in range(50)] for _ in range(2))
    assert first == again
    assert len(set(first)) > 25
