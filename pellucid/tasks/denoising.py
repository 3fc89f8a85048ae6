"""Denoising: an encoder-decoder restores what was hidden of a text, T5's way or BART's (:mod:`pellucid.tasks.corruption`). The
training side; :mod:`pellucid.tasks.denoiser` is the using side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.base.config import RunConfig
from pellucid.data.readers import open_split
from pellucid.model.transformer import EncoderDecoder
from pellucid.tasks.denoiser import Denoiser, check_recipe, corrupted, corrupting
from pellucid.tasks.masked_lm import GAP
from pellucid.tasks.model_directory import run_tokenizer
from pellucid.tasks.pairs import PairBatch, mean_loss, pair_loss
from pellucid.tasks.prepared import PreparedTexts, TextEncoder, seeded
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.protocol import Stopped, Validation

N_SAMPLES = 4


class BareTexts(TextEncoder):
    """Texts of one column to their tokens, nothing around them."""

    limited = True

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the tokens depend on."""
        return {"tokenizer": self.tokenizer.fingerprint, "framed": False}

    def encode(self, examples: Sequence[tuple[str, ...]]) -> list[tuple[list[int], ...]]:
        """The tokens of each text."""
        return [(ids,) for ids in self.tokenizer.encode_batch([example[0] for example in examples])]


class Denoising(PreparedTexts):
    """The training side: implements :class:`pellucid.training.protocol.Task`.

    Args:
        config: of the run; sizes are filled in (``.config``).
        directory: of the run.

    Raises:
        DataError: a corpus is missing, damaged or empty.
        UsageError: the recipe hides no spans, or its vocabulary has nothing that could stand for them.
    """

    def __init__(self, config: RunConfig, directory: Path) -> None:
        check_recipe(config)
        splits = {name: open_split(config.data, name, columns=1) for name in ("train", "dev")}
        tokenizer = run_tokenizer(config, directory / "data", (text for (text,) in splits["train"]))
        size = max(tokenizer.vocabulary_size, config.model.target_vocabulary)
        model = replace(config.model, source_vocabulary=size, target_vocabulary=size)
        self.corrupt = corrupting(config, tokenizer)
        super().__init__(replace(config, model=model), splits, BareTexts(tokenizer), directory, tokenizer)

    def batch(self, examples: np.ndarray[Any, Any], split: str = "train", noise: torch.Generator | None = None) -> PairBatch:
        """The tensors of some texts. Without ``noise`` other parts are hidden every time: what a step of the training hides
        follows from seed and step, which torch's own generator is seeded with (:func:`pellucid.training.step.seed_step`)."""
        rows = [self.stores[split].column(int(i), 0).tolist() for i in examples]
        return corrupted(rows, self.tokenizer, self.corrupt, self.config.model.max_length, noise)

    def count(self, batch: PairBatch) -> int:
        """Tokens to write, control tokens included."""
        return len(batch.target_output)

    def loss(self, model: nn.Module, batch: PairBatch) -> Tensor:
        """Smoothed cross-entropy, summed over the tokens to write."""
        return pair_loss(model, batch, self.config.training.label_smoothing)

    @torch.inference_mode()
    def validate(self, model: nn.Module, stopped: Stopped, ranks: Ranks = ALONE) -> Validation:
        """Loss per token of the dev split, always with the same parts hidden, and a few texts to read."""
        some = enumerate(self.in_order("dev"))
        batches = (self.batch(examples, "dev", seeded(self.config.seed, i)) for i, examples in some)
        self.dev_scores = {"loss": mean_loss(model, batches, stopped, ranks)}
        return Validation(self.dev_scores, [] if stopped() else self._samples(model))

    def _samples(self, model: nn.Module) -> list[str]:
        """Dev texts with two words in their middle replaced by a gap, and what is made of them."""
        assert isinstance(model, EncoderDecoder)
        store = self.stores["dev"]
        texts = [self.tokenizer.decode(store.column(i, 0).tolist()) for i in range(min(N_SAMPLES, len(store)))]
        gapped = []
        for text in texts:
            words = text.split(" ")
            place = max(len(words) // 2 - 1, 0)
            gapped.append(" ".join([*words[:place], GAP, *words[place + 2 :]]))
        found = Denoiser(model, (self.tokenizer, self.tokenizer), self.config).generate(gapped, beams=1, temperature=0.0)
        return [f"{gap} -> {text}" for gap, text in zip(gapped, found, strict=True)]
