"""The texts that a command reads: lines of UTF-8, from a file or from standard input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

from pellucid.base.errors import DataError
from pellucid.data.lines import Line, lines_of

STANDARD_INPUT = Path("-")
WINDOW = 1000  # lines read before the first is answered, so that those of like lengths stand together

Text = TypeVar("Text")
Answer = TypeVar("Answer")


def answered(lines: Iterable[Text], ask: Callable[[Sequence[Text]], Iterable[Answer]]) -> Iterator[Answer | None]:
    """What ``ask`` answers to each line, in their order; an empty line has no answer and is not asked."""
    stream = iter(lines)
    while some := list(islice(stream, WINDOW)):
        answers = iter(ask([line for line in some if line]))
        yield from (next(answers) if line else None for line in some)


def texts(path: Path) -> Iterator[str]:
    """The lines of a file, plain or ``.gz``, or of standard input; read as they are asked for.

    Raises:
        DataError: no such file, or a line that is not UTF-8.
    """
    for line in _standard_input() if path == STANDARD_INPUT else lines_of(path):
        try:
            yield line.raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                "not UTF-8",
                where=line.place,
                found=f"byte 0x{line.raw[error.start]:02x} at byte {error.start} of the line",
                advice="convert the text to UTF-8 (iconv)",
            ) from None


def _standard_input() -> Iterator[Line]:
    """Only ``\\n`` ends a line, a ``\\r`` right before it is dropped."""
    for number, raw in enumerate(sys.stdin.buffer, start=1):
        text = raw[:-1].removesuffix(b"\r") if raw.endswith(b"\n") else raw
        yield Line(f"standard input:{number}", None, text)
