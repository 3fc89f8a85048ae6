"""Corpora as tokens, for experiments on language: sentences of one side, and pairs to translate.

The built-in one, French and English, serves them all. Those that ask how much is learnt from how much take Multi30k, German and
English (Elliott et al., 2016), where it has been fetched.

Shapes: N sentences, B rows, S source positions, T target positions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.config import DataConfig, ModelConfig
from pellucid.base.errors import DataError
from pellucid.compare.experiment import Effort
from pellucid.compare.learner import Batch, Draw
from pellucid.data.corpus import pairs, words
from pellucid.data.readers import open_split
from pellucid.model.build import build, initialise
from pellucid.model.transformer import EncoderDecoder

FILL, BEGIN, END = range(3)  # before the words
UNKNOWN = "<unknown>"
LONGEST = 10  # words of a sentence of the built-in corpus; longer ones are left out


class Corpus(NamedTuple):
    """Sentence pairs, and what is taken of them.

    Args:
        name: of the set.
        longest: words of a sentence; pairs with a longer one are left out.
        least: times that a word stands in the training split; of those below all are one.
    """

    name: str
    longest: int
    least: int

    def in_words(self) -> str:
        """For reports."""
        length = f"sentences of at most {self.longest} words"
        if self is BUILTIN:
            return f"French to English of the built-in corpus, {length}"
        rare = f"words that the training split has fewer than {self.least} times as one unknown word"
        return f"German to English of Multi30k (test split: test_2016_flickr), {length}, {rare}"


BUILTIN = Corpus("builtin", longest=LONGEST, least=1)
MULTI30K = Corpus("multi30k", longest=32, least=5)


@dataclass(frozen=True)
class Sentences:
    """Of one language, in the order of the other's.

    Args:
        ids: (N, L + 2) ``BEGIN words END``, filled up with FILL; L is ``longest`` of the corpus.
        names: of the tokens.
    """

    ids: Tensor
    names: tuple[str, ...]


def corpus_for(effort: Effort) -> Corpus:
    """Multi30k where it has been fetched (``pellucid data multi30k``); else, and for the smallest runs, the built-in one."""
    if effort == "smallest":
        return BUILTIN
    try:
        open_split(_multi30k(), "train")
    except DataError:
        return BUILTIN
    return MULTI30K


def sentences(split: str, corpus: Corpus = BUILTIN) -> tuple[Sentences, Sentences]:
    """Source and target of a split, in lower case; the tokens are the words of the training split, a number each."""
    return _sentences(split, corpus)


@lru_cache(maxsize=4)
def _sentences(split: str, corpus: Corpus) -> tuple[Sentences, Sentences]:
    sides: list[Sentences] = []
    kept = [pair for pair in _in_words(split, corpus) if max(map(len, pair)) <= corpus.longest]
    for side in (0, 1):
        counts = Counter(word for pair in _in_words("train", corpus) for word in pair[side])
        unknown = () if corpus.least == 1 else (UNKNOWN,)
        frequent = sorted(word for word, count in counts.items() if count >= corpus.least)
        names = ("", "<begin>", "<end>", *unknown, *frequent)
        number = {name: token for token, name in enumerate(names)}
        rows = [[BEGIN, *(number[word if word in number else UNKNOWN] for word in pair[side]), END] for pair in kept]
        ids = torch.tensor([row + [FILL] * (corpus.longest + 2 - len(row)) for row in rows])
        sides.append(Sentences(ids, names))
    return sides[0], sides[1]


@lru_cache(maxsize=4)
def _in_words(split: str, corpus: Corpus) -> list[tuple[list[str], list[str]]]:
    if corpus is MULTI30K:
        return [(words(source.lower()), words(target.lower())) for source, target in open_split(_multi30k(), split)]
    return [(words(pair.french.lower()), words(pair.english.lower())) for pair in pairs(split)]


def _multi30k() -> DataConfig:
    return DataConfig(corpus=MULTI30K.name, source="de", target="en")


def english_lines() -> list[list[str]]:
    """The words of every English sentence of the training split, long ones too."""
    return [english for _, english in _in_words("train", BUILTIN)]


def next_words(ids: Tensor) -> Batch:
    """Every word of ``ids`` (B, T + 1) and the end, each to be told from the words before it."""
    wanted = ids[:, 1:] != FILL
    return Batch(ids[:, :-1], wanted, ids[:, 1:][wanted])


def translations(ids: Tensor) -> Batch:
    """The same for the target where ``ids`` (B, 2 T) are source and target side by side, as :class:`Translator` reads them.

    What is empty behind the longest sentence is left out.
    """
    both = ids.view(len(ids), 2, -1)
    filled = int((both != FILL).any(1).any(0).sum())
    ids = both[:, :, :filled].reshape(len(ids), 2 * filled)
    batch = next_words(ids)
    batch.wanted[:, :filled] = False
    return Batch(batch.ids, batch.wanted, ids[:, 1:][batch.wanted])


def draw_from(ids: Tensor, make: Callable[[Tensor], Batch], rows: int) -> Draw:
    """Batches of so many of these sentences, drawn at random."""
    return lambda generator: make(ids[torch.randint(len(ids), (rows,), generator=generator)])


def pairs_side_by_side(split: str, corpus: Corpus = BUILTIN) -> Tensor:
    """(N, 2 (L + 2)): source, then target."""
    source, target = sentences(split, corpus)
    return torch.cat((source.ids, target.ids), dim=1)


def longer_side(ids: Tensor) -> Tensor:
    """Words of the longer side of each pair (N, 2 (LONGEST + 2)): (N,)."""
    counts = (ids > END).view(len(ids), 2, LONGEST + 2).sum(2)
    return counts.amax(1)


class Translator(nn.Module):
    """An encoder-decoder that takes source and target side by side, so that one training loop serves all."""

    def __init__(self, model: EncoderDecoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, *, wanted: Tensor) -> Tensor:
        """Logits (N, V) of the N wanted positions of ``ids`` (B, S + T)."""
        half = (ids.shape[1] + 1) // 2  # the target's last token is only told
        source, target = ids[:, :half], ids[:, half:]
        logits: Tensor = self.model(source, target, source_mask=source != FILL, wanted=wanted[:, half:])
        return logits


def translator(config: ModelConfig, seed: int) -> Translator:
    """An untrained one."""
    model = build(config)
    assert isinstance(model, EncoderDecoder)
    initialise(model, seed)
    return Translator(model)


@torch.no_grad()
def loss_on(model: nn.Module, ids: Tensor, make: Callable[[Tensor], Batch]) -> float:
    """Mean loss of all these sentences, in nats a word."""
    model.eval()
    batches = [make(part) for part in torch.split(ids, 250)]
    losses = [F.cross_entropy(model(each.ids, wanted=each.wanted), each.answers, reduction="sum") for each in batches]
    return float(sum(loss.item() for loss in losses) / sum(len(each.answers) for each in batches))
