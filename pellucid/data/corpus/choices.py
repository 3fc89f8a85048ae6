"""Random choices that make sense: who does what, to which thing, when.

Every function draws from the generator that it is given, from tuples in a fixed order, so a seed fixes the corpus.
"""

from __future__ import annotations

from random import Random

from .fragment import Fragment, join, leaf
from .grammar import (
    ALWAYS,
    HE,
    JE,
    NEVER,
    NO_LONGER,
    NOT,
    OFTEN,
    RARELY,
    SHE,
    THEY,
    VOUS,
    WE,
    Manner,
    NounPhrase,
    name,
    noun_phrase,
)
from .lexicon import CITIES, COMPOUNDS, NUMBERS, Adjective, Noun, adjectives_for, nouns
from .particles import COMMA, PERIOD
from .verbs import FUTURE, PAST, PRESENT, Verb, transitive

_POSSESSIVES = ("my", "my", "our", "your", "their")
_OWNED = ("thing", "clothes", "private", "furniture", "pet", "room", "taught")
_TIMES = {
    PAST: (
        ("hier/ADV", "yesterday/NOUN"),
        ("hier/ADV:a soir/NOUN:b", "last/ADJ:a night/NOUN:b"),
        ("ce/DET:a matin/NOUN:b", "this/DET:a morning/NOUN:b"),
        ("la/DET:- semaine/NOUN:a dernière/ADJ:b", "last/ADJ:b week/NOUN:a"),
    ),
    FUTURE: (
        ("demain/ADV", "tomorrow/NOUN"),
        ("ce/DET soir/NOUN", "tonight/NOUN"),
        ("la/DET:- semaine/NOUN:a prochaine/ADJ:b", "next/ADJ:b week/NOUN:a"),
    ),
    PRESENT: (
        ("chaque/DET:a jour/NOUN:b", "every/DET:a day/NOUN:b"),
        ("chaque/DET:a matin/NOUN:b", "every/DET:a morning/NOUN:b"),
        ("chaque/DET:a soir/NOUN:b", "every/DET:a evening/NOUN:b"),
        ("le/DET:a dimanche/NOUN:b", "on/ADP:a Sundays/PROPN:b"),
    ),
}
_TENSES = (PRESENT,) * 7 + (PAST,) * 9 + (FUTURE,) * 4
_MANNERS = {
    PRESENT: (None,) * 20 + (NOT,) * 6 + (NEVER,) * 2 + (NO_LONGER, OFTEN, ALWAYS, RARELY),
    PAST: (None,) * 20 + (NOT,) * 6 + (NEVER,),
    FUTURE: (None,) * 20 + (NOT,) * 5,
}


def chance(rng: Random, percent: int) -> bool:
    """True so many times in a hundred."""
    return rng.random() * 100 < percent


def statement(*parts: Fragment) -> Fragment:
    """The parts and a full stop."""
    return join(*parts, PERIOD)


def timed(rng: Random, tense: str, *parts: Fragment, manner: Manner | None = None, percent: int = 30) -> Fragment:
    """A statement, sometimes with a time that fits the tense and the manner: before it with a comma, or after it."""
    unsuited = manner is not None if tense == PRESENT else is_habit(manner)  # not: every day, he never ...
    if unsuited or not chance(rng, percent):
        return statement(*parts)
    time = leaf(*rng.choice(_TIMES[tense]))
    return statement(time, COMMA, *parts) if chance(rng, 35) else statement(*parts, time)


def tense_of(rng: Random, verb: Verb, subject: NounPhrase | None = None) -> str:
    """A tense; none in which vous, je or nous would need an agreeing participle, or English its past."""
    tense = rng.choice(_TENSES)
    agreeing = verb.auxiliary == "être" and subject is not None and subject.person != 3
    unsuited = agreeing or not verb.has_past if tense == PAST else tense == FUTURE and not verb.willed
    return PRESENT if unsuited else tense


def manner_of(rng: Random, tense: str) -> Manner | None:
    """Mostly none; else a negation or an adverb of frequency that suits the tense."""
    return rng.choice(_MANNERS[tense])


def is_habit(manner: Manner | None) -> bool:
    """Whether the manner speaks of many occasions, so that one particular thing would be odd."""
    return manner is not None and manner is not NOT


def personal_pronoun(rng: Random) -> NounPhrase:
    """JE, you, he, she, we or they."""
    return rng.choice((JE, VOUS, HE, SHE, WE, THEY))


def asked_person(rng: Random) -> NounPhrase:
    """A subject to ask about: anybody but oneself."""
    subject = somebody(rng)
    return subject if subject.person != 1 else rng.choice((VOUS, HE, SHE, THEY))


def willing(rng: Random) -> Verb:
    """A transitive verb of something that one may want."""
    return rng.choice([deed for deed in transitive("person") if deed.willed])


def a_name(rng: Random) -> NounPhrase:
    """A person's name."""
    return name(rng.randrange(6), rng.choice("mf"))


def beside(rng: Random, entry: Noun, percent: int) -> Adjective | None:
    """Sometimes an adjective for the noun."""
    fitting = adjectives_for(entry)
    return rng.choice(fitting) if fitting and chance(rng, percent) else None


def people(rng: Random, plural_percent: int = 20, classes: str = "person", *, indefinite: bool = True) -> NounPhrase:
    """A noun phrase for a person or people, "a" or "the" (`indefinite`: either). Relatives are always somebody's."""
    entry = rng.choice(nouns(classes))
    plural = chance(rng, plural_percent)
    if "kin" in entry.classes:
        return noun_phrase(entry, rng.choice(_POSSESSIVES), plural and entry.french not in ("mère", "père"))
    if "known" in entry.classes and chance(rng, 40):
        return noun_phrase(entry, rng.choice(_POSSESSIVES), plural, beside(rng, entry, 20))
    return noun_phrase(entry, _article(rng, indefinite), plural, beside(rng, entry, 25))


def _article(rng: Random, indefinite: bool) -> str:
    return rng.choice(("the", "the", "the", "the", "this", "a") if indefinite else ("the", "the", "the", "this"))


def third_person(rng: Random, *, indefinite: bool = True) -> NounPhrase:
    """A person or people in the third person, by noun or by name."""
    return a_name(rng) if chance(rng, 35) else people(rng, indefinite=indefinite)


def somebody(rng: Random) -> NounPhrase:
    """Any subject for which a verb of human action makes sense."""
    return personal_pronoun(rng) if chance(rng, 40) else third_person(rng)


def counted(rng: Random, entry: Noun, adjective: Adjective | None = None, *, definite: bool = True) -> NounPhrase:
    """Two ..., several ..., many ..., and (`definite`) the three ..."""
    if chance(rng, 25):
        return noun_phrase(entry, rng.choice(("several", "many")), True, adjective)
    determiner = "the" if definite and chance(rng, 15) else "number"
    return noun_phrase(entry, determiner, True, adjective, rng.choice(NUMBERS))


def thing(rng: Random, entry: Noun, *, negative: bool = False, habit: bool = False) -> NounPhrase:
    """An object: with a determiner that suits the noun, the negation (pas de pain) and the occasion."""
    if "subject" in entry.classes:
        return noun_phrase(entry, "generic")
    adjective = beside(rng, entry, 30)
    if "mass" in entry.classes and (habit or "count" not in entry.classes or chance(rng, 40)):
        bare = "negated" if negative else "partitive"
        return noun_phrase(entry, bare if habit or chance(rng, 60) else rng.choice(("the", "this")))
    if habit:
        if _is_owned(entry) and chance(rng, 60):
            return noun_phrase(entry, rng.choice(_POSSESSIVES), chance(rng, 30))
        return noun_phrase(entry, "negated" if negative else "a", True, adjective)
    if negative and chance(rng, 20):
        return noun_phrase(entry, "negated", True)
    if not negative and chance(rng, 15):
        return counted(rng, entry, adjective)
    if not negative and chance(rng, 30):
        return noun_phrase(entry, "a", chance(rng, 30), adjective)
    return particular(rng, entry)


def _is_owned(entry: Noun) -> bool:
    return any(name in entry.classes for name in _OWNED)


def particular(rng: Random, entry: Noun, plural_percent: int = 20) -> NounPhrase:
    """A certain thing: the, this, my ..."""
    adjective = beside(rng, entry, 30)
    plural = chance(rng, plural_percent) and "mass" not in entry.classes
    if _is_owned(entry) and chance(rng, 30):
        return noun_phrase(entry, rng.choice(_POSSESSIVES), plural, adjective)
    return noun_phrase(entry, rng.choice(("the", "the", "the", "this")), plural, adjective)


def acted_on(deed: Verb, target: NounPhrase) -> Fragment:
    """The object of a verb, with the combination of the two noted."""
    return join(target.fragment, facts=(("verb object", deed.key, target.noun),))


def object_of(rng: Random, deed: Verb, *, negative: bool = False, habit: bool = False) -> Fragment:
    """Something that one can do with the verb."""
    entry = rng.choice(nouns(deed.objects))
    if "person" in entry.classes:
        return acted_on(deed, a_name(rng) if chance(rng, 30) else people(rng))
    return acted_on(deed, thing(rng, entry, negative=negative, habit=habit))


def beast(rng: Random, classes: str = "animal", *, indefinite: bool = True) -> NounPhrase:
    """An animal."""
    entry = rng.choice(nouns(classes))
    if "pet" in entry.classes and chance(rng, 30):
        return noun_phrase(entry, rng.choice(_POSSESSIVES), chance(rng, 25), beside(rng, entry, 25))
    return noun_phrase(entry, _article(rng, indefinite), chance(rng, 25), beside(rng, entry, 30))


def compound(field: tuple[str, str, str]) -> NounPhrase:
    """A field of study of two words, without an article in English: l'apprentissage automatique, machine learning."""
    french, english, gender = field
    article = leaf("la/DET:-" if gender == "f" else "le/DET:-", "")
    return NounPhrase(join(article, leaf(french, english)), gender, noun=french)


def field_of_study(rng: Random) -> NounPhrase:
    """A subject that one studies: music, machine learning."""
    if chance(rng, 60):
        return compound(rng.choice(COMPOUNDS))
    return noun_phrase(rng.choice(nouns("subject")), "generic")


def named_city(names: tuple[str, str]) -> Fragment:
    """The name of a city in both languages."""
    return leaf(f"{names[0]}/PROPN", f"{names[1]}/PROPN")


def city(rng: Random) -> Fragment:
    """A city."""
    return named_city(rng.choice(CITIES))


def place(rng: Random, entry: Noun, *, adjective_percent: int = 15) -> NounPhrase:
    """A definite place."""
    return noun_phrase(entry, rng.choice(("the", "the", "the", "this")), False, beside(rng, entry, adjective_percent))
