"""The calls that a run was trained by: when, with which command, versions and machine. ``history.jsonl`` in its directory."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pellucid import __version__
from pellucid.base.config import RuntimeConfig
from pellucid.base.files import append
from pellucid.base.machine import versions

HISTORY = "history.jsonl"


def add_call(run: Path, command: Sequence[str], runtime: RuntimeConfig) -> None:
    """Note that a run is trained from now on.

    Args:
        run: its directory.
        command: as it was typed; empty: called from Python.
        runtime: settled.
    """
    machine = {name: asdict(runtime)[name] for name in ("device", "precision", "threads")}
    call = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(command),
        "directory": str(Path.cwd()),
        "versions": {"pellucid": __version__, **versions()},
        "machine": f"{platform.system()} {platform.machine()}",
        **machine,
    }
    append(run / HISTORY, (json.dumps(call, ensure_ascii=False) + "\n").encode())


def calls(run: Path) -> list[dict[str, Any]]:
    """The calls of a run, the first one first; lines that cannot be read are left out: nothing rests on them."""
    try:
        lines = (run / HISTORY).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            call = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(call, dict):
            found.append(call)
    return found
