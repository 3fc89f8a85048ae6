"""Files of word pairs, as WordSim-353 and SimLex-999 come."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.base.errors import DataError
from pellucid.data.word_pairs import WordPair, read_word_pairs

FORMS = {
    "combined.csv": b"Word 1,Word 2,Human (mean)\nlove,sex,6.77\ntiger,cat,7.35\n",
    "combined.tab": b"Word 1\tWord 2\tHuman (mean)\r\nlove\tsex\t6.77\r\ntiger\tcat\t7.35\r\n",
    "no header": b"love\tsex\t6.77\ntiger\tcat\t7.35",
    "with a mark and a note": b"\xef\xbb\xbf# a note\nlove\tsex\t6.77\n\ntiger\tcat\t7.35\n",
    "SimLex-999.txt": b"word1\tword2\tPOS\tSimLex999\tconc(w1)\nlove\tsex\tN\t6.77\t1.2\ntiger\tcat\tN\t7.35\t1.3\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(tmp_path: Path, name: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_bytes(FORMS[name])
    assert read_word_pairs(path) == [WordPair("love", "sex", 6.77), WordPair("tiger", "cat", 7.35)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\tb\t1\nc\td\n", r"pairs.txt:2: not a pair"),
        (b"a\tb\t1\nc\td\thigh\n", r"pairs.txt:2: not a pair of words\n.*column 3"),
        (b"a\tb\t1\nc\td\tnan\n", r"pairs.txt:2: not a pair"),
        (b"a\tb\t1\n\td\t2\n", r"pairs.txt:2: not a pair"),
        (b"a\tb\t1\n\xff\td\t2\n", r"pairs.txt:2: not UTF-8"),
        (b"word1,word2,score\n", r"pairs.txt: no pairs of words"),
        (b"", r"pairs.txt: no pairs of words"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_word_pairs(path)
