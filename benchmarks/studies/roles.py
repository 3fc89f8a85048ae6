"""Grammatical roles that a head may take: which word should look at which, and how often a head's largest weight is there.

The corpus tags its words with parts of speech; who belongs to whom follows from the order of the tags by the rules below.
Shapes: H heads, Q words that look, K words that are looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

Pairs = list[tuple[int, int]]  # the word that looks, the word that belongs to it
_NOMINAL = ("NOUN", "PROPN", "PRON")
_BETWEEN = ("ADJ", "NUM")
PLACES = ("the same word", "the word before", "the word after", "the first word", "the last mark", "start or end token")
FAR = 6  # words; nearly all pairs of the roles are nearer
ROLES = {
    "noun to its article": "the nearest determiner before it with adjectives and numbers alone between",
    "article to its noun": "the same, the other way",
    "adjective to its noun": "the nearest noun, beside it or with adjectives between",
    "noun to its adjective": "the same, the other way",
    "verb to its subject": "the first noun, name or pronoun of its clause, if before the verb; clauses begin after"
    " conjunctions and commas",
    "subject to its verb": "the same, the other way",
    "verb to its object": "the next noun or name, with articles, adjectives, numbers and adverbs alone between",
}


def roles(tags: Sequence[str]) -> dict[str, Pairs]:
    """The pairs of each of `ROLES` in a sentence, from the parts of speech of its words."""
    articles: Pairs = []
    adjectives: Pairs = []
    for at, tag in enumerate(tags):
        if tag == "NOUN":
            if (article := _passing(tags, at, -1, "DET", _BETWEEN)) is not None:
                articles.append((at, article))
        elif tag == "ADJ":
            after, before = _passing(tags, at, 1, "NOUN", ("ADJ",)), _passing(tags, at, -1, "NOUN", ("ADJ",))
            if (noun := after if before is None else before) is not None:
                adjectives.append((at, noun))
    subjects = [pair for begin, end in _clauses(tags) for pair in _subject(tags, begin, end)]
    between = ("DET", "ADJ", "NUM", "ADV", "PART")
    objects = [(at, next_) for at, tag in enumerate(tags) if tag == "VERB" for next_ in _object(tags, at, between)]
    return {
        "noun to its article": articles,
        "article to its noun": _turned(articles),
        "adjective to its noun": adjectives,
        "noun to its adjective": _turned(adjectives),
        "verb to its subject": subjects,
        "subject to its verb": _turned(subjects),
        "verb to its object": objects,
    }


def _turned(pairs: Pairs) -> Pairs:
    return [(key, query) for query, key in pairs]


def _passing(tags: Sequence[str], at: int, step: int, wanted: str, between: Sequence[str]) -> int | None:
    """The nearest word with the tag on that side, reached over words with the tags ``between``."""
    at += step
    while 0 <= at < len(tags) and tags[at] in between:
        at += step
    return at if 0 <= at < len(tags) and tags[at] == wanted else None


def _object(tags: Sequence[str], at: int, between: Sequence[str]) -> list[int]:
    found = (_passing(tags, at, 1, wanted, between) for wanted in ("NOUN", "PROPN"))
    return [one for one in found if one is not None]


def _clauses(tags: Sequence[str]) -> Iterator[tuple[int, int]]:
    begin = 0
    for at, tag in enumerate([*tags, "PUNCT"]):
        if tag in ("CCONJ", "SCONJ", "PUNCT"):
            yield begin, at
            begin = at + 1


def _subject(tags: Sequence[str], begin: int, end: int) -> Pairs:
    """The first verb of the clause that has a subject before it, with it; nothing where there is none."""
    subject = next((at for at in range(begin, end) if tags[at] in _NOMINAL), None)
    if subject is None:
        return []
    verb = next((at for at in range(subject + 1, end) if tags[at] in ("VERB", "AUX")), None)
    return [] if verb is None else [(verb, subject)]


@dataclass
class Counts:
    """What the heads of one stack gave to the words of each role, over many sentences.

    Args:
        heads: H, of all layers together.
        causal: whether a word can be looked at only by itself and by later ones.
    """

    heads: int
    causal: bool
    pairs: Counter[str] = field(default_factory=Counter)  # by role
    offsets: dict[str, Counter[int]] = field(default_factory=dict)  # by role, how far away the word is
    mass: dict[str, Tensor] = field(default_factory=dict)  # by role and place, the sum of weights of each head
    hits: dict[str, Tensor] = field(default_factory=dict)  # by role, how often the largest weight was there
    uniform: dict[str, float] = field(default_factory=dict)  # by role, the sum of what equal weights would give
    words: int = 0  # that looked
    largest: dict[int, Tensor] = field(default_factory=dict)  # by distance, how often the largest weight was there
    near: dict[int, Tensor] = field(default_factory=dict)  # by distance, the sum of weights between all words so far apart
    so_far: Counter[int] = field(default_factory=Counter)  # by distance, how many words have one there

    def add(self, weights: Tensor, tags: Sequence[str]) -> None:
        """Count a sentence: weights (H, Q, K + 1) between words, the last column for tokens that are no words."""
        n_words = len(tags)
        best = weights[:, :, :n_words].argmax(2)  # (H, Q)
        self.words += n_words
        for name, sums in zip(PLACES, _places(weights), strict=True):
            self._to(self.mass, name, sums)
        for query in range(n_words):
            for head, key in enumerate(best[:, query].tolist()):
                self.largest.setdefault(key - query, torch.zeros(self.heads, dtype=torch.float64))[head] += 1
        for offset in range(-FAR, FAR + 1):
            queries = [query for query in range(n_words) if 0 <= query + offset < n_words]
            self.so_far[offset] += len(queries)
            more = weights[:, queries, [query + offset for query in queries]].sum(1).double()
            self.near[offset] = self.near.get(offset, torch.zeros(self.heads, dtype=torch.float64)) + more
        for role, pairs in roles(tags).items():
            for query, key in pairs:
                if self.causal and key > query:
                    continue
                self.pairs[role] += 1
                self.offsets.setdefault(role, Counter())[key - query] += 1
                self.uniform[role] = self.uniform.get(role, 0.0) + 1 / (query + 2 if self.causal else n_words + 1)
                self._to(self.mass, role, weights[:, query, key])
                self._to(self.hits, role, best[:, query] == key)

    def _to(self, sums: dict[str, Tensor], name: str, more: Tensor) -> None:
        sums[name] = sums.get(name, torch.zeros(self.heads, dtype=torch.float64)) + more.double()

    def share(self, name: str) -> Tensor:
        """Of each head, the mean weight that goes there: (H,). Of a place, per word; of a role, per pair."""
        return self.mass[name] / (self.pairs[name] if name in ROLES else self.words)

    def share_by_distance(self, role: str, head: int) -> float:
        """What the head would give to the words of the role if only their distance mattered to it: what it gives at these
        distances to any word, the mean over the role's distances up to `FAR`."""
        known = {offset: count for offset, count in self.offsets[role].items() if abs(offset) <= FAR}
        at = {offset: self.near[offset][head].item() / self.so_far[offset] for offset in known}
        return sum(count * at[offset] for offset, count in known.items()) / sum(known.values())

    def accuracy(self, role: str) -> Tensor:
        """Of each head, how often its largest weight is on the word that belongs there: (H,)."""
        return self.hits[role] / self.pairs[role]

    def commonest(self, role: str) -> int:
        """The distance at which the word stands most often."""
        return self.offsets[role].most_common(1)[0][0]

    def at_distance(self, role: str, offset: int) -> float:
        """How often the word stands at this distance: what a head that only counts words would reach."""
        return self.offsets[role][offset] / self.pairs[role]

    def keeps_distance(self) -> tuple[Tensor, list[int]]:
        """Of each head, how often its largest weight is at its commonest distance, (H,), and that distance."""
        offsets = sorted(self.largest)
        counts = torch.stack([self.largest[offset] for offset in offsets])  # (distances, H)
        most, at = counts.max(0)
        return most / self.words, [offsets[one] for one in at.tolist()]


def _places(weights: Tensor) -> Iterator[Tensor]:
    """For each of `PLACES`, the sum of what all words give to it: (H,)."""
    n_words = weights.shape[2] - 1
    yield weights[:, range(n_words), range(n_words)].sum(1)
    yield weights[:, range(1, n_words), range(n_words - 1)].sum(1)
    yield weights[:, range(n_words - 1), range(1, n_words)].sum(1)
    yield weights[:, :, 0].sum(1)
    yield weights[:, :, n_words - 1].sum(1)
    yield weights[:, :, n_words].sum(1)
