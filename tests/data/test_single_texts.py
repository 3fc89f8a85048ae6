"""Single texts: where they are read from, and that messages and reports speak of texts and not of pairs."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pellucid.base.config import DataConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.data.readers import PairsInMemory, Split, open_split, splits_of

TEXTS = [("le chat",), ("où\u2028?",), ("tab\u202f!",)]


def texts_of(path: Path, content: str | bytes, **settings: Any) -> Split:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_split(DataConfig(train=(str(path),), **settings), "train", columns=1)


def test_every_form_gives_the_same_texts(tmp_path: Path) -> None:
    forms = {
        "a.txt": "".join(f"{text}\n" for (text,) in TEXTS),
        "b.tsv": "".join(f"{text}\tlabel {n}\n" for n, (text,) in enumerate(TEXTS)),
        "c.jsonl": "".join(json.dumps({"id": 7, "body": text}) + "\n" for (text,) in TEXTS),
    }
    for name, content in forms.items():
        split = texts_of(tmp_path / name, content, source="body")
        assert list(split) == TEXTS
        assert split.report.lines()[0] == "3 texts"
        assert (split.columns, split.unit, split.documents, split.total) == (1, "text", False, 3)


def test_a_plain_line_keeps_its_tabs(tmp_path: Path) -> None:
    assert list(texts_of(tmp_path / "a.txt", "a\tb\r\nc")) == [("a\tb",), ("c",)]


def test_columns_after_the_first_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    split = texts_of(path, "a\nb\tB\nc\tC\tx\n")
    assert list(split) == [("a",), ("b",), ("c",)]
    assert split.report.lines() == ["3 texts", f"2 x more than one column, only the first read (first: {path}:2)"]


def test_of_aligned_files_the_first_is_read(tmp_path: Path) -> None:
    (tmp_path / "train.fr").write_text("un\ndeux\n")
    config = DataConfig(train=(str(tmp_path / "train.fr"), str(tmp_path / "missing.en")))
    assert list(open_split(config, "train", columns=1)) == [("un",), ("deux",)]


@pytest.mark.parametrize("name", ["train.txt", "train.fr", "train.tsv", "train.jsonl"])
def test_a_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('{"fr": "un"}\n' if name.endswith("l") else "un\n")
    config = DataConfig(directory=str(tmp_path), source="fr")
    assert list(open_split(config, "train", columns=1)) == [("un",)]
    assert splits_of(config, columns=1) == ("train",)


def test_a_directory_without_the_split(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        open_split(DataConfig(directory=str(tmp_path), source="fr"), "dev", columns=1)
    message = str(caught.value)
    assert "dev.txt, dev.fr, dev.tsv, dev.jsonl, val.txt" in message
    assert "aligned" not in message


def test_the_built_in_corpus_gives_its_source_side(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = SimpleNamespace(french="le chat", english="the cat")
    stand_in = SimpleNamespace(SPLITS=("train",), pairs=lambda split: [pair])
    monkeypatch.setattr("pellucid.data.corpus", stand_in, raising=False)
    for source, text in (("fr", "le chat"), ("en", "the cat")):
        split = open_split(DataConfig(corpus="builtin", source=source), "train", columns=1)
        assert (list(split), split.columns) == ([(text,)], 1)
    with pytest.raises(UsageError, match=r"expected: fr or en\n  found:    data\.source: source$"):
        open_split(DataConfig(corpus="builtin"), "train", columns=1)


def test_labelled_texts_are_pairs_as_ever(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a fine film\t1\ndull\t0\n")
    split = open_split(DataConfig(train=(str(tmp_path / "a.txt"),)), "train", columns=2)
    assert list(split) == [("a fine film", "1"), ("dull", "0")]


# --- policies and messages -------------------------------------------------------------------------------------------


def test_empty_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    split = texts_of(path, "a\n \nc\n")
    assert list(split) == [("a",), ("c",)]
    assert split.report.lines() == [
        "2 of 3 texts kept",
        f"1 x empty or only white space, skipped (first: {path}:2)",
    ]
    with pytest.raises(DataError) as caught:
        list(texts_of(path, "a\n\n", on_empty="error"))
    assert str(caught.value) == (
        f"{path}:2: the text is empty or only white space\n  do next:  remove the text, or set data.on_empty to skip"
    )


def test_bad_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with pytest.raises(DataError, match=r"a\.txt:2: not UTF-8\n.*byte 0xff at byte 1 of the line, byte 4 of the text"):
        list(texts_of(path, b"ab\nc\xff\n"))
    split = texts_of(path, b"ab\nc\xff\n", on_bad_utf8="skip")
    assert list(split) == [("ab",)]
    assert split.report.lines() == ["1 of 2 texts kept", f"1 x not UTF-8, skipped (first: {path}:2)"]


def test_bad_json_speaks_of_one_text(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list(texts_of(tmp_path / "a.jsonl", '{"body": "a"}\n', source="text"))
    message = str(caught.value)
    assert 'a.jsonl:1: no key "text"' in message
    assert 'expected: an object with a text at "text"' in message
    assert "set data.source to the key of the file" in message
    assert "target" not in message


@pytest.mark.parametrize("columns", [1, 2])
def test_a_split_that_is_not_given_names_those_that_are(tmp_path: Path, columns: int) -> None:
    config = DataConfig(train=(str(tmp_path / "a.txt"),), test=(str(tmp_path / "b.txt"),))
    with pytest.raises(UsageError, match=r"no data given for the split dev\n  expected: train, test\n(.|\n)*set .*data\.dev"):
        open_split(config, "dev", columns=columns)
    with pytest.raises(UsageError, match=r"no data given for the split dev\n  do next:"):
        open_split(DataConfig(), "dev", columns=columns)


def test_texts_in_memory() -> None:
    split = PairsInMemory("train", [("a",), ("",), ("c",)], DataConfig())
    assert [record.place for record in split.records()] == ["train:1", "train:3"]
    assert split.report.lines()[0] == "2 of 3 texts kept"
