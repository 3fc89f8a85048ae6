"""Tokens a second of decoding here, in ``transformers`` and in CTranslate2: ``python -m benchmarks.decoding``.

The same weights everywhere, in float32 or in the 8-bit integers of each. Sources of 20 tokens, exactly 30 new tokens (the GPT:
a prompt of one token, 256 new ones); greedy search and five beams, one sentence and 32 at a time. Every contender runs in a
process of its own with one model alive, round after round in turn, with one thread and with as many as there are cores, and the
better of the two counts: small products are faster alone. Outputs in float32 must be equal, id for id.

``memory`` is no contender but a limit: a step of the base model takes at least the time to read its weights (the smaller
models stay in caches). It is timed in one process with the steps that are held against it, in turn.

``whole``: the whole machine, batches of 32 in 8 bits: CTranslate2 with two workers of one thread, ours with two processes
whose steps are compiled.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.turns import ask, parser, settings

PACKAGES = ("torch", "transformers", "ctranslate2", "pellucid")
SIZES = ("tiny", "small", "base", "gpt")


@dataclass(frozen=True)
class Contender:
    """Who decodes.

    Args:
        engine: "ours", "transformers", "ctranslate2" or "memory"; "steps": ours without what comes before the first step.
        precision: of the products.
        compiled: steps are compiled (ours).
        workers: sentences are shared out among so many, each with one thread; 1: one worker with the threads that are tried.
    """

    engine: str
    precision: str = "float32"
    compiled: bool = False
    workers: int = 1

    @property
    def name(self) -> str:
        return " ".join([self.engine, self.precision] + ["compiled"] * self.compiled + ["whole"] * (self.workers > 1))


OURS = [Contender("ours", precision, compiled) for precision in ("float32", "int8") for compiled in (False, True)]
OURS += [Contender("ours", "bfloat16")]
PEERS = [Contender("transformers"), Contender("ctranslate2"), Contender("ctranslate2", "int8")]
MEMORY, STEPS = Contender("memory"), Contender("steps", compiled=True)
WHOLE = [Contender("ours", "int8", compiled=True, workers=2), Contender("ctranslate2", "int8", workers=2)]


def main() -> None:
    found = parser("decoding", __doc__.split("\n")[0], SIZES, rounds=3)
    given = found.parse_args()
    record: dict[str, Any] = {**machine.describe(), "threads": given.threads, "rounds": given.rounds}
    only = "".join(f" --only {size}" for size in given.only or ())
    record |= {"command": f"python -m benchmarks.decoding{only} --rounds {given.rounds} --threads {given.threads}"}
    record |= {"versions": machine.versions(PACKAGES)}
    rows: list[dict[str, Any]] = []
    speeds: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in given.only or SIZES:
            speeds[size] = _measure(size, Path(folder) / size, given)
            rows += compare(size, speeds[size])
            _show(size, speeds[size])
    given.json.parent.mkdir(parents=True, exist_ok=True)
    content = {**record, "rows": rows, "tokens_per_second": speeds}
    given.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    page = as_markdown(record, rows)
    given.json.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


def _measure(size: str, folder: Path, given: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """By contender and case, the best tokens a second of each round."""
    ask("benchmarks.peers.decoders", ["make", size, str(folder)], settings(given.threads, None))
    contenders = [*OURS, *PEERS, *([] if size == "gpt" else WHOLE), *([MEMORY] if size == "base" else [])]
    found: dict[str, dict[str, list[float]]] = {one.name: {} for one in contenders}
    outputs: dict[str, dict[str, Any]] = {}
    best_threads: dict[str, dict[str, int]] = {one.name: {} for one in contenders}
    for number in range(given.rounds):
        for one in contenders:
            # A step is compiled for its threads, and that takes its time.
            fixed = one.compiled or one.engine in ("transformers", "memory")
            tried = [1] if one.workers > 1 else [given.threads] if fixed else sorted({1, given.threads})
            if number:  # what was the better one in the first round is taken again
                tried = sorted(set(best_threads[one.name].values()))
            answers = {threads: _run(one, size, folder, threads) for threads in tried}
            for case in next(iter(answers.values())):
                best = max(answers, key=lambda threads: answers[threads][case]["speed"])
                best_threads[one.name].setdefault(case, best)
                found[one.name].setdefault(case, []).append(answers[best][case]["speed"])
                if one == MEMORY:
                    found.setdefault(STEPS.name, {}).setdefault(case, []).append(answers[best][case]["ours"])
                if one.precision == "float32" and one != MEMORY:
                    outputs.setdefault(case, {})[one.name] = answers[best][case]["ids"]
            print(f"{size}, round {number + 1}: {one.name}", file=sys.stderr, flush=True)
    for case, by_name in outputs.items():
        for name, ids in by_name.items():
            if ids != by_name["transformers float32"]:
                raise SystemExit(f"{size} {case}: {name} writes other tokens than transformers")
    return found


def _run(one: Contender, size: str, folder: Path, threads: int) -> dict[str, Any]:
    arguments = [one.engine, size, str(folder), one.precision, str(int(one.compiled)), str(one.workers), str(threads)]
    answer: dict[str, Any] = ask("benchmarks.peers.decoders", arguments, settings(threads, None))
    return answer


def compare(size: str, speeds: dict[str, dict[str, list[float]]]) -> list[dict[str, Any]]:
    """A row for each of ours and each peer: medians, and their ratio (within a round both had the same machine)."""
    rows = []
    for one in [*OURS, *WHOLE[:1], STEPS]:
        for peer in [*PEERS, *WHOLE[1:], MEMORY]:
            if (one.workers > 1) != (peer.workers > 1) or (one == STEPS) != (peer == MEMORY):
                continue
            for case, ours in speeds.get(one.name, {}).items():
                theirs = speeds.get(peer.name, {}).get(case)
                if theirs is None:
                    continue
                part = ", whole machine" if one.workers > 1 else ", steps" if one == STEPS else ""
                rows.append(
                    {
                        "case": f"{size} {case}{part}",
                        "peer": f"{peer.engine}-{peer.precision}" if peer.engine == "ctranslate2" else peer.engine,
                        "precision": one.precision,
                        "compiled": one.compiled,
                        "ratio": round(statistics.median(a / b for a, b in zip(ours, theirs, strict=True)), 3),
                        "ours": round(statistics.median(ours), 1),
                        "theirs": round(statistics.median(theirs), 1),
                    }
                )
    return rows


def _show(size: str, speeds: dict[str, dict[str, list[float]]]) -> None:
    for name, cases in speeds.items():
        shown = ", ".join(f"{case} {statistics.median(runs):,.0f}" for case, runs in cases.items())
        print(f"{size}: {name}: {shown}", file=sys.stderr, flush=True)


def as_markdown(record: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The page that is kept under ``results/``."""
    lines = [
        "# Decoding",
        "",
        "Tokens a second, medians of the rounds; the ratio is the median of the ratios within a round.",
        "",
    ]
    lines += ["| case | ours | peer | ours, tokens/s | theirs | ratio |", "|---|---|---|--:|--:|--:|"]
    for row in rows:
        ours = row["precision"] + (", compiled" if row["compiled"] else "")
        lines.append(
            f"| {row['case']} | {ours} | {row['peer']} | {row['ours']:,.0f} | {row['theirs']:,.0f} | {row['ratio']:.2f} |"
        )
    lines += ["", "## Where and how", ""]
    for what, value in record.items():
        shown = ", ".join(f"{package} {version}" for package, version in value.items()) if what == "versions" else value
        lines.append(f"- {what}: {shown}")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
