"""Text classification: which of the known classes, or which degree, is a text of?

Shapes: B texts, S positions, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.base.config import RunConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.data.readers import open_split
from pellucid.model.transformer import EncoderOnly
from pellucid.tasks.degrees import degree_loss, degree_of, degree_probabilities
from pellucid.tasks.labels import Labels
from pellucid.tasks.loaded import Loaded, Scores
from pellucid.tasks.model_directory import run_labels, run_tokenizer
from pellucid.tasks.on_encoder import EncoderBatch, FramedTexts, OnEncoder, in_rows, logits_of
from pellucid.tasks.prepared import padded
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.protocol import Stopped, Validation

N_SAMPLES = 4


class LabelledTexts(FramedTexts):
    """Text and label to framed tokens and one number."""

    def __init__(self, texts: FramedTexts, labels: Labels) -> None:
        super().__init__(texts.tokenizer, texts.longest)
        self.labels = labels

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the tokens depend on."""
        return {**super().fingerprint, "labels": self.labels.fingerprint}

    def encode(self, examples: Sequence[tuple[str, ...]]) -> list[tuple[list[int], ...]]:
        """Framed tokens and the class of each text."""
        rows = super().encode(examples)
        return [(ids, [self.labels.id(label)]) for (ids,), (_, label) in zip(rows, examples, strict=True)]


class Classification(OnEncoder):
    """The training side: implements :class:`pellucid.training.protocol.Task`.

    Args:
        config: of the run; sizes are filled in (``.config``).
        directory: of the run.

    Raises:
        DataError: a corpus is missing, damaged or empty, or has a label that the training split lacks.
    """

    def __init__(self, config: RunConfig, directory: Path) -> None:
        splits = {name: open_split(config.data, name) for name in ("train", "dev")}
        tokenizer = run_tokenizer(config, directory / "data", (text for text, _ in splits["train"]))
        self.degrees = config.data.labels == "degrees"
        labels = run_labels(directory / "data", (label for _, label in splits["train"]), degrees=self.degrees)
        outputs = len(labels) - self.degrees  # n + 1 degrees have n thresholds between them
        size = max(tokenizer.vocabulary_size, config.model.source_vocabulary)  # an imported table may have spare rows
        model = replace(config.model, source_vocabulary=size, target_vocabulary=outputs)
        encoder = LabelledTexts(FramedTexts(tokenizer, model.max_length), labels)
        super().__init__(replace(config, model=model), splits, encoder, directory, tokenizer, labels)

    def batch(self, examples: np.ndarray[Any, Any], split: str = "train") -> EncoderBatch:
        """The tensors of some texts; while training some of their tokens are unknown. With R-Drop each text comes twice."""
        store = self.stores[split]
        if split == "train" and self.config.training.r_drop:
            examples = np.concatenate((examples, examples))
        source, mask = padded([store.column(int(i), 0) for i in examples], self.tokenizer.pad or 0)
        target = torch.tensor([int(store.column(int(i), 1)[0]) for i in examples])
        if split == "train" and self.config.corruption.drop and self.tokenizer.unknown is not None:
            # Never the first: it may stand for the whole text.
            dropped = torch.rand(source.shape) < self.config.corruption.drop
            dropped[:, 0] = False
            source = source.masked_fill(dropped if mask is None else dropped & mask, self.tokenizer.unknown)
        return EncoderBatch(source, mask, target, None)

    def loss(self, model: nn.Module, batch: EncoderBatch) -> Tensor:
        """Cross-entropy of the class, or of the degree's thresholds, summed over the texts.

        With R-Drop ("Regularized Dropout for Neural Networks", Liang et al., 2021, equation 4) plus ``r_drop`` times the mean
        of the two divergences between the two answers to a text, between which nothing but chance differs.
        """
        if self.degrees:
            return degree_loss(logits_of(model, batch), batch.target)
        if not self.config.training.r_drop:
            return super().loss(model, batch)
        logits = logits_of(model, batch).float()
        right = nn.functional.cross_entropy(
            logits, batch.target, reduction="sum", label_smoothing=self.config.training.label_smoothing
        )
        first, second = torch.log_softmax(logits, dim=-1).chunk(2)
        apart = ((first.exp() - second.exp()) * (first - second)).sum() / 2  # KL(p, q) + KL(q, p) in one
        return right + self.config.training.r_drop * apart

    @torch.inference_mode()
    def validate(self, model: nn.Module, stopped: Stopped, ranks: Ranks = ALONE) -> Validation:
        """Loss and accuracy of the dev split (for degrees also the mean error), and a few texts to read."""
        device = next(model.parameters()).device
        batches = (self.batch(examples, "dev").to(device) for examples in self.in_order("dev"))
        metrics = score(model, batches, self.degrees, stopped, ranks)
        self.dev_scores = metrics
        return Validation(metrics, self._samples(model))

    def _samples(self, model: nn.Module) -> list[str]:
        assert isinstance(model, EncoderOnly)
        store = self.stores["dev"]
        texts = [self.tokenizer.decode(store.column(i, 0).tolist()) for i in range(min(N_SAMPLES, len(store)))]
        found = Classifier(model, self.config, self.tokenizer, self.labels).classify(texts)
        labels = [self.labels.names[int(store.column(i, 1)[0])] for i in range(len(texts))] if self.labels else []
        return [
            f"{text} -> {answer.label} {max(answer.probabilities.values()):.2f}  (label: {label})"
            for text, answer, label in zip(texts, found, labels, strict=True)
        ]


def score(
    model: nn.Module,
    batches: Iterator[EncoderBatch],
    degrees: bool,
    stopped: Stopped = lambda: False,
    ranks: Ranks = ALONE,
) -> dict[str, float]:
    """Loss in nats, accuracy in percent; of degrees also the mean absolute error, in degrees.

    Of ``ranks`` each takes its part of the batches.
    """
    total = right = error = count = 0.0
    for batch in ranks.mine(batches):
        if stopped():
            break
        logits, target = logits_of(model, batch).float(), batch.target
        total += (
            degree_loss(logits, target) if degrees else nn.functional.cross_entropy(logits, target, reduction="sum")
        ).item()
        right += (probabilities_of(logits, degrees).argmax(-1) == target).sum().item()
        error += (degree_of(logits) - target).abs().sum().item() if degrees else 0.0
        count += len(target)
    total, right, error, count = ranks.sum(total, right, error, count)
    found = {"loss": total / max(count, 1), "accuracy": 100 * right / max(count, 1)}
    return {**found, "error": error / max(count, 1)} if degrees else found


def probabilities_of(logits: Tensor, degrees: bool) -> Tensor:
    """(B, C) from a model's outputs."""
    return degree_probabilities(logits) if degrees else torch.softmax(logits, -1)


@dataclass(frozen=True)
class Classified:
    """What a classifier says of a text or picture.

    Args:
        label: the most probable class.
        probabilities: of every class, by name; they sum to 1.
        degree: the expected degree, of models of degrees; else ``None``.
    """

    label: str
    probabilities: dict[str, float]
    degree: float | None = None


Voter = TypeVar("Voter", bound=Loaded[EncoderOnly])


def voting(one: Voter, others: Sequence[Voter]) -> list[Voter]:
    """All of them.

    Raises:
        UsageError: they classify other things, or have other classes.
    """
    for other in others:
        if other.config.task != one.config.task:
            raise UsageError("the models have different tasks", expected=one.config.task, found=other.config.task)
        kinds = [f"{', '.join(voter.labels)} ({voter.config.data.labels})" for voter in (one, other)]
        if kinds[0] != kinds[1]:
            raise UsageError("the models have different classes", where="ensemble", expected=kinds[0], found=kinds[1])
    return [one, *others]


def averaged(answers: Sequence[Sequence[Classified]]) -> list[Classified]:
    """What several models together say of each text or picture: the mean of what they hold probable.

    Probabilities are averaged, not their logarithms, as where several models write (:mod:`pellucid.decoding.ensemble`).
    """
    if len(answers) == 1:
        return list(answers[0])
    found = []
    for votes in zip(*answers, strict=True):
        mean = {name: fmean(vote.probabilities[name] for vote in votes) for name in votes[0].probabilities}
        degrees = [vote.degree for vote in votes if vote.degree is not None]
        found.append(Classified(max(mean, key=mean.__getitem__), mean, fmean(degrees) if degrees else None))
    return found


class Classifier(Loaded[EncoderOnly]):
    """The using side: what ``pellucid.load`` returns for a model that classifies texts.

    Several of them vote where an ``ensemble`` of others is given. They may be of any sizes, each with a tokenizer of its own.
    """

    @property
    def degrees(self) -> bool:
        """Whether the classes are degrees, in an order."""
        return self.config.data.labels == "degrees"

    def classify(self, texts: str | Sequence[str], ensemble: Sequence[Classifier] = ()) -> list[Classified]:
        """The class of each text, with the probabilities of all.

        Raises:
            UsageError: a model of the ensemble has other classes, or another task.
        """
        given = [texts] if isinstance(texts, str) else list(texts)
        return averaged([voter._classify(given) for voter in voting(self, ensemble)])

    @torch.inference_mode()
    def _classify(self, texts: Sequence[str]) -> list[Classified]:
        found: list[Classified | None] = [None] * len(texts)
        for numbers, rows in in_rows(self.tokenizer, texts, self.config.model.max_length):
            source, mask = padded([np.array(row) for row in rows], self.tokenizer.pad or 0)
            logits = self.logits(source, mask=mask).float()
            degrees = degree_of(logits).tolist() if self.degrees else [None] * len(rows)
            for number, shares, degree in zip(numbers, probabilities_of(logits, self.degrees).tolist(), degrees, strict=True):
                by_name = dict(zip(self.labels, shares, strict=True))
                found[number] = Classified(max(by_name, key=by_name.__getitem__), by_name, degree)
        return [answer for answer in found if answer is not None]

    def evaluate_split(self, name: str, ensemble: Sequence[Classifier] = ()) -> Scores:
        """Score the model on a split of the corpus that it was trained on."""
        return self.evaluate(list(open_split(self.config.data, name)), ensemble)

    def evaluate(self, examples: Sequence[tuple[str, ...]], ensemble: Sequence[Classifier] = ()) -> Scores:
        """Score the model on texts and their labels.

        Raises:
            DataError: there are none, or the model does not know a label.
            UsageError: as :meth:`classify`.
        """
        if not examples:
            raise DataError("there is nothing to score", expected="at least one text with its label", found="none")
        labels = Labels(self.labels)
        answers = self.classify([text for text, _ in examples], ensemble)
        targets = [labels.id(label) for _, label in examples]
        shares = [list(answer.probabilities.values()) for answer in answers]
        found = {
            "accuracy": 100
            * float(np.mean([answer.label == label for answer, (_, label) in zip(answers, examples, strict=True)])),
            "loss": float(np.mean([-np.log(max(row[target], 1e-300)) for row, target in zip(shares, targets, strict=True)])),
        }
        if self.degrees:
            degrees = np.array([answer.degree for answer in answers])
            found["error"] = float(np.abs(degrees - np.array(targets)).mean())
            found["correlation"] = float(np.corrcoef(degrees, targets)[0, 1])
        return Scores(found, [answer.label for answer in answers], len(examples))
