"""Statements about how and where things are, what somebody has, likes and feels."""

from __future__ import annotations

from random import Random

from .choices import (
    a_name,
    beast,
    chance,
    city,
    counted,
    field_of_study,
    manner_of,
    particular,
    personal_pronoun,
    place,
    somebody,
    statement,
    third_person,
)
from .fragment import Fragment, join, leaf
from .grammar import HE, JE, NOT, SHE, THEY, WE, be, noun_phrase, predicate, verb_group
from .lexicon import adjectives_for, noun, nouns
from .particles import BEHIND, IN, IN_CITY, IN_FRONT_OF, NEAR, NEXT_TO, ON, TOO, UNDER, VERY
from .verbs import FUTURE, IMPERFECT, PRESENT, verb

_DESCRIBED = "person animal food drink thing clothes furniture fixture vehicle place mental heard watched"
_FRONTED = "building room goal"
"""What one can stand in front of or behind."""

_STATES = (
    ("faim", "hungry"),
    ("soif", "thirsty"),
    ("sommeil", "sleepy"),
    ("peur", "afraid"),
    ("raison", "right"),
    ("tort", "wrong"),
)


def quality(rng: Random) -> Fragment:
    """Something or somebody is or was so."""
    entry = rng.choice([entry for entry in nouns(_DESCRIBED) if adjectives_for(entry, predicate=True)])
    if "kin" in entry.classes:
        subject = noun_phrase(entry, rng.choice(("my", "our", "your", "their")))
    else:
        plural = chance(rng, 25) and "mass" not in entry.classes
        subject = noun_phrase(entry, rng.choice(("the", "the", "this")), plural)
    degree = (rng.choice((VERY, TOO)),) if chance(rng, 30) else ()
    manner = NOT if chance(rng, 20) and not degree else None
    group = be(subject, rng.choice((PRESENT, PRESENT, IMPERFECT)), manner)
    adjective = rng.choice(adjectives_for(entry, predicate=True))
    if adjective.absolute:
        degree = ()
    return statement(subject.fragment, group, *degree, predicate(subject, adjective))


def field_quality(rng: Random) -> Fragment:
    """What a field of study is like."""
    field = field_of_study(rng)
    manner = NOT if chance(rng, 25) else None
    degree = (VERY,) if not manner and chance(rng, 35) else ()
    adjective = predicate(field, rng.choice(adjectives_for(noun("physique"))))
    return statement(field.fragment, be(field, PRESENT, manner), *degree, adjective)


def feeling(rng: Random) -> Fragment:
    """A pronoun or a name with a quality: after I and we only adjectives of one form."""
    subject = rng.choice((JE, JE, WE, WE, HE, SHE, THEY, a_name(rng), a_name(rng), a_name(rng)))
    usual = adjectives_for(noun("homme"), predicate=True)
    fitting = [adjective for adjective in usual if subject.person == 3 or adjective.same_in_both_genders]
    tense = rng.choice((PRESENT, PRESENT, IMPERFECT, FUTURE))
    if tense == FUTURE:
        fitting = [adjective for adjective in fitting if adjective.masculine != "jeune"]
    manner = NOT if chance(rng, 25) else None
    return statement(subject.fragment, be(subject, tense, manner), predicate(subject, rng.choice(fitting)))


def state(rng: Random) -> Fragment:
    """avoir faim and its like: to be hungry."""
    subject, (french, english) = somebody(rng), rng.choice(_STATES)
    ne, pas, negation = ("ne/PART:n", "pas/ADV:n", "not/PART:n") if chance(rng, 25) else ("", "", "")
    past = subject.person == 3 and chance(rng, 35)
    having = verb("avoir")
    form = having.french_imperfect(subject.plural) if past else having.french_present(subject.person, subject.plural)
    being = be(subject, IMPERFECT if past else PRESENT).english[0].text
    group = leaf(
        f"{ne} {form}/VERB:v {pas} {french}/NOUN:s",
        f"{being}/AUX:v {negation} {english}/ADJ:s",
        ("subject verb", subject.noun, f"avoir {french}"),
    )
    return statement(subject.fragment, group)


def location(rng: Random) -> Fragment:
    """Something or somebody is somewhere."""
    kind = rng.random()
    if kind < 0.4:
        subject, where = particular(rng, rng.choice(nouns("thing"))), _spot(rng)
    elif kind < 0.65:
        subject, where = personal_pronoun(rng), _whereabouts(rng)
    else:
        subject = third_person(rng, indefinite=False) if chance(rng, 70) else beast(rng, indefinite=False)
        where = _whereabouts(rng)
    group = be(subject, rng.choice((PRESENT, PRESENT, IMPERFECT)), NOT if chance(rng, 20) else None)
    return statement(subject.fragment, group, where)


def _spot(rng: Random) -> Fragment:
    """Where a thing lies."""
    if chance(rng, 50):
        return join(rng.choice((ON, UNDER)), noun_phrase(rng.choice(nouns("surface"))).fragment)
    return join(IN, noun_phrase(rng.choice(nouns("container room"))).fragment)


def _whereabouts(rng: Random) -> Fragment:
    """Where somebody is."""
    if chance(rng, 30):
        return join(IN, place(rng, rng.choice(nouns("inside"))).fragment)
    side, classes = rng.choice(((IN_FRONT_OF, _FRONTED), (BEHIND, _FRONTED), (NEAR, "place"), (NEXT_TO, "place")))
    return join(side, place(rng, rng.choice(nouns(classes))).fragment)


def existence(rng: Random) -> Fragment:
    """There is, there are."""
    plural = chance(rng, 70)
    if chance(rng, 50):
        entry = rng.choice(nouns("thing"))
        where = _spot(rng)
    else:
        entry = rng.choice([entry for entry in nouns("animal person") if "kin" not in entry.classes])
        where = _whereabouts(rng)
    found = counted(rng, entry, definite=False) if plural and chance(rng, 70) else noun_phrase(entry, "a", plural)
    there = leaf("il/PRON y/PRON a/VERB", f"there/PRON {'are' if plural else 'is'}/VERB")
    return statement(there, found.fragment, where)


def possession(rng: Random) -> Fragment:
    """Somebody has something."""
    subject = somebody(rng)
    manner = NOT if chance(rng, 20) else None
    entry = rng.choice(nouns("thing clothes pet private"))
    adjectives = adjectives_for(entry)
    described = rng.choice(adjectives) if chance(rng, 40) else None
    if manner:
        owned = noun_phrase(entry, "negated", True, described)
    elif chance(rng, 40):
        owned = counted(rng, entry, described, definite=False)
    else:
        owned = noun_phrase(entry, "a", False, described)
    return statement(subject.fragment, verb_group(subject, verb("avoir"), PRESENT, manner), owned.fragment)


def living(rng: Random) -> Fragment:
    """Somebody lives in a city or a house."""
    subject = somebody(rng)
    where = join(IN_CITY, city(rng))
    if chance(rng, 40):
        where = join(IN, noun_phrase(noun(rng.choice(("maison", "village", "hôtel"))), "a").fragment)
    return statement(subject.fragment, verb_group(subject, verb("habiter"), PRESENT, manner_of(rng, FUTURE)), where)


def taste(rng: Random) -> Fragment:
    """Love, hate or prefer things in general, a field, a city or a person."""
    subject = somebody(rng)
    deed = verb(rng.choice(("aimer", "aimer", "détester", "préférer")))
    manner = NOT if deed.infinitive == "aimer" and chance(rng, 25) else None
    return statement(subject.fragment, verb_group(subject, deed, PRESENT, manner), _liked(rng))


def _liked(rng: Random) -> Fragment:
    kind = rng.random()
    if kind < 0.45:
        entry = rng.choice(nouns("food drink animal art"))
        return noun_phrase(entry, "generic", not ("mass" in entry.classes or "art" in entry.classes)).fragment
    if kind < 0.8:
        return field_of_study(rng).fragment
    return city(rng) if chance(rng, 50) else a_name(rng).fragment
