"""Seconds of a forward of the same weights here and in ``transformers``: ``python -m benchmarks.forward_speed``.

BERT's base shape at 128 tokens, ViT-B/16 at 224 x 224 pixels, in float32; and texts of unequal lengths, classified by what
each package has for users: ``pipeline`` there, which pads the texts as they come, ``classify`` here, which takes those of like
lengths together.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass

from benchmarks.turns import ALLOCATOR, Row, ask, parser, report, settings

LENGTH = 128
TEXTS, SHORTEST, LONGEST, ROWS = 192, 4, 64, 64  # of unequal lengths, evenly spread; so many at a time


@dataclass(frozen=True)
class Case:
    """One forward.

    Args:
        name: in the table.
        model: "bert" or "vit".
        rows: in the batch; ``None``: texts of unequal lengths.
        times: forwards that make one run.
    """

    name: str
    model: str
    rows: int | None
    times: int


CASES = {
    "bert-1": Case(f"BERT base, 1 x {LENGTH} tokens", "bert", 1, 10),
    "bert-32": Case(f"BERT base, 32 x {LENGTH} tokens", "bert", 32, 1),
    "bert-unequal": Case(f"BERT base, {TEXTS} texts of {SHORTEST} to {LONGEST} tokens", "bert", None, 1),
    "vit-1": Case("ViT-B/16, 1 picture", "vit", 1, 8),
    "vit-8": Case("ViT-B/16, 8 pictures", "vit", 8, 1),
}


def main() -> None:
    given = parser("forward_speed", __doc__.split("\n")[0], tuple(CASES), rounds=5).parse_args()
    report(given, "forward_speed", "Forward speed", ALLOCATOR, lambda: _measure(given))


def _measure(given: argparse.Namespace) -> list[Row]:
    rows = []
    for name in given.only or CASES:
        arguments = [name, str(given.rounds), str(given.threads)]
        runs = ask("benchmarks.peers.forwards", arguments, settings(given.threads))
        rows.append(Row(CASES[name].name, "seconds", False, runs))
        ratio = rows[-1].ratio("transformers")
        print(f"{CASES[name].name}: transformers takes {ratio:.2f} times as long", file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    main()
