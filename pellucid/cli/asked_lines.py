"""What a command is asked: lines of text, or JSON Lines with what is asked for each alone."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from pellucid.base.errors import DataError
from pellucid.tasks.request import Asked

# Keys of an object, and what each must be.
KEYS: dict[str, tuple[tuple[type, ...], str]] = {
    "text": ((str,), "a text"),
    "seed": ((int,), "a whole number"),
    "prefix": ((str,), "a text"),
    "glossary": ((dict, list), "an object of source terms and what they become, or a list of phrases"),
}


class AskedLines:
    """The lines as they are asked for, each parsed when it is its turn.

    Attributes:
        kept: of the lines read and not yet answered, in their order, the key ``id`` of the object; ``None``: an empty line.
    """

    def __init__(self, lines: Iterable[str], *, jsonl: bool) -> None:
        self._lines, self._jsonl = lines, jsonl
        self.kept: deque[dict[str, Any] | None] = deque()

    def __iter__(self) -> Iterator[Asked]:
        for number, line in enumerate(self._lines, start=1):
            if not self._jsonl:
                yield Asked(line)
                continue
            found = _parsed(line, f"line {number}") if line.strip() else None
            self.kept.append(None if found is None else {key: found.pop(key) for key in ("id",) if key in found})
            yield Asked("") if found is None else Asked(**found)


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError("this is not JSON", where=where, expected='{"text": "..."}', found=error) from None
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError) as error:
        what = "this cannot be written as UTF-8, in an answer or anywhere"
        raise DataError(what, where=where, expected="whole characters", found=error) from None
    if not isinstance(found, dict) or "text" not in found:
        raise DataError("a line has no text", where=where, expected='an object: {"text": "..."}', found=line[:80])
    for key, value in found.items():
        if key == "id":
            continue
        if key not in KEYS:
            raise DataError("no such key", where=where, expected=", ".join([*KEYS, "id"]), found=repr(key))
        types, words = KEYS[key]
        if not isinstance(value, types) or isinstance(value, bool):
            raise DataError(f"{key} is something else", where=where, expected=words, found=json.dumps(value)[:80])
    if "glossary" in found:
        _check_glossary(found["glossary"], where)
    return found


def _check_glossary(glossary: dict[str, Any] | list[Any], where: str) -> None:
    if isinstance(glossary, dict) and not all(source.strip() for source in glossary):
        raise DataError("a term of the glossary is empty", where=where, found=json.dumps(glossary)[:80], advice="leave it out")
    for spelt in glossary.values() if isinstance(glossary, dict) else glossary:
        spellings = spelt if isinstance(spelt, list) else [spelt]
        if not spellings or not all(isinstance(one, str) and one.strip() for one in spellings):
            expected = "a text, or a list of texts of which any one will do"
            raise DataError("this is no term of a glossary", where=where, expected=expected, found=json.dumps(spelt)[:80])
