"""What a piece of work costs: seconds, and memory at its peak."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

Work = Callable[[], object]


def clock_in_words() -> str:
    """What :func:`seconds` counts, for the set-up of a report."""
    if torch.get_num_threads() == 1:
        return "Seconds of processor time on one thread, so that other work on the machine counts little"
    return f"Seconds on the clock, with {torch.get_num_threads()} threads"


def seconds(contenders: Mapping[str, Work], *, rounds: int, least: float = 0.02) -> dict[str, list[float]]:
    """Seconds of each piece of work, one number a round. The contenders take turns, so that a slow moment meets them all.

    Args:
        contenders: by name.
        rounds: numbers wanted.
        least: seconds that one measurement lasts at least, by repeating the work.
    """
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    repeats = {}
    for name, work in contenders.items():
        work()  # memory is taken and code is made in a first run
        begun = clock()
        work()
        repeats[name] = max(1, round(least / max(clock() - begun, 1e-9)))
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            begun = clock()
            for _ in range(repeats[name]):
                work()
            found[name].append(max(clock() - begun, 1e-9) / repeats[name])
    return found


def peak_bytes(work: Work) -> int:
    """Most bytes that tensors held at once during the work, beyond what they held before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        work()
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "trace.json"
        watched.export_chrome_trace(str(file))
        events = json.loads(file.read_text(encoding="utf-8"))["traceEvents"]
    changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
    held = peak = 0
    for _, change in sorted(changes, key=lambda each: each[0]):
        held += change
        peak = max(peak, held)
    return peak


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Round by round."""
    return [first / second for first, second in zip(above, below, strict=True)]
