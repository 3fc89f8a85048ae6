"""What a recorded number was measured on. Only the standard library is imported: peers live in environments of their
own."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path


def describe() -> dict[str, str]:
    """Processor, cores this process may use, memory, system and the load of the last minute, as text."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": platform.platform(),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Version of Python and of each named package installed beside this interpreter."""
    return {"python": platform.python_version(), **{package: metadata.version(package) for package in packages}}


def _processor() -> str:
    """Its name, and those of its matrix instructions that decide the speed of training."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n"):
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    flags = set(fields.get("flags", "").split())
    telling = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    name = fields.get("model name") or platform.machine()
    return f"{name} ({', '.join(telling) or 'no vector instructions known here'})"
