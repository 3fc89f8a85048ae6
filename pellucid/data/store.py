"""The store: the tokens of one split in memory-mapped files, prepared once, for corpora larger than memory.

A store is a folder of four files, the numbers little-endian:

- ``tokens.bin``: the tokens of every pair, source then target, without control tokens; 2 bytes each, or 4 when a vocabulary has
  more than 65,536 entries (reading with the wrong width would give silent garbage, so ``meta.json`` states it);
- ``offsets.bin``: int64, where each pair begins in ``tokens.bin``, counted in tokens;
- ``lengths.bin``: int32, two numbers a pair, the tokens of source and target;
- ``meta.json``: format version, counts, number types, the report of what was skipped, and the fingerprint.

The fingerprint says what the tokens were made from: the content of the input (by checksum, not by time stamp, which lies after
a copy or a checkout; this costs about a second a gigabyte), both tokenizers and the settings that decide what is kept. A store
with another fingerprint is stale and is prepared anew.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt

from pellucid.base.config import DataConfig
from pellucid.base.errors import DataError, ModelError, StorageError
from pellucid.base.files import publish_directory, sweep, verify_directory
from pellucid.base.progress import Progress, say
from pellucid.data.formats import Record, Split
from pellucid.data.report import Report

FORMAT_VERSION = 1

_LARGEST_TWO_BYTE_VOCABULARY = 1 << 16
# Encoded in one call, whichever comes first: enough to be quick, little enough for memory when lines are megabytes long.
_CHUNK_PAIRS = 2000
_CHUNK_CHARACTERS = 1_000_000

Ids = npt.NDArray[np.integer[Any]]


class Encoder(Protocol):
    """What the store needs of a tokenizer."""

    @property
    def pad(self) -> int: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...
    @property
    def vocabulary_size(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...


class StaleStoreError(DataError):
    """The store was made from other input, tokenizers or settings."""


class Store:
    """The tokens of one split. Made by :func:`prepare` and :meth:`open`.

    Attributes:
        lengths: (N, 2) int32, source and target length of each pair in tokens, without control tokens; memory-mapped.
        report: what was skipped or cropped when the store was prepared.
        fingerprint: what the tokens were made from, part by part.
        pad, start, end: the control tokens of its tokenizers.
    """

    def __init__(self, directory: Path, meta: dict[str, Any]) -> None:
        self.directory = directory
        self.report = Report.from_dict(meta["report"])
        self.fingerprint: dict[str, Any] = meta["fingerprint"]
        self.pad, self.start, self.end = (int(meta["controls"][name]) for name in ("pad", "start", "end"))
        pairs, tokens = int(meta["pairs"]), int(meta["tokens"])
        self._tokens = _map(directory / "tokens.bin", np.dtype(meta["dtype"]), (tokens,))
        self._offsets = _map(directory / "offsets.bin", np.dtype("<i8"), (pairs,))
        self.lengths = _map(directory / "lengths.bin", np.dtype("<i4"), (pairs, 2))
        if pairs and int(self._offsets[-1]) + int(self.lengths[-1].sum()) != tokens:
            raise _damaged(directory / "offsets.bin", "the last pair does not end with the last token")

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
        except (KeyError, TypeError, ValueError) as error:
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

    def source(self, index: int) -> Ids:
        """Source tokens of a pair, without control tokens: (S,)."""
        begin = int(self._offsets[index])
        return self._tokens[begin : begin + int(self.lengths[index, 0])]

    def target(self, index: int) -> Ids:
        """Target tokens of a pair, without control tokens: (T,)."""
        begin = int(self._offsets[index]) + int(self.lengths[index, 0])
        return self._tokens[begin : begin + int(self.lengths[index, 1])]


def fingerprint_of(split: Split, tokenizers: tuple[Encoder, Encoder], config: DataConfig) -> dict[str, Any]:
    """What the tokens of a split depend on. Equal values give equal stores.

    The policies for empty sides and bad bytes, and which column is the source, count; names and places of files do not.
    """
    return {
        "input": [survey.sha256 for survey in split.surveys],
        "format": split.form,
        "source tokenizer": tokenizers[0].fingerprint,
        "target tokenizer": tokenizers[1].fingerprint,
        "data.source": config.source,
        "data.target": config.target,
        "data.max_length": config.max_length,
        "data.on_long": config.on_long,
        "data.on_empty": config.on_empty,
        "data.on_bad_utf8": config.on_bad_utf8,
    }


def digest_of(fingerprint: dict[str, Any]) -> str:
    """The fingerprint as one short text, to be compared or kept in a checkpoint."""
    return sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()


def open_or_prepare(split: Split, tokenizers: tuple[Encoder, Encoder], directory: Path, config: DataConfig) -> Store:
    """Opens the store at ``directory`` when it fits and is whole; otherwise says why not and prepares it.

    Every byte is compared with its checksum, about a second a gigabyte. Raises as :func:`prepare`.
    """
    if directory.exists():
        try:
            store = Store.open(directory, fingerprint_of(split, tokenizers, config))
            verify_directory(directory)
            return store
        except (DataError, ModelError) as error:
            reason = error.what if error.found is None else f"{error.what} ({error.found})"
            say(f"{error.where}: {reason}; preparing the split {split.name} anew")
    return prepare(split, tokenizers, directory, config)


def prepare(split: Split, tokenizers: tuple[Encoder, Encoder], directory: Path, config: DataConfig) -> Store:
    """Encodes every pair of a split and writes the store, aside first, so that ``directory`` is whole or absent.

    Args:
        split: the pairs, read as a stream.
        tokenizers: of source and target; may be one and the same.
        directory: where the store will be; an older one there is replaced. Its parent belongs to this process (a run holds
            its lock) and is made when missing; what a killed process left unfinished in it is removed.
        config: ``max_length`` and ``on_long``.

    Raises:
        DataError: from reading the split; a pair too long under ``on_long: error``; no pair left.
        StorageError: the disk is full or may not be written to.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError("cannot be made", where=directory.parent, found=error.strerror) from None
    sweep(directory.parent)
    fingerprint = fingerprint_of(split, tokenizers, config)

    def build(aside: Path) -> None:
        meta = _write_tokens(split, tokenizers, aside, config) | {"fingerprint": fingerprint}
        text = json.dumps(meta, indent=2, ensure_ascii=False) + "\n"
        (aside / "meta.json").write_text(text, encoding="utf-8", newline="\n")

    publish_directory(build, directory)
    return Store.open(directory, fingerprint)


def _write_tokens(split: Split, tokenizers: tuple[Encoder, Encoder], aside: Path, config: DataConfig) -> dict[str, Any]:
    source, target = tokenizers
    largest = max(source.vocabulary_size, target.vocabulary_size)
    dtype = np.dtype("<u2" if largest <= _LARGEST_TWO_BYTE_VOCABULARY else "<u4")
    with (
        open(aside / "tokens.bin", "wb") as tokens,
        open(aside / "offsets.bin", "wb") as offsets,
        open(aside / "lengths.bin", "wb") as lengths,
        Progress(split.total, "pairs", f"preparing {split.name}") as progress,
    ):
        writer = _Writer(dtype, tokens, offsets, lengths)
        for records in _chunks(split.records()):
            sources = source.encode_batch([record.example[0] for record in records])
            targets = target.encode_batch([record.example[1] for record in records])
            sides = zip(records, sources, targets, strict=True)
            writer.write([fitted for side in sides if (fitted := _fit(*side, config, split.report))])
            progress.update(len(records))
    if not writer.pairs:
        found = "; ".join(split.report.lines())
        raise DataError(f"no pair left in the split {split.name}", where=split.name, found=found)
    return {
        "version": FORMAT_VERSION,
        "pairs": writer.pairs,
        "tokens": writer.tokens,
        "dtype": dtype.str,
        "controls": {"pad": target.pad, "start": target.start, "end": target.end},
        "report": split.report.to_dict(),
    }


def _chunks(records: Iterator[Record]) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    characters = 0
    for record in records:
        chunk.append(record)
        characters += sum(map(len, record.example))
        if len(chunk) >= _CHUNK_PAIRS or characters >= _CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _fit(
    record: Record, source: list[int], target: list[int], config: DataConfig, report: Report
) -> tuple[list[int], list[int]] | None:
    """The pair under the policy for over-long ones; None: left out."""
    longest = config.max_length
    if len(source) <= longest and len(target) <= longest:
        return source, target
    if config.on_long == "error":
        raise DataError(
            "a pair longer than data.max_length",
            where=record.place,
            expected=f"at most {longest} tokens a side",
            found=f"source {len(source):,}, target {len(target):,} tokens",
            advice="raise data.max_length, or set data.on_long to skip or crop",
        )
    if config.on_long == "crop":
        report.note(f"longer than {longest} tokens, cropped", record.place)
        return source[:longest], target[:longest]
    report.note(f"longer than {longest} tokens, skipped", record.place)
    report.kept -= 1
    return None


class _Writer:
    """Appends pairs to the three files of numbers and counts them."""

    def __init__(self, dtype: np.dtype[Any], tokens: IO[bytes], offsets: IO[bytes], lengths: IO[bytes]) -> None:
        self._dtype, self._files = dtype, (tokens, offsets, lengths)
        self.pairs = self.tokens = 0

    def write(self, pairs: list[tuple[list[int], list[int]]]) -> None:
        flat = list(itertools.chain.from_iterable(itertools.chain.from_iterable(pairs)))
        lengths = np.array([(len(source), len(target)) for source, target in pairs], dtype="<i4").reshape(-1, 2)
        ends = self.tokens + lengths.sum(axis=1, dtype=np.int64).cumsum()
        offsets = np.concatenate(([self.tokens], ends)).astype("<i8")
        for file, numbers in zip(self._files, (np.array(flat, dtype=self._dtype), offsets[:-1], lengths), strict=True):
            file.write(numbers.tobytes())
        self.pairs += len(pairs)
        self.tokens += len(flat)


def _read_meta(directory: Path) -> dict[str, Any]:
    path = directory / "meta.json"
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError("no prepared tokens", where=directory, expected="meta.json in it") from None
    except (OSError, ValueError) as error:
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
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    size = path.stat().st_size if path.is_file() else None
    if size != expected:
        found = "no such file" if size is None else f"{size:,} bytes"
        raise DataError("cut short or damaged", where=path, expected=f"{expected:,} bytes", found=found, advice=_ANEW)
    if expected == 0:
        return np.empty(shape, dtype)  # an empty file cannot be mapped
    return np.asarray(np.memmap(path, dtype, mode="r", shape=shape))  # a plain view: its slices are cheap


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    return [name for name in {**old, **new} if old.get(name) != new.get(name)]
