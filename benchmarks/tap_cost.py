"""What taps cost where nobody looks: ``python -m benchmarks.tap_cost``.

The forward of this package without a tap, and that of the same source with every word of taps taken out, with the same weights,
in one process, in pairs whose order alternates. The cost is the median of the ratios within pairs, with an interval that holds
the true median in 95 of 100 repetitions (from the ranks, whatever the distribution).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine, without_taps
from pellucid.base.config import ModelConfig, StackConfig
from pellucid.model.build import build, initialise

STACK = StackConfig(n_layers=3, n_heads=4, d_ff=512)
SIZES = {"one sentence": (1, 12, 8), "a batch": (16, 32, 1)}  # rows, tokens, and how many times as many pairs
CONFIG = ModelConfig(
    d_model=128, encoder=STACK, decoder=STACK, source_vocabulary=1000, target_vocabulary=1000, max_length=64, dropout=0.0
)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Bounds of the median at 95 %: the two values whose ranks a fair coin leaves on either side that often."""
    ranked, n = sorted(values), len(values)
    below, rank = 0.0, 0
    while rank < n // 2 and below + math.comb(n, rank) / 2**n <= 0.025:
        below += math.comb(n, rank) / 2**n
        rank += 1
    return ranked[max(rank - 1, 0)], ranked[n - max(rank, 1)]


def seconds(call: Callable[[], object], times: int) -> float:
    """Processor time of one call, over ``times`` in a row: what others do on the machine counts least there."""
    began = time.process_time()
    for _ in range(times):
        call()
    return (time.process_time() - began) / times


def measure(rows: int, tokens: int, pairs: int, times: int) -> dict[str, Any]:
    """Seconds of both, and the ratio of each pair."""
    ours = build(CONFIG)
    initialise(ours, 1)
    theirs: Any = without_taps.modules()["build"].build(replace(CONFIG))
    theirs.load_state_dict(ours.state_dict())
    ours.eval(), theirs.eval()
    ids = torch.randint(4, 1000, (rows, tokens), generator=torch.Generator().manual_seed(2))
    calls = (lambda: ours(ids, ids), lambda: theirs(ids, ids))
    with torch.inference_mode():
        assert torch.equal(calls[0](), calls[1]())
        seconds(calls[0], times), seconds(calls[1], times)
        found = []
        for number in range(pairs):
            order = (0, 1) if number % 2 == 0 else (1, 0)
            taken = {which: seconds(calls[which], times) for which in order}
            found.append((taken[0], taken[1]))
    ratios = [ours / theirs for ours, theirs in found]
    low, high = interval(ratios)
    medians = [statistics.median(side) for side in zip(*found, strict=True)]
    return {"seconds": medians[0], "without": medians[1], "ratio": statistics.median(ratios), "low": low, "high": high}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tap_cost", description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--times", type=int, default=5, help="forwards on the clock together")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent / "results" / "tap_cost.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if os.getloadavg()[0] > 0.5:
        print("Other processes are using the cores: the interval will be wide.", file=sys.stderr)
    record: dict[str, Any] = {**machine.describe(), "versions": machine.versions(("torch", "pellucid")), "pairs": given.pairs}
    lines = ["# What taps cost where nobody looks", "", f"Pairs of {given.times} forwards, one thread, processor time.", ""]
    lines += ["| forward | pairs | seconds | without a word of taps | ratio | 95 % interval |", "|---|--:|--:|--:|--:|--:|"]
    for name, (rows, tokens, more) in SIZES.items():
        record[name] = found = measure(rows, tokens, more * given.pairs, given.times)
        cells = (f"{more * given.pairs}", f"{found['seconds']:.5f}", f"{found['without']:.5f}", f"{found['ratio']:.4f}")
        lines.append(f"| {name}, {rows} x {tokens} tokens | {' | '.join(cells)} | {found['low']:.4f} to {found['high']:.4f} |")
    lines += ["", f"{record['processor']}; load before {record['load before']}; torch {record['versions']['torch']}."]
    given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    given.json.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
