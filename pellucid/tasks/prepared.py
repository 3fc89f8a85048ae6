"""The training side that tasks on text have in common: prepared splits, plans of batches, what a model directory gets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.base.config import RunConfig
from pellucid.base.progress import say
from pellucid.base.sense import odd_vocabulary
from pellucid.data import batches
from pellucid.data.readers import Split
from pellucid.data.store import ExampleEncoder, Ids, Store, open_or_prepare
from pellucid.tasks.framing import AnyTokenizer, pad_of
from pellucid.tasks.labels import Labels
from pellucid.tasks.model_card import card
from pellucid.tasks.model_directory import save_model
from pellucid.training.checkpoints import has_checkpoints


class Prepared:
    """Examples of the training and dev splits as tokens, and which of them make a batch.

    Args:
        config: of the run.
        splits: by name, "train" and "dev".
        encoder: texts to tokens.
        directory: of the run; the tokens are kept under ``data/``.

    Raises:
        DataError: a corpus is missing, damaged or empty, or not the one that the run began with.
    """

    def __init__(self, config: RunConfig, splits: Mapping[str, Split], encoder: ExampleEncoder, directory: Path) -> None:
        self.config = config
        self.stores: dict[str, Store] = {}
        begun = has_checkpoints(directory)
        for name, split in splits.items():
            store = directory / "data" / name
            self.stores[name] = open_or_prepare(split, encoder, store, config.data, begun=begun)
            for line in self.stores[name].report.lines():
                say(f"{name}: {line}")
        if not begun:
            for line in odd_vocabulary(config, encoder.vocabulary_size, len(self.stores["train"].tokens)):
                say(f"warning: {line}")
        self._plan = lru_cache(maxsize=2)(self._make_plan)

    def plan(self, epoch: int) -> batches.Plan:
        """The batches of an epoch."""
        return self._plan(epoch)

    def _make_plan(self, epoch: int) -> batches.Plan:
        tokens = self.config.training.batch_tokens
        return batches.plan(self.stores["train"].lengths, tokens=tokens, seed=self.config.seed, epoch=epoch)

    def worst(self) -> np.ndarray[Any, Any]:
        """The examples of the largest batch."""
        return batches.worst(self.plan(0), self.stores["train"].lengths)

    def in_order(self, name: str, tokens: int = 4096) -> Sequence[np.ndarray[Any, Any]]:
        """All examples of a split, once, in batches of about ``tokens``: what a validation goes through."""
        lengths = self.stores[name].lengths
        plan = batches.plan(lengths, tokens=max(tokens, int(lengths.max()) + 3), seed=0, epoch=0)
        return [plan[index] for index in range(len(plan))]


class PreparedTexts(Prepared):
    """The same for tasks on texts of one tokenizer: what its examples are called, and its model directory.

    Args:
        config, splits, encoder, directory: see :class:`Prepared`; vocabulary sizes are filled in.
        tokenizer: of the texts.
        labels: names of the classes, where there are any.
    """

    def __init__(
        self,
        config: RunConfig,
        splits: Mapping[str, Split],
        encoder: ExampleEncoder,
        directory: Path,
        tokenizer: AnyTokenizer,
        labels: Labels | None = None,
    ) -> None:
        super().__init__(config, splits, encoder, directory)
        self.tokenizer, self.labels = tokenizer, labels
        self.dev_scores: dict[str, float] = {}

    def describe(self, examples: Sequence[int]) -> list[str]:
        """Number and text of training examples."""
        store = self.stores["train"]
        return [f"text {i}: {self.tokenizer.decode(store.column(int(i), 0).tolist())}" for i in examples]

    def save_model(self, weights: dict[str, Tensor], directory: Path) -> None:
        """Write a model directory, with the scores of the last validation on its card."""
        n_parameters = sum(weight.numel() for weight in weights.values())
        text = card(self.config, n_parameters, self.dev_scores, self.labels)
        save_model(directory, self.config, (self.tokenizer, self.tokenizer), weights, text, self.labels)


class TextEncoder:
    """What encoders of one tokenizer tell the store; each says itself how it encodes, and in its fingerprint that it does."""

    def __init__(self, tokenizer: AnyTokenizer) -> None:
        self.tokenizer = tokenizer

    @property
    def vocabulary_size(self) -> int:
        """Largest token, plus 1."""
        return self.tokenizer.vocabulary_size

    @property
    def controls(self) -> dict[str, int]:
        """Padding, start and end; a vocabulary may lack some."""
        pad = pad_of(self.tokenizer)
        return {"pad": pad, "start": self.tokenizer.start or pad, "end": self.tokenizer.end or pad}


def padded(rows: Sequence[Ids], fill: int) -> tuple[Tensor, Tensor | None]:
    """Rows of tokens as one tensor (B, L), padded on the right, and the mask of what is real; ``None``: no padding."""
    lengths = np.array([len(row) for row in rows])
    real = np.arange(lengths.max()) < lengths[:, None]  # (B, L)
    ids = np.full(real.shape, fill, dtype=np.int64)
    ids[real] = np.concatenate(rows)
    return torch.from_numpy(ids), None if real.all() else torch.from_numpy(real)


def seeded(*numbers: int) -> torch.Generator:
    """A generator that depends on these numbers alone: a validation hides the same tokens every time."""
    digest = hashlib.sha256(repr(numbers).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))
