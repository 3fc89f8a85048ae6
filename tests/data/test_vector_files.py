"""Files of word vectors: every format round and round, and files that lie."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from pellucid.base.errors import DataError
from pellucid.data.vector_files import read_vectors, write_vectors
from pellucid.text.vectors import Vectors

WORDS = ["the", "né", "7", "-", "日本"]
MATRIX = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32) * np.float32(10.0) ** np.arange(-10, 5, 3)[:, None]
MATRIX = MATRIX.astype(np.float32)


@pytest.fixture
def vectors() -> Vectors:
    return Vectors(WORDS, MATRIX)


def binary(words: int, width: int, *entries: tuple[bytes, list[float]], end: bytes = b"\n") -> bytes:
    """A file as word2vec writes it."""
    rows = b"".join(word + b" " + struct.pack(f"<{len(row)}f", *row) + end for word, row in entries)
    return f"{words} {width}\n".encode() + rows


def file(tmp_path: Path, content: bytes, name: str = "vectors.txt") -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


class TestRoundTrips:
    @pytest.mark.parametrize("name", ["vectors.txt", "vectors.vec", "vectors.bin"])
    def test_what_is_written_is_read_to_the_bit(self, tmp_path: Path, vectors: Vectors, name: str) -> None:
        write_vectors(tmp_path / name, vectors)
        found = read_vectors(tmp_path / name)
        assert found.words == WORDS
        assert np.array_equal(found.matrix, MATRIX)

    def test_compressed(self, tmp_path: Path, vectors: Vectors) -> None:
        for name in ("vectors.txt", "vectors.bin"):
            write_vectors(tmp_path / name, vectors)
            packed = file(tmp_path, gzip.compress((tmp_path / name).read_bytes()), f"{name}.gz")
            assert np.array_equal(read_vectors(packed).matrix, MATRIX)

    def test_the_text_is_word2vec_s(self, tmp_path: Path) -> None:
        write_vectors(tmp_path / "v.txt", Vectors(["a", "b"], np.array([[0.5, -2.0], [1e-7, 3.0]], np.float32)))
        assert (tmp_path / "v.txt").read_bytes() == b"2 2\na 0.5 -2\nb 1.00000001e-07 3\n"

    def test_glove_has_no_header(self, tmp_path: Path) -> None:
        found = read_vectors(file(tmp_path, b"the 0.5 1\nof -1 2e-1\n"))
        assert (found.words, found.matrix.tolist()) == (["the", "of"], [[0.5, 1.0], [-1.0, float(np.float32(0.2))]])

    def test_fasttext_ends_its_lines_with_a_space(self, tmp_path: Path) -> None:
        found = read_vectors(file(tmp_path, b"2 2\n</s> 0.5 1 \nof -1 2 \n", "cc.vec"))
        assert (found.words, found.matrix.tolist()) == (["</s>", "of"], [[0.5, 1.0], [-1.0, 2.0]])

    def test_a_word_of_glove_may_hold_spaces(self, tmp_path: Path) -> None:
        assert read_vectors(file(tmp_path, b"the 1 2\n. . . 3 4\n")).words == ["the", ". . ."]

    def test_binary_without_line_feeds(self, tmp_path: Path) -> None:
        content = binary(2, 2, (b"a", [1.0, 2.0]), (b"b", [3.0, 4.0]), end=b"")
        assert read_vectors(file(tmp_path, content, "v.bin")).matrix.tolist() == [[1.0, 2.0], [3.0, 4.0]]

    @pytest.mark.parametrize("word", ["", "a b", "a\n", "\u00a0"])
    def test_words_that_the_format_cannot_hold(self, tmp_path: Path, word: str) -> None:
        with pytest.raises(DataError, match="a word that the format cannot hold"):
            write_vectors(tmp_path / "v.txt", Vectors([word], np.ones((1, 2), np.float32)))
        assert list(tmp_path.iterdir()) == []


class TestWhatIsKept:
    @pytest.mark.parametrize("name", ["vectors.txt", "vectors.bin"])
    def test_only_the_words_wanted(self, tmp_path: Path, vectors: Vectors, name: str) -> None:
        write_vectors(tmp_path / name, vectors)
        found = read_vectors(tmp_path / name, {"日本", "né", "absent"})
        assert found.words == ["né", "日本"]
        assert np.array_equal(found.matrix, MATRIX[[1, 4]])

    def test_numbers_of_other_words_are_not_read(self, tmp_path: Path) -> None:
        found = read_vectors(file(tmp_path, b"2 2\na 1 2\nb nan x\n"), {"a"})
        assert found.matrix.tolist() == [[1.0, 2.0]]

    def test_the_first_ones(self, tmp_path: Path, vectors: Vectors) -> None:
        write_vectors(tmp_path / "v.txt", vectors)
        assert read_vectors(tmp_path / "v.txt", first=2).words == WORDS[:2]

    def test_none_of_them(self, tmp_path: Path) -> None:
        assert len(read_vectors(file(tmp_path, b"a 1 2\n"), {"b"})) == 0

    def test_a_word_that_comes_twice(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        found = read_vectors(file(tmp_path, b"a 1 2\nb 3 4\na 5 6\n"))
        assert (found.words, found.matrix.tolist()) == (["a", "b"], [[1.0, 2.0], [3.0, 4.0]])
        assert "1 words come more than once" in capsys.readouterr().err


TEXTS = {
    "too few numbers": (b"a 1 2\nb 3\n", r"vectors.txt:2: not a word and its vector"),
    "no word": (b"a 1 2\n 3 4\n", r"vectors.txt:2: not a word"),
    "an empty line": (b"2 2\na 1 2\n\nb 1 2\n", r"vectors.txt:3: not a word"),
    "wrong width after the header": (b"1 3\na 1 2\n", r"vectors.txt:2: not a word and its vector\n.*a word and 3 numbers"),
    "header says more": (b"3 2\na 1 2\nb 1 2\n", r"vectors.txt:3: fewer words than the header says"),
    "header says fewer": (b"1 2\na 1 2\nb 1 2\n", r"vectors.txt:3: more words than the header says"),
    "header of a giant": (b"9 999999999\na 1 2\n", r"vectors.txt:1: no vector can be so wide"),
    "header of nothing": (b"9 0\na\n", r"vectors.txt:1: no vector can be so wide"),
    "not a number": (b"a 1 2\nb 3 four\n", r"vectors.txt:2: not a number\n.*\n.*'four'"),
    "a number of Python": (b"a 1 2\nb 3 1_000\n", r"vectors.txt:2: not a number\n.*\n.*'1_000'"),
    "nan": (b"a 1 2\nb 3 nan\n", r"vectors.txt:2: a number that is not finite\n.*\n.*nan at number 2"),
    "infinite": (b"a 1 -inf\n", r"vectors.txt:1: a number that is not finite"),
    "beyond float32": (b"a 1 1e39\n", r"vectors.txt:1: a number that is not finite"),
    "not UTF-8": (b"a 1 2\n\xff\xfe 3 4\n", r"vectors.txt:2: not UTF-8\n.*0xff"),
    "empty": (b"", r"vectors.txt: no word vectors"),
    "one word alone": (b"hello\n", r"vectors.txt:1: no vector can be so wide"),
    "a line without end": (b"a" * (1 << 21), r"vectors.txt:1: a line too long"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_are_refused(tmp_path: Path, name: str) -> None:
    content, message = TEXTS[name]
    with pytest.raises(DataError, match=message):
        read_vectors(file(tmp_path, content))


WHOLE = binary(2, 2, (b"a", [1.0, 2.0]), (b"b", [3.0, 4.0]))
BINARIES = {
    "cut in a vector": (WHOLE[:-3], r"v.bin: word 2: the file is cut short"),
    "cut in a word": (WHOLE[:-10], r"v.bin: word 2: the file is cut short"),
    "header says more": (binary(3, 2, (b"a", [1.0, 2.0])), r"v.bin: word 2: the file is cut short"),
    "header says billions": (binary(999_999_999_999, 2, (b"a", [1.0, 2.0])), r"v.bin: word 2: the file is cut short"),
    "header says fewer": (binary(1, 2, (b"a", [1.0, 2.0]), (b"b", [3.0, 4.0])), r"v.bin: more than the header says"),
    "no header": (b"abc", r"v.bin:1: not a binary file of vectors"),
    "too wide": (b"1 99999999\na ", r"v.bin:1: no vector can be so wide"),
    "an empty word": (b"1 1\n \0\0\0\0", r"v.bin: word 1: an empty word"),
    "a word without end": (b"1 1\n" + b"a" * 5000, r"v.bin: word 1: no word ends here"),
    "nan": (binary(1, 2, (b"a", [1.0, float("nan")])), r"v.bin: word 1: a number that is not finite"),
    "not UTF-8": (binary(1, 1, (b"\xc3(", [1.0])), r"v.bin: word 1: not UTF-8"),
    "a model of fastText": (b"\xba\x16\x4f\x2f\x0c\0\0\0", r"v.bin:1: a model of fastText[\s\S]*\.vec"),
    "empty": (b"", r"v.bin:1: not a binary file"),
}


@pytest.mark.parametrize("name", BINARIES)
def test_binary_files_that_are_refused(tmp_path: Path, name: str) -> None:
    content, message = BINARIES[name]
    with pytest.raises(DataError, match=message):
        read_vectors(file(tmp_path, content, "v.bin"))


def test_no_such_file(tmp_path: Path) -> None:
    file(tmp_path, b"a 1\n", "glove.txt")
    with pytest.raises(DataError, match=r"glov.txt: no such file\n.*did you mean glove.txt"):
        read_vectors(tmp_path / "glov.txt")


def test_a_compressed_file_cut_short(tmp_path: Path) -> None:
    packed = gzip.compress(b"a 1 2\n" * 1000)
    with pytest.raises(DataError, match="compressed data end too early"):
        read_vectors(file(tmp_path, packed[:-20], "v.txt.gz"), {"b"})
