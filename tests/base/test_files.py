"""Files that are whole or not there, whatever fails between two operations."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pellucid.base import files
from pellucid.base.errors import ModelError, StorageError

OLD = {"weights.bin": b"old" * 1000, "inner/config.json": b"{}"}
NEW = {"weights.bin": b"new!" * 1500, "inner/config.json": b"[]", "more.txt": b"x"}
# Every function of `os` through which files.py changes the disk. Files are opened with the built-in `open`, counted as well.
OPERATIONS = ("open", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir")


def builder(content: dict[str, bytes]) -> Callable[[Path], None]:
    def build(directory: Path) -> None:
        for name, data in content.items():
            (directory / name).parent.mkdir(exist_ok=True)
            (directory / name).write_bytes(data)

    return build


def content_of(directory: Path) -> dict[str, bytes]:
    found = {file.relative_to(directory).as_posix(): file.read_bytes() for file in directory.rglob("*") if file.is_file()}
    found.pop(files.MANIFEST, None)
    return found


def swaps(directory: Path) -> bool:
    """Whether this disk can exchange two names in one operation."""
    for name in ("one", "two"):
        (directory / name).mkdir()
    return files._exchange(directory / "one", directory / "two")


def fail_at(monkeypatch: pytest.MonkeyPatch, k: int, error: OSError) -> list[str]:
    """Let the ``k``-th operation from now on, and it alone, raise ``error``. Returns the list of operations, as it grows."""
    seen: list[str] = []

    def failing(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **named: Any) -> Any:
            seen.append(name)
            if len(seen) == k:
                raise error
            return original(*arguments, **named)

        return operation

    for name in OPERATIONS:
        monkeypatch.setattr(os, name, failing(name, getattr(os, name)))
    return seen


def test_a_file_is_written(tmp_path: Path) -> None:
    files.write_atomically(tmp_path / "a", b"one")
    files.write_atomically(tmp_path / "a", b"two")
    files.write_atomically(tmp_path / "b", lambda file: file.write(b"three"))
    assert content_of(tmp_path) == {"a": b"two", "b": b"three"}


def test_adding_to_a_file(tmp_path: Path) -> None:
    for data in (b"one\n", b"two\n"):
        files.append(tmp_path / "rows", data)
    assert (tmp_path / "rows").read_bytes() == b"one\ntwo\n"


def test_what_cannot_be_added_whole_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 4990)
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), "added"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    assert f"{tmp_path / 'file'}: cannot be written: File too large" in result.stdout
    assert "room for at least 90 bytes" in result.stdout
    assert (tmp_path / "file").read_bytes() == b"x" * 4990


def test_a_removed_directory_is_whole_or_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model"
    for k in range(1, 50):
        files.publish_directory(builder(OLD), path)
        with monkeypatch.context() as patched:
            seen = fail_at(patched, k, OSError(errno.EIO, "Input/output error"))
            try:
                files.remove_directory(path)
            except StorageError:
                assert not path.exists() or content_of(path) == OLD
        files.sweep(tmp_path)
        if len(seen) < k:
            break
    assert len(seen) < k
    assert os.listdir(tmp_path) == []


def test_checksum(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # The first test vector of FIPS 180-2, appendix B.1.
    assert files.sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("k", range(1, 5))
def test_a_file_stays_whole_when_an_operation_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, k: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with monkeypatch.context() as patched:
        seen = fail_at(patched, k, OSError(errno.ENOSPC, "No space left on device"))
        with pytest.raises(StorageError) as caught:
            files.write_atomically(path, b"new content")
    assert str(path) in str(caught.value)
    assert "at least 11 bytes" in str(caught.value)  # the length of b"new content"
    assert "bytes free" in str(caught.value)
    expected = b"new content" if "replace" in seen[: k - 1] else b"old"
    assert content_of(tmp_path) == {"file": expected}


def test_a_failing_writer_leaves_nothing(tmp_path: Path) -> None:
    def fail(file: Any) -> None:
        file.write(b"half")
        raise KeyError("a mistake in the writer")

    with pytest.raises(KeyError, match="a mistake in the writer"):
        files.write_atomically(tmp_path / "file", fail)
    assert content_of(tmp_path) == {}


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file or directory") as caught:
        files.write_atomically(tmp_path / "missing" / "file", b"x")
    assert caught.value.exit_code == 3
    assert "missing" in str(caught.value)


def test_a_directory_appears_complete(tmp_path: Path) -> None:
    path = tmp_path / "model"
    files.publish_directory(builder(OLD), path)
    files.verify_directory(path)
    assert content_of(path) == OLD
    manifest = json.loads((path / files.MANIFEST).read_text())["files"]
    assert manifest["weights.bin"] == {"size": 3000, "sha256": hashlib.sha256(b"old" * 1000).hexdigest()}
    assert manifest.keys() == OLD.keys()
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_directory_replaces_an_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool) -> None:
    if not can_exchange:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    for content in (OLD, NEW):
        files.publish_directory(builder(content), tmp_path / "model")
        files.verify_directory(tmp_path / "model")
        assert content_of(tmp_path / "model") == content
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_directory_stays_whole_when_an_operation_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    path = tmp_path / "model"
    if not can_exchange:
        monkeypatch.setattr(files, "_exchange", lambda first, second: False)
    failures = 0
    for k in range(1, 200):
        files.publish_directory(builder(OLD), path)
        with monkeypatch.context() as patched:
            seen = fail_at(patched, k, OSError(errno.EIO, "Input/output error"))
            try:
                files.publish_directory(builder(NEW), path)
            except StorageError:
                failures += 1
        files.sweep(tmp_path)  # what could not be removed at once, since removing failed
        files.verify_directory(path)
        assert content_of(path) in (OLD, NEW), seen
        assert os.listdir(tmp_path) == ["model"], seen
        if len(seen) < k:
            break
    assert len(seen) < k  # every operation had its turn
    assert failures > 10
    assert content_of(path) == NEW


# Publishes again and again; the k-th child dies at its k-th operation, without any cleaning up, as after a kill -9.
CRASHES = """
import builtins, json, os, sys
from pathlib import Path
from pellucid.base import files
from tests.base.test_files import NEW, OLD, OPERATIONS, builder, content_of

directory, can_exchange = Path(sys.argv[1]), sys.argv[2] == "True"
path = directory / "model"
if not can_exchange:
    files._exchange = lambda first, second: False
swap, states = files._exchange, []

def dying(original, k, count):
    def operation(*arguments, **named):
        count[0] += 1
        if count[0] == k:
            os._exit(9)
        return original(*arguments, **named)
    return operation

for k in range(1, 200):
    files.publish_directory(builder(OLD), path)
    child = os.fork()
    if child == 0:
        count = [0]
        for name in OPERATIONS:
            setattr(os, name, dying(getattr(os, name), k, count))
        builtins.open = dying(open, k, count)
        files._exchange = dying(swap, k, count)
        files.publish_directory(builder(NEW), path)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    before = path.exists()
    files.sweep(directory)
    files.verify_directory(path)
    states.append([before, content_of(path) == OLD, content_of(path) == NEW, os.listdir(directory), code])
    if code == 0:
        break
print(json.dumps(states))
"""


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_crash_between_two_operations_leaves_old_or_new(tmp_path: Path, can_exchange: bool) -> None:
    command = [sys.executable, "-c", CRASHES, str(tmp_path), str(can_exchange)]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, cwd=root)
    assert result.returncode == 0, result.stderr
    states = json.loads(result.stdout)
    assert [state[4] for state in states] == [9] * (len(states) - 1) + [0]
    assert len(states) > 15  # mkdir, three files, the manifest, six syncs, a rename or two, removing the old directory
    assert all(old != new and listing == ["model"] for _, old, new, listing, _ in states)
    assert states[0][1]
    assert states[-1][2]
    if can_exchange and swaps(tmp_path):
        assert all(before for before, *_ in states)  # where the disk can swap, a reader needs no sweep


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from pellucid.base import files
from pellucid.base.errors import StorageError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
directory = Path(sys.argv[1])
writes = {
    "added": lambda: files.append(directory / "file", b"y" * 90),
    "bytes": lambda: files.write_atomically(directory / "file", b"x" * 9000),
    "function": lambda: files.write_atomically(directory / "file", lambda file: file.write(b"x" * 9000)),
    "directory": lambda: files.publish_directory(lambda aside: (aside / "f").write_bytes(b"x" * 9000), directory / "model"),
}
try:
    writes[sys.argv[2]]()
except StorageError as error:
    print(error)
"""


@pytest.mark.parametrize(("kind", "needed"), [("bytes", 9000), ("function", 5000), ("directory", 5000)])
def test_a_file_too_large_for_the_disk(tmp_path: Path, kind: str, needed: int) -> None:
    (tmp_path / "file").write_bytes(b"old")
    files.publish_directory(builder(OLD), tmp_path / "model")
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path), kind]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
    assert "File too large" in result.stdout
    assert str(tmp_path) in result.stdout
    assert f"at least {needed} bytes" in result.stdout  # a function's whole need is not known, only what fitted
    assert (tmp_path / "file").read_bytes() == b"old"
    files.verify_directory(tmp_path / "model")
    assert sorted(os.listdir(tmp_path)) == ["file", "model"]


def test_what_rust_libraries_say_is_understood(tmp_path: Path) -> None:
    def build(directory: Path) -> None:
        raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    with pytest.raises(StorageError, match="No space left on device"):
        files.publish_directory(build, tmp_path / "model")


def test_a_mistake_of_the_builder_passes_through(tmp_path: Path) -> None:
    def build(directory: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        files.publish_directory(build, tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path, chance = tmp_path / "model", random.Random(1)
    files.publish_directory(builder(OLD), path)
    for _ in range(200):
        data = bytearray(OLD["weights.bin"])
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        (path / "weights.bin").write_bytes(data)
        with pytest.raises(ModelError, match=r"weights\.bin: the content is damaged"):
            files.verify_directory(path)


@pytest.mark.parametrize("kept", [0, 1, 30, 1500, 2970])
def test_a_shortened_file_is_found(tmp_path: Path, kept: int) -> None:
    files.publish_directory(builder(OLD), tmp_path / "model")
    os.truncate(tmp_path / "model" / "weights.bin", kept)
    with pytest.raises(ModelError, match=r"weights\.bin: wrong size") as caught:
        files.verify_directory(tmp_path / "model")
    assert f"{kept} bytes" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    files.publish_directory(builder(OLD), tmp_path / "model")
    (tmp_path / "model" / "inner" / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json: a file is missing"):
        files.verify_directory(tmp_path / "model")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere.*not there or not complete") as caught:
        files.verify_directory(tmp_path / "nowhere")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"files": 3}', '{"files": {"a": 3}}', '{"files": {"a": {"size": Infinity, "sha256": ""}}}', "[" * 9999],
)
def test_a_damaged_manifest(tmp_path: Path, text: str) -> None:
    (tmp_path / files.MANIFEST).write_text(text)
    with pytest.raises(ModelError, match=r"manifest\.json: the manifest is damaged"):
        files.verify_directory(tmp_path)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret"])
def test_a_manifest_cannot_reach_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / files.MANIFEST).write_text(json.dumps({"files": {name: {"size": 1, "sha256": ""}}}))
    with pytest.raises(ModelError, match="outside the directory"):
        files.verify_directory(tmp_path)


def test_sweep_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    parent = os.getppid()
    (tmp_path / f".model.tmp-{gone.pid}").mkdir()
    (tmp_path / f".model.tmp-{gone.pid}" / "half").write_bytes(b"x")
    (tmp_path / f".metrics.csv.tmp-{gone.pid}").write_bytes(b"x")
    (tmp_path / f".model.tmp-{os.getpid()}").mkdir()  # from an earlier process of this number
    alive = f".model.tmp-{parent}"
    (tmp_path / alive).mkdir()
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / "model.tmp-1").write_bytes(b"x")
    files.sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([alive, ".hidden", "model.tmp-1"])


def test_sweep_takes_a_process_that_nobody_has_waited_for_as_gone(tmp_path: Path) -> None:
    """A zombie still has its number. In containers whose first process asks for no exit codes it keeps it for ever."""
    dead = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    (tmp_path / f".model.tmp-{dead.pid}").mkdir()
    files.sweep(tmp_path)
    assert os.listdir(tmp_path) == []
    dead.wait()


def test_sweep_says_what_it_cannot_remove(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        files.sweep(tmp_path / "nowhere")


HOLD = """
import sys
from pellucid.base import files
with files.locked(sys.argv[1]):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_a_killed_one_forgotten(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "locked\n"
        with pytest.raises(ModelError) as caught, files.locked(tmp_path):
            pass
        assert caught.value.exit_code == 4
        assert f"process {first.pid} on {socket.gethostname()}" in str(caught.value)
        first.kill()
    with files.locked(tmp_path):
        assert f"process {os.getpid()} on" in (tmp_path / files.LOCK).read_text()


def test_a_lock_is_freed_and_keeps_others_out_of_its_own_process(tmp_path: Path) -> None:
    with files.locked(tmp_path), pytest.raises(ModelError, match="in use"), files.locked(tmp_path):
        pass
    with files.locked(tmp_path):
        pass


def test_a_lock_needs_a_directory(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"), files.locked(tmp_path / "nowhere"):
        pass
