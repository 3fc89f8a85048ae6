"""What figures were measured on, in a line."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

_CPU_INFO = Path("/proc/cpuinfo")


def machine() -> str:
    """Processor, threads, and the versions of PyTorch and Python."""
    threads = torch.get_num_threads()
    return (
        f"{_processor()}, {threads} thread{'' if threads == 1 else 's'}, PyTorch {torch.__version__}, "
        f"Python {platform.python_version()}"
    )


def _processor() -> str:
    """Its name, where the system tells."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
