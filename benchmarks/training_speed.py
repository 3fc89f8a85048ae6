"""Target tokens a second of training, beside what people would use instead: ``python -m benchmarks.training_speed``.

Every contender trains the same model sizes on the same batches of real text, in a process of its own, with the same
threads and the same allocator. They take turns, round after round, so that a machine that slows down slows all of
them. ``benchmarks/README.md`` says what is and what is not measured.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.contender import END, SIZES, START, VOCABULARY, Batch, Measurement, Size, save_batches
from benchmarks.turns import ALLOCATOR, ROOT, settings
from pellucid.base.config import TextConfig
from pellucid.data.batches import plan
from pellucid.text.tokenizer import Tokenizer

# In the order of their turns. The name of the environment a contender runs in; none: the one that runs this.
CONTENDERS: dict[str, str | None] = {"ours": None, "torch_transformer": None, "marian": "transformers", "eole": "eole"}
WARM_UP = 2  # steps; the first batch is the largest, so they have touched all the memory that a step takes

Results = dict[str, dict[str, list[Measurement]]]  # size, contender, one measurement a round


def main() -> None:
    given = _arguments()
    if os.getloadavg()[0] > 0.5:
        print("Other processes are using the cores: the numbers will be too low.", file=sys.stderr)
    rounds: Results = {}
    record = {"machine": machine.describe(), "threads": given.threads, "command": _command(given), "allocator": ALLOCATOR}
    with tempfile.TemporaryDirectory() as directory:
        tokenizer, pairs = _text(given.data)
        for name in given.sizes:
            path = Path(directory) / f"{name}.npz"
            save_batches(path, prepare(tokenizer, pairs, SIZES[name]))
            rounds[name] = _take_turns(given, name, path)
    record["results"] = {
        name: {contender: [asdict(one) for one in runs] for contender, runs in contenders.items()}
        for name, contenders in rounds.items()
    }
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    page = as_markdown(record, rounds)
    given.json.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)


def prepare(tokenizer: Tokenizer, pairs: list[tuple[str, str]], size: Size) -> list[Batch]:
    """Batches of a random sample of the text, made as our own training makes them; the largest comes first."""
    sample = random.Random(1).sample(pairs, min(size.sentences, len(pairs)))
    sources = [[*ids, END] for ids in tokenizer.encode_batch([source for source, _ in sample])]
    targets = [[START, *ids, END] for ids in tokenizer.encode_batch([target for _, target in sample])]
    lengths = np.array([(len(source) - 1, len(target) - 2) for source, target in zip(sources, targets, strict=True)])
    cut = plan(lengths, tokens=size.batch_tokens, seed=1, epoch=0)
    chosen = (cut[i] for i in range(len(cut)))
    batches = [Batch(_padded([sources[i] for i in rows]), _padded([targets[i] for i in rows])) for rows in chosen]
    return sorted(batches, key=lambda batch: batch.source.size + batch.target.size, reverse=True)


def as_markdown(record: dict[str, Any], rounds: Results) -> str:
    """The page that is kept under ``results/``."""
    lines = ["# Training speed", "", "Target tokens a second, float32: median of the rounds, lowest and highest.", ""]
    for name, contenders in rounds.items():
        lines += [f"## {name}", "", _describe(SIZES[name]), "", *_table(contenders), ""]
    lines += ["## Where and how", "", f"- command: `{record['command']}`", f"- threads: {record['threads']}"]
    lines += [f"- {what}: {value}" for what, value in record["machine"].items()]
    return "\n".join([*lines, f"- allocator: `GLIBC_TUNABLES={record['allocator']}`", ""])


def _table(contenders: dict[str, list[Measurement]]) -> list[str]:
    first, reference = next(iter(contenders.items()))
    lines = [f"| contender | tokens a second | from | to | ratio of {first} to it | versions |", "|---|--:|--:|--:|--:|---|"]
    for contender, runs in contenders.items():
        rates = [rate(run) for run in runs]
        # Within a round both had the same machine: the ratio is taken there, and then its median.
        ratio = statistics.median(rate(ours) / theirs for ours, theirs in zip(reference, rates, strict=True))
        numbers = [f"{number:,.0f}" for number in (statistics.median(rates), min(rates), max(rates))]
        versions = ", ".join(f"{package} {version}" for package, version in runs[0].versions.items())
        lines.append(f"| {' | '.join([contender, *numbers, f'{ratio:.2f}', versions])} |")
    return lines


def rate(measurement: Measurement) -> float:
    return measurement.tokens / measurement.seconds


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_speed", description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", type=_names(SIZES), default=list(SIZES), help=f"of {', '.join(SIZES)}; default: all")
    parser.add_argument("--contenders", type=_names(CONTENDERS), default=list(CONTENDERS), help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    default = os.environ.get("PELLUCID_DATA")
    parser.add_argument("--data", type=Path, default=default, required=default is None, help="folder of Multi30k")
    environments = Path.home() / ".cache" / "pellucid-bench"
    parser.add_argument("--environments", type=Path, default=environments, help="folder of the peers' environments")
    results = Path(__file__).parent / "results" / "training_speed.json"
    parser.add_argument("--json", type=Path, default=results, help="where to write; the page goes beside it")
    given = parser.parse_args()
    if not (given.data / "train.en.gz").exists():
        parser.error(f"--data {given.data}: train.en.gz and train.de.gz of Multi30k are not there")
    return given


def _names(known: dict[str, Any]) -> Any:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
        return names

    return parse


def _command(given: argparse.Namespace) -> str:
    """The command that repeats this run, without the places of this machine."""
    names = f"--sizes {','.join(given.sizes)} --contenders {','.join(given.contenders)}"
    return f"python -m benchmarks.training_speed --data DIR {names} --rounds {given.rounds} --threads {given.threads}"


def _text(folder: Path) -> tuple[Tokenizer, list[tuple[str, str]]]:
    """The English-German training split, and a joint tokenizer learnt from it."""
    english, german = (_lines(folder / f"train.{language}.gz") for language in ("en", "de"))
    config = TextConfig(tokenizer="bpe", vocabulary=VOCABULARY)
    return Tokenizer.train([*english, *german], config), list(zip(english, german, strict=True))


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        return [line.rstrip("\n") for line in file]


def _padded(rows: list[list[int]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    padded = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)  # zero is the padding id
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    return padded


def _take_turns(given: argparse.Namespace, size: str, batches: Path) -> dict[str, list[Measurement]]:
    runs: dict[str, list[Measurement]] = {contender: [] for contender in given.contenders}
    for number in range(1, given.rounds + 1):
        for contender in given.contenders:
            start = time.perf_counter()
            runs[contender].append(_measure(given, contender, size, batches))
            result = f"{rate(runs[contender][-1]):,.0f} tokens a second, {time.perf_counter() - start:.0f} s in all"
            print(f"{size}, round {number} of {given.rounds}: {contender} {result}", file=sys.stderr, flush=True)
    return runs


def _measure(given: argparse.Namespace, contender: str, size: str, batches: Path) -> Measurement:
    """One contender in a fresh process.

    Raises:
        SystemExit: its environment is missing, or it failed.
    """
    environment = CONTENDERS[contender]
    python = Path(sys.executable) if environment is None else given.environments / environment / "bin" / "python"
    if not python.exists():
        raise SystemExit(f"{contender} has no environment at {python.parent.parent}: benchmarks/README.md says how to make it")
    command = [str(python), "-m", f"benchmarks.peers.{contender}", "--size", size, "--batches", str(batches)]
    command += ["--warm-up", str(WARM_UP)]
    finished = subprocess.run(command, cwd=ROOT, env=settings(given.threads), capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise SystemExit(f"{contender} failed:\n{finished.stderr[-4000:]}")
    return Measurement(**json.loads(finished.stdout.split("\n")[-2]))


def _describe(size: Size) -> str:
    layers = f"{size.n_layers} + {size.n_layers} layers, d_model {size.d_model}, d_ff {size.d_ff}, {size.n_heads} heads"
    return f"{layers}, vocabulary {VOCABULARY:,}, dropout {size.dropout}; batches of {size.batch_tokens:,} padded tokens."


if __name__ == "__main__":
    main()
