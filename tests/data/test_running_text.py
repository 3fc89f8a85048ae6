"""Running text: nothing lost, cut where it should be, and documents where each line is one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.base.config import ConfigProblems, DataConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.data import running_text
from pellucid.data.readers import Split, open_text

SPLITS = ("train", "dev")


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def text_of(path: Path, split: str = "train", **settings: Any) -> Split:
    return open_text(DataConfig(train=(str(path),), **settings), split)


def joined(split: Split) -> str:
    return "".join(text for (text,) in split)


# --- chunks ----------------------------------------------------------------------------------------------------------


@given(
    text=st.text(st.sampled_from("ab\n\r\t\u2028\x0c\x00é\U0001f469"), max_size=60),
    chunk=st.integers(1, 20),
    suffix=st.sampled_from([".txt", ".gz"]),
    holdout=st.sampled_from([0.0, 0.1, 0.5, 0.95]),
)
def test_nothing_is_lost(tmp_path_factory: pytest.TempPathFactory, text: str, chunk: int, suffix: str, holdout: float) -> None:
    path = write(tmp_path_factory.mktemp("text") / f"a{suffix}", text)
    splits = [text_of(path, split, holdout=holdout) for split in (SPLITS if holdout else SPLITS[:1])]
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running_text, "_CHUNK", chunk)
        for split in splits:
            if split.total:
                chunks = [text for (text,) in split]
                assert all(piece.endswith("\n") for piece in chunks[:-1]), "whole lines"
                assert all(len("".join(piece.split("\n")[:-2]).encode()) < chunk for piece in chunks), "no line too many"
                assert len(chunks) == split.total
                found += chunks
    assert "".join(found) == text


def test_chunks_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_text, "_CHUNK", 6)
    path = write(tmp_path / "a.txt", "abc\n\r\nlonger line\n\n\nend")
    split = text_of(path)
    assert [(record.place, record.example) for record in split.records()] == [
        (f"{path}:1", ("abc\n\r\n",)),
        (f"{path}:3", ("longer line\n",)),
        (f"{path}:4", ("\n\nend",)),
    ]
    assert split.report.lines() == ["6 lines"]
    assert (split.total, split.unit, split.columns, split.documents) == (3, "chunk", 1, False)


def test_chunks_are_about_64_kilobytes(tmp_path: Path) -> None:
    split = text_of(write(tmp_path / "a.txt", ("x" * 99 + "\n") * 2000))
    assert [len(text) for (text,) in split] == [65_600, 65_600, 65_600, 3200]  # 656 lines are the first to reach 65,536


# --- the split of a training text ------------------------------------------------------------------------------------


def test_the_cut_is_that_of_a_slice(tmp_path: Path) -> None:
    text = "".join(chr(97 + i % 26) if i % 40 else "\n" for i in range(1_115_394))
    path = write(tmp_path / "a.txt", text)
    parts = [joined(text_of(path, split, holdout=0.1)) for split in SPLITS]
    assert parts == [text[:1_003_854], text[1_003_854:]]  # int(0.9 * 1115394)


@pytest.mark.parametrize(
    ("holdout", "first"),
    [(0.75, "aé"), (0.5, "aé\U0001f469"), (0.2, "aé\U0001f469b"), (0.01, "aé\U0001f469b\n")],  # from bytes 2, 5, 8 and 9
)
def test_no_character_is_cut(tmp_path: Path, holdout: float, first: str) -> None:
    text = "aé\U0001f469b\nc"  # 1, 2, 4, 1, 1 and 1 bytes
    path = write(tmp_path / "a.txt", text)
    assert [joined(text_of(path, split, holdout=holdout)) for split in SPLITS] == [first, text[len(first) :]]


def test_a_dev_split_of_its_own_comes_first(tmp_path: Path) -> None:
    train, dev = write(tmp_path / "train.txt", "0123456789"), write(tmp_path / "dev.txt", "dev\n")
    for config in (
        DataConfig(train=(str(train),), dev=(str(dev),), holdout=0.5),
        DataConfig(directory=str(tmp_path), holdout=0.5),
    ):
        assert [joined(open_text(config, split)) for split in SPLITS] == ["0123456789", "dev\n"]
    dev.unlink()
    config = DataConfig(directory=str(tmp_path), holdout=0.3)
    assert [joined(open_text(config, split)) for split in SPLITS] == ["0123456", "789"]


def test_no_dev_split(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "abc\n")
    with pytest.raises(UsageError, match=r"no data given for the split dev\n  expected: train\n(.|\n)*data\.holdout"):
        text_of(path, "dev")
    with pytest.raises(UsageError, match=r"no data given for the split test\n  expected: train\n"):
        text_of(path, "test", holdout=0.1)
    with pytest.raises(UsageError, match="no data given for the split dev"):
        open_text(DataConfig(), "dev")


def test_each_part_has_a_checksum_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "ab\n" * 10)
    train, dev, less = (text_of(path, split, holdout=h).surveys for split, h in (("train", 0.1), ("dev", 0.1), ("train", 0.2)))
    assert len({part[0].sha256 for part in (train, dev, less)}) == 3
    assert text_of(write(tmp_path / "b.txt.gz", "ab\n" * 10), "train", holdout=0.1).surveys == train


@pytest.mark.parametrize("share", [-0.1, 1.0, 7.0])
def test_a_share_that_is_none(share: float) -> None:
    with pytest.raises(ConfigProblems, match="holdout: must be at least"):
        DataConfig(holdout=share)


# --- documents -------------------------------------------------------------------------------------------------------

DOCUMENTS = ["one\n\ntwo\r\n", " ", "three", "four\n"]


def documents(path: Path, split: str = "train", **settings: Any) -> Split:
    write(path, "".join(json.dumps({"text": text, "id": 3}) + "\n" for text in DOCUMENTS))
    return text_of(path, split, source="text", **settings)


def test_each_line_of_json_is_a_document(tmp_path: Path) -> None:
    split = documents(tmp_path / "a.jsonl")
    assert list(split) == [("one\n\ntwo\r\n",), ("three",), ("four\n",)]
    told = f"1 x empty or only white space, skipped (first: {tmp_path / 'a.jsonl'}:2)"
    assert split.report.lines() == ["3 of 4 documents kept", told]
    assert (split.documents, split.unit, split.columns, split.total) == (True, "document", 1, 4)


def test_documents_are_held_out_whole(tmp_path: Path) -> None:
    train, dev = (documents(tmp_path / "a.jsonl", split, holdout=0.3) for split in SPLITS)
    assert (train.total, dev.total) == (2, 2)  # floor(4 x 0.7)
    assert [list(split) for split in (train, dev)] == [[("one\n\ntwo\r\n",)], [("three",), ("four\n",)]]
    assert dev.report.lines() == ["2 documents"]
    assert len({split.surveys[0].sha256 for split in (train, dev, documents(tmp_path / "a.jsonl"))}) == 3


# --- other sources, and what is wrong with them ----------------------------------------------------------------------


def test_the_built_in_corpus_gives_its_sentences_one_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [SimpleNamespace(french="l'été", english="summer"), SimpleNamespace(french="un", english="one")]
    stand_in = SimpleNamespace(SPLITS=SPLITS, pairs=lambda split: pairs if split == "train" else pairs[:1])
    monkeypatch.setattr("pellucid.data.corpus", stand_in, raising=False)
    found = [open_text(DataConfig(corpus="builtin", source="fr", holdout=0.5), split) for split in SPLITS]
    assert [list(split) for split in found] == [[("l'été\nun\n",)], [("l'été\n",)]]
    assert found[0].report.lines() == ["2 lines"]


def test_a_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.tsv: a table is no running text"):
        text_of(write(tmp_path / "a.tsv", "a\tb\n"))


def test_no_text(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "")
    with pytest.raises(DataError, match=r"a\.txt: no text to learn from"):
        list(text_of(path))
    with pytest.raises(DataError, match="nothing for the split train"):
        list(text_of(write(path, "ab"), "train", holdout=0.9))


def test_bad_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", b"ab\nc\xff\n\nd\n")
    with pytest.raises(DataError, match=r"a\.txt:2: not UTF-8\n.*byte 0xff at byte 1 of the line, byte 4 of the text"):
        list(text_of(path))
    kept = {"skip": "ab\n\nd\n", "replace": "ab\nc\ufffd\n\nd\n"}
    told = {"skip": ["3 of 4 lines kept", "skipped"], "replace": ["4 lines", "bad bytes replaced by U+FFFD"]}
    for policy, text in kept.items():
        split = text_of(path, on_bad_utf8=policy)
        assert joined(split) == text
        total, done = told[policy]
        assert split.report.lines() == [total, f"1 x not UTF-8, {done} (first: {path}:2)"]
