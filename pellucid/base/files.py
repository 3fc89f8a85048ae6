"""Files and directories that are whole or not there: written aside, synced, renamed. Checksums. One process a directory.

Whatever is interrupted between any two operations, by a crash, a kill or a full disk, a reader finds the old content
or the new, never a part. What a dead process left aside is removed by :func:`sweep`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from pellucid.base.errors import ModelError, StorageError

MANIFEST = "manifest.json"
LOCK = ".lock"
_ASIDE = re.compile(r"\.(?P<name>.+)\.(?P<kind>tmp|old)-(?P<process>\d+)")


def write_atomically(path: str | Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    """Write a file so that ``path`` holds its old content or all of the new, also after a power cut.

    Args:
        path: the file, in a directory that exists.
        data: the content, or a function that writes it to the open file.

    Raises:
        StorageError: when the system refuses; nothing is left behind, and the old content stands unless the new one does.
    """
    path = Path(path)
    with _written_aside(path, len(data) if isinstance(data, bytes) else 0) as aside:
        with open(aside, "wb") as file:
            if isinstance(data, bytes):
                file.write(data)
            else:
                data(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        _sync(path.parent)


def append(path: str | Path, data: bytes) -> None:
    """Add to the end of a file, which is made when missing.

    Raises:
        StorageError: when the system refuses; what it took of ``data`` is taken away again.
    """
    path = Path(path)
    before = directory_size(path)
    try:
        with open(path, "ab") as file:
            file.write(data)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.truncate(path, before)
        raise _refused(path, error, len(data)) from error


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish_directory(build: Callable[[Path], None], path: str | Path) -> None:
    """Make a directory appear at ``path`` complete, with a manifest of sizes and checksums, in place of any old one.

    Args:
        build: fills the empty directory that it is given.
        path: where the directory shall be; its parent exists.

    Raises:
        StorageError: when the system refuses; nothing is left behind, and the old directory stands unless the new one does.
    """
    path = Path(path)
    with _written_aside(path) as aside:
        _remove(aside)  # an earlier process of the same number may have left it
        os.mkdir(aside)
        build(aside)
        _write_manifest(aside)
        _sync_tree(aside)
        _move_into_place(aside, path)


def remove_directory(path: str | Path) -> None:
    """Remove a directory so that it is whole or gone: under its name no part of it is ever found.

    Raises:
        StorageError: when the system refuses.
    """
    path = Path(path)
    aside = _aside(path, "tmp")
    try:
        os.rename(path, aside)
        _remove(aside)
    except OSError as error:
        raise _refused(path, error, 0) from error


def verify_directory(path: str | Path) -> None:
    """Compare every file of a published directory with its manifest.

    Raises:
        ModelError: naming the first file that is missing or damaged.
    """
    path = Path(path)
    for name, (size, checksum) in _read_manifest(path).items():
        file = path / name
        if not file.is_file():
            raise _damaged("a file is missing", file)
        if file.stat().st_size != size:
            raise _damaged("wrong size", file, f"{size} bytes", f"{file.stat().st_size} bytes")
        found = sha256_of(file)
        if found != checksum:
            raise _damaged("the content is damaged", file, f"SHA-256 {checksum}", found)


def sweep(directory: str | Path) -> None:
    """Remove what processes that are gone left aside in ``directory``; put back what they had moved away.

    To be called before this process itself writes there: what bears its number was left by an earlier process of the same
    number, which is the rule in containers.

    Raises:
        StorageError: when the system refuses.
    """
    try:
        for entry in list(Path(directory).iterdir()):
            match = _ASIDE.fullmatch(entry.name)
            if match is None or _is_another(int(match["process"])):
                continue
            target = entry.with_name(match["name"])
            if match["kind"] == "old" and not target.exists():
                os.rename(entry, target)
            else:
                _remove(entry)
    except OSError as error:
        raise _refused(Path(directory), error, 0) from error


@contextlib.contextmanager
def locked(directory: str | Path) -> Iterator[None]:
    """Hold ``directory`` for this process alone. The lock goes with the process, however it ends.

    Raises:
        ModelError: at once, naming the process and the host that hold it.
        StorageError: when no lock file can be made.
    """
    path = Path(directory) / LOCK
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise _refused(path, error, 0) from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 1000).decode("utf-8", "replace").strip() or "another process"
            advice = "wait until it ends, stop it, or choose another directory"
            raise ModelError("the directory is in use", where=directory, found=holder, advice=advice) from None
        holder = f"process {os.getpid()} on {socket.gethostname()}\n"
        try:
            os.ftruncate(file, 0)
            os.write(file, holder.encode())
        except OSError as error:
            raise _refused(path, error, len(holder)) from error
        yield
    finally:
        os.close(file)  # frees the lock; the file stays, since removing it would let two processes lock two files


def _aside(path: Path, kind: str) -> Path:
    """The name for what is not finished yet, in the same directory and so on the same disk."""
    return path.with_name(f".{path.name}.{kind}-{os.getpid()}")


@contextlib.contextmanager
def _written_aside(path: Path, needed: int = 0) -> Iterator[Path]:
    """Give the name to write ``path`` under first; see that nothing is left there, and report what the system refuses."""
    aside = _aside(path, "tmp")
    try:
        yield aside
    except Exception as error:
        refusal = _system_error(error)
        if refusal is None:
            raise
        raise _refused(path, refusal, max(needed, directory_size(aside))) from error
    finally:
        with contextlib.suppress(OSError):
            _remove(aside)


def _write_manifest(directory: Path) -> None:
    entries = {}
    for file in sorted(file for file in directory.rglob("*") if file.is_file()):
        name = file.relative_to(directory).as_posix()
        entries[name] = {"size": file.stat().st_size, "sha256": sha256_of(file)}
    (directory / MANIFEST).write_text(json.dumps({"files": entries}, indent=2) + "\n", encoding="utf-8")


def _read_manifest(directory: Path) -> dict[str, tuple[int, str]]:
    """Name to size and checksum."""
    path = directory / MANIFEST
    try:
        entries = json.loads(path.read_bytes())["files"]
        manifest = {name: (int(entry["size"]), str(entry["sha256"])) for name, entry in entries.items()}
    except FileNotFoundError:
        raise _damaged("the directory is not there or not complete", path) from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise _damaged("the manifest is damaged", path) from None
    for name in manifest:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise _damaged("the manifest names a file outside the directory", path, found=name)
    return manifest


def _move_into_place(aside: Path, path: Path) -> None:
    """Rename ``aside`` to ``path``, for good; an old directory there ends up at ``aside``, or nowhere."""
    old = _aside(path, "old")
    if path.exists() and not _exchange(aside, path):
        # Two renames where one will not do. After a crash between them, `sweep` puts the old directory back.
        _remove(old)
        os.rename(path, old)
        try:
            os.rename(aside, path)
        except OSError:
            os.rename(old, path)
            raise
    elif not path.exists():
        os.rename(aside, path)
    _sync(path.parent)
    _remove(old)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one operation. False where the system or the disk cannot (it needs Linux, most disks do)."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(renameat2(here, os.fsencode(first), here, os.fsencode(second), exchange) == 0)


def _sync(path: Path) -> None:
    """Bring a file, or a directory's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(directory: Path) -> None:
    for path in directory.rglob("*"):
        _sync(path)
    _sync(directory)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def directory_size(path: Path) -> int:
    """Bytes of a file or of all files below a directory; 0 when it cannot be seen."""
    try:
        files = [path, *path.rglob("*")] if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files if file.is_file())
    except OSError:
        return 0


def _is_another(process: int) -> bool:
    """Whether the number belongs to a living process other than this one."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return process != os.getpid() and not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    """Whether it is dead, and only its exit code waits to be asked for: in containers it may do so for ever."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):  # gone just now, or a system without /proc
        return False


def _system_error(error: Exception) -> OSError | None:
    """What the system said: safetensors and tokenizers, written in Rust, pass it on only as text."""
    if isinstance(error, OSError):
        return error
    number = re.search(r"\(os error (\d+)\)", str(error))
    return OSError(int(number[1]), os.strerror(int(number[1]))) if number else None


def _refused(path: Path, error: OSError, needed: int) -> StorageError:
    what = f"cannot be written: {error.strerror or error}"
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        advice = "choose a directory that exists and that you may write to"
        return StorageError(what, where=path, advice=advice)
    free = shutil.disk_usage(path.parent).free
    advice = "free some space or choose another disk"
    return StorageError(
        what, where=path, expected=f"room for at least {needed} bytes", found=f"{free} bytes free", advice=advice
    )


def _damaged(what: str, where: Path, expected: str | None = None, found: str | None = None) -> ModelError:
    advice = "take an undamaged copy of the directory"
    return ModelError(what, where=where, expected=expected, found=found, advice=advice)
