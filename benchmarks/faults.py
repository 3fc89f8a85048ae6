"""Runs that are hurt on purpose: real processes, killed, stopped, starved of disk, and what their directories hold afterwards.

Every run is a process of its own, forked from one that has imported everything, and calls the command line as a user would.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import io
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from pellucid.base import files
from pellucid.base.config import CheckpointConfig, ModelConfig, RunConfig, StackConfig
from pellucid.base.recipe import to_yaml
from pellucid.cli.main import main
from pellucid.data import store
from pellucid.tasks.train import train
from pellucid.tasks.translation import Translation
from pellucid.training import checkpoints, loop, record
from tests.conftest import config_for, write_corpus

Prepare = Callable[[], None]
STEPS = 9
TAKEN = "examples: "


def nothing() -> None:
    """Hurts nobody."""


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it said."""

    code: int
    said: str
    orphans: bool  # whether processes that it started still lived
    step: int  # the last one that it began; 0: none


class Runs:
    """Runs of one tiny recipe: dropout, accumulation, a moving average, averaged checkpoints, and a save every three steps.

    Args:
        directory: for the corpus, the recipe and all runs.
        change: makes the configuration another one.
        warm: train once in this process.
    """

    def __init__(
        self, directory: Path, change: Callable[[RunConfig], RunConfig] = lambda config: config, *, warm: bool = True
    ) -> None:
        self.directory, self.heard = directory, dict[int, int]()
        config = config_for(write_corpus(directory / "corpus"))
        stack = StackConfig(1, 2, 16)
        config = replace(
            config,
            model=ModelConfig(d_model=8, encoder=stack, decoder=stack, dropout=0.1, max_length=32),
            training=replace(config.training, steps=STEPS, log_every=2, validate_every=4, validate_sentences=1, ema=0.5),
            checkpoints=CheckpointConfig(every=3, average=2),
        )
        self.config = change(config)
        self.recipe = directory / "recipe.yaml"
        self.recipe.write_text(to_yaml(self.config))
        if warm:  # so that everything is imported before the first fork
            with without_pictures():
                train(self.config, directory / "warm")

    def start(self, run: Path, hurt: Prepare = nothing) -> int:
        """Begin training in a process of its own; gives its number. ``hurt`` is called in it first."""
        heard, told = os.pipe()  # no file: the disk and the size of files may be what is hurt
        process = os.fork()
        if process == 0:
            code: Any = 1
            try:
                os.setsid()
                for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
                    signal.signal(number, handler)
                sys.stdout = sys.stderr = os.fdopen(told, "w", buffering=1)
                log_examples(told)
                hurt()
                with without_pictures():
                    main(["train", str(self.recipe), "--out", str(run)])
            except SystemExit as leaving:
                code = leaving.code
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(told)
        self.heard[process] = heard
        return process

    def end(self, process: int, run: Path) -> Ended:
        """Wait for a process; the examples that it took are added to those noted beside the run."""
        with os.fdopen(self.heard.pop(process)) as pipe:
            lines = pipe.readlines()
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        orphans = True
        try:
            os.killpg(process, 0)
        except ProcessLookupError:
            orphans = False
        taken = [line.removeprefix(TAKEN) for line in lines if line.startswith(TAKEN)]
        with run.with_suffix(".examples").open("a") as file:
            file.writelines(["begins\n", *taken])
        steps = [int(line.split()[0]) for line in taken]
        said = "".join(line for line in lines if not line.startswith(TAKEN))
        return Ended(code, said, orphans, steps[-1] if steps else 0)

    def train(self, run: Path, hurt: Prepare = nothing) -> Ended:
        """Train to the end, or to whatever ``hurt`` makes happen."""
        return self.end(self.start(run, hurt), run)

    def whole(self) -> dict[str, str]:
        """What a run that nothing interrupts leaves."""
        run = self.directory / "whole"
        ended = self.train(run)
        if ended.code != 0:
            raise RuntimeError(ended.said)
        return outcome(run)


@contextmanager
def without_pictures() -> Iterator[None]:
    """Drawing the curves would take longer than these runs."""
    have, record.have_matplotlib = record.have_matplotlib, lambda: False
    try:
        yield
    finally:
        record.have_matplotlib = have


def log_examples(pipe: int) -> None:
    """Have the loop tell the step and the examples of every batch that it takes."""
    take, write = loop.Trainer._next_examples, os.write

    def taking(self: loop.Trainer) -> Any:
        numbers = take(self)
        write(pipe, f"{TAKEN}{self.progress.step} {numbers.tolist()}\n".encode())
        return numbers

    loop.Trainer._next_examples = taking  # type: ignore[method-assign]


def outcome(run: Path, notes: Path | None = None) -> dict[str, str]:
    """Checksums of weights, moments, averages and model, the position, and the examples of every step.

    Args:
        run: its directory.
        notes: where the examples were noted; by default beside the run.
    """
    found = {}
    for path in sorted([*run.glob("checkpoints/**/*.safetensors"), *run.glob("model/*.safetensors")]):
        found[path.relative_to(run).as_posix()] = files.sha256_of(path)
    for path in sorted(run.glob("checkpoints/step-*/progress.json")):
        position = json.loads(path.read_text())
        position.pop("seconds")
        found[path.relative_to(run).as_posix()] = json.dumps(position, sort_keys=True)
    steps: dict[str, list[str]] = {}
    fresh = False
    for line in (notes or run.with_suffix(".examples")).read_text().splitlines():
        step, _, numbers = line.partition(" ")
        if step == "begins":
            fresh = True
            continue
        if fresh:  # what an earlier process did from this step on was lost with it
            steps = {name: taken for name, taken in steps.items() if int(name) < int(step)}
            fresh = False
        steps.setdefault(step, []).append(numbers)
    found["examples"] = sha256(json.dumps(steps).encode()).hexdigest()
    found["steps"] = str(len(steps))
    return found


def left_aside(run: Path) -> list[str]:
    """What is there only half."""
    return sorted(path.name for path in run.rglob(".*") if path.name != files.LOCK)


# Kills from outside


@dataclass
class Kills:
    """What became of a number of kills."""

    kills: int = 0
    in_a_save: int = 0
    runs: int = 0
    equal: int = 0


def kill_often(runs: Runs, expected: dict[str, str], kills: int, seed: int, seconds: float) -> Kills:
    """Kill runs at random times, and every third time as soon as a save is seen, until all have ended; compare each.

    Args:
        runs: to make them.
        expected: :func:`outcome` of a run never killed.
        kills: how many in all.
        seed: of the times.
        seconds: what a run takes: the latest time of a kill.
    """
    chooser, count = random.Random(seed), Kills()
    while count.kills < kills:
        run = runs.directory / f"killed-{count.runs}"
        count.runs += 1
        while True:
            process = runs.start(run)
            if count.kills < kills:
                _wait_and_kill(process, run, 0.0 if count.kills % 3 == 2 else chooser.uniform(0.0, seconds))
            ended = runs.end(process, run)
            if ended.code == 0:
                break
            if ended.code != -signal.SIGKILL:
                raise RuntimeError(ended.said)
            count.kills += 1
            count.in_a_save += any(".step-" in name for name in left_aside(run))
        count.equal += outcome(run) == expected
    return count


def _wait_and_kill(process: int, run: Path, seconds: float) -> None:
    """Kill after some time; 0: when a save has begun. A process that has ended meanwhile is left to the caller."""
    deadline = time.monotonic() + (seconds or 600)
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        if not seconds and any((run / "checkpoints").glob(".step-*.tmp-*")):
            break
        time.sleep(0.001)
    os.kill(process, signal.SIGKILL)


# What a process does to itself


def at_step(step: int, action: Prepare) -> None:
    """Call ``action`` when a step begins."""
    take = loop.Trainer._step

    def stepping(self: loop.Trainer, bar: Any) -> None:
        if self.progress.step == step - 1:
            action()
        take(self, bar)

    loop.Trainer._step = stepping  # type: ignore[method-assign]


def at_validation(action: Prepare) -> None:
    """Call ``action`` when a validation begins."""
    validate = Translation.validate

    def validating(self: Translation, *arguments: Any, **named: Any) -> Any:
        action()
        return validate(self, *arguments, **named)

    Translation.validate = validating  # type: ignore[method-assign]


def at_preparation(action: Prepare) -> None:
    """Call ``action`` when the first examples have been read."""
    chunks = store._chunks

    def chunking(records: Any) -> Any:
        for chunk in chunks(records):
            action()
            yield chunk

    store._chunks = chunking


def at_save(action: Prepare) -> None:
    """Call ``action`` between weights and moments of every checkpoint."""
    save = checkpoints.save_file

    def saving(tensors: Any, path: Path) -> None:
        if path.name.startswith("optimizer"):
            action()
        save(tensors, path)

    checkpoints.save_file = saving


PLACES: dict[str, Callable[[Prepare], None]] = {
    "step": lambda action: at_step(5, action),
    "validation": at_validation,
    "preparation": at_preparation,
    "save": at_save,
}


def stop_in(place: str, number: signal.Signals, times: int = 1) -> Prepare:
    """The process gets a signal, so many times, when it first comes to one of :data:`PLACES`."""
    left = [times]

    def sending() -> None:
        while left[0]:
            left[0] -= 1
            os.kill(os.getpid(), number)

    return lambda: PLACES[place](sending)


def die() -> None:
    """As the kernel has it when memory is short, or the power fails."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_in_step(step: int) -> Prepare:
    """The process is killed when a step begins."""
    return lambda: at_step(step, die)


def poison(step: int, value: float) -> Prepare:
    """The first loss of a step is multiplied by ``value``."""

    def hurt() -> None:
        loss, due = Translation.loss, [False]

        def losing(self: Translation, model: Any, batch: Any) -> Any:
            factor = value if due[0] else 1.0
            due[0] = False
            return loss(self, model, batch) * factor

        at_step(step, lambda: due.__setitem__(0, True))
        Translation.loss = losing  # type: ignore[method-assign]

    return hurt


# Ways to restore wrongly: each must be noticed by the comparison


def another_seed() -> None:
    """Dropout of another seed."""
    seed = loop.seed_step
    loop.seed_step = lambda number, step, *more: seed(number + 1, step, *more)


def another_position() -> None:
    """The epoch from its beginning."""

    def resuming(self: loop.Trainer) -> None:
        resume(self)
        self.progress.batch = 0

    resume, loop.Trainer._resume = loop.Trainer._resume, resuming  # type: ignore[method-assign]


def another_schedule() -> None:
    """Every step takes the learning rate of the next one."""
    rate = loop.learning_rate
    loop.learning_rate = lambda step, *arguments, **named: rate(step + 1, *arguments, **named)


def no_moments() -> None:
    """The optimizer begins anew."""
    loop.restore_moments = lambda *arguments: None


WRONG: dict[str, Prepare] = {
    "seed": another_seed,
    "position": another_position,
    "schedule": another_schedule,
    "moments": no_moments,
}


# The disk


def _writes(mode: str) -> bool:
    return any(letter in mode for letter in "wax+")


def count_operations(act: Callable[[str], None]) -> None:
    """Call ``act`` with its name before every operation by which a run changes the disk."""

    def counted(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def operation(*arguments: Any, **named: Any) -> Any:
            act(name)
            return original(*arguments, **named)

        return operation

    def opening(path: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if _writes(mode):
            act("open")
        return original_open(path, mode, *arguments, **named)

    original_open = builtins.open
    builtins.open = io.open = opening  # type: ignore[assignment]
    for name in ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "truncate", "ftruncate", "write"):
        setattr(os, name, counted(name, getattr(os, name)))
    files._exchange = counted("exchange", files._exchange)
    checkpoints.save_file = counted("save_file", checkpoints.save_file)


def die_at(number: int) -> Prepare:
    """The process is killed before its operation of this number."""
    left = [number]

    def act(name: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            die()

    return lambda: count_operations(act)


def fill_disk_at(number: int, log: Path) -> Prepare:
    """From the write of this number on the disk takes nothing more; half of what is written then still arrives."""
    count = [0]

    def full() -> bool:
        count[0] += 1
        if count[0] >= number:
            log.write_bytes(b"full") if not log.exists() else None
        return count[0] >= number

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            if full():
                super().write(bytes(data)[: len(data) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    original_open, save = builtins.open, checkpoints.save_file

    def opening(path: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **named: Any) -> Any:
        if not _writes(mode) or path == log:
            return original_open(path, mode, buffering, *arguments, **named)
        raw = io.BufferedWriter(Full(path, mode.replace("b", "").replace("t", "")))
        if "b" in mode:
            return raw
        return io.TextIOWrapper(raw, encoding=named.get("encoding"), newline=named.get("newline"))

    def saving(tensors: Any, path: Path) -> None:
        save(tensors, path)
        if full():
            os.truncate(path, path.stat().st_size // 2)
            raise RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    def hurt() -> None:
        builtins.open = io.open = opening  # type: ignore[assignment]
        checkpoints.save_file = saving

    return hurt


def limit_files(size: int) -> Prepare:
    """No file may become larger: what the system itself then says is not by our hand."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def without_privileges() -> None:
    """What an administrator may do is given up for files: the system then minds who may write."""
    "".encode("utf-8-sig")  # imported now: the libraries themselves may lie where only an administrator reads
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.setfsgid(65534)
        libc.setfsuid(65534)


def limit_memory(more: int) -> Prepare:
    """The process may have this many bytes more than it has now."""

    def hurt() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        size = pages * os.sysconf("SC_PAGE_SIZE") + more
        resource.setrlimit(resource.RLIMIT_AS, (size, size))

    return hurt


def whole_checkpoints(run: Path) -> list[str]:
    """The checkpoints that are there, each compared with its manifest; raises when one is damaged."""
    found = sorted((run / "checkpoints").glob("step-*"))
    for path in found:
        files.verify_directory(path)
    return [path.name for path in found]


def remove(run: Path) -> None:
    """A run and what was noted beside it."""
    with suppress(FileNotFoundError):
        files._remove(run)
    run.with_suffix(".examples").unlink(missing_ok=True)
