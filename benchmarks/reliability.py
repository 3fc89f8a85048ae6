"""Faults that really happen to runs, and what is left: the figures of docs/reliability.md.

    python -m benchmarks.reliability [--only kills,crashes] [--scale 0.1]

Each experiment writes its row into results/reliability.json; the page is made from all rows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

from benchmarks import faults, fuzz, large_store, machine, rank_faults
from benchmarks.faults import Ended, Runs, left_aside, outcome, whole_checkpoints
from pellucid.base.config import CheckpointConfig, OptimizerConfig, RunConfig
from pellucid.training.checkpoints import Checkpoints

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "reliability.json"
PAGE = ROOT / "docs" / "reliability.md"


INTRODUCTION = """# Reliability

<!-- Made by `python -m benchmarks.reliability` from what it measured; changes by hand are lost. -->

What goes wrong with runs is made to go wrong: real processes are killed, stopped and starved, and what is left of them is
compared with a run that nothing disturbed. The runs are tiny, with dropout, accumulated batches, a moving average and averaged
checkpoints. `python -m benchmarks.reliability --only NAME` repeats a row; a few trials of each are among the tests
(`tests/tasks/test_faults.py`), all of them under `pytest -m slow`.
"""

ENDING = """
Beside these, in the tests:

| fault | what holds | test |
|---|---|---|
| crash or refusal at any operation of writing | old or new, never a part | `tests/base/test_files.py` |
| data changed or cut short since the run began | refused, with both counts | `tests/tasks/test_damaged_runs.py` |
| prepared tokens damaged | prepared anew from the same data | `tests/tasks/test_damaged_runs.py` |
| the position or the record of a run damaged | named, with the line | `tests/tasks/test_damaged_runs.py` |
| pickles, lying headers, absurd sizes, endless files | nothing executed, exit code 4 | `tests/cli/test_damaged_models.py` |
| foreign directories with links out of them, wrong indexes, pickles | refused | `tests/exchange/test_checkpoint.py` |
| any bytes as a recipe, any JSON as a configuration | read or refused in words | `tests/base/test_recipe.py` |
| models written by earlier format versions | same logits | `tests/golden/test_golden.py` |

Two thousand megabytes of text were prepared once: [how much was resident](../benchmarks/results/large_store.md).

What is not promised: a second Ctrl-C, a kill and a power cut lose the steps since the last checkpoint (`checkpoints.every`).
A run whose folder `data` was deleted is prepared from whatever the corpus then holds.
"""


@dataclass
class Row:
    """What one experiment found."""

    fault: str
    promise: str
    held: int
    of: int
    seen: str
    failures: list[str]


class Tally:
    """Counts trials, and names those that failed."""

    def __init__(self) -> None:
        self.of, self.failures = 0, list[str]()

    def trial(self, name: str, *wrong: tuple[bool, str]) -> None:
        """One trial; each of ``wrong`` is whether it went wrong, and how."""
        self.of += 1
        ways = [how for bad, how in wrong if bad]
        if ways:
            self.failures.append(f"{name}: {'; '.join(ways)}")

    def row(self, fault: str, promise: str, seen: str = "") -> Row:
        return Row(fault, promise, self.of - len(self.failures), self.of, seen, self.failures[:20])


def kills(directory: Path, scale: float) -> Row:
    """kill -9 from outside."""
    runs = Runs(directory)
    expected = runs.whole()
    began = time.monotonic()
    runs.train(directory / "timed")
    found = faults.kill_often(runs, expected, max(3, int(50 * scale)), seed=1, seconds=time.monotonic() - began)
    seen = f"{found.kills} kills, {found.in_a_save} of them inside the save of a checkpoint, in {found.runs} runs"
    promise = "weights, moments, averages, model and the examples of every step as in a run never killed, bit for bit"
    return Row("kill -9 at random times, then resumed until done", promise, found.equal, found.runs, seen, [])


def two_ranks(directory: Path, scale: float) -> Row:
    """kill -9 of ranks and of their agent."""
    runs = Runs(directory, rank_faults.two_ranks)
    expected, seconds = rank_faults.whole(runs, directory / "whole")
    tally, chooser, by, slowest = Tally(), random.Random(5), list[str](), 0.0
    while tally.of < max(1, int(20 * scale)):
        victims = rank_faults.VICTIMS[tally.of % len(rank_faults.VICTIMS)]
        moment, run = chooser.uniform(0.0, 0.95 * seconds), directory / f"killed-{tally.of}"
        killed = rank_faults.kill_some(runs, run, victims, moment)
        if killed is None:  # it had ended before: another time
            faults.remove(run)
            continue
        again = rank_faults.launch(runs, run).end(300.0)
        alone = {"0", "1"} <= set(victims)
        by, slowest = [*by, killed.named_by], max(slowest, killed.seconds)
        tally.trial(
            f"{' and '.join(victims)} after {moment:.1f} s",
            (killed.ended.orphans or again.orphans, f"a process was left: {killed.ended.said[-600:]}"),
            ("a bug in pellucid" in killed.ended.said, killed.ended.said[-900:]),
            (not (alone or killed.finished or killed.named_by), f"not named: {killed.ended.said[-900:]}"),
            (again.code != 0, f"not resumed: {again.said[-600:]}"),
            (again.code == 0 and rank_faults.outcome_of_ranks(run) != expected, "resumed to something else"),
            (bool(left_aside(run)), f"left: {left_aside(run)}"),
        )
    promise = (
        "all processes leave; the rank that is left, or the agent, names the one that is dead or never came; resumed with two "
        "ranks: weights, moments and examples as in a run never killed, bit for bit"
    )
    named = f"named by the other rank {by.count('rank')} times, by the agent alone {by.count('agent')}"
    seen = f"{named}; all gone after {slowest:.0f} s at most"
    return tally.row("two ranks: kill -9 of one, of one and the agent of `torchrun`, of all, at random times", promise, seen)


def controls(directory: Path, scale: float) -> Row:
    """The comparison can fail."""
    runs = Runs(directory)
    expected, tally = runs.whole(), Tally()
    for name, wrong in faults.WRONG.items():
        run = directory / name
        killed = runs.train(run, faults.die_in_step(8))
        ended = runs.train(run, wrong)
        bad = (killed.code != -signal.SIGKILL or ended.code != 0, ended.said)
        tally.trial(name, bad, (outcome(run) == expected, "not noticed"))
    return tally.row(
        "the same with seed, position, schedule or moments restored wrongly", "the comparison notices each of them"
    )


def signals(directory: Path, scale: float) -> Row:
    """SIGTERM, Ctrl-C once and twice, in every phase."""
    runs = Runs(directory)
    expected, tally = runs.whole(), Tally()
    for place, times in [(place, times) for place in faults.PLACES for times in (0, 1, 2)]:
        number = signal.SIGINT if times else signal.SIGTERM
        run = directory / f"{place}-{times}"
        ended = runs.train(run, faults.stop_in(place, number, max(times, 1)))
        code = 128 + number
        saved = whole_checkpoints(run)
        lost = ended.step - (int(saved[-1][-8:]) if saved else 0)
        again = runs.train(run)
        tally.trial(
            f"{number.name} x {max(times, 1)} in {place}",
            (ended.code != code, f"exit code {ended.code}: {ended.said[-300:]}"),
            ("Traceback" in ended.said, "a traceback"),
            (ended.orphans, "a process was left"),
            (lost > (3 if times == 2 else 0), f"{lost} steps lost"),
            (again.code != 0 or outcome(run) != expected, "resumed to something else"),
            (bool(left_aside(run)), f"left: {left_aside(run)}"),
        )
    promise = (
        "exit code 143 or 130, no step lost (a second Ctrl-C: those since the last checkpoint), "
        "no process left, resumed bit for bit"
    )
    return tally.row("SIGTERM, Ctrl-C once and twice, in a step, a validation, the preparation, a save", promise)


def full_disk(directory: Path, scale: float) -> Row:
    """No space left, from every write on."""
    runs = Runs(directory)
    expected, tally, number = runs.whole(), Tally(), 1
    while True:
        run, log = directory / "full", directory / "log"
        faults.remove(run)
        log.unlink(missing_ok=True)
        ended = runs.train(run, faults.fill_disk_at(number, log))
        if not log.exists():
            break
        _judge_disk(tally, f"write {number}", ended, run)
        again = runs.train(run)
        if again.code != 0 or outcome(run) != expected:
            tally.failures.append(f"write {number}: resumed to something else: {again.said[-200:]}")
        number += max(1, round(1 / scale))
    promise = "exit code 3, the path and the bytes in the message, whole checkpoints, nothing half, resumed bit for bit"
    return tally.row("the disk is full, from the first write on, from the second, ...", promise)


def _judge_disk(tally: Tally, name: str, ended: Ended, run: Path) -> None:
    whole_checkpoints(run)
    tally.trial(
        name,
        (ended.code != 3, f"exit code {ended.code}: {ended.said[-400:]}"),
        (str(run) not in ended.said or "bytes" not in ended.said, f"said: {ended.said[-300:]}"),
        (bool(left_aside(run)), f"left: {left_aside(run)}"),
    )


def file_limit(directory: Path, scale: float) -> Row:
    """The same said by the system itself."""
    runs, tally = Runs(directory), Tally()
    sizes = {path.stat().st_size for path in (directory / "warm").rglob("*") if path.is_file()}
    for size in sorted({0} | {size - 1 for size in sizes if size})[:: max(1, round(1 / scale))]:
        run = directory / f"limit-{size}"
        _judge_disk(tally, f"{size} bytes", runs.train(run, faults.limit_files(size)), run)
    return tally.row(
        "files limited to a size that one of them exceeds (RLIMIT_FSIZE)", "as above, from the system's own refusal"
    )


def read_only(directory: Path, scale: float) -> Row:
    """Directories that may not be written to, by a process without the privileges of an administrator."""
    tally = Tally()
    with tempfile.TemporaryDirectory() as outside:  # that others may enter, unlike the directories of tests
        os.chmod(outside, 0o755)
        runs = Runs(Path(outside))
        for number, name in enumerate((".", "run", "run/checkpoints")):
            run = Path(outside) / str(number) / "run"
            closed = run.parent / name
            closed.mkdir(parents=True)
            for path in (run.parent, run.parent.parent, *([run] if number else [])):
                path.chmod(0o777)
            closed.chmod(0o555)
            ended = runs.train(run, faults.without_privileges)
            tally.trial(
                name,
                (ended.code != 3, f"exit code {ended.code}: {ended.said[-300:]}"),
                (str(run) not in ended.said, f"said: {ended.said[-300:]}"),
                (any(closed.iterdir()) and closed != run.parent, "something was written"),
            )
    return tally.row("a directory that may not be written to", "exit code 3, the path in the message, nothing left")


def damage(directory: Path, scale: float) -> Row:
    """Checkpoints cut short, and bits flipped."""
    runs, tally, chooser = Runs(directory), Tally(), random.Random(3)
    run, copy = directory / "warm", directory / "copy"
    *_, before, newest = sorted((run / "checkpoints").glob("step-*"))
    files = sorted(path for path in newest.iterdir())
    cuts = [(path, int(path.stat().st_size * share)) for path in files for share in (0, 0.01, 0.08, 0.5, 0.99)]
    bits = [(chooser.choice(files), -1) for _ in range(int(200 * scale))]
    for number, (path, kept) in enumerate(cuts + bits):
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run / "checkpoints", copy / "checkpoints")
        damaged = copy / path.relative_to(run)
        content = bytearray(damaged.read_bytes())
        if kept < 0:
            bit = chooser.randrange(8 * len(content))
            content[bit // 8] ^= 1 << bit % 8
        damaged.write_bytes(content if kept < 0 else content[:kept])
        said = StringIO()
        with redirect_stderr(said):
            found = Checkpoints(copy, runs.config.checkpoints, higher_is_better=True).latest()
        used = found.path.name if found else "none"
        tally.trial(
            f"{number} {path.name} {kept}",
            (used != before.name, f"{used} was used"),
            ("warning: this checkpoint can't be used" not in said.getvalue(), "without a warning"),
        )
    promise = "noticed, and the one before is used, with a warning"
    return tally.row(
        "a checkpoint cut to 0, 1, 8, 50 and 99 %, every file; one random bit flipped",
        promise,
        f"{len(cuts)} cuts, {len(bits)} flips",
    )


def readers(directory: Path, scale: float) -> Row:
    """Valid files, changed at random."""
    found = fuzz.fuzz(directory, 300.0 * scale)
    failures = [f"{name}: {failure}" for name, some in found.items() for failure in some.failures]
    tried = sum(some.tried for some in found.values())
    seen = ", ".join(f"{name} {some.tried:,} ({some.refused:,} refused)" for name, some in found.items())
    promise = (
        f"read, or refused by an error of our own, within {fuzz.SECONDS:.0f} s of the processor and {fuzz.MEMORY // 10**9} GB"
    )
    return Row("files of every kind, changed at random", promise, tried - len(failures), tried, seen, failures[:20])


def crashes(directory: Path, scale: float) -> Row:
    """kill -9 before every operation on the disk."""
    runs = Runs(directory)
    expected, tally, number = runs.whole(), Tally(), 1
    while True:
        run = directory / "crashed"
        faults.remove(run)
        ended = runs.train(run, faults.die_at(number))
        if ended.code == 0:
            break
        again = runs.train(run)
        tally.trial(
            f"operation {number}",
            (ended.code != -signal.SIGKILL, ended.said[-300:]),
            (again.code != 0, f"not resumed: {again.said[-300:]}"),
            (again.code == 0 and outcome(run) != expected, "resumed to something else"),
            (bool(left_aside(run)), f"left: {left_aside(run)}"),
        )
        number += max(1, round(1 / scale))
    fault = "kill -9 before each operation of a run that changes the disk (open, write, fsync, rename, exchange, unlink, ...)"
    return tally.row(fault, "resumed, bit for bit; nothing half is left", f"{number - 1} operations")


def not_a_number(directory: Path, scale: float) -> Row:
    """A loss or a gradient that is no number, in the fourth step."""
    runs, tally = Runs(directory), Tally()
    for name, value in (("loss nan", float("nan")), ("loss inf", float("inf"))):
        run = directory / name.replace(" ", "-")
        ended = runs.train(run, faults.poison(4, value))
        tally.trial(
            name,
            (ended.code != 5, f"exit code {ended.code}"),
            ("pair " not in ended.said, "no example named"),
            (whole_checkpoints(run) != ["step-00000003"], "the checkpoint before"),
        )
        lenient = directory / f"{run.name}-lenient"
        skipping = Runs(lenient_directory(lenient), lambda config: _training(config, skip_bad_steps=1))
        ended = skipping.train(lenient / "run", faults.poison(4, value))
        counted = json.loads(max((lenient / "run" / "checkpoints").glob("step-*/progress.json")).read_text())["skipped"]
        tally.trial(f"{name}, one may be left out", (ended.code != 0, ended.said[-300:]), (counted != 1, f"counted {counted}"))
    return tally.row(
        "a loss that is not a number",
        "exit code 5, examples named, weights as before; `training.skip_bad_steps` leaves them out and counts",
    )


def lenient_directory(path: Path) -> Path:
    path.mkdir()
    return path


def _training(config: RunConfig, **changes: Any) -> RunConfig:
    return replace(config, training=replace(config.training, **changes))


def _hot(norm: str, schedule: str, rate: float) -> Callable[[RunConfig], RunConfig]:
    def change(config: RunConfig) -> RunConfig:
        config = replace(config, model=replace(config.model, norm=norm), checkpoints=CheckpointConfig(every=1000))
        optimizer = OptimizerConfig(schedule=schedule, learning_rate=rate, warmup=10)
        return replace(_training(config, steps=60, validate_every=0), optimizer=optimizer)

    return change


def divergence(directory: Path, scale: float) -> Row:
    """A learning rate 1,000 times what the recipe has."""
    tally, steps = Tally(), []
    settings = (("inverse_sqrt", 0.005), ("paper", 1.0), ("constant", 0.005), ("cosine", 0.005))
    for norm, (schedule, rate) in [(norm, pair) for norm in ("post", "pre") for pair in settings]:
        for factor in (1, 1000):
            place = lenient_directory(directory / f"{norm}-{schedule}-{factor}")
            runs = Runs(place, _hot(norm, schedule, rate * factor), warm=False)
            ended = runs.train(place / "run")
            if factor == 1:
                tally.trial(place.name, (ended.code != 0, f"exit code {ended.code}: {ended.said[-300:]}"))
                continue
            steps.append(ended.step)
            wrong = (ended.code != 5 or ended.step > 50, f"exit code {ended.code}, step {ended.step}: {ended.said[-300:]}")
            tally.trial(place.name, wrong, ("learning_rate" not in ended.said, "no advice"))
    fault = "the learning rate of a recipe times 1,000 (and times 1, which must not stop)"
    return tally.row(fault, "exit code 5 within 50 steps, with advice", f"stopped at steps {min(steps)} to {max(steps)}")


def memory(directory: Path, scale: float) -> Row:
    """The process may have 800 MB more than it starts with, and the batch needs gigabytes."""
    tally = Tally()

    def wide(config: RunConfig) -> RunConfig:
        stack = replace(config.model.encoder, d_ff=200_000)
        config = replace(config, model=replace(config.model, encoder=stack, decoder=stack))
        return _training(config, batch_tokens=2000)

    runs = Runs(directory, wide, warm=False)
    run = directory / "run"
    ended = runs.train(run, faults.limit_memory(800_000_000))
    tally.trial(
        "limit",
        (ended.code != 6, f"exit code {ended.code}: {ended.said[-500:]}"),
        ("training.batch_tokens" not in ended.said, ended.said[-300:]),
        (bool(left_aside(run)), "something half is left"),
    )
    return tally.row("memory runs out (RLIMIT_AS)", "exit code 6 before the first step, the setting to change named")


def large_corpora(directory: Path, scale: float) -> Row:
    """Texts and stores larger than the memory that they are given."""
    sizes = [max(1, round(size * scale)) for size in (25, 50, 100)]
    texts, store = large_store.measure(directory, sizes, 20.0 * scale)
    tally, least = Tally(), min(found.peak for found in texts)
    for found in texts:
        grown = found.peak - least > 50_000_000  # half of the largest text
        tally.trial(f"{found.bytes:,} bytes", (found.peak > 2e9, f"{found.peak:,} bytes"), (grown, f"from {least:,} bytes"))
    tally.trial(f"{store.bytes:,} bytes of tokens", (store.peak > 2e9, f"{store.peak:,} bytes resident"))
    peaks = ", ".join(f"{found.peak / 1e6:.0f}" for found in texts)
    seen = (
        f"{', '.join(map(str, sizes))} MB of text: {peaks} MB; {store.bytes / 1e9:.1f} GB of tokens: {store.peak / 1e6:.0f} MB"
    )
    fault = "text of three sizes prepared; ten steps from a sparse store larger than memory"
    return tally.row(fault, "less than 2 GB resident, libraries included, and no more for more text", seen)


EXPERIMENTS: dict[str, Callable[[Path, float], Row]] = {
    function.__name__: function
    for function in (
        kills,
        two_ranks,
        controls,
        signals,
        full_disk,
        file_limit,
        read_only,
        damage,
        readers,
        large_corpora,
        crashes,
        not_a_number,
        divergence,
        memory,
    )
}


def run(name: str, scale: float = 1.0) -> Row:
    """One experiment, in a directory of its own that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="pellucid-") as directory:
        return EXPERIMENTS[name](Path(directory), scale)


def page(rows: dict[str, Any]) -> str:
    """docs/reliability.md."""
    lines = [INTRODUCTION, "| fault | what must hold | held | seen | repeat |", "|---|---|--:|---|---|"]
    for name in EXPERIMENTS:
        if name in rows:
            row = rows[name]
            cells = row["fault"], row["promise"], f"{row['held']} of {row['of']}", row["seen"], f"`--only {name}`"
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n" + ENDING


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(EXPERIMENTS), help="names, separated by commas")
    parser.add_argument("--scale", type=float, default=1.0, help="below 1: fewer trials, and nothing is recorded")
    chosen = parser.parse_args()
    for name in chosen.only.split(","):
        row = run(name, chosen.scale)
        print(f"{name}: {row.held} of {row.of}. {row.seen}", *row.failures, sep="\n  ", flush=True)
        if chosen.scale == 1.0:
            rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
            rows[name] = asdict(row) | {"measured on": machine.describe()}
            RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
            PAGE.write_text(page(rows))
    os._exit(0)


if __name__ == "__main__":
    main()
