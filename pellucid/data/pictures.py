"""Pictures and their texts: from an .npz file, from a tab-separated list of picture files, or the built-in scenes.

One entry: :func:`open_pictures`. Its places, in the order in which they are tried:

- ``builtin``: the scenes of :mod:`pellucid.data.scenes`;
- a file ``.npz``: arrays ``train_images``, uint8 (N, H, W) or (N, H, W, C), and ``train_labels``, (N,) numbers or texts; and
  so for other splits;
- a folder with ``train.tsv``, or the tab-separated file itself: ``picture TAB text`` a line, the text a label or a caption. The
  picture is looked for in the folder ``images`` beside the file, then beside the file. A picture may stand on several lines,
  each with another text: it is read once;
- a folder with ``train/LABEL/``, which holds the pictures of that label.

Legend: N texts, B pictures of a batch, C channels, H height, W width.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from pellucid.base.errors import DataError, UsageError
from pellucid.base.files import sha256_of
from pellucid.base.progress import Progress
from pellucid.data import scenes
from pellucid.data.lines import is_file, lines_of, plain_or_compressed
from pellucid.data.picture_files import Picture, check_file, read_picture
from pellucid.data.report import Report

__all__ = ["Picture", "Pictures", "flipped", "normalised", "open_pictures", "read_picture", "shifted", "statistics"]

Shape = tuple[int, int, int]  # C, H, W

_MEMORY = 2 << 30  # bytes


class Pictures:
    """The pictures of one split, one for each text: ``pictures[index]`` is uint8 (C, H, W), not to be written to.

    Attributes:
        shape: C, H, W.
        fingerprint: checksum of everything that the pictures and texts were made from; names and places of files do not count.
        report: how many lines were read, and what was left out and why.
    """

    def __init__(
        self, read: Callable[[int], Picture], which: npt.NDArray[np.int64], shape: Shape, fingerprint: str, report: Report
    ) -> None:
        self.shape, self.fingerprint, self.report = shape, fingerprint, report
        self._read, self._which = read, which  # which: (N,) the picture of each text

    def __len__(self) -> int:
        return len(self._which)

    def __getitem__(self, index: int) -> Picture:
        return self._read(int(self._which[index]))


def open_pictures(
    source: str | os.PathLike[str],
    split: str,
    *,
    height: int,
    width: int,
    channels: int,
    on_bad: Literal["error", "skip"] = "error",
    memory: int = _MEMORY,
    seed: int = 1,
) -> tuple[Pictures, list[str]]:
    """The pictures of a split and the text of each: a label ("7"), a caption or a sentence.

    Every picture file is decoded once before this returns, so that a bad one is known before training and not during it.

    Args:
        source: ``builtin``, an .npz file, a tab-separated file, or a folder that holds one for the split.
        split: its name. One tab-separated file is one split, whatever its name.
        height, width: in pixels. Picture files are brought to this size; arrays and scenes must have it.
        channels: 1 for grey, 3 for red, green and blue.
        on_bad: what becomes of lines whose picture cannot be read: refused, or left out and counted in the report.
        memory: pictures of files that take at most so many bytes are kept; more are decoded anew each time they are asked for.
        seed: of the scenes.

    Raises:
        DataError: files are missing, damaged, malformed or of another size.
        UsageError: the scenes have no such split; Pillow is not installed.
    """
    shape = (channels, height, width)
    if source == "builtin":
        return _from_scenes(split, shape, seed)
    path = Path(source).expanduser()
    if path.suffix == ".npz":
        return _from_arrays(path, split, shape)
    return _from_list(_list_of(path, split), split, shape, on_bad, memory)


# --- the built-in scenes ------------------------------------------------------------------------------------------------------


def _from_scenes(split: str, shape: Shape, seed: int) -> tuple[Pictures, list[str]]:
    if split not in scenes.SPLITS:
        raise UsageError(f"the built-in scenes have no split {split}", where="data", expected=", ".join(scenes.SPLITS))
    found = scenes.scenes(split, seed)
    _check_shape(found.pictures.shape, shape, "the built-in scenes")
    count = len(found.pictures)
    fingerprint = sha256(f"scenes {scenes.VERSION} {split} {seed}".encode()).hexdigest()
    report = Report(count, count)
    return Pictures(found.pictures.__getitem__, np.arange(count), shape, fingerprint, report), found.sentences


def _check_shape(found: Shape, expected: Shape, where: object) -> None:
    if found != expected:
        raise DataError(
            "pictures of another size",
            where=where,
            expected=_described(expected),
            found=_described(found),
            advice="set the size of the model's pictures to that of these",
        )


def _described(shape: Shape) -> str:
    channels, height, width = shape
    return f"{height} x {width} pixels (height x width) of {channels} channel{'s' if channels > 1 else ''}"


# --- arrays -------------------------------------------------------------------------------------------------------------------


def _from_arrays(path: Path, split: str, shape: Shape) -> tuple[Pictures, list[str]]:
    images, labels = _load_arrays(path, (f"{split}_images", f"{split}_labels"))
    where = f"{path}: {split}_images"
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or not len(images):
        expected = "uint8 (N, height, width) or (N, height, width, channels)"
        raise DataError("not an array of pictures", where=where, expected=expected, found=f"{images.dtype} {images.shape}")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iuU":
        expected, found = f"whole numbers or texts, ({len(images)},): one a picture", f"{labels.dtype} {labels.shape}"
        raise DataError("not an array of labels", where=f"{path}: {split}_labels", expected=expected, found=found)
    pictures = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)  # (N, C, H, W)
    _check_shape(pictures.shape[1:], shape, where)
    pictures.flags.writeable = False
    texts = [str(label) for label in labels.tolist()]
    digest = sha256(f"{images.shape} {texts}".encode())
    digest.update(np.ascontiguousarray(images).data)
    report = Report(len(texts), len(texts))
    return Pictures(pictures.__getitem__, np.arange(len(texts)), shape, digest.hexdigest(), report), texts


def _load_arrays(path: Path, keys: tuple[str, ...]) -> list[npt.NDArray[Any]]:
    check_file(path)
    try:
        # Objects would run code when loaded. Opened here, since numpy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            names = list(archive.files)
            arrays = [archive[key] for key in keys if key in names]
    except Exception as error:  # a damaged archive fails in any of the layers that unpack it, each in its own way
        advice = "copy or download it again; arrays of Python objects are never loaded"
        raise DataError("not an archive of arrays, or damaged", where=path, found=str(error), advice=advice) from None
    if len(arrays) < len(keys):
        found = ", ".join(names[:12]) or "no array"
        raise DataError("arrays are missing", where=path, expected=" and ".join(keys), found=found)
    return arrays


# --- lists of files -----------------------------------------------------------------------------------------------------------


class _Line(NamedTuple):
    """One line of a list: where it stands, the picture's name, the text."""

    place: str
    name: str
    text: str


def _list_of(path: Path, split: str) -> Path:
    """The tab-separated file of the split, or else its folder of labels."""
    if not path.is_dir():
        check_file(path)
        return path
    names = ("dev", "val", "valid") if split == "dev" else (split,)
    found = [file for name in names if (file := plain_or_compressed(path / f"{name}.tsv"))]
    found = found or [path / name for name in names if any((path / name).glob("*/"))]
    if len(found) == 1:
        return found[0]
    expected = " or ".join(f"{name}.tsv" for name in names) + f"; or a folder {split} with one folder for each label"
    there = ", ".join(file.name for file in found) or "neither" if len(names) > 1 else "no such file"
    raise DataError(f"not one list of pictures for the split {split}", where=path, expected=expected, found=there)


def _from_list(path: Path, split: str, shape: Shape, on_bad: str, memory: int) -> tuple[Pictures, list[str]]:
    report = Report()
    lines = list(_lines_of_folder(path, report) if path.is_dir() else _lines_of_list(path, report))
    firsts: dict[str, _Line] = {}
    for line in lines:
        firsts.setdefault(line.name, line)
    folder = path if path.is_dir() else path.parent
    read, digests = _decode_all(split, list(firsts.values()), folder, shape, on_bad, memory)
    kept = [line for line in lines if line.name in digests]
    for line in lines:
        if line.name not in digests:
            report.note("picture cannot be read, skipped", line.place)
    report.kept = len(kept)
    if not kept:
        raise DataError(f"no picture left in the split {split}", where=path, found="; ".join(report.lines()))
    numbers = {name: number for number, name in enumerate(digests)}
    which = np.array([numbers[line.name] for line in kept], np.int64)
    content = json.dumps([shape, [(digests[line.name], line.text) for line in kept]])
    return Pictures(read, which, shape, sha256(content.encode()).hexdigest(), report), [line.text for line in kept]


def _lines_of_folder(path: Path, report: Report) -> Iterator[_Line]:
    """The files in each folder of a label; hidden ones are not meant."""
    for file in sorted(path.glob("*/*")):
        if not file.name.startswith("."):
            report.read += 1
            yield _Line(str(path), f"{file.parent.name}/{file.name}", file.parent.name)


def _lines_of_list(path: Path, report: Report) -> Iterator[_Line]:
    for line in lines_of(path):
        try:
            name, *texts = line.raw.decode("utf-8").split("\t")
        except UnicodeDecodeError as error:
            advice = "convert the file to UTF-8 (iconv)"
            raise DataError("not UTF-8", where=line.place, found=f"byte {error.start} of the line", advice=advice) from None
        if not texts or not name.strip() or not texts[0].strip():
            found = repr(line.raw[:80])
            raise DataError("not a picture and its text", where=line.place, expected="file name, tab, text", found=found)
        if len(texts) > 1:
            report.note("more than two columns, only the first two read", line.place)
        report.read += 1
        yield _Line(line.place, name, texts[0])


def _decode_all(
    split: str, lines: list[_Line], folder: Path, shape: Shape, on_bad: str, memory: int
) -> tuple[Callable[[int], Picture], dict[str, str]]:
    """Reads every picture once. How to get the n-th of the good ones, and their names in that order with checksums."""
    channels, height, width = shape
    fits = len(lines) * channels * height * width <= memory
    pixels = np.empty((len(lines) if fits else 0, *shape), np.uint8)
    paths: list[Path] = []
    digests: dict[str, str] = {}
    with Progress(len(lines), "pictures", f"reading {split}") as progress:
        for line in lines:
            path = folder / "images" / line.name
            path = path if is_file(path) else folder / line.name
            try:
                picture = read_picture(path, height=height, width=width, channels=channels)
            except DataError as error:
                if on_bad == "error":
                    raise _at(line.place, error) from None
            else:
                if fits:
                    pixels[len(paths)] = picture
                paths.append(path)
                digests[line.name] = sha256_of(path)
            progress.update()
    pixels.flags.writeable = False
    if fits:
        return pixels.__getitem__, digests
    return lambda number: read_picture(paths[number], height=height, width=width, channels=channels), digests


def _at(place: str, error: DataError) -> DataError:
    """The same error with the line that asked for the picture."""
    advice = f"{error.advice}; or leave such lines out with on_bad: skip"
    return DataError(error.what, where=f"{place}: {error.where}", expected=error.expected, found=error.found, advice=advice)


# --- numbers for the model ----------------------------------------------------------------------------------------------------


def normalised(batch: npt.NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> npt.NDArray[np.float32]:
    """(x / 255 - mean) / std: (B, C, H, W). ``mean`` and ``std`` are those of :func:`statistics`, (C,)."""
    pixels = batch.astype(np.float32) / np.float32(255)
    pixels -= np.array(mean, np.float32)[:, None, None]
    pixels /= np.array(std, np.float32)[:, None, None]
    return pixels


def statistics(pictures: Pictures, limit: int = 10_000) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, of pixels from 0 to 1; to be taken from the train split.

    Of at most ``limit`` pictures, always the same ones. The deviation of a channel that never changes is given as 1, so that it
    can be divided by.
    """
    # Not every n-th: on MNIST, where the digits take turns, the mean of every sixth picture is 6 % too low.
    chosen = np.argsort(np.random.Philox(key=0).random_raw(len(pictures)), kind="stable")[:limit]
    sums, squares = np.zeros((2, pictures.shape[0]), np.int64)
    for index in np.sort(chosen).tolist():
        picture = pictures[index].astype(np.int64)
        sums += picture.sum(axis=(1, 2))
        squares += (picture**2).sum(axis=(1, 2))
    pixels = len(chosen) * pictures.shape[1] * pictures.shape[2]
    moments = list(zip(sums.tolist(), squares.tolist(), strict=True))  # Python's whole numbers, which never overflow
    variances = [square * pixels - total**2 for total, square in moments]  # times (255 x pixels) squared
    mean = tuple(total / (255 * pixels) for total, _ in moments)
    return mean, tuple(math.sqrt(variance) / (255 * pixels) if variance else 1.0 for variance in variances)


def shifted(batch: Picture, offsets: npt.NDArray[np.integer[Any]], fill: int = 0) -> Picture:
    """Every picture moved by whole pixels, the border that opens filled: (B, C, H, W). ``offsets`` (B, 2): down, right."""
    height, width = batch.shape[2:]
    down, right = np.clip(offsets[:, 0], -height, height), np.clip(offsets[:, 1], -width, width)
    vertical, horizontal = int(np.abs(down).max(initial=0)), int(np.abs(right).max(initial=0))
    around = ((0, 0), (0, 0), (vertical, vertical), (horizontal, horizontal))
    windows = sliding_window_view(np.pad(batch, around, constant_values=fill), (height, width), axis=(2, 3))
    return windows[np.arange(len(batch)), :, vertical - down, horizontal - right]


def flipped(batch: Picture, chosen: npt.NDArray[np.bool_]) -> Picture:
    """The chosen pictures mirrored: (B, C, H, W). ``chosen`` (B,). Not for texts that tell left from right."""
    return np.where(chosen[:, None, None, None], batch[..., ::-1], batch)
