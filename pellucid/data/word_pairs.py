"""Pairs of words with how alike people find them: WordSim-353, SimLex-999 and files like them.

A line holds two words and a number, with tabs or else commas between; further columns are passed over. The first line may be a
header. SimLex-999 has the number in the column that its header calls ``SimLex999``, any other file in the third.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

from pellucid.base.errors import DataError
from pellucid.data.lines import lines_of


class WordPair(NamedTuple):
    """Two words, and how alike they are."""

    first: str
    second: str
    score: float


def read_word_pairs(path: Path) -> list[WordPair]:
    """Read a file of pairs.

    Raises:
        DataError: no such file, none in it, or a line that is no pair; the message has file and line.
    """
    pairs: list[WordPair] = []
    column = 2
    for number, line in enumerate(lines_of(path), start=1):
        try:
            text = line.raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
        except UnicodeDecodeError:
            raise DataError("not UTF-8", where=line.place, advice="convert the file to UTF-8 (iconv)") from None
        fields = [field.strip() for field in text.split("\t" if "\t" in text else ",")]
        if number == 1 and (len(fields) < 3 or _number(fields[2]) is None):
            column = fields.index("SimLex999") if "SimLex999" in fields else 2
        elif text and not text.startswith("#"):
            pairs.append(_pair(fields, column, line.place, text))
    if not pairs:
        raise DataError("no pairs of words", where=path, expected="lines of two words and a number, tabs between", found="none")
    return pairs


def _pair(fields: list[str], column: int, place: str, text: str) -> WordPair:
    score = _number(fields[column]) if len(fields) > column else None
    if score is None or not fields[0] or not fields[1]:
        expected = f"two words and, in column {column + 1}, a number"
        raise DataError("not a pair of words", where=place, expected=expected, found=repr(text[:80]))
    return WordPair(fields[0], fields[1], score)


def _number(field: str) -> float | None:
    """The finite number that a field holds; ``None``: none."""
    try:
        value = float(field)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
