"""What lies before a run: memory, disk and time, estimated and said, with the setting to change where there is too little."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from pellucid.base import machine
from pellucid.base.config import RunConfig
from pellucid.base.errors import MemoryLimitError
from pellucid.base.machine import in_bytes, in_time
from pellucid.base.progress import say
from pellucid.base.sense import odd_settings
from pellucid.training.memory import Memory

ENOUGH = (
    (10, 5.0),
    (3, 60.0),
)  # steps that are timed before a guess and seconds that they take, at least, for either of the two
WORTH_SAYING = 60.0  # seconds; the progress bar alone will do for less


def look_ahead(config: RunConfig, memory: Memory, on_disk: int, batches: int, directory: Path) -> None:
    """Say what a run will take, and warn of what it will run out of.

    Args:
        config: of the run, settled.
        memory: that it needs on this process.
        on_disk: bytes of its checkpoints.
        batches: of an epoch.
        directory: of the run.
    """
    steps, accumulate = config.training.steps, config.training.accumulate
    say(f"{steps:,} steps are {steps * accumulate / batches:.3g} times through the training data")
    say(f"memory (an estimate): {memory.in_words()}")
    free, room = free_memory(config.runtime.device), shutil.disk_usage(directory).free
    warnings = [*odd_settings(config), short_of_memory(config, memory, free), short_of_disk(config, on_disk, room)]
    for line in filter(None, warnings):
        say(f"warning: {line}")


def free_memory(device: str) -> int | None:
    """Bytes that are free on a device; ``None``: not known."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    return machine.free_memory()


def short_of_memory(config: RunConfig, memory: Memory, free: int | None) -> str | None:
    """A line where the estimate is above what is free: which setting to change, and to what."""
    if free is None or memory.total <= free:
        return None
    left = free - (memory.total - memory.activations)
    tokens = int(config.training.batch_tokens * left / max(memory.activations, 1))
    if tokens >= config.data.max_length:
        pieces = -(-config.training.batch_tokens // tokens)
        to = config.training.batch_tokens // pieces
        key = f"training.batch_tokens: set it to {to:,} and training.accumulate to {config.training.accumulate * pieces}"
        advice = f"{key}: the steps stay the same"
    else:
        advice = "model: take fewer layers, a smaller d_model or a smaller text.vocabulary; the weights alone are too many"
    return f"{advice} ({in_bytes(memory.total)} are needed, {in_bytes(free)} are free on {config.runtime.device})"


def short_of_disk(config: RunConfig, needed: int, free: int) -> str | None:
    """A line where the checkpoints will not fit on the disk."""
    if needed <= free:
        return None
    kept = config.checkpoints
    key, value = max((("keep", 3 * kept.keep), ("average", kept.average)), key=lambda pair: pair[1])
    if kept.keep_every and config.training.steps // kept.keep_every > value:
        key = "keep_every"
    change = "raise it or set it to 0" if key == "keep_every" else "lower it, or choose another disk with --out"
    needs = f"{in_bytes(needed)} of checkpoints, {in_bytes(free)} are free"
    return f"checkpoints.{key}: the disk has too little room ({needs}); {change}"


class Forecast:
    """Tells once, after the first steps of a call, how long the rest will take. The very first is slower and does not count.

    Args:
        steps: that are before the run.
    """

    def __init__(self, steps: int) -> None:
        self.left = steps
        self._timed, self._seconds, self._told = -1, 0.0, False

    def after(self, seconds: float) -> str | None:
        """Count a step; gives the line to say, when its time has come and the rest is long enough to be worth it."""
        self.left -= 1
        self._timed += 1
        self._seconds += seconds if self._timed else 0.0
        if self._told or not any(self._timed >= steps and self._seconds >= long for steps, long in ENOUGH):
            return None
        self._told = True
        each = self._seconds / self._timed
        if each * self.left < WORTH_SAYING:
            return None
        rest = f"{self.left:,} steps of {each:.3g} s"
        return (
            f"about {in_time(each * self.left)} to go: {rest}, validations not counted (an estimate from {self._timed} steps)"
        )


@contextmanager
def memory_explained(config: RunConfig) -> Iterator[None]:
    """Turn what the allocators raise when memory runs out into advice on the setting to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)):
            raise
        raise MemoryLimitError(
            "a batch does not fit into memory",
            where="training.batch_tokens",
            found=config.training.batch_tokens,
            advice="halve training.batch_tokens and double training.accumulate: the steps stay the same",
        ) from error
