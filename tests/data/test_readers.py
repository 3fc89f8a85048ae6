"""Sentence pairs from files: which are read, what becomes of bad ones, and what the errors say."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.base.config import DataConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.data.alignment import likely_slip
from pellucid.data.lines import lines_of, survey
from pellucid.data.readers import PairsInMemory, Split, open_split, splits_of

PAIRS = [("le chat", "the cat"), ("où ?", "where?"), ("l’ami\u202f!", "friend!")]

# Characters at which Python, though not this package, would end a line, and others that tempt programs to do something.
HOSTILE = "\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\x00\ufeff\u202f\t ab"


def config(*train: Path, source: str = "fr", target: str = "en", **settings: Any) -> DataConfig:
    return DataConfig(train=tuple(map(str, train)), source=source, target=target, **settings)


def write(path: Path, content: str | bytes) -> Path:
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def write_form(folder: Path, form: str, ending: str = "") -> tuple[Path, ...]:
    """PAIRS in files of one form."""
    if form == "aligned":
        sides = zip(*PAIRS, strict=True)
        texts = ["".join(text + "\n" for text in side) for side in sides]
        return tuple(write(folder / f"train.{name}{ending}", text) for name, text in zip(("fr", "en"), texts, strict=True))
    if form == "tsv":
        text = "".join(f"{source}\t{target}\n" for source, target in PAIRS)
    else:
        text = "".join(json.dumps({"en": target, "fr": source, "id": 7}) + "\n" for source, target in PAIRS)
    return (write(folder / f"train.{form}{ending}", text),)


def refusal(split: Split) -> str:
    """The message with which reading stops."""
    with pytest.raises(DataError) as caught:
        list(split)
    return str(caught.value)


# --- forms -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("form", ["aligned", "tsv", "jsonl"])
def test_every_form_gives_the_same_pairs(tmp_path: Path, form: str, ending: str) -> None:
    split = open_split(config(*write_form(tmp_path, form, ending)), "train")
    assert list(split) == PAIRS
    assert list(split) == PAIRS, "a second pass reads the same"
    assert split.report.lines() == ["3 pairs"]
    assert split.total == 3


@given(
    lines=st.lists(st.text(alphabet=HOSTILE, max_size=8)),
    last_ended=st.booleans(),
    suffix=st.sampled_from([".txt", ".gz"]),
)
def test_only_a_newline_ends_a_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], last_ended: bool, suffix: str
) -> None:
    data = "\n".join(lines).encode() + (b"\n" if last_ended else b"")
    path = write(tmp_path_factory.mktemp("lines") / f"file{suffix}", data)
    expected = data.split(b"\n")  # the definition, with the piece after the last newline being no line when empty
    ended, rest = expected[:-1], expected[-1:]
    expected = [line[:-1] if line[-1:] == b"\r" else line for line in ended] + [line for line in rest if line]
    read = list(lines_of(path))
    assert [line.raw for line in read] == expected
    assert survey(path).lines == len(expected)
    assert [line.place for line in read] == [f"{path}:{number}" for number in range(1, len(read) + 1)]
    for line in read:
        assert data[line.offset :].startswith(line.raw)


def test_as_many_pairs_as_wc_counts(tmp_path: Path) -> None:
    source = write(tmp_path / "a", "un\u2028un\ndeux\x85\r\n\x1ctrois\x0b\n")
    target = write(tmp_path / "b", "one\none\x0ctwo\nthree\rthree\n")
    assert source.read_bytes().count(b"\n") == 3  # what `wc -l` gives
    pairs = [("un\u2028un", "one"), ("deux\x85", "one\x0ctwo"), ("\x1ctrois\x0b", "three\rthree")]
    assert list(open_split(config(source, target), "train")) == pairs


def test_text_is_not_changed(tmp_path: Path) -> None:
    source, target = "\ufeff e\u0301\x00 \u202e\U0001f469\u200d\U0001f4bb ", "é  </s>"
    path = write(tmp_path / "a.tsv", f"{source}\t{target}\n")
    assert list(open_split(config(path), "train")) == [(source, target)]


def test_columns_after_the_second_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "fra.txt", "a\tb\nc\td\tCC-BY\ne\tf\tCC-BY\tx\n")
    split = open_split(config(path), "train")
    assert list(split) == [("a", "b"), ("c", "d"), ("e", "f")]
    assert split.report.lines()[1] == f"2 x more than two columns, only the first two read (first: {path}:2)"


def test_a_line_without_a_tab(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "a\tb\nno tab here\n")
    message = refusal(open_split(config(path), "train"))
    assert f"{path}:2" in message
    assert "no tab here" in message


# --- JSON Lines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "not JSON"),
        ("", "not JSON"),
        ('["a", "b"]', "not a JSON object"),
        ('{"fr": "a"}', 'no key "en"'),
        ('{"fr": "a", "en": 3}', '"en" is not a text'),
        ('{"fr": "a", "en": null}', '"en" is not a text'),
        ("{}", "no keys"),
        ("[" * 100_000, "not JSON"),
        ("9" * 10_000, "not JSON"),  # more digits than Python turns into a number
    ],
)
def test_bad_json_names_the_line(tmp_path: Path, line: str, says: str) -> None:
    path = write(tmp_path / "a.jsonl", '{"fr": "a", "en": "b"}\n' + line + "\n")
    message = refusal(open_split(config(path), "train"))
    assert message.startswith(f"{path}:2: ")
    assert says in message
    assert len(message) < 600


def test_a_byte_order_mark_before_json_is_ignored(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '\ufeff{"fr": "a", "en": "b"}\n')
    assert list(open_split(config(path), "train")) == [("a", "b")]


def test_half_a_character_in_json_is_not_utf8(tmp_path: Path) -> None:
    lines = [r'{"fr": "\ud83d\ude00", "en": "whole"}', r'{"fr": "x\ud83d", "en": "half"}']
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    assert f"{path}:2: not UTF-8" in refusal(open_split(config(path), "train"))
    assert list(open_split(config(path, on_bad_utf8="skip"), "train")) == [("\U0001f600", "whole")]
    replaced = list(open_split(config(path, on_bad_utf8="replace"), "train"))[1]
    assert replaced == ("x\ufffd\ufffd\ufffd", "half")  # one for each byte, as for any other three bad bytes


# --- policies --------------------------------------------------------------------------------------------------------


def test_bad_bytes_are_named_by_line_and_offset(tmp_path: Path) -> None:
    source = write(tmp_path / "a.fr", "é\nabc".encode() + b"d\xff\n")  # é takes two bytes: the line begins at 3
    target = write(tmp_path / "a.en", "e\nabc\n")
    message = refusal(open_split(config(source, target), "train"))
    assert f"{source}:2: not UTF-8" in message
    assert "byte 0xff at byte 4 of the line, byte 7 of the text" in message
    assert "data.on_bad_utf8" in message


@pytest.mark.parametrize("policy", ["skip", "replace"])
def test_bad_bytes_under_a_policy_are_counted_once_a_pair(tmp_path: Path, policy: str) -> None:
    source = write(tmp_path / "a.fr", b"a\n\xff\nc\n\xfe\n")
    target = write(tmp_path / "a.en", b"A\n\xff\nC\nD\n")
    split = open_split(config(source, target, on_bad_utf8=policy), "train")
    kept = {"skip": [("a", "A"), ("c", "C")], "replace": [("a", "A"), ("\ufffd", "\ufffd"), ("c", "C"), ("\ufffd", "D")]}
    assert list(split) == kept[policy]
    done = {"skip": "skipped", "replace": "bad bytes replaced by U+FFFD"}
    total = {"skip": "2 of 4 pairs kept", "replace": "4 pairs"}
    assert split.report.lines() == [total[policy], f"2 x not UTF-8, {done[policy]} (first: {source}:2)"]


@given(data=st.binary(max_size=60), policy=st.sampled_from(["error", "skip", "replace"]))
def test_any_bytes_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes, policy: str) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    count = survey(write(folder / "a", data)).lines
    write(folder / "b", b"x\n" * count)
    split = open_split(config(folder / "a", folder / "b", on_bad_utf8=policy), "train")
    try:
        data.decode()
    except UnicodeDecodeError:
        if policy == "error":
            assert "not UTF-8" in refusal(split)
            return
    kept = len(list(split))
    report = split.report
    assert (report.read, report.kept) == (count, kept)
    skipped = sum(note.count for what, note in report.notes.items() if what.endswith("skipped"))
    assert kept + skipped == count, "nothing goes without a note"


@pytest.mark.parametrize("empty", ["", " ", "\t", "\u3000\xa0", "\r"])
def test_empty_sides(tmp_path: Path, empty: str) -> None:
    source, target = write(tmp_path / "a", f"a\n{empty}\nc\nd\n"), write(tmp_path / "b", f"A\nB\nC\n{empty}\n")
    split = open_split(config(source, target), "train")
    assert list(split) == [("a", "A"), ("c", "C")]
    told = f"2 x a side empty or only white space, skipped (first: {source}:2)"
    assert split.report.lines() == ["2 of 4 pairs kept", told]
    assert f"{source}:2: a side" in refusal(open_split(config(source, target, on_empty="error"), "train"))


# --- line counts -----------------------------------------------------------------------------------------------------


def test_different_counts_stop_before_the_first_pair(tmp_path: Path) -> None:
    source = write(tmp_path / "a.gz", "".join(f"{'x' * (i % 17)} {i}\n" for i in range(50)))
    target = write(tmp_path / "b", "".join(f"{'y' * (i % 17)} {i}\n" for i in range(50) if i != 20))
    with pytest.raises(DataError) as caught:
        next(iter(open_split(config(source, target), "train")))
    message = str(caught.value)
    assert f"{source}: 50, {target}: 49" in message
    assert "near line 21" in message  # line 21 holds number 20


@pytest.mark.parametrize("lost", [0, 1, 400, 998, 999])
def test_the_lost_line_is_found(tmp_path: Path, lost: int) -> None:
    draws = np.random.default_rng(lost)
    lengths = np.exp(draws.normal(4, 0.5, 1000))
    first, second = (write(tmp_path / name, "") for name in "ab")
    first.write_text("".join("x" * int(n) + "\n" for n in lengths))
    others = lengths * np.exp(draws.normal(0.2, 0.15, 1000))  # a translation is a fifth longer, give or take
    second.write_text("".join("y" * int(n) + "\n" for i, n in enumerate(others) if i != lost))
    for files in ([(first, 1000), (second, 999)], [(second, 999), (first, 1000)]):
        found = likely_slip(*files)
        assert found is not None
        assert abs(found - (lost + 1)) <= 3


def test_an_empty_file_beside_a_full_one(tmp_path: Path) -> None:
    assert ": 0, " in refusal(open_split(config(write(tmp_path / "a", ""), write(tmp_path / "b", "x\n")), "train"))


# --- files that are not as they should be ----------------------------------------------------------------------------


def test_a_missing_file_with_near_names(tmp_path: Path) -> None:
    write(tmp_path / "train.fr", "a\n")
    with pytest.raises(DataError, match=r"train\.rf: no such file\n.*did you mean train\.fr"):
        open_split(config(tmp_path / "train.rf", tmp_path / "train.fr"), "train")
    with pytest.raises(DataError, match="there is no folder"):
        open_split(config(tmp_path / "nowhere" / "train.tsv"), "train")
    with pytest.raises(DataError, match="nothing there has a similar name"):
        open_split(config(tmp_path / "zzz.tsv"), "train")
    with pytest.raises(DataError, match="no such file"):
        open_split(config(tmp_path / ("x" * 5000)), "train")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="more than once"):
        open_split(config(tmp_path / "pipe"), "train")
    with pytest.raises(DataError, match=r"data\.directory"):
        open_split(config(tmp_path), "train")


@pytest.mark.parametrize("kept", [5, 30, -9, -1])
def test_a_truncated_gzip(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(gzip.compress(os.urandom(200).hex().encode() + b"\tb\n")[:kept])
    message = refusal(open_split(config(path), "train"))
    assert message.startswith(f"{path}: compressed data end too early")


def test_damaged_or_no_gzip(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(b"a\tb\n")
    assert f"{path}: not gzip, or damaged" in refusal(open_split(config(path), "train"))
    data = bytearray(gzip.compress(os.urandom(200).hex().encode() + b"\tb\n"))
    data[40] ^= 0xFF
    path.write_bytes(data)
    assert f"{path}: not gzip, or damaged" in refusal(open_split(config(path), "train"))


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    source, target = write(tmp_path / "a", "a\nb\n"), write(tmp_path / "b", "a\nb\n")
    split = open_split(config(source, target), "train")
    split.check_counts()
    write(source, "a\n")
    assert "changed while it was read" in refusal(split)
    source.unlink()
    assert f"{source}: no such file" in refusal(split)


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tsv", "source text\ttarget text\n" * 30_000)  # 720 kB
    split = open_split(config(path), "train")
    tracemalloc.start()
    count = sum(1 for _ in split)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 30_000
    assert peak < 650_000  # two chunks of the survey, and buffers


# --- where a split is found ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("form", ["aligned", "tsv", "jsonl"])
def test_a_directory(tmp_path: Path, form: str, ending: str) -> None:
    files = write_form(tmp_path, form, ending)
    settings = DataConfig(directory=str(tmp_path), source="fr", target="en")
    assert open_split(settings, "train").files == files
    assert list(open_split(settings, "train")) == PAIRS
    assert splits_of(settings) == ("train",)


def test_sides_of_a_directory_may_be_compressed_differently(tmp_path: Path) -> None:
    write(tmp_path / "train.fr", "a\n")
    write(tmp_path / "train.en.gz", "b\n")
    assert list(open_split(DataConfig(directory=str(tmp_path), source="fr", target="en"), "train")) == [("a", "b")]


@pytest.mark.parametrize("name", ["dev", "val", "valid"])
def test_names_of_the_dev_split(tmp_path: Path, name: str) -> None:
    write(tmp_path / f"{name}.tsv", "a\tb\n")
    settings = DataConfig(directory=str(tmp_path))
    assert list(open_split(settings, "dev")) == [("a", "b")]
    assert splits_of(settings) == ("dev",)


def test_a_split_of_any_name_in_a_directory(tmp_path: Path) -> None:
    write(tmp_path / "test_2016.tsv", "a\tb\n")
    assert list(open_split(DataConfig(directory=str(tmp_path)), "test_2016")) == [("a", "b")]


def test_a_directory_without_the_split(tmp_path: Path) -> None:
    write(tmp_path / "train.fr", "a\n")  # its other side is missing
    with pytest.raises(DataError) as caught:
        open_split(DataConfig(directory=str(tmp_path), source="fr", target="en"), "dev")
    message = str(caught.value)
    for name in ("dev.fr with dev.en", "dev.tsv", "dev.jsonl", "val.tsv", "valid.fr with valid.en", "train.fr"):
        assert name in message
    with pytest.raises(DataError, match="no files of the split train"):
        open_split(DataConfig(directory=str(tmp_path), source="fr", target="en"), "train")
    with pytest.raises(DataError, match="no such directory"):
        open_split(DataConfig(directory=str(tmp_path / "nowhere")), "train")


def test_several_files_for_one_split(tmp_path: Path) -> None:
    write(tmp_path / "dev.tsv", "a\tb\n")
    write(tmp_path / "val.jsonl", "{}\n")
    with pytest.raises(DataError, match=r"found: +dev\.tsv, val\.jsonl"):
        open_split(DataConfig(directory=str(tmp_path)), "dev")


def test_files_come_before_the_corpus(tmp_path: Path) -> None:
    dev = write(tmp_path / "own.tsv", "a\tb\n")
    settings = DataConfig(corpus="builtin", dev=(str(dev),), source="fr", target="en")
    assert open_split(settings, "dev").files == (dev,)


def test_nothing_is_given() -> None:
    with pytest.raises(UsageError, match=r"data\.dev"):
        open_split(DataConfig(), "dev")
    with pytest.raises(UsageError, match=r"no such corpus(.|\n)*builtin, multi30k(.|\n)*did you mean multi30k"):
        open_split(DataConfig(corpus="multi3k"), "train")


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the built-in corpus, of one pair a split."""
    pair = SimpleNamespace(french="le chat", english="the cat")
    stand_in = SimpleNamespace(SPLITS=("train", "dev", "teaching"), pairs=lambda split: [pair])
    monkeypatch.setattr("pellucid.data.corpus", stand_in, raising=False)


@pytest.mark.usefixtures("corpus")
def test_the_built_in_corpus_in_both_directions() -> None:
    french = DataConfig(corpus="builtin", source="fr", target="en")
    english = replace(french, source="en", target="fr")
    assert list(open_split(french, "teaching")) == [("le chat", "the cat")]
    assert list(open_split(english, "teaching")) == [("the cat", "le chat")]
    assert open_split(french, "dev").surveys != open_split(english, "dev").surveys
    assert splits_of(french) == ("train", "dev", "teaching")


@pytest.mark.usefixtures("corpus")
def test_what_the_built_in_corpus_has_not() -> None:
    with pytest.raises(UsageError, match="train, dev, teaching"):
        open_split(DataConfig(corpus="builtin", source="fr", target="en"), "validation")
    with pytest.raises(UsageError, match=r"data\.source: fr, data\.target: de"):
        open_split(DataConfig(corpus="builtin", source="fr", target="de"), "train")


def test_pairs_in_memory_have_places() -> None:
    split = PairsInMemory("train", [("a", "b"), ("", "c"), ("d", "e")], DataConfig())
    assert [record.place for record in split.records()] == ["train:1", "train:3"]
    assert split.total == 3
    assert PairsInMemory("train", [("a", "b")], DataConfig()).surveys != split.surveys
