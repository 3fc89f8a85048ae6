"""The examples of one split as a stream, from plain or aligned files, tab-separated columns or JSON Lines, under the policies.

An example is a tuple of one text or two. A split is read in constant memory, as often as wanted: once to train the tokenizer,
once to prepare the store. Text is UTF-8 and stays as it is; the lines are those of :mod:`pellucid.data.lines`. Tab-separated
files may have more columns than are wanted: lines with such are counted, the columns not read. Nothing is left out or changed
without an entry in the split's report.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pellucid.base.config import DataConfig
from pellucid.base.errors import DataError
from pellucid.data.lines import Line, Survey, lines_of, survey
from pellucid.data.report import Report

Example = tuple[str, ...]  # (text,) or (source, target)


class Record(NamedTuple):
    """An example and where it stands, as ``"train.fr:12"``."""

    place: str
    example: Example


class Reading:
    """One pass over a split: the policies on its way and the report that they write."""

    def __init__(self, config: DataConfig, report: Report, columns: int) -> None:
        self.config, self.report, self.columns = config, report, columns
        self.bad: str | None = None  # place of the first bad text of the example being read

    def text(self, line: Line) -> str:
        """The line decoded; bytes that are not UTF-8 become U+FFFD and set ``bad``, or raise, as configured."""
        try:
            return line.raw.decode("utf-8")
        except UnicodeDecodeError as error:
            if self.config.on_bad_utf8 == "error":
                found = f"byte 0x{line.raw[error.start]:02x} at byte {error.start} of the line"
                if line.offset is not None:
                    found += f", byte {line.offset + error.start} of the text"
                raise DataError(
                    "not UTF-8",
                    where=line.place,
                    found=found,
                    advice="convert the file to UTF-8 (iconv), or set data.on_bad_utf8 to skip or replace",
                ) from None
            self.bad = self.bad or line.place
            return line.raw.decode("utf-8", errors="replace")

    def accepts_bytes(self) -> bool:
        """Counts what was just read, and says whether the policy for bad bytes lets it through."""
        self.report.read += 1
        bad, self.bad = self.bad, None
        if bad is not None:
            skip = self.config.on_bad_utf8 == "skip"
            self.report.note(f"not UTF-8, {'skipped' if skip else 'bad bytes replaced by U+FFFD'}", bad)
            if skip:
                return False
        self.report.kept += 1
        return True

    def accepts(self, record: Record) -> bool:
        """Counts the example, and says whether the policies let it through."""
        if not self.accepts_bytes():
            return False
        if all(text.strip() for text in record.example):
            return True
        pair = len(record.example) > 1
        if self.config.on_empty == "error":
            what = f"{'a side of the pair' if pair else 'the text'} is empty or only white space"
            advice = f"remove the {self.report.unit}, or set data.on_empty to skip"
            raise DataError(what, where=record.place, advice=advice)
        self.report.note(f"{'a side ' if pair else ''}empty or only white space, skipped", record.place)
        self.report.kept -= 1
        return False


def _aligned(paths: tuple[Path, ...], reading: Reading) -> Iterator[Record]:
    """Line N of each file; of a single one, every line."""
    for lines in itertools.zip_longest(*(lines_of(path) for path in paths)):
        if None in lines:
            raise DataError("a file changed while it was read", where=" and ".join(map(str, paths)))
        yield Record(lines[0].place, tuple(reading.text(line) for line in lines))


def _tab_separated(paths: tuple[Path, ...], reading: Reading) -> Iterator[Record]:
    return _columns(paths, reading, tuple(range(reading.columns)))


def _target_first(paths: tuple[Path, ...], reading: Reading) -> Iterator[Record]:
    return _columns(paths, reading, (1, 0)[: reading.columns])


def _columns(paths: tuple[Path, ...], reading: Reading, order: tuple[int, ...]) -> Iterator[Record]:
    """The columns named by ``order``, counted from 0."""
    least = max(order) + 1
    more = "more than two columns, only the first two read" if least > 1 else "more than one column, only the first read"
    for line in lines_of(paths[0]):
        columns = reading.text(line).split("\t")
        if len(columns) < least:
            raise DataError(
                "a line without a tab",
                where=line.place,
                expected="source, tab, target",
                found=_short(columns[0]),
                advice="two aligned files are given as a list of two; JSON Lines files end in .jsonl",
            )
        if len(columns) > least:
            reading.report.note(more, line.place)
        yield Record(line.place, tuple(columns[column] for column in order))


def _json_lines(paths: tuple[Path, ...], reading: Reading) -> Iterator[Record]:
    keys = (reading.config.source, reading.config.target)[: reading.columns]
    for number, line in enumerate(lines_of(paths[0])):
        text = reading.text(line)
        if number == 0:
            text = text.removeprefix("\ufeff")  # a byte order mark, which RFC 8259 lets a reader ignore
        values = _json_values(text, keys, line.place)
        # An escape such as \ud800 gives half a character, which has no UTF-8: the same policy as for bad bytes.
        halves = (Line(line.place, None, value.encode("utf-8", "surrogatepass")) for value in values)
        yield Record(line.place, tuple(reading.text(half) for half in halves))


def _json_values(text: str, keys: tuple[str, ...], place: str) -> list[str]:
    expected = f"an object with {'a text' if len(keys) == 1 else 'texts'} at " + " and ".join(f'"{key}"' for key in keys)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError("not JSON", where=place, expected=expected, found=f"{error}: {_short(text)}") from None
    if not isinstance(value, dict):
        raise DataError("not a JSON object", where=place, expected=expected, found=_short(text))
    for key in keys:
        if not isinstance(value.get(key), str):
            what = f'"{key}" is not a text' if key in value else f'no key "{key}"'
            settings = "data.source to the key" if len(keys) == 1 else "data.source and data.target to the keys"
            found = "the keys " + ", ".join(map(repr, value)) if value else "no keys"
            raise DataError(what, where=place, expected=expected, found=_short(found), advice=f"set {settings} of the file")
    return [value[key] for key in keys]


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


_FORMS: dict[str, Callable[[tuple[Path, ...], Reading], Iterator[Record]]] = {
    "aligned files": _aligned,
    "plain text": _aligned,
    "tab-separated": _tab_separated,
    "tab-separated, target first": _target_first,
    "JSON Lines": _json_lines,
}


@dataclass
class Split:
    """The examples of one split, read anew by every iteration. ``report`` tells of the latest one.

    Raises, when iterated: :class:`DataError` for what the policies forbid, for line counts that differ (before the first pair),
    for files that are missing, damaged or malformed.
    """

    name: str
    files: tuple[Path, ...]  # none for examples in memory
    form: str  # how the examples stand in the files, a key of _FORMS
    config: DataConfig
    columns: int = 2  # texts of an example
    documents: bool = False  # each example is a whole document: one text is over where it ends
    report: Report = field(default_factory=Report, init=False)

    @property
    def unit(self) -> str:
        """What an example is called."""
        return "pair" if self.columns > 1 else "document" if self.documents else "text"

    def __iter__(self) -> Iterator[Example]:
        return (record.example for record in self.records())

    def records(self) -> Iterator[Record]:
        """The examples with their places."""
        self.check_counts()
        self.report = Report(unit=self.unit)
        reading = Reading(self.config, self.report, self.columns)
        for record in self._read(reading):
            if reading.accepts(record):
                yield record

    def _read(self, reading: Reading) -> Iterator[Record]:
        return _FORMS[self.form](self.files, reading)

    def check_counts(self) -> None:
        """Raises :class:`DataError` when aligned files differ in their number of lines.

        Counted beforehand, which costs one pass: found at the end, it would be found too late by a reader that stops early.
        """
        counts = [survey.lines for survey in self.surveys]
        if len(set(counts)) == 1:
            return
        from pellucid.data.alignment import likely_slip  # numpy, which only this message needs

        slip = likely_slip((self.files[0], counts[0]), (self.files[1], counts[1]))
        near = "" if slip is None else f"; judging by the lengths of the lines, look first near line {slip:,}"
        raise DataError(
            "aligned files with different numbers of lines",
            where=f"split {self.name}",
            expected="line N of one file translates line N of the other",
            found=", ".join(f"{path}: {count:,}" for path, count in zip(self.files, counts, strict=True)),
            advice=f"find the lost line{near}",
        )

    @cached_property
    def surveys(self) -> tuple[Survey, ...]:
        """Line count and checksum of every input, found in one pass, once."""
        return tuple(survey(path) for path in self.files)

    @property
    def total(self) -> int:
        """Examples in the input, before the policies: what a progress bar runs to."""
        return self.surveys[0].lines


class PairsInMemory(Split):
    """A split whose examples, usually pairs, are at hand; their places are ``NAME:1``, ``NAME:2``, ..."""

    def __init__(self, name: str, examples: Iterable[Example], config: DataConfig) -> None:
        self._examples = list(examples)
        super().__init__(name, (), "in memory", config, len(self._examples[0]) if self._examples else 2)

    def _read(self, reading: Reading) -> Iterator[Record]:
        for number, example in enumerate(self._examples, start=1):
            yield Record(f"{self.name}:{number}", example)

    @cached_property
    def surveys(self) -> tuple[Survey, ...]:
        digest = sha256(json.dumps(self._examples).encode())
        return (Survey(len(self._examples), digest.hexdigest()),)
