"""Reviews of films with their sentiment (SST-2), where the set has been fetched: words with and against each other."""

from __future__ import annotations

from itertools import combinations, product

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.base.config import DataConfig
from pellucid.base.errors import DataError
from pellucid.data.readers import open_split

# Frequent in the training split and plain in what they say. Chosen before any vector was looked at.
SENTIMENT = {
    "positive": "good great best funny beautiful moving powerful entertaining charming brilliant",
    "negative": "bad worst dull boring stupid mess lacks silly tedious flat",
}


def reviews() -> list[tuple[list[str], int]] | None:
    """Words and label, 1 positive, of each sentence of the training split; ``None``: the set is not there."""
    try:
        split = open_split(DataConfig(corpus="sst2"), "train")
    except DataError:
        return None
    return [(text.split(), int(label)) for text, label in split]


def sentiment_vectors(read: list[tuple[list[str], int]], width: int, steps: int, seed: int) -> tuple[Tensor, Tensor, list[str]]:
    """Vectors (V, D) before and after learning to tell the sentiment of a sentence from the mean of its words' vectors; and
    the words."""
    names = sorted({word for words, _ in read for word in words})
    number = {word: place for place, word in enumerate(names)}
    generator = torch.Generator().manual_seed(seed)
    vectors = (torch.randn(len(names), width, generator=generator) * width**-0.5).requires_grad_()
    out = (torch.randn(width, generator=generator) * width**-0.5).requires_grad_()
    before = vectors.detach().clone()
    optimizer = torch.optim.Adam([vectors, out], lr=0.01)
    for _ in range(steps):
        some = [read[place] for place in torch.randint(len(read), (64,), generator=generator).tolist()]
        ids = torch.tensor([number[word] for words, _ in some for word in words])
        begins = torch.tensor([0, *(len(words) for words, _ in some[:-1])]).cumsum(0)
        logits = F.embedding_bag(ids, vectors, begins, mode="mean") @ out  # (64,)
        loss = F.binary_cross_entropy_with_logits(logits, torch.tensor([float(label) for _, label in some]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return before, vectors.detach(), names


def sentiment_cosines(vectors: Tensor, names: list[str]) -> dict[str, float]:
    """Mean cosine of two positive words, of two negative ones, and of one of each."""
    unit = F.normalize(vectors.double(), dim=1)
    places = {side: [names.index(word) for word in words.split()] for side, words in SENTIMENT.items()}
    pairs = {f"two {side} words": list(combinations(found, 2)) for side, found in places.items()}
    pairs["one of each"] = list(product(places["positive"], places["negative"]))
    return {name: float(sum(unit[a] @ unit[b] for a, b in some) / len(some)) for name, some in pairs.items()}
