"""What word vectors are worth: ``python -m benchmarks.word_vectors --data DIR --out DIR``.

Vectors are learnt on the English texts in ``DIR``; their cosines are compared with people's judgements, beside those of a file;
and the classifier of ``recipes/sst2.yaml`` begins with random vectors, with these and with these frozen. The dev split of SST-2
decides which weights of a run are kept; its test split is scored once. The vectors are learnt from the training splits alone.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pellucid
from benchmarks import machine
from pellucid.base.recipe import read
from pellucid.data.vector_files import read_vectors, write_vectors
from pellucid.data.word_pairs import read_word_pairs
from pellucid.tasks.comparing import similarity
from pellucid.tasks.train import train

ROOT = Path(__file__).parent.parent
PAIRS = {"WS-353": "EN-WS-353-ALL.txt", "SimLex-999": "EN-SIMLEX-999.txt"}
MINE = ("text.min_frequency=3", "training.steps=800", "training.validate_every=400", "checkpoints.every=400")
LEARNT = {
    "skip-gram, 128": ("model.d_model=128",),
    "skip-gram, 50": ("model.d_model=50",),
    "CBOW, 50": ("model.d_model=50", "word_vectors.objective=cbow"),
    "skip-gram with parts (20,000 buckets), 50": ("model.d_model=50", "word_vectors.buckets=20000"),
}
# The recipe's own shape for our vectors, and one as wide as the file's; how each begins.
SHAPES = {
    128: ("model.d_model=128",),
    50: ("model.d_model=50", "model.encoder.n_heads=5", "model.encoder.d_ff=100", "optimizer.learning_rate=0.003"),
}
BEGINNINGS = {"random": False, "begun with them": False, "frozen": True}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.word_vectors", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with multi30k, tatoeba-fra-eng, sst2 and word-vectors")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", type=int, default=2, help="runs of each classifier")
    parser.add_argument("--steps", type=int, default=700, help="of each classifier")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    text = given.out / "text.txt"
    n_words = write_text(text, given.data)
    file = given.data / "word-vectors" / "glove.6B.50d.5k.txt"
    record: dict[str, Any] = {"words of text": n_words, "similarity": {}, "classification": {}}
    record["similarity"]["GloVe, 50 (5,050 words)"] = compared(read_vectors(file).get, given.data)
    for name, settings in LEARNT.items():
        run = given.out / name.replace(" ", "-")
        learn("word-vectors.yaml", run, [*MINE, f"data.train={text}", *settings])
        model = pellucid.load(run)
        record["similarity"][name] = {"words": len(model.vectors), **compared(model.vector, given.data)}
        write_vectors(given.out / f"{run.name}.txt", model.vectors)
    sources = {(50, "GloVe"): file, (128, "skip-gram"): given.out / "skip-gram,-128.txt"}
    for (width, name), vectors in sources.items():
        for beginning, frozen in BEGINNINGS.items():
            how = () if beginning == "random" else (f"start.vectors={vectors}", f"start.freeze_vectors={str(frozen).lower()}")
            key = f"{name}, d_model {width}: {beginning}"
            record["classification"][key] = classified(given.out / key.replace(" ", "-"), given, (*SHAPES[width], *how))
    record["machine"], record["versions"] = machine.describe(), machine.versions(("torch",))
    print(json.dumps(record, indent=2))


def classified(place: Path, given: argparse.Namespace, settings: Sequence[str]) -> dict[str, Any]:
    """Accuracies of one kind of beginning, a run for each seed, in percent."""
    found: dict[str, Any] = {"dev": [], "test": []}
    for seed in range(1, given.seeds + 1):
        run = Path(f"{place}-{seed}")
        corpus = ("data.corpus=null", f"data.directory={given.data / 'sst2'}", f"seed={seed}")
        learn("sst2.yaml", run, [f"training.steps={given.steps}", *corpus, *settings])
        classifier = pellucid.load(run)
        for split in found:
            found[split].append(round(classifier.evaluate_split(split).values["accuracy"], 2))
        if (run / "vectors.json").exists():
            found["share"] = json.loads((run / "vectors.json").read_text(encoding="utf-8"))["embeddings"]["source"]
    return found


def learn(recipe: str, run: Path, settings: Sequence[str]) -> None:
    """A run on one thread, in float32."""
    config = read(ROOT / "recipes" / recipe, settings)
    train(replace(config, runtime=replace(config.runtime, threads=1, precision="float32", device="cpu")), run)


def compared(look: Any, data: Path) -> dict[str, Any]:
    """Rank correlation and covered pairs of each set."""
    found = {name: similarity(look, read_word_pairs(data / "word-vectors" / file)) for name, file in PAIRS.items()}
    return {name: f"{one.correlation:.3f} ({one.covered} of {one.pairs})" for name, one in found.items()}


def write_text(path: Path, data: Path) -> int:
    """The training splits in one text, a sentence a line; gives the number of words between spaces."""
    lines = list(dict.fromkeys(_sentences(data)))
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return sum(len(line.split()) for line in lines)


def _sentences(data: Path) -> Iterator[str]:
    """Captions, everyday sentences and film reviews in turn, so that every part of the text has some of each."""
    with gzip.open(data / "multi30k" / "train.en.gz", "rt", encoding="utf-8") as file:
        captions = file.read().split("\n")
    with gzip.open(data / "tatoeba-fra-eng" / "train.tsv.gz", "rt", encoding="utf-8") as file:
        everyday = [line.split("\t")[-1] for line in file.read().split("\n")]
    reviews = [line.split("\t")[0] for line in (data / "sst2" / "train.tsv").read_text(encoding="utf-8").split("\n")]
    parts = [captions, everyday, reviews]
    longest = max(map(len, parts))
    for place in range(longest):
        for part in parts:
            begin, end = place * len(part) // longest, (place + 1) * len(part) // longest
            yield from (line for line in part[begin:end] if line.strip())


if __name__ == "__main__":
    main()
