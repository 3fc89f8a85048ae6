"""Sentences of the corpus whose pronoun must find its noun, and those that say who is taught with what.

All are held out: the grammar draws them again from another seed, and what training or dev hold is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from pellucid.data.corpus import words
from pellucid.data.corpus.choices import statement
from pellucid.data.corpus.fragment import join, realise
from pellucid.data.corpus.grammar import NOT, be, noun_phrase, predicate, pronoun_for, verb_group
from pellucid.data.corpus.lexicon import NOUNS, adjective, noun, nouns
from pellucid.data.corpus.particles import BECAUSE, TOO
from pellucid.data.corpus.splits import Sentence, sentences_by_split
from pellucid.data.corpus.verbs import IMPERFECT, PAST, verb

PATTERNS = ("out_of", "across", "into")
OTHER_SEED = 2
SWAPPED = {"il": "elle", "elle": "il"}


@dataclass(frozen=True)
class Reference:
    """A sentence with two nouns of different gender, and a pronoun that stands for one of them.

    Args:
        english, french: the pair.
        pattern: of the grammar.
        it: the word "it", counted from 0 as the corpus counts words.
        antecedent, other: the noun that it stands for, and the one that it does not; English words.
        quality: the adjective that decides.
        pronoun: the French word, *il* or *elle*; ``place``: its number among the French words.
    """

    english: str
    french: str
    pattern: str
    it: int
    antecedent: int
    other: int
    quality: int
    pronoun: str
    place: int

    @property
    def swapped(self) -> str:
        """The French sentence with the other pronoun."""
        begin = letter_of(self.french, self.place)
        return self.french[:begin] + SWAPPED[self.pronoun] + self.french[begin + len(self.pronoun) :]


def letter_of(text: str, place: int) -> int:
    """Where in a text its word with this number begins."""
    at = 0
    for word in words(text)[:place]:
        at = text.index(word, at) + len(word)
    return text.index(words(text)[place], at)


@cache
def genders() -> dict[str, str]:
    """Gender of every noun of the lexicon, in the singular."""
    return {entry.french: entry.gender for entry in NOUNS}


def reference(sentence: Sentence) -> Reference | None:
    """What stands for what in a sentence of these patterns; ``None``: both nouns are of one gender, or it is in the plural."""
    text = sentence.text
    if sentence.pattern not in (*PATTERNS, "teaching"):
        return None
    english, french = words(text.english), words(text.french)
    if "it" not in english:
        return None
    it = english.index("it")
    linked = {i: j for i, j in text.alignment if text.english_tags[j] in ("NOUN", "PRON")}
    place = next((i for i, word in enumerate(french) if word in SWAPPED and linked.get(i) == it), None)
    known = [
        (genders()[word], linked[i]) for i, word in enumerate(french) if word in genders() and i in linked and linked[i] < it
    ]
    if place is None or len(known) != 2 or known[0][0] == known[1][0]:
        return None
    wanted = "f" if french[place] == "elle" else "m"
    [antecedent] = [j for gender, j in known if gender == wanted]
    [other] = [j for gender, j in known if gender != wanted]
    quality = max(j for j, tag in enumerate(text.english_tags) if tag == "ADJ")
    return Reference(text.english, text.french, sentence.pattern, it, antecedent, other, quality, french[place], place)


def references(split: str) -> list[Reference]:
    """Those of a split of the corpus."""
    found = (reference(sentence) for sentence in sentences_by_split(1)[split])
    return [one for one in found if one is not None]


def fresh_references() -> list[Reference]:
    """Those drawn from the other seed, of which training and dev hold neither side."""
    found = (reference(sentence) for sentence in fresh())
    return [one for one in found if one is not None]


@cache
def fresh() -> tuple[Sentence, ...]:
    """All sentences of another seed that training and dev do not hold, neither side."""
    seen = [sentence.text for split in ("train", "dev") for sentence in sentences_by_split(1)[split]]
    french, english = {text.french for text in seen}, {text.english for text in seen}
    drawn = [sentence for split in ("train", "dev", "test") for sentence in sentences_by_split(OTHER_SEED)[split]]
    return tuple(one for one in drawn if one.text.french not in french and one.text.english not in english)


def animals() -> list[Reference]:
    """The ... did not cross the street because it was too tired, for every animal that walks."""
    found = []
    for entry in nouns("walker"):
        animal, street = noun_phrase(entry), noun_phrase(noun("rue"))
        pronoun = pronoun_for(animal, personal=False)
        crossing = verb_group(animal, verb("traverser"), PAST, NOT)
        was = join(BECAUSE, pronoun.fragment, be(pronoun, IMPERFECT), TOO, predicate(animal, adjective("fatigué")))
        text = realise(statement(animal.fragment, crossing, street.fragment, was))
        place = max(at for at, word in enumerate(words(text.french)) if word in SWAPPED)
        it, quality = words(text.english).index("it"), text.english_tags.index("ADJ")
        noun_at, street_at = (at for at, tag in enumerate(text.english_tags) if tag == "NOUN")
        french, pronoun_text = text.french, words(text.french)[place]
        found.append(Reference(text.english, french, "across", it, noun_at, street_at, quality, pronoun_text, place))
    return found


@dataclass(frozen=True)
class Taught:
    """Somebody teaches somebody with something; English words by their numbers.

    Args:
        english, french: the pair.
        teacher, verb, pupil, with_, thing: the words.
    """

    english: str
    french: str
    teacher: int
    verb: int
    pupil: int
    with_: int
    thing: int


def taught(english: str, french: str, tags: Sequence[str]) -> Taught | None:
    """Who teaches whom with what; ``None``: nobody with anything."""
    some = words(english)
    if "with" not in some or not any(word.startswith(("teach", "taught")) for word in some):
        return None
    with_ = some.index("with")
    verb = max(at for at, word in enumerate(some) if word.startswith(("teach", "taught")) and tags[at] == "VERB")
    before = [at for at in range(verb) if tags[at] in ("NOUN", "PROPN", "PRON")]
    pupils = [at for at in range(verb, with_) if tags[at] in ("NOUN", "PROPN", "PRON")]
    things = [at for at in range(with_, len(some)) if tags[at] == "NOUN"]
    if not (before and pupils and things):
        return None
    return Taught(english, french, before[-1], verb, pupils[-1], with_, things[0])


def fresh_taught() -> Iterator[Taught]:
    """Those of the other seed."""
    for sentence in fresh():
        text = sentence.text
        if sentence.pattern == "teaching" and (found := taught(text.english, text.french, text.english_tags)) is not None:
            yield found
