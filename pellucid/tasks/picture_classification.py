"""Picture classification: which of the known classes does a picture show? (Vision Transformer: Dosovitskiy et al., "An Image is
Worth 16x16 Words", 2021.)

Shapes: B pictures, N classes, H heads, P patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.base.config import RunConfig
from pellucid.base.errors import UsageError
from pellucid.base.plots import plot_patches
from pellucid.data.pictures import Pictures
from pellucid.model.transformer import EncoderOnly
from pellucid.tasks.classification import Classified, averaged, voting
from pellucid.tasks.labels import Labels
from pellucid.tasks.loaded import Scores
from pellucid.tasks.model_card import card
from pellucid.tasks.model_directory import run_labels, save_model
from pellucid.tasks.on_encoder import EncoderBatch, score, target_loss
from pellucid.tasks.on_pictures import ROWS, Indices, OnPictures, PictureSource, ReadsPictures, in_order, many, stacked
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.protocol import Stopped, Validation

N_SAMPLES = 4


class PictureClassification(OnPictures):
    """The training side: implements :class:`pellucid.training.protocol.Task`.

    Args:
        config: of the run; the number of classes is filled in (``.config``).
        directory: of the run.

    Raises:
        DataError: pictures are missing, damaged or of another size, or a label is not in the training split.
    """

    def __init__(self, config: RunConfig, directory: Path) -> None:
        super().__init__(config, directory)
        self.labels = run_labels(directory / "data", self.texts["train"])
        self.classes = {name: torch.tensor([self.labels.id(text) for text in texts]) for name, texts in self.texts.items()}
        self.config = replace(config, model=replace(config.model, target_vocabulary=len(self.labels)))

    def batch(self, examples: Indices, split: str = "train") -> EncoderBatch:
        """The tensors of some pictures."""
        return EncoderBatch(self.pixels(examples, split), None, self.classes[split][torch.from_numpy(examples)], None)

    def count(self, batch: EncoderBatch) -> int:
        """Pictures of a batch."""
        return len(batch.target)

    def loss(self, model: nn.Module, batch: EncoderBatch) -> Tensor:
        """Cross-entropy of the class, summed over the pictures."""
        return target_loss(model, batch, self.config.training.label_smoothing)

    @torch.inference_mode()
    def validate(self, model: nn.Module, stopped: Stopped, ranks: Ranks = ALONE) -> Validation:
        """Loss and accuracy of the dev split, and a few answers to read."""
        count = len(self.texts["dev"])
        self.dev_scores = score(model, (self.batch(examples, "dev") for examples in in_order(count)), stopped, ranks)
        return Validation(self.dev_scores, self._samples(model))

    def _samples(self, model: nn.Module) -> list[str]:
        assert isinstance(model, EncoderOnly)
        classifier = PictureClassifier(model, self.config, self.preprocessor, labels=self.labels)
        few = np.arange(min(N_SAMPLES, len(self.texts["dev"])))
        found = classifier.classify(stacked(self.pictures["dev"], few))
        return [
            f"picture {number} -> {answer.label} {answer.probabilities[answer.label]:.2f}  (label: {label})"
            for number, answer, label in zip(few, found, self.texts["dev"], strict=False)
        ]

    def save_model(self, weights: dict[str, Tensor], directory: Path) -> None:
        """Write a model directory, with the scores of the last validation on its card."""
        n_parameters = sum(weight.numel() for weight in weights.values())
        self.preprocessor.save(directory)
        text = card(self.config, n_parameters, self.dev_scores, self.labels)
        save_model(directory, self.config, None, weights, text, self.labels)


class PictureClassifier(ReadsPictures[EncoderOnly]):
    """The using side: what ``pellucid.load`` returns for a model that classifies pictures."""

    def classify(
        self, pictures: PictureSource | Sequence[PictureSource], ensemble: Sequence[PictureClassifier] = ()
    ) -> list[Classified]:
        """The class of each picture, with the probabilities of all.

        Args:
            pictures: one or several: files, or arrays uint8 (H, W), (H, W, C) or (C, H, W) of the model's size.
            ensemble: other models, which vote with this one.

        Raises:
            DataError: a picture is missing, damaged, or an array of another size.
            UsageError: a model of the ensemble has other classes, or another task.
        """
        given = many(pictures)
        return averaged([voter._classify(given) for voter in voting(self, ensemble)])

    def _classify(self, given: Sequence[PictureSource]) -> list[Classified]:
        found = []
        for first in range(0, len(given), ROWS):
            shares = torch.softmax(self.logits(self.pixels(given[first : first + ROWS])).float(), -1)  # (B, N)
            for row in shares.tolist():
                by_name = dict(zip(self.labels, row, strict=True))
                found.append(Classified(max(by_name, key=by_name.__getitem__), by_name))
        return found

    def evaluate_split(self, name: str, ensemble: Sequence[PictureClassifier] = ()) -> Scores:
        """Score the model on a split of the corpus that it was trained on."""
        return self.evaluate(*self.open_split(name), ensemble)

    @torch.inference_mode()
    def evaluate(self, pictures: Pictures, labels: Sequence[str], ensemble: Sequence[PictureClassifier] = ()) -> Scores:
        """Accuracy in percent, and loss in nats, on pictures and their labels.

        Raises:
            DataError: the model does not know a label.
            UsageError: as :meth:`classify`.
        """
        known = Labels(self.labels)
        targets = torch.tensor([known.id(label) for label in labels])
        shares = torch.stack([voter._shares(pictures, len(labels)) for voter in voting(self, ensemble)]).mean(0)  # (B, N)
        loss = nn.functional.nll_loss(shares.log(), targets).item()
        answers = shares.argmax(-1)
        accuracy = 100 * (answers == targets).double().mean().item()
        return Scores({"accuracy": accuracy, "loss": loss}, [self.labels[number] for number in answers.tolist()], len(labels))

    def _shares(self, pictures: Pictures, count: int) -> Tensor:
        parts = [self.logits(self._numbers(stacked(pictures, some))).double().cpu() for some in in_order(count)]
        return torch.softmax(torch.cat(parts), -1)

    @torch.inference_mode()
    def attention(self, picture: PictureSource) -> Tensor:
        """How much the class token attends to each patch, in every layer and head.

        Returns:
            (layers, heads, rows, columns) of patches. With the token's share for itself, which is left out, they sum to 1.

        Raises:
            UsageError: the model has no class token: its head takes the mean.
        """
        if self.config.model.head.pool != "class":
            what, advice = (
                "this model has no class token whose attention could be shown",
                "train one with model.head.pool: class",
            )
            raise UsageError(what, where="model.head.pool", found=self.config.model.head.pool, advice=advice)
        maps: list[Tensor] = []

        def tap(name: str, tensor: Tensor) -> Tensor:
            if name.endswith("self_attn.weights"):
                maps.append(tensor[0, :, 0, 1:])  # (H, P)
            return tensor

        self.model.eval()(self.pixels([picture]), tap=tap)
        size, stack = self.config.model.picture, torch.stack(maps).float().cpu()  # (layers, H, P)
        return stack.view(*stack.shape[:2], size.height // size.patch, size.width // size.patch)

    def plot_attention(self, picture: PictureSource, path: Path, *, layer: int = -1, head: int | None = None) -> None:
        """Draw the picture and over it the attention of the class token: of one layer, one head or the mean of all heads.

        Raises:
            UsageError: no such layer or head, no class token, or matplotlib is not installed.
        """
        weights = self.attention(picture)
        n_layers, n_heads = weights.shape[:2]
        if not -n_layers <= layer < n_layers or (head is not None and not 0 <= head < n_heads):
            expected = f"layer -{n_layers} to {n_layers - 1}, head 0 to {n_heads - 1}"
            raise UsageError("no such layer or head", expected=expected, found=f"layer {layer}, head {head}")
        shown = weights[layer].mean(0) if head is None else weights[layer, head]  # (rows, columns)
        [answer] = self.classify(picture)
        name = "mean of all heads" if head is None else f"head {head}"
        title = f"{answer.label} ({answer.probabilities[answer.label]:.2f}): class token, layer {layer % n_layers}, {name}"
        plot_patches(self.read([picture])[0].transpose(1, 2, 0), shown.numpy(), title, path)
