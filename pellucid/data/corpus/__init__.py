"""The built-in corpus: French and English sentence pairs with word alignment and parts of speech, from a grammar.

    fragment.py    pieces of a sentence in both languages; elision and contraction as a last pass
    lexicon.py     nouns, adjectives, names          verbs.py       verbs and their conjugation
    grammar.py     agreement, negation, pronouns     particles.py   the small words
    choices.py     random choices that make sense
    actions.py     statements: what is done         states.py      statements: how things are
    questions.py   questions                         references.py  pronouns that must find their noun
    teaching.py    the sentences that teaching notes like
    splits.py      the five splits, and the combinations held out of training

Each French sentence has exactly one English sentence and the other way round, over all splits. French sets a plain
space before ? and !. The choices that make this possible are listed in `grammar`.
"""

from __future__ import annotations

from dataclasses import dataclass

from .fragment import words
from .splits import SPLITS, sentences_by_split

__all__ = ["SPLITS", "Pair", "pairs", "tagged", "words"]


@dataclass(frozen=True, slots=True)
class Pair:
    """A sentence in both languages.

    `alignment` links words by (French index, English index), sorted; the tags are the parts of speech of the
    words (universal tag set). Both count the words as `words` splits them.
    """

    french: str
    english: str
    alignment: tuple[tuple[int, int], ...]
    french_tags: tuple[str, ...]
    english_tags: tuple[str, ...]


def pairs(split: str, seed: int = 1) -> list[Pair]:
    """The sentence pairs of one of `SPLITS`; the same seed gives the same list on every machine.

    Raises KeyError for a name that is not in `SPLITS`.
    """
    return [
        Pair(text.french, text.english, text.alignment, text.french_tags, text.english_tags)
        for text in (sentence.text for sentence in sentences_by_split(seed)[split])
    ]


def tagged(pair: Pair, language: str) -> tuple[str, str]:
    """The words of one side ("fr" or "en") and their parts of speech, each between spaces."""
    text, tags = (pair.french, pair.french_tags) if language == "fr" else (pair.english, pair.english_tags)
    return " ".join(words(text)), " ".join(tags)
