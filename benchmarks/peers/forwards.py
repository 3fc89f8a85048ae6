"""The same weights here and in ``transformers``, in turns: ``python -m benchmarks.peers.forwards CASE ROUNDS THREADS``.

The model is made by ``transformers`` with random weights, saved, and imported by ours. Both are in one process, and their
outputs must be equal before a clock is started. Theirs runs in its fast form: fused attention, evaluation, ``inference_mode``.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertTokenizer,
    ViTConfig,
    ViTForImageClassification,
    pipeline,
)

import pellucid
from benchmarks.forward_speed import CASES, LENGTH, LONGEST, ROWS, SHORTEST, TEXTS
from pellucid.tasks.imports import import_model

TOLERANCE = 1e-4  # of logits and probabilities of order 1
CONTROLS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [f"w{number}" for number in range(1000)]

Forward = Callable[[], Tensor]


def bert(directory: Path) -> tuple[Any, Any]:
    """BERT's base shape (Devlin et al., 2019), to classify, with a small vocabulary; ours and theirs."""
    classes = {0: "no", 1: "yes"}
    config = BertConfig(vocab_size=len(CONTROLS) + len(WORDS), id2label=classes, label2id={"no": 0, "yes": 1})
    vocabulary = {word: number for number, word in enumerate([*CONTROLS, *WORDS])}
    BertTokenizer(vocab=vocabulary).save_pretrained(directory)
    return _both(BertForSequenceClassification, config, directory)


def vit(directory: Path) -> tuple[Any, Any]:
    """ViT-B/16 (Dosovitskiy et al., 2021) with 1,000 classes; ours and theirs."""
    names = {number: f"class {number}" for number in range(1000)}
    config = ViTConfig(id2label=names, label2id={name: number for number, name in names.items()})
    return _both(ViTForImageClassification, config, directory)


def _both(kind: Any, config: Any, directory: Path) -> tuple[Any, Any]:
    torch.manual_seed(1)
    kind(config).save_pretrained(directory)
    import_model(directory, directory / "ours")
    theirs = kind.from_pretrained(directory, attn_implementation="sdpa").eval()
    return pellucid.load(directory / "ours", device="cpu"), theirs


def on_tensors(ours: Any, theirs: Any, batch: Tensor) -> tuple[Forward, Forward]:
    """A batch without padding, tokens or pixels."""
    return (lambda: ours.logits(batch)), (lambda: theirs(batch).logits)


def on_texts(ours: Any, theirs: Any, directory: Path) -> tuple[Forward, Forward]:
    """Texts of unequal lengths, by what each package has for users; both take as many texts at a time."""
    draw = random.Random(1)
    texts = [" ".join(draw.choices(WORDS, k=draw.randint(SHORTEST, LONGEST) - 2)) for _ in range(TEXTS)]
    tokenizer = BertTokenizer.from_pretrained(directory)
    classifier = pipeline("text-classification", model=theirs, tokenizer=tokenizer, batch_size=ROWS, top_k=None)

    def by_ours() -> Tensor:
        return torch.tensor([answer.probabilities["yes"] for answer in ours.classify(texts)])

    def by_theirs() -> Tensor:
        return torch.tensor([next(each["score"] for each in answer if each["label"] == "yes") for answer in classifier(texts)])

    return by_ours, by_theirs


def main() -> None:
    name, rounds = sys.argv[1], int(sys.argv[2])
    torch.set_num_threads(int(sys.argv[3]))
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        directory = Path(folder)
        ours, theirs = {"bert": bert, "vit": vit}[case.model](directory)
        if case.rows is None:
            contenders = on_texts(ours, theirs, directory)
        elif case.model == "bert":
            contenders = on_tensors(ours, theirs, torch.randint(len(CONTROLS), len(WORDS), (case.rows, LENGTH)))
        else:
            contenders = on_tensors(ours, theirs, torch.randn(case.rows, 3, 224, 224))
        first, second = (forward() for forward in contenders)  # this also warms up
        difference = (first - second).abs().max().item()
        if difference > TOLERANCE:
            raise SystemExit(f"the outputs differ by {difference}")
        seconds: list[list[float]] = [[], []]
        for _ in range(rounds):
            for taken, forward in zip(seconds, contenders, strict=True):
                start = time.perf_counter()
                for _ in range(case.times):
                    forward()
                taken.append((time.perf_counter() - start) / case.times)
    print(json.dumps(dict(zip(("ours", "transformers"), seconds, strict=True))))


if __name__ == "__main__":
    main()
