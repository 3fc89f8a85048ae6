"""Tokens a second of training a GPT on characters: ``python -m benchmarks.gpt_training --text FILE``.

Ours beside ``transformers`` and a plain loop in the manner of nanoGPT, on the same windows of the same text; whole steps:
forward, loss, backward, clipping, AdamW; no dropout, biases everywhere. Ours and ``transformers`` are in bfloat16, too.
``small`` and ``large`` are the shapes that nanoGPT has for a laptop and for a GPU.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from benchmarks.gpt import SETTINGS, Setting
from benchmarks.turns import ALLOCATOR, Row, ask, parser, report, settings

# Module and precision. Ours in bfloat16 is what `pellucid train` does on a processor with instructions for it.
CONTENDERS = {
    "ours": ("gpt_ours", "bfloat16"),
    "ours, float32": ("gpt_ours", "float32"),
    "transformers": ("gpt_transformers", "float32"),
    "transformers, bfloat16": ("gpt_transformers", "bfloat16"),
    "plain loop": ("gpt_plain", "float32"),
}


def main() -> None:
    found = parser("gpt_training", __doc__.split("\n")[0], tuple(SETTINGS), rounds=5)
    folder = os.environ.get("PELLUCID_DATA")
    default = None if folder is None else Path(folder) / "tinyshakespeare" / "input.txt"
    found.add_argument("--text", type=Path, default=default, required=default is None, help="tinyshakespeare")
    given = found.parse_args()
    if not given.text.is_file():
        found.error(f"--text {given.text}: no such file")
    report(given, "gpt_training", "Training a GPT on characters", ALLOCATOR, lambda: _measure(given))


def _measure(given: argparse.Namespace) -> list[Row]:
    rows = []
    for name in given.only or SETTINGS:
        runs: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
        for number in range(1, given.rounds + 1):
            answers = {
                contender: ask(
                    f"benchmarks.peers.{module}", [name, str(given.text.resolve()), precision], settings(given.threads)
                )
                for contender, (module, precision) in CONTENDERS.items()
            }
            if len({answer["parameters"] for answer in answers.values()}) > 1:
                raise SystemExit(f"the contenders do not train the same model: {answers}")
            for contender, answer in answers.items():
                runs[contender].append(answer["tokens a second"])
            shown = ", ".join(f"{contender} {rates[-1]:,.0f}" for contender, rates in runs.items())
            print(f"{name}, round {number} of {given.rounds}: {shown} tokens a second", file=sys.stderr, flush=True)
        rows.append(Row(_describe(name, SETTINGS[name]), "tokens a second", True, runs))
    return rows


def _describe(name: str, setting: Setting) -> str:
    shape = f"{setting.n_layers} layers, {setting.n_heads} heads, d_model {setting.d_model}"
    return f"{name}: {shape}, context {setting.context}, batch {setting.batch}"


if __name__ == "__main__":
    main()
