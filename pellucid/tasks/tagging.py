"""Tagging: one class for each word of a text, such as its part of speech. A text is words between spaces, and so are its tags.

Shapes: B texts, S positions, N words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pellucid.base.config import RunConfig
from pellucid.base.errors import DataError
from pellucid.base.progress import say
from pellucid.data.readers import open_split
from pellucid.model.transformer import EncoderOnly
from pellucid.tasks.framing import AnyTokenizer, pad_of, surround
from pellucid.tasks.labels import Labels
from pellucid.tasks.loaded import Loaded, Scores
from pellucid.tasks.model_directory import run_labels, run_tokenizer
from pellucid.tasks.on_encoder import EncoderBatch, FramedTexts, OnEncoder, by_length, score
from pellucid.tasks.prepared import padded
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.protocol import Stopped, Validation


class TaggedTexts(FramedTexts):
    """Words and tags to framed tokens, the place of each word's first token, and one number a tag."""

    limited = False  # a cut text would not fit its tags

    def __init__(self, tokenizer: AnyTokenizer, longest: int, labels: Labels) -> None:
        super().__init__(tokenizer, longest)
        self.labels = labels

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the tokens depend on."""
        return {**super().fingerprint, "labels": self.labels.fingerprint}

    def encode(self, examples: Sequence[tuple[str, ...]]) -> list[tuple[list[int], ...]]:
        """Tokens, places and tags of each text; a text cut at the model's last position loses words and tags alike."""
        return [self._one(words.split(), tags.split()) for words, tags in examples]

    def _one(self, words: list[str], tags: list[str]) -> tuple[list[int], ...]:
        if len(words) != len(tags):
            where, found = " ".join(words[:12]), f"{len(words)} words and {len(tags)} tags"
            raise DataError("a text and its tags differ in length", where=where, expected="one tag a word", found=found)
        ids, places = in_words(self.tokenizer, words, self.longest)
        return ids, places, [self.labels.id(tag) for tag in tags[: len(places)]]


def in_words(tokenizer: AnyTokenizer, words: list[str], longest: int) -> tuple[list[int], list[int]]:
    """The framed tokens of words, and the place of the first token of each; words beyond ``longest`` positions are left out."""
    before, after = surround(tokenizer)
    ids, places = list(before), list[int]()
    for pieces in tokenizer.encode_batch(words):
        if len(ids) + max(len(pieces), 1) + len(after) > longest:
            say(f"warning: only the first {len(places)} of {len(words)} words are tagged (model.max_length)")
            break
        places.append(len(ids))
        ids += pieces or [tokenizer.unknown or 0]
    return [*ids, *after], places


class Tagging(OnEncoder):
    """The training side: implements :class:`pellucid.training.protocol.Task`."""

    def __init__(self, config: RunConfig, directory: Path) -> None:
        splits = {name: open_split(config.data, name) for name in ("train", "dev")}
        tokenizer = run_tokenizer(config, directory / "data", chain.from_iterable(text.split() for text, _ in splits["train"]))
        labels = run_labels(directory / "data", chain.from_iterable(tags.split() for _, tags in splits["train"]))
        size = max(tokenizer.vocabulary_size, config.model.source_vocabulary)  # an imported table may have spare rows
        model = replace(config.model, source_vocabulary=size, target_vocabulary=len(labels))
        encoder = TaggedTexts(tokenizer, model.max_length, labels)
        super().__init__(replace(config, model=model), splits, encoder, directory, tokenizer, labels)

    def batch(self, examples: np.ndarray[Any, Any], split: str = "train") -> EncoderBatch:
        """The tensors of some texts; while training some of their words are unknown."""
        store, drop = self.stores[split], self.config.corruption.drop
        source, mask = padded([store.column(int(i), 0) for i in examples], pad_of(self.tokenizer))
        wanted = torch.zeros(source.shape, dtype=torch.bool)
        for row, i in enumerate(examples):
            wanted[row, torch.from_numpy(store.column(int(i), 1).astype(np.int64))] = True
        target = torch.from_numpy(np.concatenate([store.column(int(i), 2) for i in examples]).astype(np.int64))
        if split == "train" and drop and self.tokenizer.unknown is not None:
            source = source.masked_fill((torch.rand(source.shape) < drop) & wanted, self.tokenizer.unknown)
        return EncoderBatch(source, mask, target, wanted)

    @torch.inference_mode()
    def validate(self, model: nn.Module, stopped: Stopped, ranks: Ranks = ALONE) -> Validation:
        """Loss and accuracy of the words of the dev split, and a few tagged texts to read."""
        self.dev_scores = score(model, (self.batch(examples, "dev") for examples in self.in_order("dev")), stopped, ranks)
        assert isinstance(model, EncoderOnly)
        texts = [text for text, _ in chain([], open_split(self.config.data, "dev"))][:3]
        tagged = Tagger(model, self.config, self.tokenizer, self.labels).tag(texts)
        return Validation(self.dev_scores, [" ".join(f"{word}/{tag}" for word, tag in words) for words in tagged])


class Tagger(Loaded[EncoderOnly]):
    """The using side: what ``pellucid.load`` returns for a model that tags."""

    @torch.inference_mode()
    def tag(self, texts: str | Sequence[str]) -> list[list[tuple[str, str]]]:
        """The words of each text with their tags."""
        every = [text.split() for text in ([texts] if isinstance(texts, str) else texts)]
        rows = [in_words(self.tokenizer, words, self.config.model.max_length) for words in every]
        found: list[list[tuple[str, str]]] = [[] for _ in every]
        for numbers in by_length([ids for ids, _ in rows]):
            source, mask = padded([np.array(rows[number][0]) for number in numbers], pad_of(self.tokenizer))
            best = self.logits(source, mask=mask).argmax(-1)
            for row, number in enumerate(numbers):
                tags = best[row, rows[number][1]].tolist()
                found[number] = [(word, self.labels[tag]) for word, tag in zip(every[number], tags, strict=False)]
        return found

    def evaluate_split(self, name: str) -> Scores:
        """Score the model on a split of the corpus that it was trained on."""
        return self.evaluate(list(open_split(self.config.data, name)))

    def evaluate(self, examples: Sequence[tuple[str, ...]]) -> Scores:
        """Score the model on texts and their tags: the share of words that it tags right, in percent."""
        answers = self.tag([text for text, _ in examples])
        pairs = [
            (tag, right)
            for answer, (_, tags) in zip(answers, examples, strict=True)
            for (_, tag), right in zip(answer, tags.split(), strict=True)
        ]
        if not pairs:
            raise DataError("there is nothing to score", expected="at least one word with its tag", found="none")
        right = sum(found == expected for found, expected in pairs)
        return Scores(
            {"accuracy": 100 * right / len(pairs), "words": len(pairs)},
            [" ".join(tag for _, tag in answer) for answer in answers],
            len(examples),
        )
