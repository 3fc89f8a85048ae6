"""Files of a model directory that somebody else wrote: read where they lie, refused when they are not what they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pellucid.base.errors import ModelError

_ADVICE = "copy the model anew, all of its files and not links to them"
_COPY = "copy the files that the links lead to (cp -rL), or give the model's name on the hub instead of a directory"


def read(directory: Path, name: str) -> bytes | None:
    """The contents of a file of the directory, or None where there is none.

    Raises:
        ModelError: it cannot be read, or is a link that leads out of the directory.
    """
    path = directory / name
    if not path.exists() and not path.is_symlink():
        return None
    if not path.resolve().is_relative_to(directory.resolve()):
        raise leads_out(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise damaged(path, "a file", error) from None


def read_text(directory: Path, name: str) -> str | None:
    """The text of a file in UTF-8, or None. Raises as :func:`read`."""
    data = read(directory, name)
    try:
        return None if data is None else data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise damaged(directory / name, "text in UTF-8", error) from None


def read_json(directory: Path, name: str) -> dict[str, Any]:
    """The object in a JSON file; empty where there is no such file. Raises as :func:`read`."""
    text = read_text(directory, name)
    if text is None:
        return {}
    try:
        content = json.loads(text)
        json.dumps(content, ensure_ascii=False).encode()  # half a character, written as \\ud800, is no text
    except (ValueError, RecursionError) as error:
        raise damaged(directory / name, "JSON", error) from None
    if not isinstance(content, dict):
        raise damaged(directory / name, "a JSON object", type(content).__name__)
    return content


def leads_out(path: Path) -> ModelError:
    """The error for a link to somewhere else, as the hub's cache has them."""
    what, found = "a link leads out of the directory", f"a link to {path.resolve()}"
    return ModelError(what, where=path, expected="a file", found=found, advice=_COPY)


def damaged(where: Path, expected: str, found: object) -> ModelError:
    """The error for a file that is not what its name says."""
    return ModelError("the file is not what it should be", where=where, expected=expected, found=found, advice=_ADVICE)
