"""The Eole toolkit, by its own training command, in an environment of its own; ``benchmarks/README.md`` has the set-up.

It reads the sentences of the batches as text whose words are the token ids, and its vocabulary lists those ids in
order: the same tokens, cut into batches by its own rules with the same budget. What counts is its own report after
every step: target tokens (with the end token, without padding) and tokens a second, in which the fetching of the
batch is included.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.contender import (
    BETAS,
    END,
    EPSILON,
    LABEL_SMOOTHING,
    LEARNING_RATE,
    PAD,
    SIZES,
    VOCABULARY,
    Batch,
    Measurement,
    Size,
    answer,
    arguments,
    load_batches,
)

CONTROL_TOKENS = ("<blank>", "<unk>", "<s>", "</s>")  # its names, at our ids 0 to 3
REPORT = re.compile(r"Step +(\d+)/.* bsz: +\d+/ *(\d+)/.*; +\d+/ *(\d+) tok/s;")


def _words(ids: list[int]) -> str:
    return " ".join(CONTROL_TOKENS[i] if i < len(CONTROL_TOKENS) else str(i) for i in ids)


def write_text(directory: Path, batches: list[Batch]) -> int:
    """The files ``vocabulary``, ``source`` and ``target``; returns the number of sentences."""
    vocabulary = [_words([i]) for i in range(VOCABULARY)]
    # It adds start and end to the target by itself, and nothing to the source, whose end token is written out.
    sources = [_words([i for i in row if i != PAD]) for batch in batches for row in batch.source.tolist()]
    targets = [_words([i for i in row[1:] if i not in (PAD, END)]) for batch in batches for row in batch.target.tolist()]
    for name, lines in (("vocabulary", vocabulary), ("source", sources), ("target", targets)):
        (directory / name).write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return len(sources)


def configuration(directory: Path, size: Size, sentences: int, steps: int) -> dict[str, Any]:
    """A recipe for its ``train`` command. What is not said keeps the toolkit's default."""
    return {
        "data": {"corpus": {"path_src": str(directory / "source"), "path_tgt": str(directory / "target"), "transforms": []}},
        "src_vocab": str(directory / "vocabulary"),
        "share_vocab": True,
        "vocab_size_multiple": 1,
        "seed": 1,
        "report_every": 1,
        "model": {
            "architecture": "transformer",
            "hidden_size": size.d_model,
            "layers": size.n_layers,
            "heads": size.n_heads,
            "transformer_ff": size.d_ff,
            "add_qkvbias": True,
            "add_final_linear_bias": True,
            "add_ffnbias": True,
            "share_embeddings": True,
            "share_decoder_embeddings": True,
            "embeddings": {"word_vec_size": size.d_model, "position_encoding": True},
        },
        "training": {
            "model_path": str(directory / "model"),
            "train_steps": steps,
            "batch_type": "tokens",
            "batch_size": size.batch_tokens,
            "bucket_size": sentences,  # sorted and cut once a pass
            "num_workers": 0,  # its loader processes would take the cores from training
            "compute_dtype": "fp32",
            "optim": "adam",
            "learning_rate": LEARNING_RATE,
            "adam_beta1": BETAS[0],
            "adam_beta2": BETAS[1],
            "adam_eps": EPSILON,
            "max_grad_norm": 0,
            "normalization": "tokens",
            "label_smoothing": LABEL_SMOOTHING,
            "dropout": [size.dropout],
            "attention_dropout": [0.0],
            "log_attention_entropy": False,  # extra arithmetic for its log
        },
    }


def reports(log: str) -> Iterator[tuple[int, int, int]]:
    """``(step, target tokens, target tokens a second)`` for each step in the log."""
    for found in REPORT.finditer(log):
        step, tokens, rate = map(int, found.groups())
        yield step, tokens, rate


def main() -> None:
    given = arguments()
    batches = load_batches(given.batches)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        sentences = write_text(directory, batches)
        recipe = configuration(directory, SIZES[given.size], sentences, given.warm_up + len(batches))
        (directory / "recipe.yaml").write_text(json.dumps(recipe), encoding="utf-8")  # JSON is YAML
        command = [str(Path(sys.executable).with_name("eole")), "train", "-config", str(directory / "recipe.yaml")]
        finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    timed = [(tokens, rate) for step, tokens, rate in reports(finished.stdout) if step > given.warm_up]
    if finished.returncode != 0 or len(timed) != len(batches):
        raise SystemExit(f"eole train did not report {len(batches)} timed steps:\n{finished.stdout[-4000:]}")
    seconds = sum(tokens / rate for tokens, rate in timed)
    answer(Measurement(sum(tokens for tokens, _ in timed), seconds, len(timed), machine.versions(("torch", "eole"))))


if __name__ == "__main__":
    main()
