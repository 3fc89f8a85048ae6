"""What this machine has and what it lacks: versions, room, optional parts with what each would be for. No torch."""

from __future__ import annotations

import platform
import shutil
import webbrowser
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("torch", "numpy", "tokenizers", "safetensors", "sacrebleu")

_MEMORY = Path("/proc/meminfo")
_GROUP = Path("/sys/fs/cgroup")  # memory.max and memory.current: what a container may take, and has
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


class Extra(NamedTuple):
    """An optional part of the installation: ``pip install "pellucid[NAME]"``."""

    name: str
    modules: tuple[str, ...]  # that it brings
    purpose: str


EXTRAS = (
    Extra("plots", ("matplotlib",), "curves.png of a run, pellucid plot, figures of pellucid compare"),
    Extra("pictures", ("PIL",), "reading and writing picture files"),
    Extra("hub", ("huggingface_hub",), "pellucid import NAME: public models fetched by name"),
    Extra("ctranslate2", ("ctranslate2",), "pellucid export --to ctranslate2"),
    Extra("onnx", ("onnx", "onnxruntime", "onnxscript"), "pellucid export --to onnx"),
)


def versions() -> dict[str, str]:
    """Of Python and of the packages that this one's numbers depend on, by name."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


def missing() -> list[str]:
    """A line for each part that is not there: what it would be for, and how to get it."""
    lines = [
        f'{extra.name}: {extra.purpose} (pip install "pellucid[{extra.name}]")'
        for extra in EXTRAS
        if not all(find_spec(module) for module in extra.modules)
    ]
    if not any(map(shutil.which, ("c++", "g++", "clang++"))):
        lines.append("C++ compiler: training.compile and --compile (apt-get install g++, or what your system has)")
    if not _has_browser():
        advice = "pellucid look prints an address to open elsewhere; pellucid explain --html writes a file"
        lines.append(f"browser: the pages of pellucid look ({advice})")
    return lines


def _has_browser() -> bool:
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def free_memory() -> int | None:
    """Bytes that processes may still take, of the machine and of the control group they are in; ``None``: not known."""
    limits = [number for number in (_available(), _left_in_group()) if number is not None]
    return min(limits, default=None)


def _available() -> int | None:
    try:
        text = _MEMORY.read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    lines = [line.split() for line in text.splitlines() if line.startswith("MemAvailable:")]
    return int(lines[0][1]) * 1024 if lines else None


def _left_in_group() -> int | None:
    try:
        most, taken = ((_GROUP / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return None
    return None if most == "max" else max(0, int(most) - int(taken))


def in_bytes(count: float) -> str:
    """``512 B``, ``7.6 MB``, ``1.2 GB``: units of a thousand."""
    for unit in _UNITS:
        if count < 999.5 or unit == _UNITS[-1]:
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or count >= 99.95 else f"{count:.1f} {unit}"


def in_time(seconds: float) -> str:
    """``40 s``, ``25 min``, ``3 h 20 min``, ``2 days 4 h``: as exact as an estimate is."""
    if seconds < 90:
        return f"{round(seconds)} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days {hours % 24} h"
