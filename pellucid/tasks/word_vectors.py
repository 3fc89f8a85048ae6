"""Word vectors from plain text: the training side, and what ``pellucid.load`` returns for them.

Shapes: N words of a batch, V words, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.base.config import RunConfig
from pellucid.base.errors import ModelError, UsageError
from pellucid.data import batches
from pellucid.data.readers import open_text
from pellucid.model.word_vectors import WordBatch, WordVectors, build_word_vectors
from pellucid.tasks.framing import AnyTokenizer
from pellucid.tasks.model_card import vectors_card
from pellucid.tasks.model_directory import fill, find, load_tokenizers, read_config, run_tokenizer, save_model
from pellucid.tasks.prepared import PreparedTexts, TextEncoder, seeded
from pellucid.tasks.word_windows import BREAK, Parts, Vocabulary, Windows
from pellucid.text.tokenizer import CONTROL_TOKENS, END
from pellucid.text.vectors import Floats, Vectors
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.protocol import Plan, Stopped, Validation

STRETCH = 256  # tokens that follow each other in a batch
VALIDATED = 1 << 16  # tokens that a validation looks at together
SHOWN, NEAREST = 4, 6  # words of the samples, and how many neighbours of each


class LinesOfText(TextEncoder):
    """Chunks of running text to tokens, line by line, each line closed by the end token."""

    limited = False

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the tokens depend on."""
        return {"tokenizer": self.tokenizer.fingerprint, "lines": END}

    def encode(self, examples: Sequence[tuple[str, ...]]) -> list[tuple[list[int], ...]]:
        """The tokens of each chunk."""
        return [
            ([token for ids in self.tokenizer.encode_batch(text.split("\n")) for token in (*ids, END)],) for (text,) in examples
        ]


class LearningWordVectors(PreparedTexts):
    """The training side: implements :class:`pellucid.training.protocol.Task`. An example is a place in the text.

    Args:
        config: of the run; sizes are filled in (``.config``).
        directory: of the run.

    Raises:
        DataError: the text is missing, damaged, or too short for a batch.
        UsageError: a batch is smaller than a stretch of text.
    """

    def __init__(self, config: RunConfig, directory: Path) -> None:
        if config.training.batch_tokens < STRETCH:
            found, expected = config.training.batch_tokens, f"at least {STRETCH}"
            raise UsageError("a batch too small", where="training.batch_tokens", expected=expected, found=found)
        splits = {name: open_text(config.data, name) for name in ("train", "dev")}
        tokenizer = run_tokenizer(config, directory / "data", _lines(splits["train"]))
        self.vocabulary = Vocabulary.of(tokenizer, len(CONTROL_TOKENS))
        n_words = len(self.vocabulary.words)
        model = replace(config.model, source_vocabulary=n_words + config.word_vectors.buckets, target_vocabulary=n_words)
        super().__init__(replace(config, model=model), splits, LinesOfText(tokenizer), directory, tokenizer)
        seen = np.bincount(self.stores["train"].tokens, minlength=len(self.vocabulary.numbers))  # of tokens
        numbers = self.vocabulary.numbers
        counts = np.bincount(numbers[numbers >= 0], weights=seen[numbers >= 0], minlength=n_words)  # of words
        self.windows = Windows(torch.from_numpy(counts), Parts(self.vocabulary.words, config.word_vectors), config.word_vectors)

    def _make_plan(self, epoch: int) -> Plan:  # type: ignore[override]  # stretches of a text, not rows of examples
        n_tokens, rows = len(self.stores["train"].tokens), self.config.training.batch_tokens // STRETCH
        return batches.windows(n_tokens, context=STRETCH, rows=rows, seed=self.config.seed, epoch=epoch)

    def worst(self) -> np.ndarray[Any, Any]:
        """Any batch: they are all alike."""
        return self.plan(0)[0]

    def batch(self, examples: np.ndarray[Any, Any]) -> WordBatch:
        """The stretches that begin at these tokens."""
        words = self._words("train", examples[:, None] + np.arange(STRETCH))  # (rows, STRETCH)
        return self.windows.batch(torch.nn.functional.pad(words, (0, 1), value=BREAK).flatten())

    def _words(self, split: str, places: Any) -> Tensor:
        """The words at some places of a split's text."""
        return torch.from_numpy(self.vocabulary.numbers[self.stores[split].tokens[places]])

    def count(self, batch: WordBatch) -> int:
        """Pairs of neighbours of a batch: what it has of targets."""
        return max(1, batch.pairs)

    def loss(self, model: nn.Module, batch: WordBatch) -> Tensor:
        """See :meth:`pellucid.model.word_vectors.WordVectors.forward`."""
        return model(batch, cbow=self.config.word_vectors.objective == "cbow")

    @torch.inference_mode()
    def validate(self, model: nn.Module, stopped: Stopped, ranks: Ranks = ALONE) -> Validation:
        """Loss of the dev split, with the same windows and noise every time, and the nearest words of some."""
        total, pairs, n_tokens = 0.0, 0, len(self.stores["dev"].tokens)
        for start in ranks.mine(range(0, n_tokens, VALIDATED)):
            if stopped():
                break
            words = self._words("dev", slice(start, min(start + VALIDATED, n_tokens)))
            batch = self.windows.batch(words, seeded(self.config.seed, start)).to(next(model.parameters()).device)
            total += self.loss(model, batch).item()
            pairs += batch.pairs
        total, seen = ranks.sum(total, pairs)
        self.dev_scores = {"loss": total / max(seen, 1)}
        return Validation(self.dev_scores, [] if stopped() else self._samples(model))

    def _samples(self, model: nn.Module) -> list[str]:
        """Some words of medium frequency with those whose vectors are nearest."""
        assert isinstance(model, WordVectors)
        vectors = table(model, self.vocabulary.words, self.windows.parts)
        n_words = len(vectors)
        chosen = dict.fromkeys(vectors.words[min(n_words - 1, n_words * (2 * k + 1) // (4 * SHOWN))] for k in range(SHOWN))
        found = {word: vectors.nearest(vectors.matrix[vectors.numbers[word]], NEAREST, [word]) for word in chosen}
        return [f"{word} -> {', '.join(other for other, _ in near)}" for word, near in found.items()]

    def describe(self, examples: Sequence[int]) -> list[str]:
        """Where stretches begin, and their text."""
        tokens = self.stores["train"].tokens
        return [f"token {i}: {self.tokenizer.decode(tokens[i : i + STRETCH].tolist())}" for i in examples]

    def save_model(self, weights: dict[str, Tensor], directory: Path) -> None:
        """Write a model directory."""
        text = vectors_card(self.config, self.dev_scores)
        save_model(directory, self.config, (self.tokenizer, self.tokenizer), weights, text)


def _lines(split: Any) -> Iterator[str]:
    return (line for (text,) in split for line in text.split("\n"))


@torch.inference_mode()
def table(model: WordVectors, words: list[str], parts: Parts) -> Vectors:
    """The vector of every word of the vocabulary, from its own row and those of its parts."""
    device = model.input.device
    some = torch.split(torch.arange(len(words)), 4096)
    rows = [model.vectors(*(ids.to(device) for ids in parts.of(numbers))) for numbers in some]
    return Vectors(words, torch.cat(rows).float().cpu().numpy())


class WordVectorModel:
    """The using side.

    Args:
        model: the tables.
        config: of the run that made them.
        tokenizer: what the words were cut with.

    Attributes:
        prepares: has no meaning here; whatever is loaded has it.
    """

    searches = False

    def __init__(self, model: WordVectors, config: RunConfig, tokenizer: AnyTokenizer) -> None:
        self.model, self.config, self.tokenizer = model, config, tokenizer
        self.prepares = False
        self._vocabulary = Vocabulary.of(tokenizer, len(CONTROL_TOKENS))
        self._parts = Parts(self._vocabulary.words, config.word_vectors)

    @classmethod
    def open(cls, directory: Path, config: RunConfig) -> Self:
        """From a model directory whose configuration has been read.

        Raises:
            ModelError: something in it is missing or damaged.
        """
        tokenizers = load_tokenizers(directory, config)
        assert tokenizers is not None, "only imported models and those of pictures may lack one"
        with torch.device("meta"):
            model = build_word_vectors(config.model)
        fill(model, directory)
        loaded = cls(model, config, tokenizers[0])
        n_words = len(loaded._vocabulary.words)
        if (n_words, n_words + config.word_vectors.buckets) != (config.model.target_vocabulary, config.model.source_vocabulary):
            expected = f"{config.model.target_vocabulary:,} words (config.json)"
            what = "the tokenizer does not belong to these vectors"
            raise ModelError(what, where=directory, expected=expected, found=f"{n_words:,} words")
        return loaded

    def to(self, device: str, dtype: torch.dtype) -> Self:
        """Move and convert the weights."""
        self.model.to(device, dtype)
        return self

    @cached_property
    def vectors(self) -> Vectors:
        """Of every word of the vocabulary."""
        return table(self.model, self._vocabulary.words, self._parts)

    @torch.inference_mode()
    def vector(self, word: str) -> Floats | None:
        """The vector (D,) of a word; of one that is not in the vocabulary from its parts. ``None``: there are none."""
        known = self.vectors.get(word)
        rows = [] if known is not None else self._parts.of_unknown(word.lower() if self.config.text.lowercase else word)
        if not rows:
            return known
        ids = torch.tensor(rows, device=self.model.input.device)
        found: Floats = self.model.vectors(ids, ids.new_zeros(1))[0].float().cpu().numpy()
        return found

    def evaluate_split(self, name: str) -> None:
        """There is nothing right or wrong about vectors alone.

        Raises:
            UsageError: always; the advice names the command that compares them with what people say.
        """
        advice = "pellucid vectors RUN --similarity PAIRS compares them with what people say"
        raise UsageError("word vectors have no score on a split", found=name, advice=advice)


def load_vectors(path: Path) -> WordVectorModel:
    """The vectors of a run or model directory.

    Raises:
        ModelError: no model there, or a damaged one.
        UsageError: it is of another task.
    """
    directory = find(path)
    config = read_config(directory)
    if config.task != "word_vectors":
        advice = "give a file of word vectors, or a run of the task word_vectors"
        raise UsageError("this model holds no word vectors", where=path, found=f"the task {config.task}", advice=advice)
    return WordVectorModel.open(directory, config)
