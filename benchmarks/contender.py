"""What every contender shares: the sizes, the batches, and the way a contender is called and answers.

A contender is a module, run as ``python -m benchmarks.peers.NAME --size tiny --batches FILE --precision float32`` in a
process of its own. Its last line of output is a :class:`Measurement` in JSON. A contender that is a training step
calls :func:`run` with a function ``make_step(size, batches, precision)``; what that returns trains on batch ``i`` and gives
the number of target tokens in it.

Only numpy and the standard library are imported here: peers live in environments without this package.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks import machine

PAD, START, END = 0, 2, 3
VOCABULARY = 10_000  # joint
LABEL_SMOOTHING = 0.1
LEARNING_RATE = 1e-4  # constant: a schedule costs nothing that could be measured
BETAS, EPSILON = (0.9, 0.98), 1e-9

Step = Callable[[int], int]


@dataclass(frozen=True)
class Size:
    """Shape of the model, and how much of the text a pass over the batches reads."""

    d_model: int
    n_layers: int  # of the encoder, and of the decoder
    n_heads: int
    d_ff: int
    dropout: float  # on the embedding sums and on each sublayer's output
    batch_tokens: int  # padded tokens: rows times the longer of source and target
    sentences: int


SIZES = {
    "tiny": Size(d_model=128, n_layers=4, n_heads=4, d_ff=256, dropout=0.3, batch_tokens=4096, sentences=2000),
    "small": Size(d_model=256, n_layers=3, n_heads=4, d_ff=1024, dropout=0.1, batch_tokens=4096, sentences=1200),
    "base": Size(d_model=512, n_layers=6, n_heads=8, d_ff=2048, dropout=0.1, batch_tokens=1536, sentences=300),
}


class Batch(NamedTuple):
    """Padded token ids, padding on the right."""

    source: npt.NDArray[np.int64]  # (B, S), ends with the end token
    target: npt.NDArray[np.int64]  # (B, T + 1), from the start token to the end token

    @property
    def target_tokens(self) -> int:
        """Tokens that are predicted: the end token counts, the start token and padding do not."""
        return int((self.target[:, 1:] != PAD).sum())


@dataclass(frozen=True)
class Measurement:
    """What a contender answers."""

    tokens: int  # target tokens of the timed steps
    seconds: float
    steps: int
    versions: dict[str, str]


def save_batches(path: Path, batches: Sequence[Batch]) -> None:
    arrays = {f"{side}_{i}": array for i, batch in enumerate(batches) for side, array in batch._asdict().items()}
    np.savez(path, **arrays)


def load_batches(path: Path) -> list[Batch]:
    with np.load(path) as arrays:
        return [Batch(arrays[f"source_{i}"], arrays[f"target_{i}"]) for i in range(len(arrays) // 2)]


def arguments() -> argparse.Namespace:
    """Those of every contender."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", choices=SIZES, required=True)
    parser.add_argument("--batches", type=Path, required=True)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32", help="of the products of matrices")
    parser.add_argument("--warm-up", type=int, default=2, help="steps taken before the clock starts")
    return parser.parse_args()


def run(make_step: Callable[[Size, list[Batch], str], Step], packages: Sequence[str] = ("torch",)) -> None:
    """Warm up, then time one pass over the batches, and answer. ``packages``: those whose versions matter."""
    given = arguments()
    batches = load_batches(given.batches)
    step = make_step(SIZES[given.size], batches, given.precision)
    for i in range(given.warm_up):
        step(i % len(batches))
    start = time.perf_counter()
    tokens = sum(step(i) for i in range(len(batches)))
    answer(Measurement(tokens, time.perf_counter() - start, len(batches), machine.versions(packages)))


def answer(measurement: Measurement) -> None:
    print(json.dumps(asdict(measurement)), flush=True)
