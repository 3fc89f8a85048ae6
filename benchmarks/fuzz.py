"""Files as they must not be: valid ones changed at random, for every reader. Each is read or refused in our own words.

    python -m benchmarks.fuzz [--minutes 5] [--only recipe,store] [--seed 1]

A reader gets its files in processes of its own that may have so much memory more than they begin with, and so many seconds of
the processor a file; whatever else than our own errors comes out of one is kept beside the corpus, to be looked at.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import io
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType

from benchmarks.faults import without_pictures
from benchmarks.mutations import changed
from pellucid.base.config import DataConfig, TextConfig
from pellucid.base.errors import PellucidError
from pellucid.base.files import verify_directory
from pellucid.base.recipe import read as read_recipe
from pellucid.data.readers import open_split, open_text
from pellucid.data.store import Store
from pellucid.data.vector_files import read_vectors, write_vectors
from pellucid.tasks.load import load
from pellucid.tasks.train import train
from pellucid.text.imported import Controls, ImportedTokenizer
from pellucid.text.tokenizer import Tokenizer
from pellucid.text.vectors import Vectors
from tests.conftest import config_for, write_corpus

SECONDS = 5.0  # of the processor, for a file
MEMORY = 1_000_000_000  # bytes more than before, for a file
A_ROUND = 40  # files that one process reads

Files = dict[str, bytes]  # what a reader is given: names in a directory, and their contents


@dataclass(frozen=True)
class Reader:
    """What is tried.

    Args:
        seeds: valid inputs. Of each trial one is taken, and some of its files are changed.
        read: reads what lies in a directory, to the end.
        fixed: names of files that are left as they are.
    """

    seeds: list[Files]
    read: Callable[[Path, random.Random], object]
    fixed: tuple[str, ...] = ()


@dataclass
class Found:
    """What became of the files of one reader."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0  # seconds of the processor
    failures: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """How many files there were."""
        return self.read + self.refused + len(self.failures)

    def add(self, other: Found) -> None:
        """Count those of another round too."""
        self.read, self.refused = self.read + other.read, self.refused + other.refused
        self.slowest = max(self.slowest, other.slowest)
        self.failures += other.failures


def readers(directory: Path) -> dict[str, Reader]:
    """All that is tried; its valid files are made in ``directory``."""
    corpus = write_corpus(directory / "corpus")
    config = config_for(corpus)
    config = replace(config, training=replace(config.training, steps=2, validate_every=0, validate_sentences=1))
    with without_pictures(), redirect_stderr(io.StringIO()):
        train(config, directory / "run")
    recipes = Path(__file__).parents[1] / "recipes"
    table = (corpus / "dev.tsv").read_bytes()
    pairs = [line.split(b"\t") for line in table.splitlines()]
    lines = b"".join(json.dumps({"x": x.decode(), "y": y.decode(), "n": [1.5, None]}).encode() + b"\n" for x, y in pairs)
    return {
        "recipe": Reader([{path.name: path.read_bytes()} for path in sorted(recipes.glob("*.yaml"))[:40]], _recipe),
        "table": Reader([{"train.tsv": table}, {"train.tsv.gz": table}], _split),
        "json_lines": Reader([{"train.jsonl": lines}, {"train.jsonl.gz": lines}], _split),
        "aligned": Reader(
            [{"train.x": b"\n".join(x for x, _ in pairs), "train.y.gz": b"\n".join(y for _, y in pairs)}], _split
        ),
        "text": Reader([{"train.txt": table}, {"train.txt.gz": table}], _text),
        "vectors": Reader(_vectors(directory), _read_vectors),
        "tokenizer": Reader(_tokenizers(directory, table.decode().splitlines()), _tokenizer),
        "model": Reader([_files(directory / "run" / "model")], _model, ("README.md",)),
        "store": Reader([_files(directory / "run" / "data" / "train")], _store),
    }


def _files(directory: Path) -> Files:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


def _vectors(directory: Path) -> list[Files]:
    import numpy as np

    numbers = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    seeds = []
    for name in ("words.txt", "words.bin"):
        write_vectors(directory / name, Vectors(["a", "bc", "été", "d", "e"], numbers))
        content = (directory / name).read_bytes()
        seeds += [{name: content}, {f"{name}.gz": content}]
    return [*seeds, {"glove.txt": seeds[0]["words.txt"].partition(b"\n")[2]}]


def _tokenizers(directory: Path, lines: list[str]) -> list[Files]:
    seeds = []
    for kind in ("bpe", "unigram", "word", "character", "byte"):
        tokenizer = Tokenizer.train(lines, TextConfig(tokenizer=kind, vocabulary=300, min_frequency=1))
        seeds.append({"tokenizer.json": tokenizer.content.encode()})
        if kind == "bpe":
            place = directory / "imported"
            place.mkdir()
            ImportedTokenizer(tokenizer.content, Controls(0, 1, 2, 3)).save(place / "tokenizer.json")
            seeds.append(_files(place))
    return seeds


def _recipe(place: Path, chooser: random.Random) -> None:
    read_recipe(next(place.iterdir()))


def _policies(place: Path, chooser: random.Random) -> DataConfig:
    policy = chooser.choice(("error", "skip", "replace"))
    return DataConfig(directory=str(place), source="x", target="y", on_bad_utf8=policy)


def _split(place: Path, chooser: random.Random) -> None:
    split = open_split(_policies(place, chooser), "train", columns=chooser.choice((1, 2)))
    split.check_counts()
    assert split.surveys
    assert sum(1 for _ in split.records()) >= 0


def _text(place: Path, chooser: random.Random) -> None:
    split = open_text(_policies(place, chooser), "train")
    assert split.surveys
    assert sum(1 for _ in split.records()) >= 0


def _read_vectors(place: Path, chooser: random.Random) -> None:
    read_vectors(next(place.iterdir()))


def _tokenizer(place: Path, chooser: random.Random) -> None:
    path = place / "tokenizer.json"
    tokenizer = (ImportedTokenizer if (place / "controls.json").exists() else Tokenizer).load(path)
    for ids in tokenizer.encode_batch(["a b c", "été <s> \U0010fffd", ""]):
        tokenizer.decode(ids)


def _model(place: Path, chooser: random.Random) -> None:
    load(place, device="cpu")


def _store(place: Path, chooser: random.Random) -> None:
    store = Store.open(place)
    for index in range(min(len(store), 20)):
        for column in range(store.columns):
            store.column(index, column).tolist()
    verify_directory(place)


def written(reader: Reader, place: Path, chooser: random.Random) -> None:
    """One changed input of a reader, in an empty directory; the seeds of compressed files are what is in them."""
    files = chooser.choice(reader.seeds)
    names = [name for name in files if name not in reader.fixed]
    hurt = chooser.sample(names, chooser.choice((1, 1, 1, min(2, len(names)))))
    for name, content in files.items():
        packed, inside = name.endswith(".gz"), chooser.random() < 0.7
        if name in hurt and (inside or not packed):
            content = changed(content, name, chooser)
        if packed:
            content = gzip.compress(content, 1)
            if name in hurt and not inside:
                content = changed(content, name, chooser)
        (place / name).write_bytes(content)


class _TooLong(BaseException):
    """A file has taken more than its seconds. No Exception, so that no reader takes it for a mistake in the file."""


@contextmanager
def _limited() -> Iterator[None]:
    """No more than :data:`SECONDS` of the processor, in here."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooLong(f"more than {SECONDS} seconds")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)


def _one_round(reader: Reader, place: Path, seeds: range, note: int) -> Found:
    """Read some files, each noted before it is read, in this process."""
    warnings.simplefilter("ignore")
    found = Found()
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    for seed in seeds:
        chooser = random.Random(seed)
        case = place / str(seed)
        case.mkdir(parents=True)
        written(reader, case, chooser)
        os.pwrite(note, b"%20d" % seed, 0)
        began = time.process_time()
        try:
            with _limited():
                reader.read(case, chooser)
            found.read += 1
        except PellucidError:
            found.refused += 1
        except BaseException as error:
            found.failures.append(f"{seed}: {type(error).__name__}: {error!s:.200} {_where(error)}")
        found.slowest = max(found.slowest, time.process_time() - began)
        if not (found.failures and found.failures[-1].startswith(f"{seed}:")):
            shutil.rmtree(case)
    return found


def _where(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"({Path(last.filename).name}:{last.lineno})"


def one_round(reader: Reader, place: Path, seeds: range) -> Found:
    """Read some files in a process of its own; if it dies of one, that is a failure of this file."""
    heard, told = os.pipe()
    place.mkdir(parents=True, exist_ok=True)
    note = os.open(place / ".reading", os.O_RDWR | os.O_CREAT)
    process = os.fork()
    if process == 0:
        code = 1
        try:
            gc.disable()  # what was made before the fork stays shared
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)  # of what the readers say nothing is wanted here, and a panic of a library is loud
            os.dup2(null, 2)
            found = _one_round(reader, place, seeds, note)
            os.write(told, json.dumps(vars(found)).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(told)
    with os.fdopen(heard, "rb") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    last = os.pread(note, 20, 0).decode().strip()
    os.close(note)
    if code == 0:
        return Found(**json.loads(said))
    return Found(failures=[f"{last}: the process ended with {code}"])


def fuzz(directory: Path, seconds: float, seed: int = 1, only: list[str] | None = None) -> dict[str, Found]:
    """Try all readers in turn, round after round, for so many seconds and at least once."""
    tried = {name: reader for name, reader in readers(directory).items() if only is None or name in only}
    found = {name: Found() for name in tried}
    deadline, first = time.monotonic() + seconds, seed * 1_000_000
    while True:
        for name, reader in tried.items():
            found[name].add(one_round(reader, directory / name, range(first, first + A_ROUND)))
        first += A_ROUND
        if time.monotonic() > deadline:
            return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--only", help="names, separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="pellucid-fuzz-"))
    found = fuzz(place, 60 * chosen.minutes, chosen.seed, chosen.only.split(",") if chosen.only else None)
    for name, some in found.items():
        print(f"{name}: {some.tried} files, {some.read} read, {some.refused} refused, {some.slowest:.2f} s at most")
        print(*some.failures, sep="\n", end="\n" if some.failures else "")
    if any(some.failures for some in found.values()):
        print(f"the files are in {place}", file=sys.stderr)


if __name__ == "__main__":
    main()
