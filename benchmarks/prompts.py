"""Several tasks in one decoder, told apart by a prompt.

``python -m benchmarks.prompts write DIR`` writes the built-in corpus as prompted documents (``train.jsonl``, ``dev.jsonl``);
``python -m benchmarks.prompts score RUN`` asks a model of ``recipes/prompts.yaml`` for answers to sentences held out of
training: with the prompts that it learnt, with the same tasks in other words, and with two tasks asked for at once.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import pellucid
from benchmarks import machine
from pellucid.data.corpus import Pair, pairs, words

Asked = Callable[[Pair], tuple[str, str]]  # what is given, and the right answer


def backwards(text: str) -> str:
    return " ".join(reversed(words(text)))


LEARNT: dict[str, Asked] = {
    "to English:": lambda pair: (pair.french, pair.english),
    "to French:": lambda pair: (pair.english, pair.french),
    "backwards:": lambda pair: (pair.english, backwards(pair.english)),
    "tags:": lambda pair: (pair.english, " ".join(pair.english_tags)),
}
NEVER_SEEN: dict[str, Asked] = {
    "into English:": LEARNT["to English:"],
    "in reverse:": LEARNT["backwards:"],
    "": LEARNT["to English:"],
    "to French: backwards:": lambda pair: (pair.english, backwards(pair.french)),
    "backwards: to French:": lambda pair: (pair.english, backwards(pair.french)),
    "backwards: (in French)": lambda pair: (pair.french, backwards(pair.french)),
    "tags: (in French)": lambda pair: (pair.french, " ".join(pair.french_tags)),
}
ASKED = 200  # sentences of each split


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prompts", description=__doc__.split("\n")[0])
    parser.add_argument("verb", choices=("write", "score"))
    parser.add_argument("directory", type=Path, help="where to write; or the directory of a run")
    given = parser.parse_args()
    if given.verb == "write":
        write(given.directory)
    else:
        score(given.directory)


def prompt(instruction: str, text: str) -> str:
    """What a model is asked; " (...)" after an instruction is for the reader alone."""
    return f"{instruction.partition(' (')[0]} {text} =>".lstrip()


def write(directory: Path) -> None:
    """Every pair once for each task."""
    directory.mkdir(parents=True, exist_ok=True)
    for split in ("train", "dev"):
        with (directory / f"{split}.jsonl").open("w", encoding="utf-8") as file:
            for pair in pairs(split):
                for instruction, ask in LEARNT.items():
                    text, answer = ask(pair)
                    print(json.dumps({"text": f"{prompt(instruction, text)} {answer}"}, ensure_ascii=False), file=file)


def score(run: Path) -> None:
    """Prints the share of answers that are right to the letter, and the first wrong one of each task."""
    model = pellucid.load(run)
    rows = []
    for learnt, tasks in ((True, LEARNT), (False, NEVER_SEEN)):
        for instruction, ask in tasks.items():
            for split in ("test", "compositional") if learnt else ("test",):
                asked = [ask(pair) for pair in pairs(split)[:ASKED]]
                prompts = [prompt(instruction, text) for text, _ in asked]
                texts = model.generate(prompts, tokens=60, temperature=0.0, beams=1)
                found = [text[len(begun) :].strip() for begun, text in zip(prompts, texts, strict=True)]
                wrong = [
                    (begun, answer, out) for begun, (_, answer), out in zip(prompts, asked, found, strict=True) if out != answer
                ]
                right = round(100 * (1 - len(wrong) / len(asked)), 1)
                first = dict(zip(("asked", "right answer", "written"), wrong[0], strict=True)) if wrong else None
                rows.append({"prompt": instruction, "learnt": learnt, "split": split, "right, %": right, "first wrong": first})
    print(json.dumps({"rows": rows, "machine": machine.describe()}, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
