"""What the tasks on pictures have in common: how these become numbers, batches, the using side's base.

Shapes: B pictures, C channels, H height, W width.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pellucid.base.config import RunConfig
from pellucid.base.errors import ModelError
from pellucid.base.progress import say
from pellucid.data import batches
from pellucid.data.picture_splits import open_picture_split
from pellucid.data.pictures import Pictures, flipped, shifted
from pellucid.tasks.framing import AnyTokenizer
from pellucid.tasks.labels import LABELS, Labels
from pellucid.tasks.loaded import Loaded, ModelType
from pellucid.tasks.model_directory import check_vocabularies, load_model, load_tokenizers
from pellucid.tasks.preprocessor import Preprocessor, run_preprocessor

ROWS = 64  # pictures in a batch, where nothing is learnt

PictureSource = str | os.PathLike[str] | npt.NDArray[np.uint8]  # a file, or the pixels themselves
Indices = npt.NDArray[np.integer[Any]]


class OnPictures:
    """The training side's part that labels and captions share.

    Args:
        config: of the run.
        directory: of the run; how pictures are made ready is kept under ``data/``.

    Raises:
        DataError: pictures are missing, damaged, of another size, or there are none.
    """

    def __init__(self, config: RunConfig, directory: Path) -> None:
        self.config = config
        self.pictures: dict[str, Pictures] = {}
        self.texts: dict[str, list[str]] = {}
        for name in ("train", "dev"):
            self.pictures[name], self.texts[name] = open_picture_split(config.data, name, config.model.picture)
            for line in self.pictures[name].report.lines():
                say(f"{name}: {line}")
        self.preprocessor = run_preprocessor(config, directory / "data", self.pictures["train"])
        self.dev_scores: dict[str, float] = {}
        self._plan = lru_cache(maxsize=2)(self._make_plan)

    @property
    def positions(self) -> npt.NDArray[np.int64]:
        """Squares of each picture, (N, 1): all alike, so that a batch is any pictures, whatever the lengths of their texts."""
        return np.full((len(self.texts["train"]), 1), self.config.model.picture.n_patches)

    def plan(self, epoch: int) -> batches.Plan:
        """The batches of an epoch: ``training.batch_tokens // (squares + 1)`` pictures in each."""
        return self._plan(epoch)

    def _make_plan(self, epoch: int) -> batches.Plan:
        tokens = self.config.training.batch_tokens
        return batches.plan(self.positions, tokens=tokens, seed=self.config.seed, epoch=epoch)

    def worst(self) -> Indices:
        """The examples of the largest batch."""
        return batches.worst(self.plan(0), self.positions)

    def pixels(self, examples: Indices, split: str) -> Tensor:
        """Pictures as numbers, (B, C, H, W); those of the train split moved and mirrored at random, as the recipe says."""
        pictures, data = stacked(self.pictures[split], examples), self.config.data
        if split == "train" and data.shift:
            pictures = shifted(pictures, torch.randint(-data.shift, data.shift + 1, (len(pictures), 2)).numpy())
        if split == "train" and data.flip:
            pictures = flipped(pictures, (torch.rand(len(pictures)) < 0.5).numpy())
        return self.preprocessor.pixels(pictures)

    def describe(self, examples: Sequence[int]) -> list[str]:
        """Number and text of training pictures."""
        return [f"picture {int(i)}: {self.texts['train'][int(i)]}" for i in examples]


def stacked(pictures: Pictures, examples: Indices) -> npt.NDArray[np.uint8]:
    """Some pictures of a split as one array: (B, C, H, W)."""
    return np.stack([pictures[int(index)] for index in examples])


def in_order(count: int) -> Iterator[npt.NDArray[np.int64]]:
    """The numbers below ``count``, in batches."""
    return (np.arange(first, min(first + ROWS, count)) for first in range(0, count, ROWS))


class ReadsPictures(Loaded[ModelType]):
    """The using side of a task on pictures.

    Args:
        model: with its weights.
        config: of the run that made it.
        preprocessor: how pictures become numbers; ``None``: the model came without, and only :meth:`logits` works.
        tokenizer: of captions.
        labels: names of the classes.
    """

    def __init__(
        self,
        model: ModelType,
        config: RunConfig,
        preprocessor: Preprocessor | None,
        tokenizer: AnyTokenizer | None = None,
        labels: Labels | None = None,
    ) -> None:
        super().__init__(model, config, tokenizer, labels)
        self._preprocessor = preprocessor

    @classmethod
    def open(cls, directory: Path, config: RunConfig) -> Self:
        """From a model directory, see :meth:`Loaded.open`."""
        tokenizers = load_tokenizers(directory, config)
        if tokenizers is not None:
            check_vocabularies(directory, config, tokenizers)
        labels = Labels.load(directory) if (directory / LABELS).is_file() else None
        preprocessor = Preprocessor.load(directory, config.model.picture)
        model: Any = load_model(directory, config)
        return cls(model, config, preprocessor, None if tokenizers is None else tokenizers[1], labels)

    @property
    def preprocessor(self) -> Preprocessor:
        """How pictures become numbers.

        Raises:
            ModelError: the model came without.
        """
        if self._preprocessor is None:
            advice = "use .logits(pixels), or put preprocessor_config.json beside the weights"
            raise ModelError("this model does not say how pictures become numbers", advice=advice)
        return self._preprocessor

    def read(self, pictures: Sequence[PictureSource]) -> npt.NDArray[np.uint8]:
        """Pictures brought to the model's size, uint8 (B, C, H, W).

        Args:
            pictures: files, or arrays uint8 (H, W), (H, W, C) or (C, H, W) of the model's size.

        Raises:
            DataError: a picture is missing, damaged, or an array of another size.
            UsageError: Pillow is not installed, which files need.
        """
        return np.stack([self.preprocessor.read(picture) for picture in pictures])

    def pixels(self, pictures: Sequence[PictureSource]) -> Tensor:
        """The same as the model gets them: (B, C, H, W), on its device and in the type of its weights."""
        return self._numbers(self.read(pictures))

    def _numbers(self, pictures: npt.NDArray[np.uint8]) -> Tensor:
        return self.preprocessor.pixels(pictures).to(self.device, self.model.weight("output").dtype)

    def open_split(self, name: str) -> tuple[Pictures, list[str]]:
        """The pictures and texts of a split of the corpus that the model was trained on."""
        return open_picture_split(self.config.data, name, self.config.model.picture)


def many(pictures: PictureSource | Sequence[PictureSource]) -> list[PictureSource]:
    """One picture or several as a list."""
    one = isinstance(pictures, (str, os.PathLike)) or (isinstance(pictures, np.ndarray) and pictures.ndim < 4)
    return [pictures] if one else list(pictures)  # type: ignore[list-item,arg-type]
