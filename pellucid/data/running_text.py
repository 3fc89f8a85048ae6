"""Running text for language models: a file as it stands, in chunks of whole lines; or documents, one a line of JSON Lines.

Nothing of a plain text is dropped or changed: the chunks put together are the text, blank lines and ``\\r\\n`` included. Lines
with bytes that are not UTF-8 are the exception, under ``data.on_bad_utf8: skip`` or ``replace``, and are reported. Memory holds
one chunk, which is one line where that is longer.

The training text may give up its last share as the dev split (``data.holdout``). A plain text is cut at a byte, moved forward
to the start of a character; documents are counted, never cut.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

from pellucid.base.errors import DataError
from pellucid.data.formats import Reading, Record, Split
from pellucid.data.lines import Line, Survey, open_bytes
from pellucid.data.report import Report

_CHUNK = 1 << 16  # bytes


class Part(NamedTuple):
    """A stretch of a text, as shares of its length."""

    begin: float = 0.0
    end: float = 1.0

    def of(self, length: int) -> tuple[int, int]:
        """Where it begins and ends in something of that length."""
        return int(length * self.begin), int(length * self.end)


WHOLE = Part()


class RunningText(Split):
    """Chunks of about 64 kB of a plain text, each a 1-tuple; they end where a line does, ``\\n`` included.

    Args:
        name: of the split.
        text: what it is a part of: one plain file, or texts in memory, which become one line each.
        part: which stretch of the text, in bytes.

    Raises, when iterated: :class:`DataError` when the stretch is empty, and as any split does.
    """

    def __init__(self, name: str, text: Split, part: Part = WHOLE) -> None:
        super().__init__(name, text.files, "running text", text.config, columns=1)
        self._text, self._part = text, part

    @property
    def unit(self) -> str:
        return "chunk"

    def records(self) -> Iterator[Record]:
        """The chunks; the place of each is that of its first line. The report counts lines."""
        self.report = Report(unit="line")
        reading = Reading(self.config, self.report, self.columns)
        for chunk in self._chunks():
            texts = [text for line in chunk if (text := reading.text(line)) and reading.accepts_bytes()]  # no line is empty
            if texts:
                yield Record(chunk[0].place, ("".join(texts),))
        if not self.report.read:
            where = self.files[0] if self.files else self.name
            raise DataError("no text to learn from", where=where, found=f"nothing for the split {self.name}")

    def check_counts(self) -> None:
        """Nothing to compare: there is one file."""

    @cached_property
    def surveys(self) -> tuple[Survey, ...]:
        """Number of chunks, and the checksum of this stretch alone."""
        digest, count = sha256(), 0
        for chunk in self._chunks():
            digest.update(b"".join(line.raw for line in chunk))
            count += 1
        return (Survey(count, digest.hexdigest()),)

    def _chunks(self) -> Iterator[list[Line]]:
        chunk: list[Line] = []
        size = 0
        for line in self._lines():
            chunk.append(line)
            size += len(line.raw)
            if size >= _CHUNK:
                yield chunk
                chunk, size = [], 0
        if chunk:
            yield chunk

    def _lines(self) -> Iterator[Line]:
        """The lines of the stretch with their ends; its first and its last may be a piece of one."""
        if self._part == WHOLE:
            yield from self._all_lines()
            return
        begin, end = self._part.of(self._size)
        for line in self._all_lines():
            assert line.offset is not None
            first, last = (_start_of_character(line.raw, cut - line.offset) for cut in (begin, end))
            if piece := line.raw[first:last]:
                yield Line(line.place, line.offset + first, piece)

    @cached_property
    def _size(self) -> int:
        """Bytes of the whole text."""
        return sum(len(line.raw) for line in self._all_lines())

    def _all_lines(self) -> Iterator[Line]:
        """Every line of the whole text with its end."""
        offset = 0
        if self.files:
            with open_bytes(self.files[0]) as file:
                for number, raw in enumerate(file, start=1):
                    yield Line(f"{self.files[0]}:{number}", offset, raw)
                    offset += len(raw)
        else:
            for place, (text,) in self._text.records():
                raw = f"{text}\n".encode()
                yield Line(place, offset, raw)
                offset += len(raw)


def _start_of_character(raw: bytes, at: int) -> int:
    """The first place from ``at`` on, within ``raw``, that is not inside a character of UTF-8."""
    at = min(max(at, 0), len(raw))
    while 0 < at < len(raw) and raw[at] & 0xC0 == 0x80:
        at += 1
    return at


class Documents(Split):
    """The documents of a JSON Lines file, each a 1-tuple; arguments as :class:`RunningText`, the part counted in documents."""

    def __init__(self, name: str, text: Split, part: Part = WHOLE) -> None:
        super().__init__(name, text.files, text.form, text.config, columns=1, documents=True)
        self._text, self._part = text, part

    def _read(self, reading: Reading) -> Iterator[Record]:
        return itertools.islice(super()._read(reading), *self._part.of(self._text.total))

    @cached_property
    def surveys(self) -> tuple[Survey, ...]:
        """Number of documents, and the checksum of the file with that of the stretch of it."""
        (whole,) = self._text.surveys
        begin, end = self._part.of(whole.lines)
        return (Survey(end - begin, sha256(f"{whole.sha256} {begin}:{end}".encode()).hexdigest()),)
