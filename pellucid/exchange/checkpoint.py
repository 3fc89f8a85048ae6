"""Weights in safetensors files: found and checked, read where they lie, written one after the other.

A file is mapped into memory and a tensor is read when it is asked for, so that converting a model of any size takes the
memory of its largest tensors. Nothing but safetensors is read: other formats can run code.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pellucid.base.errors import ModelError
from pellucid.base.files import write_atomically
from pellucid.base.progress import Progress
from pellucid.exchange.directory import damaged, leads_out, read_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
OTHERS = (".bin", ".pt", ".pth", ".pkl", ".ckpt", ".h5", ".msgpack")  # weights that are never read
_TYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_CODES = {dtype: code for code, dtype in _TYPES.items()}
_CHUNK = 1 << 24  # bytes written at once


class Checkpoint:
    """The weights of a directory, in one file or several.

    Args:
        paths: the files.

    Raises:
        ModelError: a file is damaged, or two of them have a weight of the same name.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.where: Path = paths[0]
        self._files: dict[str, Any] = {}  # name of a weight -> the open file that has it
        self._paths: dict[str, Path] = {}
        for path in paths:
            file = _opened(path)
            for name in list(file.keys()):  # an open file is no dictionary
                if name in self._files:
                    raise damaged(path, f"{name} in one file", f"it is in {self._paths[name].name} as well")
                self._files[name], self._paths[name] = file, path

    @property
    def paths(self) -> dict[str, Path]:
        """The file of each weight, by the weight's name."""
        return dict(self._paths)

    def outline(self, name: str) -> Tensor:
        """A tensor without memory, of the shape and type of this weight.

        Raises:
            ModelError: its numbers are whole or of fewer than 16 bits.
        """
        part = self._files[name].get_slice(name)
        if part.get_dtype() not in _TYPES:
            where, found = f"{self._paths[name]}: {name}", part.get_dtype()
            advice = "pellucid reads no quantised weights: take the model as it was before"
            raise ModelError("a weight is not of a type that is read", where=where, expected=_LIST, found=found, advice=advice)
        return torch.empty(part.get_shape(), dtype=_TYPES[part.get_dtype()], device="meta")

    def load(self, name: str) -> Tensor:
        """The weight, where it lies in its file."""
        return self._files[name].get_tensor(name)


_LIST = ", ".join(_TYPES)


def _opened(path: Path) -> Any:
    """The open file. The library itself sees that its header describes the file, all of it, and no byte twice."""
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise damaged(path, "weights in the safetensors format", error) from None


def open_checkpoint(directory: Path) -> Checkpoint:
    """The weights of a directory: ``model.safetensors``, or the files that ``model.safetensors.index.json`` names.

    Raises:
        ModelError: there are none, only others that are never read, or a file is missing, damaged or outside the directory.
    """
    if _is_there(directory / WEIGHTS):
        return Checkpoint([_inside(directory, WEIGHTS)])
    if not _is_there(directory / INDEX):
        entries = sorted(directory.iterdir()) if directory.is_dir() else []
        others = ", ".join(entry.name for entry in entries if entry.suffix in OTHERS)
        advice = "weights in other formats can run code and are never read: have them converted to safetensors"
        what, expected = "the weights are missing", f"{WEIGHTS}, or {INDEX}"
        raise ModelError(what, where=directory, expected=expected, found=others or None, advice=advice if others else None)
    placed = _read_index(directory)
    checkpoint = Checkpoint([_inside(directory, file) for file in sorted(set(placed.values()))])
    found = {name: path.name for name, path in checkpoint.paths.items()}
    for name in sorted(placed.keys() | found.keys()):
        if placed.get(name) != found.get(name):
            expected = f"{name} in {placed.get(name, 'no file')}"
            raise damaged(directory / INDEX, expected, f"it is in {found.get(name, 'none of the files')}")
    return checkpoint


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _read_index(directory: Path) -> dict[str, str]:
    """Name of a weight -> name of its file, which is one of this directory."""
    where = directory / INDEX
    placed = read_json(directory, INDEX).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise damaged(where, "weight_map: a file for each weight", repr(placed)[:60])
    for file in placed.values():
        plain = isinstance(file, str) and Path(file).name == file and file.endswith(".safetensors")
        if not plain:
            raise damaged(where, "names of safetensors files beside it", repr(file))
    return placed


def _inside(directory: Path, name: str) -> Path:
    """The file of that name, which must be there and lie in the directory."""
    path = directory / name
    if not path.resolve().is_relative_to(directory.resolve()):
        raise leads_out(path)
    if not path.is_file():
        raise damaged(path, "a file", "no such file" if not path.exists() else "no file")
    return path


@dataclass(frozen=True)
class Part:
    """Tensors that are made together.

    Args:
        outlines: by name, in their order, of their shape and type and without memory.
        make: makes them.
    """

    outlines: Mapping[str, Tensor]
    make: Callable[[], Sequence[Tensor]]


def write_checkpoint(path: Path, parts: Sequence[Part], label: str) -> None:
    """Write tensors into a safetensors file, each made when its turn comes; with a progress bar called ``label``.

    Raises:
        StorageError: the file cannot be written; nothing of it is left.
    """
    # The widest numbers first: so every tensor begins at a multiple of its numbers' width.
    ordered = sorted(parts, key=lambda part: -max(outline.itemsize for outline in part.outlines.values()))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for part in ordered:
        for name, outline in part.outlines.items():
            begin, end = end, end + outline.nbytes
            header[name] = {"dtype": _CODES[outline.dtype], "shape": list(outline.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    def write(file: BinaryIO) -> None:
        file.write(struct.pack("<Q", len(text)) + text)
        with Progress(end, "bytes", label) as progress:
            for part in ordered:
                _write(file, part, progress)

    write_atomically(path, write)


def _write(file: BinaryIO, part: Part, progress: Progress) -> None:
    for tensor, outline in zip(part.make(), part.outlines.values(), strict=True):
        assert (tensor.shape, tensor.dtype) == (outline.shape, outline.dtype)
        numbers = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
        for begin in range(0, len(numbers), _CHUNK):
            progress.update(file.write(numbers[begin : begin + _CHUNK]))
