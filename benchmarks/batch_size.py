"""Does the size of a batch change a translation? ``python -m benchmarks.batch_size RUN --lines FILE``.

Each line is translated alone, in batches of 7 and in batches of 64, in float32, with 1 and with 5 beams. Sums of
floating-point numbers depend on their order, and matrix products choose theirs by size: two texts may differ where their
scores agree to 1e-4, and such pairs are printed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch

import pellucid
from benchmarks import machine
from pellucid.decoding.scoring import log_probabilities
from pellucid.tasks.translator import Translator

SIZES = (1, 7, 64)
BEAMS = (1, 5)
CLOSE = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch_size", description=__doc__.split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--lines", type=Path, required=True, help="sentences, one a line, UTF-8")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--compile", action="store_true", help="with compiled steps, of one sentence and of many")
    given = parser.parse_args()
    with given.lines.open(encoding="utf-8", newline="\n") as file:
        lines = [line.rstrip("\n") for line in islice(file, given.count)]
    translator = pellucid.load(given.run)
    if given.compile:
        translator.compile(*BEAMS)
    record = {f"{beams} beams": compare(translator, lines, beams) for beams in BEAMS}
    print(json.dumps({**record, "machine": machine.describe(), "versions": machine.versions(("torch",))}, indent=2))


def compare(translator: Translator, lines: Sequence[str], beams: int) -> dict[str, int]:
    """How many lines have one text at every size, how many differ in a tie, how many differ otherwise."""
    by_size = [[found[0].text for found in translator.translate_lines(lines, beams=beams, batch_items=size)] for size in SIZES]
    counts = {"sentences": len(lines), "same text": 0, "a tie": 0, "different": 0}
    for line, *texts in zip(lines, *by_size, strict=True):
        if len(set(texts)) == 1:
            counts["same text"] += 1
            continue
        totals = [total(translator, line, text) for text in texts]
        verdict = "a tie" if max(totals) - min(totals) <= CLOSE else "different"
        counts[verdict] += 1
        print(f"{verdict}: {line}\n" + "".join(f"  {t:.6f} {text}\n" for t, text in zip(totals, texts, strict=True)))
    return counts


def total(translator: Translator, line: str, text: str) -> float:
    """Log probability of a translation, end token included, of the line alone."""
    source = [*translator.source_tokenizer.encode(line), translator.source_tokenizer.end]
    target = translator.target_tokenizer
    ids = torch.tensor([source])
    wanted = [*target.encode(text), target.end]
    return log_probabilities(translator.model, ids, torch.ones_like(ids, dtype=torch.bool), [wanted], start=target.start)[0]


if __name__ == "__main__":
    main()
