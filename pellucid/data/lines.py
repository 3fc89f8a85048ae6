"""The lines of a file as bytes, plain or gzip: only ``\\n`` ends a line, a ``\\r`` right before it is dropped."""

from __future__ import annotations

import difflib
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pellucid.base.errors import DataError

_CHUNK = 1 << 18


class Line(NamedTuple):
    """One line without its end."""

    place: str  # "FILE:NUMBER", counted from 1
    offset: int | None  # of its first byte in the (decompressed) file; None when unknown
    raw: bytes


class Survey(NamedTuple):
    """What one pass over a file tells."""

    lines: int
    sha256: str  # of the decompressed content, so that a file compressed anew counts as the same


@contextmanager
def open_bytes(path: Path) -> Iterator[gzip.GzipFile | io.BufferedReader]:
    """Opens a plain or ``.gz`` file for reading; what goes wrong, while reading too, is a :class:`DataError` naming it."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield file
    except EOFError:
        advice = "the file is cut short: copy or download it again"
        raise DataError("compressed data end too early", where=path, advice=advice) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError("not gzip, or damaged", where=path, found=str(error), advice="copy it again") from None
    except FileNotFoundError:
        raise DataError("no such file", where=path, advice=close_names(path)) from None
    except OSError as error:
        raise DataError("cannot be read", where=path, found=error.strerror) from None


def lines_of(path: Path) -> Iterator[Line]:
    """Every line of the file; a last one without ``\\n`` counts."""
    offset = 0
    with open_bytes(path) as file:
        for number, raw in enumerate(file, start=1):
            text = raw[:-1].removesuffix(b"\r") if raw.endswith(b"\n") else raw
            yield Line(f"{path}:{number}", offset, text)
            offset += len(raw)


def survey(path: Path) -> Survey:
    """Line count and checksum in one pass."""
    digest, count, last = sha256(), 0, b"\n"
    with open_bytes(path) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return Survey(count + (last != b"\n"), digest.hexdigest())


def is_file(path: Path) -> bool:
    """Whether this is a regular file; a name that the system refuses is none."""
    return os.path.isfile(path)  # Path.is_file raises for names that are too long


def plain_or_compressed(path: Path) -> Path | None:
    """The file, or the same with ``.gz`` added; None when there is neither."""
    choices = (path, path.with_name(path.name + ".gz"))
    return next((choice for choice in choices if is_file(choice)), None)


def close_names(path: Path) -> str:
    """Advice for a path that is not there: similar names beside it."""
    try:
        names = os.listdir(path.parent)
    except OSError:
        return f"there is no folder {path.parent} either"
    close = difflib.get_close_matches(path.name, names, n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"look into {path.parent}: nothing there has a similar name"
