"""The store of tokens: what goes in comes out, stale and damaged ones are noticed, nothing half-written is ever left."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.base.config import DataConfig
from pellucid.base.errors import DataError, StorageError
from pellucid.data import store as store_module
from pellucid.data.readers import PairsInMemory, Split, open_split, open_text
from pellucid.data.store import (
    PairEncoder,
    StaleStoreError,
    Store,
    digest_of,
    fingerprint_of,
    open_or_prepare,
    prepare,
)

PAIRS = [("le chat", "the cat"), ("où", "where"), ("x", "a longer side")]
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(str.strip)
FILES = ("tokens.bin", "offsets.bin", "lengths.bin")

Make = Callable[..., Any]


def split_of(pairs: Sequence[tuple[str, ...]], **settings: Any) -> Split:
    return PairsInMemory("train", pairs, DataConfig(**settings))


def write_store(directory: Path, make: Make, pairs: Sequence[tuple[str, str]] = PAIRS, **settings: Any) -> Store:
    return prepare(split_of(pairs, **settings), PairEncoder(make(), make()), directory, DataConfig(**settings))


def content(store: Store) -> list[tuple[list[int], list[int]]]:
    return [(store.source(i).tolist(), store.target(i).tolist()) for i in range(len(store))]


def expected(pairs: Sequence[tuple[str, str]]) -> list[tuple[list[int], list[int]]]:
    """By the definition of the byte tokenizer, not by calling it."""
    return [([b + 4 for b in source.encode()], [b + 4 for b in target.encode()]) for source, target in pairs]


# --- what goes in comes out ------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(pairs=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=20), chunk=st.integers(1, 7))
def test_round_trip(
    tmp_path_factory: pytest.TempPathFactory, make_tokenizer: Make, pairs: list[tuple[str, str]], chunk: int
) -> None:
    directory = tmp_path_factory.mktemp("run") / "train"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_module, "_CHUNK_EXAMPLES", chunk)
        write_store(directory, make_tokenizer, pairs)
    store = Store.open(directory)
    assert content(store) == expected(pairs)
    assert store.lengths.tolist() == [[len(s.encode()), len(t.encode())] for s, t in pairs]
    assert store.lengths.shape == (len(pairs), 2)
    assert (store.pad, store.start, store.end) == (0, 2, 3)
    assert (store.report.read, store.report.kept, store.report.notes) == (len(pairs), len(pairs), {})


def test_sides_have_tokenizers_of_their_own(tmp_path: Path, make_tokenizer: Make) -> None:
    source, target = make_tokenizer(), make_tokenizer(shift=100, vocabulary_size=356)
    store = prepare(split_of([("a", "a")]), PairEncoder(source, target), tmp_path / "train", DataConfig())
    assert content(store) == [([97 + 4], [97 + 100])]


@pytest.mark.parametrize(("size", "bytes_each"), [(65_536, 2), (65_537, 4)])
def test_numbers_as_wide_as_the_vocabulary_needs(tmp_path: Path, make_tokenizer: Make, size: int, bytes_each: int) -> None:
    largest = make_tokenizer(vocabulary_size=size, shift=size - 1 - ord("z"))  # "z" is the last entry
    store = prepare(split_of([("z", "zz")]), PairEncoder(make_tokenizer(), largest), tmp_path / "train", DataConfig())
    assert store.target(0).tolist() == [size - 1, size - 1]
    assert (tmp_path / "train" / "tokens.bin").stat().st_size == 3 * bytes_each


def test_a_side_without_tokens_is_kept(tmp_path: Path, make_tokenizer: Make) -> None:
    deaf = make_tokenizer()
    deaf.encode_batch = lambda texts: [[] for _ in texts]
    store = prepare(split_of(PAIRS), PairEncoder(deaf, deaf), tmp_path / "train", DataConfig())
    assert content(store) == [([], [])] * 3


def test_megabytes_are_encoded_a_few_at_a_time(tmp_path: Path, make_tokenizer: Make) -> None:
    tokenizer = make_tokenizer()
    pairs = [("x" * 400_000, "y")] * 5
    config = DataConfig(on_long="crop")
    prepare(split_of(pairs), PairEncoder(tokenizer, tokenizer), tmp_path / "train", config)
    assert max(sum(map(len, call)) for call in tokenizer.calls) == 1_200_000  # three of them pass the million


# --- one column, and three -------------------------------------------------------------------------------------------


class Columns:
    """An encoder of ``columns`` columns from the first text: the column c of "ab" is its bytes plus c, c + 1 times."""

    vocabulary_size = 300

    def __init__(self, columns: int, limited: bool = True, name: str = "columns") -> None:
        self.columns, self.limited = columns, limited
        self.fingerprint = {"encoder": name}
        self.controls = {"pad": 7, "start": 8, "end": 9}

    def encode(self, examples: Sequence[tuple[str, ...]]) -> list[tuple[list[int], ...]]:
        return [tuple([byte + c for byte in text.encode()] * (c + 1) for c in range(self.columns)) for text, *_ in examples]


TEXTS = [("ab",), ("c",), ("a longer text",)]


def test_one_column(tmp_path: Path) -> None:
    store = prepare(split_of(TEXTS), Columns(1), tmp_path / "train", DataConfig())
    assert (store.columns, store.lengths.tolist()) == (1, [[2], [1], [13]])
    assert [store.column(i, 0).tolist() for i in range(3)] == [list(text.encode()) for (text,) in TEXTS]
    assert store.tokens.tolist() == list(b"abca longer text"), "all tokens in one array"
    assert (store.pad, store.start, store.end) == (7, 8, 9)
    assert store.report.lines() == ["3 texts"]


def test_more_columns_than_texts(tmp_path: Path) -> None:
    store = prepare(split_of([("ab",), ("c",)]), Columns(3), tmp_path / "train", DataConfig())
    assert (store.columns, store.lengths.tolist()) == (3, [[2, 4, 6], [1, 2, 3]])
    assert [store.column(0, c).tolist() for c in range(3)] == [[97, 98], [98, 99] * 2, [99, 100] * 3]
    assert [store.column(1, c).tolist() for c in range(3)] == [[99], [100] * 2, [101] * 3]
    assert store.tokens.tolist() == [97, 98, 98, 99, 98, 99, 99, 100, 99, 100, 99, 100, 99, 100, 100, 101, 101, 101]


def test_the_longest_column_counts(tmp_path: Path) -> None:
    store = prepare(split_of(TEXTS), Columns(3), tmp_path / "train", DataConfig(max_length=3))
    assert store.lengths.tolist() == [[1, 2, 3]]
    assert store.report.lines() == ["1 of 3 texts kept", "2 x longer than 3 tokens, skipped (first: train:1)"]
    with pytest.raises(
        DataError, match=r"train:1: a text longer than .*\n  expected: at most 5 tokens\n  found:    2, 4, 6 tokens"
    ):
        prepare(split_of(TEXTS), Columns(3), tmp_path / "other", DataConfig(max_length=5, on_long="error"))


def test_an_encoder_without_a_limit(tmp_path: Path) -> None:
    settings = DataConfig(max_length=1, on_long="error")
    store = prepare(split_of(TEXTS), Columns(1, limited=False), tmp_path / "train", settings)
    assert len(store) == 3
    other = fingerprint_of(split_of(TEXTS), Columns(1, limited=False), DataConfig(max_length=2))
    assert other == store.fingerprint, "limits that do not apply do not make it stale"


def test_what_makes_a_store_of_single_texts_stale(tmp_path: Path) -> None:
    path = tmp_path / "train.txt"
    path.write_text("a\n")
    config = DataConfig(train=(str(path),))
    found = fingerprint_of(open_split(config, "train", columns=1), Columns(1), config)
    other = replace(config, target="another")
    assert fingerprint_of(open_split(other, "train", columns=1), Columns(1), other) == found
    assert fingerprint_of(open_split(config, "train", columns=1), Columns(1, name="new"), config)["encoder"] == "new"
    other = replace(config, source="another")
    assert fingerprint_of(open_split(other, "train", columns=1), Columns(1), other) != found


def test_running_text(tmp_path: Path) -> None:
    """All of its tokens lie one after the other, whatever the chunks."""
    text = "".join(f"line {i}\n\n" for i in range(20_000))
    (tmp_path / "train.txt").write_text(text)
    split = open_text(DataConfig(train=(str(tmp_path / "train.txt"),)), "train")
    store = prepare(split, Columns(1, limited=False), tmp_path / "store", DataConfig())
    assert bytes(store.tokens.astype(np.uint8)) == text.encode()
    assert len(store) == 4  # 228,890 bytes in chunks of 65,536 and a little more
    assert store.report.lines() == ["40,000 lines"]


def test_no_text_is_left(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no text left in the split train"):
        prepare(split_of([("",), (" ",)]), Columns(1), tmp_path / "train", DataConfig())


def test_a_store_of_the_first_format_is_prepared_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "train"
    prepare(split_of(TEXTS), Columns(1), directory, DataConfig())
    meta = json.loads((directory / "meta.json").read_text())
    (directory / "meta.json").write_text(json.dumps(meta | {"version": 1}))
    store = open_or_prepare(split_of(TEXTS), Columns(1), directory, DataConfig())
    assert len(store) == 3
    assert "another format version" in capsys.readouterr().err
    assert json.loads((directory / "meta.json").read_text())["version"] == 2


# --- over-long pairs -------------------------------------------------------------------------------------------------


def test_long_pairs_are_skipped(tmp_path: Path, make_tokenizer: Make) -> None:
    store = write_store(tmp_path / "train", make_tokenizer, max_length=7)
    assert content(store) == expected(PAIRS[:2])  # "le chat" and "the cat" have exactly 7
    told = "1 x longer than 7 tokens, skipped (first: train:3)"
    assert store.report.lines() == ["2 of 3 pairs kept", told]
    assert Store.open(tmp_path / "train").report == store.report


def test_long_pairs_are_cropped(tmp_path: Path, make_tokenizer: Make) -> None:
    store = write_store(tmp_path / "train", make_tokenizer, max_length=3, on_long="crop")
    assert content(store) == expected([("le ", "the"), ("où", "whe"), ("x", "a l")])
    assert store.report.lines() == ["3 pairs", "3 x longer than 3 tokens, cropped (first: train:1)"]


def test_long_pairs_are_refused(tmp_path: Path, make_tokenizer: Make) -> None:
    with pytest.raises(DataError, match=r"train:3: (.|\n)*source 1, target 13 tokens(.|\n)*data\.max_length"):
        write_store(tmp_path / "train", make_tokenizer, max_length=12, on_long="error")
    assert list(tmp_path.iterdir()) == []


def test_no_pair_is_left(tmp_path: Path, make_tokenizer: Make) -> None:
    with pytest.raises(DataError, match="no pair left"):
        write_store(tmp_path / "train", make_tokenizer, [("", "a"), ("b", "")])
    with pytest.raises(DataError, match="no pair left"):
        write_store(tmp_path / "train", make_tokenizer, [])
    assert list(tmp_path.iterdir()) == []


# --- the fingerprint -------------------------------------------------------------------------------------------------


def file_split(folder: Path, text: str = "a\tb\nc\td\n", name: str = "train.tsv", **settings: Any) -> Split:
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return open_split(DataConfig(train=(str(path),), **settings), "train")


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"text": "a\tb\nc\tD\n"}, "input"),
        ({"source": "de"}, "data.source"),
        ({"max_length": 9}, "data.max_length"),
        ({"on_long": "crop"}, "data.on_long"),
        ({"on_empty": "error"}, "data.on_empty"),
        ({"on_bad_utf8": "skip"}, "data.on_bad_utf8"),
    ],
)
def test_what_makes_a_store_stale(tmp_path: Path, make_tokenizer: Make, change: dict[str, Any], part: str) -> None:
    encoder = PairEncoder(make_tokenizer(), make_tokenizer())
    split = file_split(tmp_path)
    prepare(split, encoder, tmp_path / "store", split.config)
    other = file_split(tmp_path, **change)
    with pytest.raises(StaleStoreError, match=rf"changed since: {part}$"):
        Store.open(tmp_path / "store", fingerprint_of(other, encoder, other.config))
    assert digest_of(fingerprint_of(other, encoder, other.config)) != digest_of(fingerprint_of(split, encoder, split.config))


@pytest.mark.parametrize("side", [0, 1])
def test_another_tokenizer_makes_it_stale(tmp_path: Path, make_tokenizer: Make, side: int) -> None:
    split = split_of(PAIRS)
    write_store(tmp_path / "store", make_tokenizer)
    tokenizers = [make_tokenizer(), make_tokenizer()]
    tokenizers[side] = make_tokenizer(fingerprint="other")
    name = ("source tokenizer", "target tokenizer")[side]
    with pytest.raises(StaleStoreError, match=f"changed since: {name}$"):
        Store.open(tmp_path / "store", fingerprint_of(split, PairEncoder(*tokenizers), split.config))


def test_what_does_not_make_it_stale(tmp_path: Path, make_tokenizer: Make) -> None:
    encoder = PairEncoder(make_tokenizer(), make_tokenizer())
    split = file_split(tmp_path)
    store = prepare(split, encoder, tmp_path / "store", split.config)
    (tmp_path / "elsewhere").mkdir()
    for other in (file_split(tmp_path / "elsewhere", name="x.txt"), file_split(tmp_path, name="train.tsv.gz")):
        assert fingerprint_of(other, encoder, other.config) == store.fingerprint
    os.utime(tmp_path / "train.tsv", (1, 1))
    touched = open_split(split.config, "train")
    assert content(Store.open(tmp_path / "store", fingerprint_of(touched, encoder, touched.config)))


def test_open_or_prepare(tmp_path: Path, make_tokenizer: Make, capsys: pytest.CaptureFixture[str]) -> None:
    encoder, directory = PairEncoder(make_tokenizer(), make_tokenizer()), tmp_path / "run" / "train"
    settings = DataConfig()
    first = open_or_prepare(split_of(PAIRS), encoder, directory, settings)
    assert capsys.readouterr().err == ""
    made = directory.stat().st_ino
    again = open_or_prepare(split_of(PAIRS), encoder, directory, settings)
    assert content(again) == content(first)
    assert (directory.stat().st_ino, capsys.readouterr().err) == (made, "")

    shorter = replace(settings, max_length=7)
    assert len(open_or_prepare(split_of(PAIRS), encoder, directory, shorter)) == 2
    assert "changed since: data.max_length); preparing the split train anew" in capsys.readouterr().err
    assert directory.stat().st_ino != made


def test_a_flipped_bit_is_noticed(tmp_path: Path, make_tokenizer: Make, capsys: pytest.CaptureFixture[str]) -> None:
    encoder, directory = PairEncoder(make_tokenizer(), make_tokenizer()), tmp_path / "train"
    write_store(directory, make_tokenizer)
    for name in FILES:
        data = bytearray((directory / name).read_bytes())
        data[len(data) // 2] ^= 1
        (directory / name).write_bytes(data)
        store = open_or_prepare(split_of(PAIRS), encoder, directory, DataConfig())
        assert content(store) == expected(PAIRS)
        error = capsys.readouterr().err
        assert name in error
        assert "damaged" in error


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_store_cut_short_is_refused(tmp_path: Path, make_tokenizer: Make, name: str) -> None:
    directory = tmp_path / "train"
    write_store(directory, make_tokenizer)
    whole = (directory / name).read_bytes()
    for size in range(len(whole)):
        os.truncate(directory / name, size)
        with pytest.raises(DataError, match=rf"{name}: cut short or damaged\n.*{len(whole)} bytes\n.*{size} bytes"):
            Store.open(directory)
        (directory / name).write_bytes(whole)
    (directory / name).write_bytes(whole + b"\0")
    with pytest.raises(DataError, match=name):
        Store.open(directory)
    (directory / name).unlink()
    with pytest.raises(DataError, match="no such file"):
        Store.open(directory)


def test_an_index_that_does_not_fit_is_refused(tmp_path: Path, make_tokenizer: Make) -> None:
    directory = tmp_path / "train"
    write_store(directory, make_tokenizer)
    np.array([0, 14, 10_000], dtype="<i8").tofile(directory / "offsets.bin")
    with pytest.raises(DataError, match=r"offsets\.bin: damaged"):
        Store.open(directory)


@settings(max_examples=20)
@given(data=st.binary(max_size=40) | st.sampled_from([b"{}", b"[]", b"null", b'{"version": 2}', b'{"version": "2"}']))
def test_damaged_meta_is_refused(tmp_path_factory: pytest.TempPathFactory, make_tokenizer: Make, data: bytes) -> None:
    directory = tmp_path_factory.mktemp("run") / "train"
    write_store(directory, make_tokenizer)
    (directory / "meta.json").write_bytes(data)
    with pytest.raises(DataError, match=r"meta\.json"):
        Store.open(directory)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("examples", -1),
        ("examples", "x"),
        ("columns", 3),
        ("tokens", None),
        ("dtype", "<f16"),
        ("dtype", "O"),
        ("dtype", "<f4"),
        ("examples", float("inf")),
        ("tokens", 10**30),
        ("columns", 10**400),
        ("fingerprint", []),
        ("fingerprint", None),
        ("report", 3),
        ("report", {"read": 3, "kept": 3, "unit": "pair", "notes": []}),
        ("report", {"read": "many", "kept": 3, "unit": "pair", "notes": {}}),
        ("controls", {}),
    ],
)
def test_wrong_values_in_meta_are_refused(tmp_path: Path, make_tokenizer: Make, key: str, value: object) -> None:
    directory = tmp_path / "train"
    write_store(directory, make_tokenizer)
    meta = json.loads((directory / "meta.json").read_text())
    (directory / "meta.json").write_text(json.dumps(meta | {key: value}))
    with pytest.raises(DataError):
        Store.open(directory)


def test_another_format_version(tmp_path: Path, make_tokenizer: Make) -> None:
    directory = tmp_path / "train"
    write_store(directory, make_tokenizer)
    meta = json.loads((directory / "meta.json").read_text())
    (directory / "meta.json").write_text(json.dumps(meta | {"version": 99}))
    with pytest.raises(DataError, match=r"format version\n.*2\n.*99"):
        Store.open(directory)


def test_nothing_prepared(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no prepared tokens"):
        Store.open(tmp_path / "train")


# --- writing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failure", [DataError("stop"), KeyboardInterrupt(), MemoryError()])
def test_an_interrupted_preparation_leaves_the_old_store(
    tmp_path: Path, make_tokenizer: Make, failure: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = make_tokenizer()

    def encode_batch(texts: Sequence[str]) -> list[list[int]]:
        """Gives up at the second pair."""
        if texts == ["w"]:
            raise failure
        return [[5] for _ in texts]

    failing.encode_batch = encode_batch
    monkeypatch.setattr(store_module, "_CHUNK_EXAMPLES", 1)
    directory = tmp_path / "train"
    write_store(directory, make_tokenizer)
    with pytest.raises(type(failure)):
        prepare(split_of([("n", "e"), ("w", "!")]), PairEncoder(failing, make_tokenizer()), directory, DataConfig())
    assert [entry.name for entry in tmp_path.iterdir()] == ["train"]
    assert content(Store.open(directory)) == expected(PAIRS)


def test_what_a_killed_process_left_is_removed(tmp_path: Path, make_tokenizer: Make) -> None:
    dead = os.fork()
    if dead == 0:
        os._exit(0)
    os.waitpid(dead, 0)
    (tmp_path / f".train.tmp-{dead}").mkdir()
    write_store(tmp_path / "train", make_tokenizer)
    assert [entry.name for entry in tmp_path.iterdir()] == ["train"]


def test_a_place_that_cannot_be_written(tmp_path: Path, make_tokenizer: Make) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        write_store(tmp_path / "file" / "train", make_tokenizer)
