"""The machine: which device, precision and number of threads a run uses, and memory that is kept for reuse."""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import math
import mmap
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.base.config import Precision, RuntimeConfig
from pellucid.base.errors import UsageError
from pellucid.base.machine import free_memory

if TYPE_CHECKING:
    import torch

_CPU_INFO = Path("/proc/cpuinfo")
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds granted, and in how many: "200000 100000" or "max 100000"
_LINE, _LARGE_PAGE = 64, 2 << 20  # bytes of a line of the caches, and of a large page
_BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16")  # best first


def settle(config: RuntimeConfig) -> RuntimeConfig:
    """Replace every "auto" by what this machine has. Done once, when a run starts; the result is kept when it goes on.

    Raises:
        UsageError: when the device asked for is not there.
    """
    device = _find_device() if config.device == "auto" else _check_device(config.device)
    precision: Precision = config.precision
    if precision == "auto":
        precision = "bfloat16" if _bfloat16_hardware(device) else "float32"
    return dataclasses.replace(config, device=device, precision=precision, threads=config.threads or available_cores())


def describe(config: RuntimeConfig) -> str:
    """One line about a settled configuration: what was chosen and why."""
    hardware = _bfloat16_hardware(config.device)
    why = f"bfloat16 in hardware: {hardware}" if hardware else "no bfloat16 in hardware"
    threads = f"{config.threads} thread" + ("" if config.threads == 1 else "s")
    return f"{config.precision} on {config.device}, {threads} ({why}; {available_cores()} cores available)"


def apply(config: RuntimeConfig) -> torch.device:
    """Set PyTorch's number of threads; returns the device of a settled configuration.

    Of several processes that ``torchrun`` started on this machine each takes its part of the threads.
    """
    import torch

    torch.set_num_threads(max(1, config.threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    return torch.device(config.device)


def available_cores() -> int:
    """Cores that this process may use: a batch system or a container may allow fewer than the machine has."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(allowed, _quota() or allowed))


def _quota() -> int | None:
    """Whole cores' worth of time that the control group grants (``docker run --cpus``); None: no limit."""
    try:
        granted, period = _CPU_QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return None
    return None if granted == "max" else math.ceil(int(granted) / int(period))


def user_cache(name: str) -> Path:
    """The user's own folder for what can be made again (``$XDG_CACHE_HOME`` or ``~/.cache``); it may not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pellucid" / name


def keep_memory() -> bool:
    """Make glibc keep freed memory and use it again. Returns whether it could; elsewhere nothing is changed.

    Training allocates and frees the same large tensors in every step. By default glibc takes each from the system with
    mmap and gives it back at once, and the system must then clear every page anew: on virtual machines a large part of a
    step. So large blocks come from the heap (M_MMAP_MAX = 0, since M_MMAP_THRESHOLD cannot be raised above 32 MiB), and
    the heap never shrinks (M_TRIM_THRESHOLD = -1).
    """
    # oneDNN keeps the code that it makes for each shape of a bfloat16 product, 1,024 of them by default. Batches come in many
    # shapes: a run of a small model would hold gigabytes of code, nearly all of which is made anew before it is used again.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    trim_threshold, mmap_max = -1, -4  # the numbers of malloc.h
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, -1))


def into_large_pages(tensors: Iterable[torch.Tensor]) -> None:
    """Move tensors on the CPU, which may share nothing, side by side into memory of large pages, where the system has them.

    A step of one sentence reads all weights and does little else. From pages of 2 MiB they come faster than from those of
    4 KiB that a mapped file has. A mapped file needs no memory of its own: what would take more than half of what is free
    stays there.
    """
    import torch

    if not hasattr(mmap, "MADV_HUGEPAGE"):  # Linux
        return
    moved = list(tensors)
    places = list(itertools.accumulate((-(-one.nbytes // _LINE) * _LINE for one in moved), initial=0))
    free = free_memory()
    if free is not None and places[-1] > free / 2:
        return
    try:
        memory = mmap.mmap(-1, places[-1] + _LARGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # the system has none
        return
    whole = torch.frombuffer(memory, dtype=torch.uint8)
    whole = whole[-whole.data_ptr() % _LARGE_PAGE :]
    for one, at in zip(moved, places, strict=False):
        one.data = whole[at : at + one.nbytes].view(one.dtype).view(one.shape).copy_(one)


def _find_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _check_device(name: str) -> str:
    """The name, if PyTorch knows such a device and this machine has it."""
    if name == "cpu":
        return name
    import torch

    known = ["auto", "cpu"]
    if torch.cuda.is_available():
        known += ["cuda", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        known.append("mps")
    if name in known:
        return name
    expected = "one of " + ", ".join(known)
    raise UsageError("no such device on this machine", where="runtime.device", expected=expected, found=name)


def _bfloat16_hardware(device: str) -> str | None:
    """What computes bfloat16 on the device faster than float32, or None."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device) if torch.cuda.is_bf16_supported(including_emulation=False) else None
    if device != "cpu":
        return None
    flags = _processor_flags()
    return next((flag for flag in _BFLOAT16_FLAGS if flag in flags), None)


def _processor_flags() -> frozenset[str]:
    """The processor's instruction sets as Linux names them; empty on other systems."""
    try:
        text = _CPU_INFO.read_text(encoding="ascii", errors="replace")
    except OSError:
        return frozenset()
    for line in text.split("\n"):
        if line.startswith("flags"):
            return frozenset(line.partition(":")[2].split())
    return frozenset()
