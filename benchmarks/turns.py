"""Contenders that take turns, and the page of what they took.

Each runs in processes of its own, with the same threads and the same allocator; round after round, so that a machine that slows
down slows all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine

ROOT = Path(__file__).parent.parent

# Memory once had is kept. Without this the kernel maps, clears and takes back the large tensors in every step.
KEEP = 2**32
ALLOCATOR = f"glibc.malloc.mmap_threshold={KEEP}:glibc.malloc.trim_threshold={KEEP}:glibc.malloc.top_pad={2**26}"

PACKAGES = ("torch", "transformers", "pellucid")


@dataclass(frozen=True)
class Row:
    """One thing that was measured.

    Args:
        name: what.
        unit: of the numbers.
        more_is_better: whether larger numbers are the better ones.
        runs: for each contender, ours first, one number a round.
    """

    name: str
    unit: str
    more_is_better: bool
    runs: Mapping[str, Sequence[float]]

    def ratio(self, contender: str) -> float:
        """How much better ours is: above 1, it is. Within a round both had the same machine: taken there, then the median."""
        ours = next(iter(self.runs.values()))
        pairs = zip(ours, self.runs[contender], strict=True)
        return statistics.median(a / b if self.more_is_better else b / a for a, b in pairs)


def settings(threads: int, allocator: str | None = ALLOCATOR) -> dict[str, str]:
    """The environment of a contender; ``None`` leaves the allocator as it is."""
    number = str(threads)
    found = {
        **os.environ,
        "OMP_NUM_THREADS": number,
        "MKL_NUM_THREADS": number,
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
    }
    return found if allocator is None else found | {"GLIBC_TUNABLES": allocator}


def ask(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Any:
    """The JSON on the last line of what a module prints, run in a fresh process.

    Raises:
        SystemExit: it failed.
    """
    command = [sys.executable, "-m", module, *arguments]
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise SystemExit(f"{module} {' '.join(arguments)} failed:\n{finished.stderr[-4000:]}")
    return json.loads(finished.stdout.strip().split("\n")[-1])


def parser(name: str, description: str, choices: Sequence[str], rounds: int) -> argparse.ArgumentParser:
    """What every benchmark here is asked: which of its settings, how often, with how many threads, and where to write."""
    found = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    found.add_argument("--only", choices=choices, action="append", help="leave out the others; may be repeated")
    found.add_argument("--rounds", type=int, default=rounds)
    found.add_argument("--threads", type=int, default=2)
    results = Path(__file__).parent / "results" / f"{name}.json"
    found.add_argument("--json", type=Path, default=results, help="where to write; the page goes beside it")
    return found


def report(given: argparse.Namespace, name: str, title: str, allocator: str | None, measure: Callable[[], list[Row]]) -> None:
    """Measure, and write what was found, with where and how, as JSON and as a page beside it."""
    before = machine.describe()
    if os.getloadavg()[0] > 0.5:
        print("Other processes are using the cores: the numbers will be too low.", file=sys.stderr)
    rows = measure()
    only = "".join(f" --only {choice}" for choice in given.only or ())
    record = {
        **before,
        "threads": given.threads,
        "rounds": given.rounds,
        "command": f"python -m benchmarks.{name}{only} --rounds {given.rounds} --threads {given.threads}",
        "allocator": "as it is" if allocator is None else f"GLIBC_TUNABLES={allocator}",
        "versions": machine.versions(PACKAGES),
    }
    given.json.parent.mkdir(parents=True, exist_ok=True)
    content = {**record, "rows": [{**asdict(row), "ratios": {peer: row.ratio(peer) for peer in row.runs}} for row in rows]}
    given.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    page = as_markdown(title, rows, record)
    given.json.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


def as_markdown(title: str, rows: Sequence[Row], record: Mapping[str, Any]) -> str:
    """The page that is kept under ``results/``."""
    lines = [
        f"# {title}",
        "",
        "Medians of the rounds, lowest and highest; the ratio says how much better ours is, within a round.",
        "",
    ]
    lines += ["| what | unit | contender | median | from | to | ratio |", "|---|---|---|--:|--:|--:|--:|"]
    for row in rows:
        for contender, runs in row.runs.items():
            numbers = [f"{number:,.4g}" if number < 1e4 else f"{number:,.0f}" for number in _spread(runs)]
            lines.append(f"| {row.name} | {row.unit} | {contender} | {' | '.join(numbers)} | {row.ratio(contender):.2f} |")
    lines += ["", "## Where and how", ""]
    for what, value in record.items():
        shown = ", ".join(f"{package} {version}" for package, version in value.items()) if what == "versions" else value
        lines.append(f"- {what}: `{shown}`" if what in ("command", "allocator") else f"- {what}: {shown}")
    return "\n".join([*lines, ""])


def _spread(runs: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(runs), min(runs), max(runs)
