"""Weights in files: one or several, damaged, unsafe, missing."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pellucid.base.errors import ModelError
from pellucid.exchange.checkpoint import INDEX, WEIGHTS, Part, open_checkpoint, write_checkpoint

A, B, C = torch.arange(6.0).reshape(2, 3), torch.arange(5).bfloat16(), torch.arange(4).half().reshape(4, 1)
FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def shards(directory: Path, **changes: Any) -> Path:
    """Two files and their index; ``changes`` falsify its places, None leaves one out."""
    save_file({"a": A, "b": B}, directory / FIRST)
    save_file({"c": C}, directory / SECOND)
    places = {"a": FIRST, "b": FIRST, "c": SECOND, **changes}
    content = {"metadata": {"total_size": 42}, "weight_map": {name: file for name, file in places.items() if file is not None}}
    (directory / INDEX).write_text(json.dumps(content))
    return directory


def all_of(directory: Path) -> dict[str, Tensor]:
    checkpoint = open_checkpoint(directory)
    return {name: checkpoint.load(name) for name in checkpoint.paths}


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_one_file(tmp_path: Path) -> None:
    save_file({"a": A, "b": B, "c": C}, tmp_path / WEIGHTS)
    same(all_of(tmp_path), {"a": A, "b": B, "c": C})


def test_several_files(tmp_path: Path) -> None:
    same(all_of(shards(tmp_path)), {"a": A, "b": B, "c": C})


def test_outlines_have_shape_and_type_and_no_memory(tmp_path: Path) -> None:
    outline = open_checkpoint(shards(tmp_path)).outline("c")
    assert (outline.shape, outline.dtype, outline.device.type) == ((4, 1), torch.float16, "meta")


def test_pickles_beside_are_not_looked_at(tmp_path: Path) -> None:
    save_file({"a": A}, tmp_path / WEIGHTS)
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    same(all_of(tmp_path), {"a": A})


class Trap:
    """Unpickled, this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "weights.pkl", "model.ckpt"])
def test_pickles_are_never_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Trap(tmp_path / "trapped")))
    with pytest.raises(ModelError, match="can run code") as raised:
        open_checkpoint(tmp_path)
    assert raised.value.found == name
    assert not (tmp_path / "trapped").exists()


def test_a_pickle_under_the_name_of_weights(tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(pickle.dumps(Trap(tmp_path / "trapped")))
    with pytest.raises(ModelError, match="safetensors format"):
        open_checkpoint(tmp_path)
    assert not (tmp_path / "trapped").exists()


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="weights are missing"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "file",
    ["../model.safetensors", "/etc/passwd", "..", "sub/model.safetensors", "model.bin", "", 3, ["x"]],
    ids=str,
)
def test_an_index_names_files_beside_it_and_no_others(tmp_path: Path, file: Any) -> None:
    model = tmp_path / "model"
    (model / "sub").mkdir(parents=True)
    for place in (tmp_path, model / "sub"):
        save_file({"c": C}, place / WEIGHTS)
    with pytest.raises(ModelError, match="not what it should be") as raised:
        open_checkpoint(shards(model, c=file))
    assert raised.value.where == model / INDEX


@pytest.mark.parametrize("name", [WEIGHTS, SECOND])
def test_links_out_of_the_directory(tmp_path: Path, name: str) -> None:
    model = tmp_path / "model"
    model.mkdir()
    shards(model)
    save_file({"c": C}, tmp_path / "outside.safetensors")
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to(tmp_path / "outside.safetensors")
    with pytest.raises(ModelError) as raised:
        open_checkpoint(model)
    assert raised.value.where == model / name
    assert "a link to" in str(raised.value.found)


def test_links_inside_the_directory(tmp_path: Path) -> None:
    shards(tmp_path)
    (tmp_path / SECOND).rename(tmp_path / "blob")
    (tmp_path / SECOND).symlink_to("blob")
    same(all_of(tmp_path), {"a": A, "b": B, "c": C})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"c": FIRST}, "c in model-00001"),
        ({"d": SECOND}, "d in model-00002"),
        ({"b": None}, "b in no file"),
        ({"c": "model-00003-of-00002.safetensors"}, "model-00003"),
    ],
    ids=str,
)
def test_an_index_that_does_not_fit_its_files(tmp_path: Path, changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        open_checkpoint(shards(tmp_path, **changes))


def test_a_weight_in_two_files(tmp_path: Path) -> None:
    shards(tmp_path)
    save_file({"a": A, "c": C}, tmp_path / SECOND)
    with pytest.raises(ModelError, match="a in one file"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"weight_map": []}', '{"weight_map": {}}', '{"weight_map": "x"}', "\xff"]
)
def test_a_damaged_index(tmp_path: Path, content: str) -> None:
    (tmp_path / INDEX).write_bytes(content.encode("latin-1"))
    with pytest.raises(ModelError) as raised:
        open_checkpoint(tmp_path)
    assert raised.value.where == tmp_path / INDEX


def entry(shape: list[int], offsets: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


LIES: dict[str, Any] = {
    "overlap": {"a": entry([3], [0, 12]), "b": entry([2], [8, 16])},
    "twice the same": {"a": entry([4], [0, 16]), "b": entry([4], [0, 16])},
    "beyond the file": {"a": entry([4], [0, 16]), "b": entry([2], [16, 24])},
    "negative": {"a": entry([2], [-8, 0])},
    "backwards": {"a": entry([2], [8, 0])},
    "a hole": {"a": entry([2], [0, 8]), "b": entry([1], [12, 16])},
    "bytes left over": {"a": entry([2], [0, 8])},
    "another shape": {"a": entry([5], [0, 16])},
    "a negative shape": {"a": entry([-4], [0, 16])},
    "more than there can be": {"a": entry([2**40, 2**40], [0, 16])},
    "no type": {"a": entry([4], [0, 16], "F31")},
    "a list": [],
}


def raw(path: Path, header: bytes, length: int | None = None) -> None:
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + bytes(16))


@pytest.mark.parametrize("header", LIES.values(), ids=LIES)
def test_a_header_that_lies(tmp_path: Path, header: Any) -> None:
    raw(tmp_path / WEIGHTS, json.dumps(header).encode())
    with pytest.raises(ModelError, match="safetensors format"):
        open_checkpoint(tmp_path)


def test_the_honest_header(tmp_path: Path) -> None:
    raw(tmp_path / WEIGHTS, json.dumps({"a": entry([3], [0, 12]), "b": entry([1], [12, 16])}).encode())
    same(all_of(tmp_path), {"a": torch.zeros(3), "b": torch.zeros(1)})


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
        lambda path: raw(path, b"{}", 2**62),
        lambda path: raw(path, b'{"a": '),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["empty", "cut", "a header of exabytes", "half a header", "a directory"],
)
def test_a_damaged_file(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    save_file({"a": A}, tmp_path / WEIGHTS)
    damage(tmp_path / WEIGHTS)
    with pytest.raises(ModelError) as raised:
        open_checkpoint(tmp_path)
    assert raised.value.where == tmp_path / WEIGHTS


@pytest.mark.parametrize("tensor", [torch.arange(4), torch.ones(4, dtype=torch.int8), torch.ones(4).to(torch.float8_e4m3fn)])
def test_numbers_of_other_types_are_refused(tmp_path: Path, tensor: Tensor) -> None:
    save_file({"a": tensor}, tmp_path / WEIGHTS)
    checkpoint = open_checkpoint(tmp_path)
    with pytest.raises(ModelError, match="no quantised weights"):
        checkpoint.outline("a")


def test_writing(tmp_path: Path) -> None:
    """Types of all widths, in an order in which the wide ones would begin at odd places; a single number; a turned view."""
    tensors = {
        "half": torch.arange(3).half(),
        "turned": A.t(),
        "one": torch.tensor(2.5),
        "wide": torch.arange(3).double(),
        "b": B,
    }
    parts = [Part({name: tensor.to("meta")}, lambda tensor=tensor: [tensor]) for name, tensor in tensors.items()]
    write_checkpoint(tmp_path / WEIGHTS, parts, "writing")
    same(load_file(tmp_path / WEIGHTS), tensors)
    same(all_of(tmp_path), tensors)
    length = struct.unpack("<Q", (tmp_path / WEIGHTS).read_bytes()[:8])[0]
    assert length % 8 == 0
    header = json.loads((tmp_path / WEIGHTS).read_bytes()[8 : 8 + length])
    assert header.pop("__metadata__") == {"format": "pt"}
    assert all(entry["data_offsets"][0] % tensors[name].itemsize == 0 for name, entry in header.items())


def test_one_part_at_a_time(tmp_path: Path) -> None:
    """A tensor is made only after the one before has gone."""
    alive: list[Any] = []

    def make(name: str) -> list[Tensor]:
        import weakref

        assert [reference for reference in alive if reference() is not None] == []
        tensor = torch.zeros(7)
        alive.append(weakref.ref(tensor))
        return [tensor]

    parts = [Part({name: torch.zeros(7, device="meta")}, lambda name=name: make(name)) for name in "abc"]
    write_checkpoint(tmp_path / WEIGHTS, parts, "writing")
    assert len(alive) == 3
