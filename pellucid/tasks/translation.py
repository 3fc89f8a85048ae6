"""Translation: sentence pairs in, a translator out. The training side; :mod:`pellucid.tasks.translator` is the using side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.base.config import RunConfig
from pellucid.data.readers import Split, open_split
from pellucid.data.store import PairEncoder
from pellucid.model.transformer import EncoderDecoder
from pellucid.tasks.evaluation import score
from pellucid.tasks.model_card import translation_card
from pellucid.tasks.model_directory import Tokenizers, begun_tokenizers, save_model, save_tokenizers
from pellucid.tasks.pairs import PairBatch, from_store, mean_loss, pair_loss, whole_store
from pellucid.tasks.prepared import Prepared
from pellucid.tasks.translator import Translator
from pellucid.text.metrics import Score
from pellucid.text.tokenizer import Tokenizer
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.protocol import Stopped, Validation

N_SAMPLES = 4  # dev sentences shown at each validation


class Translation(Prepared):
    """The training side: implements :class:`pellucid.training.protocol.Task`.

    Args:
        config: of the run; vocabulary sizes are filled in (``.config``) from the tokenizers.
        directory: of the run; tokenizers and prepared tokens are kept under ``data/``.

    Raises:
        DataError: a corpus is missing, damaged or empty.
    """

    def __init__(self, config: RunConfig, directory: Path) -> None:
        splits = {name: open_split(config.data, name) for name in ("train", "dev")}
        self.tokenizers = _tokenizers(config, directory / "data", splits["train"])
        source, target = self.tokenizers
        model = config.model  # an imported table may have spare rows
        sizes = max(source.vocabulary_size, model.source_vocabulary), max(target.vocabulary_size, model.target_vocabulary)
        config = replace(config, model=replace(model, source_vocabulary=sizes[0], target_vocabulary=sizes[1]))
        super().__init__(config, splits, PairEncoder(source, target), directory)
        self.dev_pairs = list(islice(splits["dev"], max(config.training.validate_sentences, N_SAMPLES)))
        self.dev_scores: dict[str, Score] = {}

    def batch(self, examples: np.ndarray[Any, Any]) -> PairBatch:
        """The tensors of some training pairs."""
        return from_store(self.stores["train"], examples)

    def count(self, batch: PairBatch) -> int:
        """Real target tokens, end tokens included."""
        return len(batch.target_output)

    def loss(self, model: nn.Module, batch: PairBatch) -> Tensor:
        """Smoothed cross-entropy, summed over the real target tokens."""
        return pair_loss(model, batch, self.config.training.label_smoothing)

    @torch.inference_mode()
    def validate(self, model: nn.Module, stopped: Stopped, ranks: Ranks = ALONE) -> Validation:
        """Loss per token of the dev split, BLEU and chrF of greedy translations, and a few of these to read."""
        assert isinstance(model, EncoderDecoder)
        translator = Translator(model, self.tokenizers, self.config)
        metrics = {"loss": mean_loss(model, whole_store(self.stores["dev"]), stopped, ranks)}
        pairs = self.dev_pairs[: self.config.training.validate_sentences]
        sources = ranks.mine(source for source, _ in self.dev_pairs)
        found = translator.translate_lines(sources, beams=1, temperature=0.0, stopped=stopped)  # nothing left to chance
        outputs = ranks.joined([best.text for [best] in found])
        if stopped():
            return Validation(metrics, [])
        if pairs:
            self.dev_scores = score(outputs[: len(pairs)], [target for _, target in pairs], self.config)
            metrics |= {name: found.score for name, found in self.dev_scores.items()}
        samples = [
            f"{source} -> {output}  (reference: {target})"
            for (source, target), output in islice(zip(self.dev_pairs, outputs, strict=True), N_SAMPLES)
        ]
        return Validation(metrics, samples)

    def describe(self, examples: Sequence[int]) -> list[str]:
        """Number and text of training pairs."""
        store, (source, target) = self.stores["train"], self.tokenizers
        return [
            f"pair {i}: {source.decode(store.source(i).tolist())} | {target.decode(store.target(i).tolist())}" for i in examples
        ]

    def save_model(self, weights: dict[str, Tensor], directory: Path) -> None:
        """Write a model directory, with the scores of the last validation on its card."""
        n_parameters = sum(weight.numel() for weight in weights.values())
        card = translation_card(self.config, n_parameters, self.dev_scores)
        save_model(directory, self.config, self.tokenizers, weights, card)


def _tokenizers(config: RunConfig, directory: Path, train: Split) -> Tokenizers:
    """Those of this run; trained on the training split when there are none yet."""
    begun = begun_tokenizers(directory, config)
    if begun is not None:
        return begun
    if config.text.joint:
        joint = Tokenizer.train(chain.from_iterable(train), config.text)
        tokenizers = (joint, joint)
    else:
        sides = [Tokenizer.train((pair[side] for pair in train), config.text) for side in (0, 1)]
        tokenizers = (sides[0], sides[1])
    save_tokenizers(directory, config, tokenizers)
    return tokenizers
