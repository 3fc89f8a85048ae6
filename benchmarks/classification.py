"""Text classifiers beside a bag of words: ``python -m benchmarks.classification RUN [RUN ...] [--together N]``.

The runs are of one recipe with several seeds; with ``--together`` the first N of them vote, then the next N. The baseline is
a logistic regression on which words a text holds, trained on the same training split; its weight decay is chosen on dev. The
test split is scored once.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import pellucid
from benchmarks import machine
from pellucid.data.readers import open_split

DECAYS = (0.0001, 0.0003, 0.001, 0.003, 0.01)
STEPS = 200

Examples = Sequence[tuple[str, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.classification", description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", type=Path, help="directories of finished runs")
    parser.add_argument("--together", type=int, default=1, metavar="N", help="score N runs as one, in the order given")
    given = parser.parse_args()
    if given.together < 1 or len(given.runs) % given.together:
        parser.error(f"--together: {len(given.runs)} runs cannot be shared out in groups of {given.together}")
    classifiers = [pellucid.load(run) for run in given.runs]
    splits = {name: list(open_split(classifiers[0].config.data, name)) for name in ("train", "dev", "test")}
    groups = [classifiers[first : first + given.together] for first in range(0, len(classifiers), given.together)]
    found = [one.evaluate(splits["test"], others).values["accuracy"] for one, *others in groups]
    record = {
        "models that vote": given.together,
        "test accuracy": [round(accuracy, 2) for accuracy in found],
        "mean": round(statistics.mean(found), 2),
        "standard deviation": round(statistics.stdev(found), 2) if len(found) > 1 else None,
        "bag of words, test accuracy": round(bag_of_words(splits), 2),
        "seeds": [[classifier.config.seed for classifier in group] for group in groups],
        "machine": machine.describe(),
        "versions": machine.versions(("torch",)),
    }
    print(json.dumps(record, indent=2))


def bag_of_words(splits: dict[str, list[tuple[str, ...]]]) -> float:
    """Accuracy on test, in percent, of the regression whose weight decay is the best one on dev."""
    words = {word: place for place, word in enumerate(sorted({w for text, _ in splits["train"] for w in text.split()}))}
    labels = {label: number for number, label in enumerate(sorted({label for _, label in splits["train"]}))}
    x = {name: _presence(examples, words) for name, examples in splits.items()}
    y = {name: torch.tensor([labels[label] for _, label in examples]) for name, examples in splits.items()}
    models = [_regression(x["train"], y["train"], len(labels), decay) for decay in DECAYS]
    best = max(models, key=lambda model: _accuracy(model, x["dev"], y["dev"]))
    return _accuracy(best, x["test"], y["test"])


def _presence(examples: Examples, words: dict[str, int]) -> Tensor:
    """(texts, words) 1 where a text holds a word."""
    found = torch.zeros(len(examples), len(words))
    for row, (text, _) in enumerate(examples):
        found[row, [words[word] for word in set(text.split()) if word in words]] = 1.0
    return found


def _regression(x: Tensor, y: Tensor, classes: int, decay: float) -> nn.Linear:
    torch.manual_seed(1)
    model = nn.Linear(x.shape[1], classes)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y) + decay * model.weight.square().sum()
        loss.backward()
        optimizer.step()
    return model


@torch.inference_mode()
def _accuracy(model: nn.Linear, x: Tensor, y: Tensor) -> float:
    return 100 * (model(x).argmax(1) == y).double().mean().item()


if __name__ == "__main__":
    main()
