"""Corpora larger than memory: what is resident while they are prepared, and while a model learns from them.

    python -m benchmarks.large_store [--megabytes 25,50,100] [--gigabytes 20]

Texts of several sizes are prepared as a run prepares them: the peak must not grow with the text. Then a store of so many
gigabytes, sparse files, so that it needs no disk, is trained from. Each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faults import without_pictures
from pellucid.base.config import CheckpointConfig, DataConfig, RunConfig, TextConfig
from pellucid.base.progress import set_quiet
from pellucid.data.formats import Split
from pellucid.data.readers import open_text
from pellucid.data.store import ExampleEncoder, Store, open_or_prepare
from pellucid.tasks import prepared
from pellucid.tasks.language_modelling import RunningTexts
from pellucid.tasks.model_directory import run_tokenizer
from pellucid.tasks.train import train
from pellucid.training.checkpoints import newest_progress
from tests.conftest import config_for

CONTEXT = 1024  # tokens of a window
CHUNK = 1_000_000  # tokens of an example of the sparse store
STEPS = 10
WORDS = 50_000  # different words of a text


@dataclass(frozen=True)
class Measured:
    """One process: what it worked on, and what that took."""

    bytes: int
    peak: int  # resident bytes, the interpreter with its libraries included
    before: int  # of which were resident before it began
    seconds: float


def write_text(path: Path, size: int) -> None:
    """Lines of words drawn from a fixed list, frequent ones often, as many bytes as asked for or a few more."""
    chooser = random.Random(1)
    words = ["".join(chooser.choices("abcdefghijklmnopqrstuvwxyz", k=chooser.randint(2, 10))) for _ in range(WORDS)]
    weights = [1 / rank for rank in range(1, WORDS + 1)]
    lines = [" ".join(chooser.choices(words, weights, k=12)) + "\n" for _ in range(20_000)]
    written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            line = chooser.choice(lines)
            written += file.write(line)


def language_model(directory: Path) -> RunConfig:
    """A tiny language model on ``train.txt`` and ``dev.txt`` of a directory."""
    config = config_for(directory)
    model = replace(config.model, architecture="decoder", max_length=CONTEXT)
    return replace(
        config,
        task="language_modelling",
        model=model,
        text=TextConfig(tokenizer="bpe", vocabulary=4000),
        data=DataConfig(train=(str(directory / "train.txt"),), dev=(str(directory / "dev.txt"),)),
        training=replace(
            config.training,
            metric="loss",
            steps=STEPS,
            batch_tokens=4 * CONTEXT,
            accumulate=1,
            validate_every=0,
            validate_sentences=1,
        ),
        checkpoints=CheckpointConfig(every=STEPS, average=1),
    )


def prepare_text(directory: Path, size: int) -> Measured:
    """Write a text, learn its vocabulary and prepare its tokens, as a run does."""
    write_text(directory / "train.txt", size)
    return _in_a_process(lambda: _prepare(directory), size)


def _prepare(directory: Path) -> None:
    config = language_model(directory)
    split = open_text(config.data, "train")
    tokenizer = run_tokenizer(config, directory / "data", (text for (text,) in split))
    open_or_prepare(split, RunningTexts(tokenizer, documents=False), directory / "data" / "train", config.data)


def train_sparsely(directory: Path, size: int) -> Measured:
    """Train from a store of about ``size`` bytes, most of them no more than promised: sparse files in the form of the store.

    It is opened as a run opens its own, but for the checksums: comparing them reads every byte once, in constant memory, and
    would read zeros here.
    """
    for name in ("train.txt", "dev.txt"):
        (directory / name).write_text("ab cd ef gh\n" * 1000, encoding="utf-8")
    _prepare(directory)
    store = directory / "data" / "train"
    meta: dict[str, Any] = json.loads((store / "meta.json").read_text(encoding="utf-8"))
    width = int(meta["dtype"][2:])
    examples = max(1, size // width // CHUNK)
    meta |= {"tokens": examples * CHUNK, "examples": examples}
    (store / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    os.truncate(store / "tokens.bin", examples * CHUNK * width)
    (np.arange(examples, dtype="<i8") * CHUNK).tofile(store / "offsets.bin")
    np.full(examples, CHUNK, dtype="<i4").tofile(store / "lengths.bin")
    return _in_a_process(lambda: _train(directory), examples * CHUNK * width)


def _train(directory: Path) -> None:
    def opened(split: Split, encoder: ExampleEncoder, store: Path, config: DataConfig, *, begun: bool = False) -> Store:
        return Store.open(store) if store.name == "train" else open_or_prepare(split, encoder, store, config, begun=begun)

    prepared.open_or_prepare = opened
    with without_pictures():
        train(language_model(directory), directory)
    assert newest_progress(directory) is not None


def _in_a_process(work: Callable[[], None], size: int) -> Measured:
    """Do it in a process of its own, and measure that.

    Raises:
        RuntimeError: it failed.
    """
    heard, told = os.pipe()
    began = time.monotonic()
    process = os.fork()
    if process == 0:
        try:
            before = _resident("VmRSS")
            work()
            os.write(told, json.dumps([before, _resident("VmHWM")]).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(told)
    with os.fdopen(heard, "rb") as pipe:
        said = pipe.read()
    os.waitpid(process, 0)
    if not said:
        raise RuntimeError("the process failed")
    before, peak = json.loads(said)
    return Measured(size, peak, before, time.monotonic() - began)


def _resident(field: str) -> int:
    """Bytes of this process in memory: now (``VmRSS``), or most so far (``VmHWM``)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.split("\n") if line.startswith(field))


def measure(directory: Path, megabytes: list[int], gigabytes: float) -> tuple[list[Measured], Measured]:
    """Each size of text prepared, and the sparse store trained from; what was written is removed at once."""
    texts = []
    for size in megabytes:
        place = directory / str(size)
        place.mkdir()
        texts.append(prepare_text(place, size * 1_000_000))
        shutil.rmtree(place)
    place = directory / "sparse"
    place.mkdir()
    return texts, train_sparsely(place, int(gigabytes * 1e9))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", default="25,50,100")
    parser.add_argument("--gigabytes", type=float, default=20.0)
    chosen = parser.parse_args()
    set_quiet(True)
    with tempfile.TemporaryDirectory(prefix="pellucid-") as directory:
        texts, store = measure(Path(directory), [int(size) for size in chosen.megabytes.split(",")], chosen.gigabytes)
    for found in texts:
        rate = found.bytes / found.seconds / 1e6
        print(f"prepared {found.bytes / 1e6:.0f} MB: {found.peak / 1e6:.0f} MB resident at most, {rate:.1f} MB a second")
    print(f"trained from {store.bytes / 1e9:.1f} GB: {store.peak / 1e6:.0f} MB resident at most, {store.seconds:.0f} s")


if __name__ == "__main__":
    main()
