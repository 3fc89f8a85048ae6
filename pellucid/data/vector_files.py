"""Files of word vectors: word2vec's, as text and binary, fastText's ``.vec`` and GloVe's.

- Text: a line a word, the word and its D numbers with a space between each. Before them word2vec and fastText have a line with
  the number of words and D, the header; GloVe has none.
- Binary (the name ends in ``.bin``): the header as a line, then of each word its bytes, a space, D little-endian float32
  numbers and, in most files, a line feed.

Any of them may be ``.gz``. A word may hold spaces (GloVe's largest set has such): its numbers are counted from the end. Where
a word comes twice, the first stands. Memory holds the words that are kept and one line.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, NoReturn, cast

import numpy as np
import numpy.typing as npt

from pellucid.base.errors import DataError
from pellucid.base.files import write_atomically
from pellucid.base.progress import say
from pellucid.data.lines import open_bytes
from pellucid.text.vectors import Vectors

MOST_NUMBERS = 65_536  # of a vector
LONGEST_LINE = 1 << 21  # bytes: so many numbers, written at length
LONGEST_WORD = 4096  # bytes
FASTTEXT_MODEL = (793712314).to_bytes(4, "little")  # its first bytes


class Header(NamedTuple):
    """What a file says of itself."""

    words: int
    width: int


class Entry(NamedTuple):
    """One word of a file."""

    place: str  # "FILE:LINE", or "FILE: word NUMBER" of a binary file
    word: bytes
    numbers: bytes  # as they stand there


def read_vectors(path: Path, wanted: Collection[str] | None = None, *, first: int | None = None) -> Vectors:
    """Read a file of word vectors.

    Args:
        path: of the file; ``.bin`` is binary.
        wanted: the words to keep; ``None``: all. Of the others only the form is checked, not their numbers.
        first: look only at so many words, from the beginning (most files have the frequent ones first); ``None``: at all.

    Returns:
        The words kept, in the order of the file.

    Raises:
        DataError: no such file; not UTF-8, cut short, a header that does not fit what follows, vectors of different widths, a
            number that is none or not finite. The message has file and line.
    """
    asked = None if wanted is None else {word.encode("utf-8") for word in wanted}
    words: dict[str, None] = {}
    kept, width, twice = bytearray(), 0, 0  # appended to: a header that lies reserves no memory
    with open_bytes(path) as opened:
        file = cast("BinaryIO", opened)
        binary = path.name.removesuffix(".gz").endswith(".bin")
        for entry in itertools.islice(_binary(file, path) if binary else _text(file, path), first):
            word = _decoded(entry)
            if asked is not None and entry.word not in asked:
                continue
            if word in words:
                twice += 1
                continue
            row = np.frombuffer(entry.numbers, "<f4") if binary else _parsed(entry)
            if not np.isfinite(row).all():
                raise DataError("a number that is not finite", where=entry.place, found=_first_odd(row), expected="numbers")
            words[word], width = None, len(row)
            kept += row.astype("<f4").tobytes()
    if twice:
        say(f"warning: {path}: {twice:,} words come more than once; the first vector of each stands")
    return Vectors(list(words), np.frombuffer(kept, "<f4").reshape(-1, width or 1))


def write_vectors(path: Path, vectors: Vectors) -> None:
    """Write word2vec's format, as text, or binary where the name ends in ``.bin``. Reading gives the same numbers, to the bit.

    Raises:
        DataError: a word cannot be written, since it is empty or holds white space.
    """
    for word in vectors.words:
        if word.split() != [word]:
            raise DataError("a word that the format cannot hold", where=path, found=repr(word))
    binary = path.suffix == ".bin"

    def write(file: BinaryIO) -> None:
        file.write(f"{len(vectors)} {vectors.width}\n".encode())
        for word, row in zip(vectors.words, vectors.matrix, strict=True):
            numbers = row.astype("<f4").tobytes() if binary else " ".join(f"{number:.9g}" for number in row.tolist()).encode()
            file.write(word.encode("utf-8") + b" " + numbers + b"\n")

    write_atomically(path, write)


def _text(file: BinaryIO, path: Path) -> Iterator[Entry]:
    """The words of a text file, with or without a header."""
    header, width, read = None, 0, 0
    for number in itertools.count(1):
        raw = file.readline(LONGEST_LINE)
        if not raw:
            break
        place = f"{path}:{number}"
        if len(raw) == LONGEST_LINE and not raw.endswith(b"\n"):
            _refuse("a line too long for a vector", place, f"at most {LONGEST_LINE:,} bytes", "more")
        line = raw.rstrip(b"\r\n ")  # word2vec and fastText end their lines with a space
        if number == 1 and (header := _header(line)) is not None:
            width = _checked_width(header.width, place)
            continue
        # Counted from the end; a vector of the first line of a GloVe file says how many there are in all.
        width = width or _checked_width(line.count(b" "), place)
        fields = line.rsplit(b" ", width)
        if len(fields) != width + 1 or not fields[0]:
            _refuse("not a word and its vector", place, f"a word and {width} numbers", _shortened(line))
        read += 1
        if header is not None and read > header.words:
            _refuse("more words than the header says", place, f"{header.words:,} words", "another one")
        yield Entry(place, fields[0], line[len(fields[0]) + 1 :])
    if header is not None and read < header.words:
        _refuse("fewer words than the header says", f"{path}:{read + 1}", f"{header.words:,} words", f"{read:,}: cut short?")
    if not read:
        _refuse("no word vectors", str(path), "a line a word: the word and its numbers", "nothing")


def _binary(file: BinaryIO, path: Path) -> Iterator[Entry]:
    """The words of a binary file."""
    line = file.readline(LONGEST_WORD)
    if line.startswith(FASTTEXT_MODEL):
        advice = "give the .vec file that fastText writes beside it"
        raise DataError("a model of fastText, not a file of vectors", where=f"{path}:1", advice=advice)
    header = _header(line.rstrip(b"\r\n "))
    if header is None:
        expected = "a header: the number of words and of numbers in a vector"
        _refuse("not a binary file of vectors", f"{path}:1", expected, _shortened(line))
    size = 4 * _checked_width(header.width, f"{path}:1")
    for number in range(1, header.words + 1):
        place = f"{path}: word {number:,}"
        word = _word(file, place, header)
        numbers = file.read(size)
        if len(numbers) < size:
            _refuse(
                "the file is cut short", place, f"{header.words:,} words of {size:,} bytes", f"{len(numbers):,} bytes of it"
            )
        yield Entry(place, word, numbers)
    if file.read(2).strip(b"\n"):
        _refuse("more than the header says", str(path), f"the end after {header.words:,} words", "more bytes")


def _word(file: BinaryIO, place: str, header: Header) -> bytes:
    """The bytes up to the next space; before them there may be a line feed, the end of the vector before."""
    word = bytearray()
    while (byte := file.read(1)) != b" ":
        if not byte:
            _refuse("the file is cut short", place, f"{header.words:,} words", "the end of the file")
        if byte != b"\n" or word:
            word += byte
        if len(word) > LONGEST_WORD:
            _refuse("no word ends here", place, f"a space after at most {LONGEST_WORD:,} bytes", _shortened(bytes(word)))
    if not word:
        _refuse("an empty word", place, "a word before its space", "nothing")
    return bytes(word)


def _header(line: bytes) -> Header | None:
    """Two whole numbers; ``None``: it is none."""
    fields = line.split(b" ")
    if len(fields) == 2 and all(field.isdigit() and len(field) < 16 for field in fields):
        return Header(int(fields[0]), int(fields[1]))
    return None


def _checked_width(width: int, place: str) -> int:
    if not 1 <= width <= MOST_NUMBERS:
        _refuse("no vector can be so wide", place, f"1 to {MOST_NUMBERS:,} numbers", f"{width:,}")
    return width


def _decoded(entry: Entry) -> str:
    try:
        return entry.word.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"byte 0x{entry.word[error.start]:02x} in the word {_shortened(entry.word)}"
        advice = "convert the file to UTF-8, or remove the word"
        raise DataError("not UTF-8", where=entry.place, found=found, advice=advice) from None


def _parsed(entry: Entry) -> npt.NDArray[np.float32]:
    """The numbers of a line. Python takes 1_000 for a number, too; files don't."""
    fields = entry.numbers.split(b" ")
    try:
        numbers = [float(field) for field in fields]
    except ValueError:
        numbers = [math.nan]
    if b"_" in entry.numbers or len(numbers) < len(fields):
        odd = next((field for field in fields if not _is_number(field)), entry.numbers)
        _refuse("not a number", entry.place, "numbers after the word", _shortened(odd))
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        return np.array(numbers).astype(np.float32)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return b"_" not in field


def _first_odd(row: npt.NDArray[np.float32]) -> str:
    at = int(np.flatnonzero(~np.isfinite(row))[0])
    return f"{row[at]} at number {at + 1} of the vector"


def _shortened(raw: bytes) -> str:
    return repr(raw[:60].decode("utf-8", "replace")) + ("..." if len(raw) > 60 else "")


def _refuse(what: str, where: str, expected: str, found: str) -> NoReturn:
    raise DataError(what, where=where, expected=expected, found=found)
