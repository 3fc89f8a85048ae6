"""Target tokens a second of training, beside what people would use instead: ``python -m benchmarks.training_speed``.

Beside them stands the limit: what the processor does in bfloat16 products of large square matrices, in the same round.

Every contender trains the same model sizes on the same batches of real text, in a process of its own, with the same threads and
the same allocator. They take turns, round after round, so that a machine that slows down slows all of them.
``benchmarks/README.md`` says what is and what is not measured.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.contender import END, PAD, SIZES, START, VOCABULARY, Batch, Measurement, Size, save_batches
from benchmarks.turns import ALLOCATOR, ROOT, ask, settings
from pellucid.base.config import TextConfig
from pellucid.data.batches import plan
from pellucid.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Contender:
    """One that takes its turn.

    Args:
        module: in ``peers/``.
        precision: of its products of matrices.
        environment: the name of the one that it runs in; ``None``: the one that runs this.
    """

    module: str
    precision: str = "float32"
    environment: str | None = None


# In the order of their turns. Ours in bfloat16 is what `pellucid train` does on a processor with instructions for it.
CONTENDERS = {
    "ours": Contender("ours", "bfloat16"),
    "ours_float32": Contender("ours"),
    "torch_transformer": Contender("torch_transformer"),
    "marian": Contender("marian", environment="transformers"),
    "marian_bfloat16": Contender("marian", "bfloat16", "transformers"),
    "eole": Contender("eole", environment="eole"),
}
WARM_UP = 2  # steps; the first batch is the largest, so they have touched all the memory that a step takes


@dataclass(frozen=True)
class Rounds:
    """What was measured of one size.

    Args:
        operations: of a pass over the batches, see :func:`operations`.
        runs: one measurement a round, by contender.
        peaks: operations a second of large square products, one a round.
    """

    operations: float
    runs: dict[str, list[Measurement]]
    peaks: list[float]


def main() -> None:
    given = _arguments()
    if os.getloadavg()[0] > 0.5:
        print("Other processes are using the cores: the numbers will be too low.", file=sys.stderr)
    sizes: dict[str, Rounds] = {}
    record = {"machine": machine.describe(), "threads": given.threads, "command": _command(given), "allocator": ALLOCATOR}
    with tempfile.TemporaryDirectory() as directory:
        tokenizer, pairs = _text(given.data)
        for name in given.sizes:
            path = Path(directory) / f"{name}.npz"
            batches = prepare(tokenizer, pairs, SIZES[name])
            save_batches(path, batches)
            sizes[name] = Rounds(sum(operations(SIZES[name], batch) for batch in batches), *_take_turns(given, name, path))
    record["results"] = {
        name: {contender: [asdict(one) for one in runs] for contender, runs in found.runs.items()}
        for name, found in sizes.items()
    }
    record["operations of a pass"] = {name: found.operations for name, found in sizes.items()}
    record["operations a second of large products"] = {name: found.peaks for name, found in sizes.items()}
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    page = as_markdown(record, sizes)
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


def operations(size: Size, batch: Batch) -> float:
    """Floating-point operations of a step that real tokens need, in products of matrices: forward, and twice that backward."""
    width, layers = size.d_model, size.n_layers
    sources = (batch.source != PAD).sum(1).astype(float)  # (B,) real positions of each row
    targets = (batch.target[:, 1:] != PAD).sum(1).astype(float)
    feed_forward = 2 * width * size.d_ff
    of_source = layers * (4 * width**2 + feed_forward + 2 * width**2)  # the last: keys and values that the decoder reads
    of_target = layers * (4 * width**2 + feed_forward + 2 * width**2) + VOCABULARY * width
    attention = layers * 2 * width * (sources**2 + targets**2 + sources * targets)  # scores, and sums of values
    return float(3 * 2 * (sources * of_source + targets * of_target + attention).sum())


def as_markdown(record: dict[str, Any], sizes: dict[str, Rounds]) -> str:
    """The page that is kept under ``results/``."""
    lines = [
        "# Training speed",
        "",
        "Target tokens a second: median of the rounds, lowest and highest. `ours` multiplies in bfloat16, as `pellucid train`",
        "does by itself on this processor; all others in float32 unless their name says otherwise. The share of the peak: the",
        "operations that real tokens need, padding left out, in those that the best of large square bfloat16 products has.",
        "",
    ]
    for name, found in sizes.items():
        lines += [f"## {name}", "", _describe(SIZES[name]), "", *_table(found), ""]
    lines += ["## Where and how", "", f"- command: `{record['command']}`", f"- threads: {record['threads']}"]
    lines += [f"- {what}: {value}" for what, value in record["machine"].items()]
    return "\n".join([*lines, f"- allocator: `GLIBC_TUNABLES={record['allocator']}`", ""])


def _table(found: Rounds) -> list[str]:
    first, reference = next(iter(found.runs.items()))
    lines = [
        f"| contender | tokens a second | from | to | ratio of {first} to it | share of the peak | versions |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for contender, runs in found.runs.items():
        rates = [rate(run) for run in runs]
        # Within a round both had the same machine: the ratio is taken there, and then its median.
        ratio = statistics.median(rate(ours) / theirs for ours, theirs in zip(reference, rates, strict=True))
        numbers = [f"{number:,.0f}" for number in (statistics.median(rates), min(rates), max(rates))]
        versions = ", ".join(f"{package} {version}" for package, version in runs[0].versions.items())
        share = statistics.median(found.operations / run.seconds / peak for run, peak in zip(runs, found.peaks, strict=True))
        lines.append(f"| {' | '.join([contender, *numbers, f'{ratio:.2f}', f'{share:.0%}', versions])} |")
    best = statistics.median(found.peaks) / 1e9
    return [*lines, "", f"Large square products: {best:,.0f} thousand million operations a second."]


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


def _take_turns(given: argparse.Namespace, size: str, batches: Path) -> tuple[dict[str, list[Measurement]], list[float]]:
    runs: dict[str, list[Measurement]] = {contender: [] for contender in given.contenders}
    peaks = []
    for number in range(1, given.rounds + 1):
        peaks.append(float(ask("benchmarks.peers.matrices", [], settings(given.threads))["operations a second"]))
        for contender in given.contenders:
            start = time.perf_counter()
            runs[contender].append(_measure(given, contender, size, batches))
            result = f"{rate(runs[contender][-1]):,.0f} tokens a second, {time.perf_counter() - start:.0f} s in all"
            print(f"{size}, round {number} of {given.rounds}: {contender} {result}", file=sys.stderr, flush=True)
    return runs, peaks


def _measure(given: argparse.Namespace, contender: str, size: str, batches: Path) -> Measurement:
    """One contender in a fresh process.

    Raises:
        SystemExit: its environment is missing, or it failed.
    """
    asked = CONTENDERS[contender]
    environment = asked.environment
    python = Path(sys.executable) if environment is None else given.environments / environment / "bin" / "python"
    if not python.exists():
        raise SystemExit(f"{contender} has no environment at {python.parent.parent}: benchmarks/README.md says how to make it")
    command = [str(python), "-m", f"benchmarks.peers.{asked.module}", "--size", size, "--batches", str(batches)]
    command += ["--warm-up", str(WARM_UP), "--precision", asked.precision]
    finished = subprocess.run(command, cwd=ROOT, env=settings(given.threads), capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise SystemExit(f"{contender} failed:\n{finished.stderr[-4000:]}")
    return Measurement(**json.loads(finished.stdout.split("\n")[-2]))


def _describe(size: Size) -> str:
    layers = f"{size.n_layers} + {size.n_layers} layers, d_model {size.d_model}, d_ff {size.d_ff}, {size.n_heads} heads"
    return f"{layers}, vocabulary {VOCABULARY:,}, dropout {size.dropout}; batches of {size.batch_tokens:,} padded tokens."


if __name__ == "__main__":
    main()
