"""How long until something happens: ``python -m benchmarks.start RUN``.

``pellucid --help`` and the first translation of a fresh process, each beside what it can't be faster than: Python starting, and
Python importing torch. Whole processes, taking turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import machine


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    commands = {
        "python starts": ["-c", "pass"],
        "pellucid --help": ["-m", "pellucid", "--help"],
        "import torch": ["-c", "import torch"],
        "pellucid translate, one sentence": ["-m", "pellucid", "translate", str(given.run), "--quiet"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(given.rounds + 1):
        for name, arguments in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, *arguments], input=b"Jane visite Paris.\n", capture_output=True, check=True)
            if number:  # the first round only fills the system's file cache
                seconds[name].append(time.perf_counter() - began)
    rows = {name: {"median": statistics.median(taken), "from": min(taken), "to": max(taken)} for name, taken in seconds.items()}
    record = {"seconds": rows, "machine": machine.describe(), "versions": machine.versions(("torch", "pellucid"))}
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
