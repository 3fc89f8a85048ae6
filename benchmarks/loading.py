"""How long from a directory of 500 MB to the first logits, and how much memory: ``python -m benchmarks.loading``.

GPT-2's smallest shape with random weights in float32 (124 million of them, 498 MB), written by ``transformers`` and imported
from there. Each load is a fresh process that has imported all it needs; the file is in the system's cache, and the allocator as
it is. The memory is the peak of the process above what it had before.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.turns import Row, ask, parser, report, settings

CONTENDERS = ("ours", "transformers")
TOLERANCE = 1e-4  # of logits of order 1


def main() -> None:
    given = parser("loading", __doc__.split("\n")[0], ("gpt2",), rounds=7).parse_args()
    report(given, "loading", "Loading a model of 498 MB", None, lambda: _measure(given))


def _measure(given: argparse.Namespace) -> list[Row]:
    seconds: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
    memory: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
    with tempfile.TemporaryDirectory() as directory:
        _write(Path(directory))
        for number in range(given.rounds + 1):
            answers = {
                contender: ask(
                    "benchmarks.peers.loaders", [contender, f"{directory}/{contender}"], settings(given.threads, None)
                )
                for contender in CONTENDERS
            }
            pairs = zip(answers["ours"]["logits"], answers["transformers"]["logits"], strict=True)
            if max(abs(a - b) for a, b in pairs) > TOLERANCE:
                raise SystemExit(f"the logits differ: {answers}")
            if number:  # the first round only fills the system's file cache
                for contender, answer in answers.items():
                    seconds[contender].append(answer["seconds"])
                    memory[contender].append(answer["peak MB"])
                print(f"round {number} of {given.rounds}: " + _shown(seconds, memory), file=sys.stderr, flush=True)
    return [Row("to the first logits", "seconds", False, seconds), Row("peak memory", "MB", False, memory)]


def _write(directory: Path) -> None:
    """The same model in both layouts."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from pellucid.tasks.imports import import_model

    torch.manual_seed(1)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(directory / "transformers")
    import_model(directory / "transformers", directory / "ours")


def _shown(seconds: dict[str, list[float]], memory: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {seconds[name][-1]:.2f} s and {memory[name][-1]:.0f} MB" for name in CONTENDERS)


if __name__ == "__main__":
    main()
