"""The store: the tokens of one split in memory-mapped files, prepared once, for corpora larger than memory.

A store is a folder of four files, the numbers little-endian:

- ``tokens.bin``: the tokens of every example, column after column (of a pair: source, target), without control tokens; 2 bytes
  each, or 4 when a vocabulary has more than 65,536 entries (reading with the wrong width would give silent garbage, so
  ``meta.json`` states it);
- ``offsets.bin``: int64, where each example begins in ``tokens.bin``, counted in tokens;
- ``lengths.bin``: int32, the tokens of each column, as many numbers an example as there are columns;
- ``meta.json``: format version, counts, number types, the report of what was skipped, and the fingerprint.

The fingerprint says what the tokens were made from: the content of the input (by checksum, not by time stamp, which lies after
a copy or a checkout; this costs about a second a gigabyte), the encoder and the settings that decide what is kept. A store with
another fingerprint is stale and is prepared anew.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pellucid.base.config import DataConfig
from pellucid.base.errors import DataError, ModelError, StorageError
from pellucid.base.files import publish_directory, sweep, verify_directory
from pellucid.base.progress import Progress, say
from pellucid.data.encoders import Encoder, ExampleEncoder, PairEncoder
from pellucid.data.formats import Record, Split
from pellucid.data.report import Report

__all__ = [
    "Encoder",
    "ExampleEncoder",
    "Ids",
    "PairEncoder",
    "StaleStoreError",
    "Store",
    "digest_of",
    "fingerprint_of",
    "open_or_prepare",
    "prepare",
]

FORMAT_VERSION = 2  # 1 held pairs only

_LARGEST_TWO_BYTE_VOCABULARY = 1 << 16
_NUMBER_TYPES = ("<u2", "<u4")  # of tokens
# Encoded in one call, whichever comes first: enough to be quick, little enough for memory when lines are megabytes long.
_CHUNK_EXAMPLES = 2000
_CHUNK_CHARACTERS = 1_000_000

Ids = npt.NDArray[np.integer[Any]]


class StaleStoreError(DataError):
    """The store was made from other input, with another encoder or under other settings."""


class Store:
    """The tokens of one split. Made by :func:`prepare` and :meth:`open`.

    Attributes:
        tokens: all tokens, example after example and column after column, in one array; memory-mapped.
        columns: how many an example has.
        lengths: (N, columns) int32, tokens of each column of each example, without control tokens; memory-mapped.
        report: what was skipped or cropped when the store was prepared.
        fingerprint: what the tokens were made from, part by part.
        pad, start, end: the control tokens of its encoder.
    """

    def __init__(self, directory: Path, meta: dict[str, Any]) -> None:
        self.directory = directory
        self.report = Report.from_dict(meta["report"])
        self.fingerprint: dict[str, Any] = meta["fingerprint"]
        if not isinstance(self.fingerprint, dict):
            raise TypeError("a fingerprint without parts")
        self.pad, self.start, self.end = (int(meta["controls"][name]) for name in ("pad", "start", "end"))
        examples, self.columns, tokens = (int(meta[name]) for name in ("examples", "columns", "tokens"))
        if meta["dtype"] not in _NUMBER_TYPES:
            raise ValueError(f"tokens as numbers of type {meta['dtype']!r:.40}")
        self.tokens = _map(directory / "tokens.bin", np.dtype(meta["dtype"]), (tokens,))
        self._offsets = _map(directory / "offsets.bin", np.dtype("<i8"), (examples,))
        self.lengths = _map(directory / "lengths.bin", np.dtype("<i4"), (examples, self.columns))
        if examples and int(self._offsets[-1]) + int(self.lengths[-1].sum()) != tokens:
            raise _damaged(directory / "offsets.bin", "the last example does not end with the last token")

    @classmethod
    def open(cls, directory: Path, fingerprint: dict[str, Any] | None = None) -> Store:
        """Opens a prepared store.

        Args:
            directory: its folder.
            fingerprint: what it must have been made from (:func:`fingerprint_of`); None: anything.

        Raises:
            StaleStoreError: the fingerprint is another one; the message names the parts that differ.
            DataError: it is missing, damaged, cut short or of another format version.
        """
        meta = _read_meta(directory)
        try:
            store = cls(directory, meta)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise _damaged(directory / "meta.json", f"{type(error).__name__}: {error}") from None
        if fingerprint is not None and fingerprint != store.fingerprint:
            raise StaleStoreError(
                "the prepared tokens were made from something else",
                where=directory,
                found="changed since: " + ", ".join(_differences(store.fingerprint, fingerprint)),
            )
        return store

    def __len__(self) -> int:
        return len(self._offsets)

    def column(self, index: int, column: int) -> Ids:
        """Tokens of one column of an example, counted from 0, without control tokens: (length,)."""
        lengths = self.lengths[index].tolist()
        begin = int(self._offsets[index]) + sum(lengths[:column])
        return self.tokens[begin : begin + lengths[column]]

    def source(self, index: int) -> Ids:
        """Source tokens of a pair, its first column: (S,)."""
        return self.column(index, 0)

    def target(self, index: int) -> Ids:
        """Target tokens of a pair, its second column: (T,)."""
        return self.column(index, 1)


def fingerprint_of(split: Split, encoder: ExampleEncoder, config: DataConfig) -> dict[str, Any]:
    """What the tokens of a split depend on. Equal values give equal stores.

    The policies for empty texts and bad bytes, and which column is the source, count; names and places of files do not.
    """
    limits = ("max_length", "on_long") if encoder.limited else ()
    settings = (*("source", "target")[: split.columns], *limits, "on_empty", "on_bad_utf8")
    return {
        "input": [survey.sha256 for survey in split.surveys],
        "format": split.form,
        "columns": split.columns,
        **encoder.fingerprint,
        **{f"data.{name}": getattr(config, name) for name in settings},
    }


def digest_of(fingerprint: dict[str, Any]) -> str:
    """The fingerprint as one short text, to be compared or kept in a checkpoint."""
    return sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()


def open_or_prepare(
    split: Split, encoder: ExampleEncoder, directory: Path, config: DataConfig, *, begun: bool = False
) -> Store:
    """Opens the store at ``directory`` when it fits and is whole; otherwise says why not and prepares it.

    Every byte is compared with its checksum, about a second a gigabyte.

    Args:
        split, encoder, directory, config: as for :func:`prepare`.
        begun: whether a model has been trained on it. Then only a store of the same content will do: a damaged one is prepared
            anew, since the same input gives the same tokens, but nothing is prepared from input that has changed.

    Raises:
        DataError: as :func:`prepare`; ``begun``, and the input is not what it was.
    """
    if directory.exists():
        try:
            store = Store.open(directory, fingerprint_of(split, encoder, config))
            verify_directory(directory)
            return store
        except (DataError, ModelError) as error:
            if begun:
                _check_input(split, encoder, directory, config)
            reason = error.what if error.found is None else f"{error.what} ({error.found})"
            say(f"{error.where}: {reason}; preparing the split {split.name} anew")
    return prepare(split, encoder, directory, config)


def _check_input(split: Split, encoder: ExampleEncoder, directory: Path, config: DataConfig) -> None:
    """Refuse input that is not what the store was made from, also where that can't be known any more."""
    meta = _read_meta(directory)
    before, now = meta.get("fingerprint"), fingerprint_of(split, encoder, config)
    if before == now:
        return
    changed = _differences(before, now) if isinstance(before, dict) else ["everything"]
    read = meta["report"].get("read") if isinstance(meta.get("report"), dict) else None
    raise DataError(
        f"the data of the split {split.name} have changed since this run began",
        where=", ".join(str(path) for path in split.files) or split.name,
        expected=f"{read:,} {split.unit}s with the checksum in {directory / 'meta.json'}" if isinstance(read, int) else None,
        found=f"{split.total:,} {split.unit}s; changed since: {', '.join(changed)}",
        advice="put the data back as they were, or train into another directory",
    )


def prepare(split: Split, encoder: ExampleEncoder, directory: Path, config: DataConfig) -> Store:
    """Encodes every example of a split and writes the store, aside first, so that ``directory`` is whole or absent.

    Args:
        split: the examples, read as a stream.
        encoder: what makes tokens of them, :class:`PairEncoder` for sentence pairs.
        directory: where the store will be; an older one there is replaced. Its parent belongs to this process (a run holds
            its lock) and is made when missing; what a killed process left unfinished in it is removed.
        config: ``max_length`` and ``on_long``.

    Raises:
        DataError: from reading the split; an example too long under ``on_long: error``; none left.
        StorageError: the disk is full or may not be written to.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError("cannot be made", where=directory.parent, found=error.strerror) from None
    sweep(directory.parent)
    fingerprint = fingerprint_of(split, encoder, config)

    def build(aside: Path) -> None:
        meta = _write_tokens(split, encoder, aside, config) | {"fingerprint": fingerprint}
        text = json.dumps(meta, indent=2, ensure_ascii=False) + "\n"
        (aside / "meta.json").write_text(text, encoding="utf-8", newline="\n")

    publish_directory(build, directory)
    return Store.open(directory, fingerprint)


def _write_tokens(split: Split, encoder: ExampleEncoder, aside: Path, config: DataConfig) -> dict[str, Any]:
    dtype = np.dtype(_NUMBER_TYPES[encoder.vocabulary_size > _LARGEST_TWO_BYTE_VOCABULARY])
    with (
        open(aside / "tokens.bin", "wb") as tokens,
        open(aside / "offsets.bin", "wb") as offsets,
        open(aside / "lengths.bin", "wb") as lengths,
        Progress(split.total, f"{split.unit}s", f"preparing {split.name}") as progress,
    ):
        writer = _Writer(dtype, tokens, offsets, lengths)
        for records in _chunks(split.records()):
            examples = encoder.encode([record.example for record in records])
            if encoder.limited:
                pairs = zip(records, examples, strict=True)
                examples = [fitted for record, ids in pairs if (fitted := _fit(record, ids, split, config))]
            writer.write(examples)
            progress.update(len(records))
    if not writer.examples:
        found = "; ".join(split.report.lines())
        raise DataError(f"no {split.unit} left in the split {split.name}", where=split.name, found=found)
    return {
        "version": FORMAT_VERSION,
        "examples": writer.examples,
        "columns": writer.columns,
        "tokens": writer.tokens,
        "dtype": dtype.str,
        "controls": encoder.controls,
        "report": split.report.to_dict(),
    }


def _chunks(records: Iterator[Record]) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    characters = 0
    for record in records:
        chunk.append(record)
        characters += sum(map(len, record.example))
        if len(chunk) >= _CHUNK_EXAMPLES or characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _fit(record: Record, ids: tuple[list[int], ...], split: Split, config: DataConfig) -> tuple[list[int], ...] | None:
    """The tokens of an example under the policy for over-long ones; None: left out."""
    longest = config.max_length
    if all(len(column) <= longest for column in ids):
        return ids
    if config.on_long == "error":
        names = ("source ", "target ") if len(ids) == 2 else ("",) * len(ids)
        raise DataError(
            f"a {split.unit} longer than data.max_length",
            where=record.place,
            expected=f"at most {longest} tokens" + (" a side" if len(ids) == 2 else ""),
            found=", ".join(f"{name}{len(column):,}" for name, column in zip(names, ids, strict=True)) + " tokens",
            advice="raise data.max_length, or set data.on_long to skip or crop",
        )
    if config.on_long == "crop":
        split.report.note(f"longer than {longest} tokens, cropped", record.place)
        return tuple(column[:longest] for column in ids)
    split.report.note(f"longer than {longest} tokens, skipped", record.place)
    split.report.kept -= 1
    return None


class _Writer:
    """Appends examples to the three files of numbers and counts them."""

    def __init__(self, dtype: np.dtype[Any], tokens: IO[bytes], offsets: IO[bytes], lengths: IO[bytes]) -> None:
        self._dtype, self._files = dtype, (tokens, offsets, lengths)
        self.examples = self.columns = self.tokens = 0

    def write(self, examples: list[tuple[list[int], ...]]) -> None:
        if not examples:
            return
        self.columns = len(examples[0])
        flat = list(itertools.chain.from_iterable(itertools.chain.from_iterable(examples)))
        lengths = np.array([[len(column) for column in ids] for ids in examples], dtype="<i4")  # (examples, columns)
        ends = self.tokens + lengths.sum(axis=1, dtype=np.int64).cumsum()
        offsets = np.concatenate(([self.tokens], ends)).astype("<i8")
        for file, numbers in zip(self._files, (np.array(flat, dtype=self._dtype), offsets[:-1], lengths), strict=True):
            file.write(numbers.tobytes())
        self.examples += len(examples)
        self.tokens += len(flat)


def _read_meta(directory: Path) -> dict[str, Any]:
    path = directory / "meta.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("no prepared tokens", where=directory, expected="meta.json in it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(meta, dict):
        raise _damaged(path, f"a {type(meta).__name__} instead of an object")
    if meta.get("version") != FORMAT_VERSION:
        found = meta.get("version")
        raise DataError("another format version", where=path, expected=FORMAT_VERSION, found=found, advice=_ANEW)
    return meta


_ANEW = "delete the folder: it is prepared anew from the corpus"


def _damaged(path: Path, found: str) -> DataError:
    return DataError("damaged", where=path, found=found, advice=_ANEW)


def _map(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """The file as a read-only array, its size checked first: reading past the end of a mapped file kills the process."""
    expected = math.prod(shape) * dtype.itemsize  # in numbers of Python, which know no largest one
    size = path.stat().st_size if path.is_file() else None
    if size != expected:
        found = "no such file" if size is None else f"{size:,} bytes"
        raise DataError("cut short or damaged", where=path, expected=f"{expected:,} bytes", found=found, advice=_ANEW)
    if expected == 0:
        return np.empty(shape, dtype)  # an empty file cannot be mapped
    return np.asarray(np.memmap(path, dtype, mode="r", shape=shape))  # a plain view: its slices are cheap


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]
