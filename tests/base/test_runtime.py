"""What the machine offers, and what becomes of "auto"."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from pellucid.base import runtime  # noqa: E402
from pellucid.base.config import RuntimeConfig  # noqa: E402
from pellucid.base.errors import UsageError  # noqa: E402

CPU = RuntimeConfig(device="cpu")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of which nothing is known; a test adds the files ``cpuinfo`` and ``cpu.max``."""
    monkeypatch.setattr(runtime, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(runtime, "_CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "precision", "why"),
    [
        ("fpu sse avx512_bf16 amx_bf16", "bfloat16", "bfloat16 in hardware: amx_bf16"),
        ("fpu avx512_bf16", "bfloat16", "bfloat16 in hardware: avx512_bf16"),
        ("fpu avx512f avx2", "float32", "no bfloat16 in hardware"),
        ("", "float32", "no bfloat16 in hardware"),
    ],
)
def test_precision_follows_the_processor(machine: Path, flags: str, precision: str, why: str) -> None:
    (machine / "cpuinfo").write_text(f"processor\t: 0\nmodel name\t: X\nflags\t\t: {flags}\nbugs\t: amx_bf16\n")
    settled = runtime.settle(CPU)
    assert settled == RuntimeConfig(precision=precision, device="cpu", threads=6)  # type: ignore[arg-type]
    assert runtime.describe(settled) == f"{precision} on cpu, 6 threads ({why}; 6 cores available)"


def test_a_system_without_cpuinfo(machine: Path) -> None:
    assert runtime.settle(CPU).precision == "float32"


def test_what_is_asked_for_is_kept(machine: Path) -> None:
    asked = RuntimeConfig(precision="bfloat16", device="cpu", threads=1)
    assert runtime.settle(asked) == asked
    assert runtime.describe(asked) == "bfloat16 on cpu, 1 thread (no bfloat16 in hardware; 6 cores available)"


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("max 100000", 6), ("200000 100000", 2), ("250000 100000", 3), ("10000 100000", 1), ("9900000 100000", 6), ("?", 6)],
)
def test_a_container_may_grant_fewer_cores(machine: Path, quota: str, cores: int) -> None:
    (machine / "cpu.max").write_text(quota + "\n")
    assert runtime.available_cores() == cores


def test_a_system_without_affinity(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert runtime.available_cores() == 3


@pytest.mark.parametrize("cuda", [0, 2])
@pytest.mark.parametrize("mps", [False, True])
def test_devices(monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    known = {"cpu": True, "cuda": cuda > 0, "cuda:1": cuda > 1, "cuda:2": False, "cuda:": False, "mps": mps, "gpu": False}
    for name, there in known.items():
        if there:
            settled = runtime.settle(RuntimeConfig(device=name))
            assert settled.device == name
            if name.startswith("cuda"):
                assert settled.precision == "bfloat16"
                assert "bfloat16 in hardware: a GPU" in runtime.describe(settled)
            if name == "mps":
                assert settled.precision == "float32"
        else:
            with pytest.raises(UsageError, match=r"runtime\.device: no such device on this machine") as caught:
                runtime.settle(RuntimeConfig(device=name))
            assert caught.value.exit_code == 2
    best = "cuda" if cuda else "mps" if mps else "cpu"
    assert runtime.settle(RuntimeConfig()).device == best


def test_threads_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        assert runtime.apply(RuntimeConfig(precision="float32", device="cpu", threads=before + 1)) == torch.device("cpu")
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


FAULTS = """
import resource, sys
from pellucid.base.runtime import keep_memory
if sys.argv[1] == "keep":
    assert keep_memory()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"x") * 64_000_000
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told to keep memory")
def test_memory_is_kept_for_reuse() -> None:
    def faults_of_a_second_allocation(way: str) -> int:
        command = [sys.executable, "-c", FAULTS, way]
        return int(subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout)

    # Kept memory is there already. Memory given back comes again page by page: 64 MB are 31 of the largest pages (2 MiB).
    assert faults_of_a_second_allocation("keep") < 10
    assert faults_of_a_second_allocation("do not") > 20


def test_elsewhere_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not runtime.keep_memory()


LARGE_PAGES = pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="the system has no large pages"
)


@LARGE_PAGES
def test_tensors_lie_side_by_side_in_large_pages() -> None:
    kept = torch.nn.Parameter(torch.randn(700, 999))
    narrow, empty, single = torch.arange(-9, 9, dtype=torch.int8), torch.empty(0, 3), torch.tensor(0.5)
    turned = torch.randn(5, 7).T
    tensors = [kept, narrow, empty, single, turned]
    expected = [tensor.clone() for tensor in tensors]

    runtime.into_large_pages(tensors)

    for found, one in zip(tensors, expected, strict=True):
        assert torch.equal(found, one)
    assert kept.requires_grad
    assert kept.data_ptr() % (2 << 20) == 0
    assert 0 <= narrow.data_ptr() - kept.data_ptr() - kept.nbytes < 64


@LARGE_PAGES
def test_tensors_stay_where_they_are_without_room_or_large_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    one = torch.randn(400)
    place = one.data_ptr()
    monkeypatch.setattr(runtime, "free_memory", lambda: 2 * one.nbytes - 1)
    runtime.into_large_pages([one])
    assert one.data_ptr() == place

    def none(*_: object) -> None:
        raise OSError("invalid argument")

    monkeypatch.setattr(runtime, "free_memory", lambda: None)
    monkeypatch.setattr(runtime.mmap, "mmap", none)
    runtime.into_large_pages([one])
    assert one.data_ptr() == place
    monkeypatch.undo()
    runtime.into_large_pages([one])
    assert one.data_ptr() != place
