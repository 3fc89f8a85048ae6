"""Sentences of two clauses, above all those whose pronoun must find its noun.

In French *il* or *elle* follows the gender of the noun that the pronoun stands for; English says "it" for all.
So "the pizza came out of the oven and it was ..." needs *elle* before tasty, which only the pizza is, and *il* before
hot inside, which only the oven is: sentences that differ in what follows the pronoun. Three families: out of a
place, across a place, into a container.
"""

from __future__ import annotations

from functools import cache
from random import Random

from .choices import (
    a_name,
    acted_on,
    beside,
    chance,
    field_of_study,
    is_habit,
    manner_of,
    object_of,
    people,
    somebody,
    statement,
    tense_of,
    third_person,
)
from .fragment import EMPTY, Fragment, join
from .grammar import HE, NOT, SHE, NounPhrase, be, infinitive, it, noun_phrase, predicate, pronoun_for, verb_group
from .lexicon import TASTY, Adjective, Noun, adjective, adjectives_for, noun, nouns
from .particles import AND, BECAUSE, BUT, IN, INSIDE, OUT_OF, THAT, TOO, VERY, WHILE_WHEN
from .verbs import FUTURE, IMPERFECT, INTRANSITIVE, PAST, PRESENT, Verb, transitive, verb

_FOOD_OF = {"four": "baked", "casserole": "cooked", "frigo": "dish", "cuisine": "dish", "boîte": "boxed"}
"""Places that food comes out of, and the class of that food."""

_TASTES = (
    (TASTY, "food"),
    (adjective("délicieux"), "food"),
    (Adjective("frais", "fraîche", "fresh", ()), "food"),
    (Adjective("salé", "salée", "salty", ()), "food"),
    (Adjective("sucré", "sucrée", "sweet", ()), "dessert"),
)
"""What only the food can be, and which food."""

_STATES_OF_PLACE = (
    (adjective("chaud"), True, "four casserole"),
    (adjective("sale"), True, "four casserole frigo boîte"),
    (adjective("vide"), False, "four casserole frigo boîte cuisine"),
    (adjective("ouvert"), False, "four frigo boîte"),
    (adjective("cassé"), False, "four frigo"),
    (adjective("sombre"), False, "cuisine"),
    (adjective("calme"), False, "cuisine"),
)
"""What only the place can be, whether "inside" follows, and which places."""


def out_of(rng: Random) -> Fragment:
    """The pizza came out of the oven and it was tasty (elle) / hot inside (il)."""
    source = noun("four" if chance(rng, 25) else rng.choice(tuple(_FOOD_OF)))
    food = rng.choice(nouns(_FOOD_OF[source.french]))
    content = noun_phrase(food, rng.choice(("the", "the", "the", "this", "my")))
    place = noun_phrase(source, rng.choice(("the", "the", "the", "this")))
    came = join(content.fragment, verb_group(content, verb("sortir"), PAST), OUT_OF, place.fragment)
    if chance(rng, 50):
        antecedent, end = content, EMPTY
        quality = rng.choice([taste for taste, class_ in _TASTES if class_ in food.classes])
    else:
        antecedent = place
        fitting = [(quality, inside) for quality, inside, places in _STATES_OF_PLACE if source.french in places.split()]
        quality, inside = rng.choice(fitting)
        end = INSIDE if inside else EMPTY
    degree = VERY if end is EMPTY and not quality.absolute and chance(rng, 30) else EMPTY
    pronoun = pronoun_for(antecedent, personal=False)
    return statement(came, AND, pronoun.fragment, be(pronoun, IMPERFECT), degree, predicate(antecedent, quality), end)


WIDE = Adjective("large", "large", "wide", ())
_CROSSER = tuple(adjective(word) for word in ("fatigué", "malade", "lent", "jeune", "timide"))
_CROSSED = (
    (WIDE, "rue rivière"),
    (adjective("long"), "pont rue"),
    (adjective("dangereux"), "rue pont rivière forêt"),
    (adjective("sombre"), "rue forêt parc jardin"),
)


def across(rng: Random) -> Fragment:
    """The animal did not cross the street because it was too tired (il) / too wide (elle)."""
    animal = noun_phrase(rng.choice(nouns("walker")), rng.choice(("the", "the", "this")), False)
    obstacle = rng.choice(nouns("crossed"))
    place = noun_phrase(obstacle, rng.choice(("the", "the", "the", "this")), False)
    if chance(rng, 50):
        antecedent, quality = animal, rng.choice(_CROSSER)
    else:
        fitting = [quality for quality, places in _CROSSED if obstacle.french in places.split()]
        antecedent, quality = place, rng.choice(fitting)
    pronoun = pronoun_for(antecedent, personal=False)
    if chance(rng, 35):
        cannot = verb_group(animal, verb("pouvoir"), PRESENT, NOT)
        crossing, tense = join(cannot, infinitive(animal, verb("traverser"), "bare")), PRESENT
    else:
        crossing, tense = verb_group(animal, verb("traverser"), PAST, NOT), IMPERFECT
    reason = join(BECAUSE, pronoun.fragment, be(pronoun, tense), TOO, predicate(antecedent, quality))
    return statement(animal.fragment, crossing, place.fragment, reason)


def into(rng: Random) -> Fragment:
    """The book does not fit in the bag because it is too big (the book) / too small (the bag)."""
    container = noun_phrase(rng.choice(nouns("container")), rng.choice(("the", "the", "this", "my", "your")), False)
    entry = rng.choice([entry for entry in nouns("durable fragile beauty clothes") if _packable(entry, container)])
    load = noun_phrase(entry, rng.choice(("the", "the", "this", "my", "your")), chance(rng, 20))
    antecedent, size = rng.choice(((load, "grand"), (container, "petit")))
    pronoun = pronoun_for(antecedent, personal=False)
    fits = verb_group(load, verb("rentrer"), PRESENT, NOT)
    reason = join(BECAUSE, pronoun.fragment, be(pronoun), TOO, predicate(antecedent, adjective(size)))
    return statement(load.fragment, fits, IN, container.fragment, reason)


def _packable(entry: Noun, container: NounPhrase) -> bool:
    carried = "thing" in entry.classes or "clothes" in entry.classes
    return carried and entry.french not in ("clé", container.noun)


def two_qualities(rng: Random) -> Fragment:
    """The car is expensive but it is fast."""
    entry = rng.choice([entry for entry in nouns("thing vehicle building room") if len(_qualities(entry)) > 2])
    subject = noun_phrase(entry, rng.choice(("the", "the", "this", "my", "your")), chance(rng, 25))
    first, second = rng.sample(_qualities(entry), 2)
    pronoun = pronoun_for(subject, personal=False)
    tense = rng.choice((PRESENT, PRESENT, IMPERFECT))
    beginning = join(subject.fragment, be(subject, tense), predicate(subject, first))
    return statement(beginning, rng.choice((AND, BUT)), pronoun.fragment, be(pronoun, tense), predicate(subject, second))


_OPPOSED = ("lourd léger", "sale propre", "ouvert fermé", "rapide lent", "grand petit", "vieux nouveau moderne")


@cache
def _qualities(entry: Noun) -> tuple[Adjective, ...]:
    """Qualities that can be set against each other: no colours, and one of each pair of opposites."""
    left_out = [word for group in _OPPOSED for word in group.split()[1:]]
    usual = adjectives_for(entry, predicate=True)
    return tuple(a for a in usual if "colored" not in a.classes and a.masculine not in left_out)


_DEEDS = (
    ("acheter", "vendre"),
    ("acheter", "perdre"),
    ("acheter", "laver"),
    ("choisir", "acheter"),
    ("trouver", "cacher"),
    ("trouver", "prendre"),
    ("trouver", "vendre"),
    ("chercher", "trouver"),
    ("prendre", "perdre"),
    ("préparer", "manger"),
    ("acheter", "manger"),
    ("ouvrir", "fermer"),
    ("laver", "vendre"),
    ("réparer", "vendre"),
    ("réparer", "nettoyer"),
)
"""What one does with a thing, and then with "it"."""


def and_it(rng: Random) -> Fragment:
    """Paul bought a car and he sold it: the pronoun and the participle take the gender of the thing."""
    first, second = (verb(infinitive_) for infinitive_ in rng.choice(_DEEDS))
    entry = rng.choice([entry for entry in nouns(first.objects) if _suits(entry, second.objects)])
    subject = third_person(rng)
    target = noun_phrase(entry, rng.choice(("the", "the", "a", "this")), chance(rng, 15), beside(rng, entry, 20))
    pronoun = pronoun_for(subject, personal=True)
    tense = rng.choice((PRESENT, PAST, PAST, FUTURE) if second.willed else (PRESENT, PAST, PAST))
    beginning = join(subject.fragment, verb_group(subject, first, tense), acted_on(first, target))
    return statement(beginning, AND, pronoun.fragment, _deed_with_it(pronoun, second, tense, target))


def _deed_with_it(subject: NounPhrase, deed: Verb, tense: str, thing: NounPhrase) -> Fragment:
    return join(verb_group(subject, deed, tense, None, it(thing)), facts=(("verb object", deed.key, thing.noun),))


def _suits(entry: Noun, classes: str) -> bool:
    mass_only = "mass" in entry.classes and "count" not in entry.classes
    return not mass_only and any(name in entry.classes for name in classes.split()) and "person" not in entry.classes


def opinion(rng: Random) -> Fragment:
    """Somebody thinks, says, believes, knows that ..."""
    subject = somebody(rng)
    main = verb(rng.choice(("penser", "dire", "croire", "savoir")))
    tense = PRESENT if main.infinitive in ("croire", "savoir") or chance(rng, 70) else PAST
    manner = NOT if tense == PRESENT and main.infinitive == "dire" and chance(rng, 15) else None
    return statement(subject.fragment, verb_group(subject, main, tense, manner), THAT, _content(rng, subject, tense))


def _content(rng: Random, speaker: NounPhrase, tense: str) -> Fragment:
    """What is thought: about the speaker (by pronoun) or about somebody or something else."""
    about_self = speaker.person == 3 and speaker.noun not in ("il", "elle", "ils") and chance(rng, 35)
    doer = pronoun_for(speaker, personal=True) if about_self else third_person(rng)
    time = IMPERFECT if tense == PAST else PRESENT
    kind = rng.random()
    if kind < 0.4:
        fitting = adjectives_for(noun("homme"), predicate=True)
        return join(doer.fragment, be(doer, time), predicate(doer, rng.choice(fitting)))
    if tense == PAST or kind < 0.6:
        return _described(rng, time)
    deed = rng.choice(transitive("person"))
    inner = tense_of(rng, deed)
    manner = manner_of(rng, inner)
    target = object_of(rng, deed, negative=manner is not None and manner.negative, habit=is_habit(manner))
    return join(doer.fragment, verb_group(doer, deed, inner, manner), target)


def _described(rng: Random, tense: str) -> Fragment:
    """What a field of study or a thing is like."""
    if chance(rng, 30):
        described, entry = field_of_study(rng), noun("physique")
    else:
        entry = rng.choice([entry for entry in nouns("vehicle thing building") if adjectives_for(entry, predicate=True)])
        described = noun_phrase(entry, rng.choice(("the", "this", "my", "your")))
    quality = predicate(described, rng.choice(adjectives_for(entry, predicate=True)))
    return join(described.fragment, be(described, tense), quality)


_REASONS = {
    "dormir": ("fatigué", "malade"),
    "pleurer": ("triste", "malade", "fatigué"),
    "danser": ("heureux",),
    "chanter": ("heureux", "triste"),
    "tomber": ("fatigué", "malade"),
    "partir": ("triste", "malade", "timide"),
    "travailler": ("courageux",),
}


def reason(rng: Random) -> Fragment:
    """Jane is sleeping because she is tired; the reason's adjective agrees with the pronoun."""
    subject = rng.choice((HE, SHE)) if chance(rng, 15) else third_person(rng)
    name = rng.choice(tuple(_REASONS))
    deed = next(entry for entry in INTRANSITIVE if entry.infinitive == name)
    past = chance(rng, 60)
    manner = NOT if name == "travailler" else None
    group = verb_group(subject, deed, PAST if past else PRESENT, manner)
    cause = adjective(rng.choice(_REASONS[name] if manner is None else ("malade", "fatigué", "triste")))
    pronoun = subject if subject in (HE, SHE) else pronoun_for(subject, personal=True)
    was = be(pronoun, IMPERFECT if past else PRESENT)
    degree = rng.choice((EMPTY, TOO, VERY))
    return statement(subject.fragment, group, BECAUSE, pronoun.fragment, was, degree, predicate(subject, cause))


_INTERRUPTIONS = (
    ("téléphone", "sonner"),
    ("professeur", "arriver"),
    ("médecin", "arriver"),
    ("train", "arriver"),
    ("bus", "arriver"),
    ("train", "partir"),
    ("bus", "partir"),
    ("lampe", "tomber"),
)


def interrupted(rng: Random) -> Fragment:
    """Jane was sleeping when the phone rang."""
    subject = rng.choice((HE, SHE)) if chance(rng, 20) else third_person(rng)
    if chance(rng, 40):
        deed = rng.choice([entry for entry in INTRANSITIVE if entry.auxiliary == "avoir"])
        middle = verb_group(subject, deed, IMPERFECT)
    else:
        deed = verb(
            rng.choice(
                (
                    "manger",
                    "préparer",
                    "laver",
                    "lire",
                    "écrire",
                    "chercher",
                    "nettoyer",
                    "regarder",
                    "réparer",
                    "attendre",
                    "étudier",
                    "dessiner",
                )
            )
        )
        middle = join(verb_group(subject, deed, IMPERFECT), object_of(rng, deed))
    return statement(subject.fragment, middle, WHILE_WHEN, _interruption(rng))


def _interruption(rng: Random) -> Fragment:
    if chance(rng, 40):
        comer, event = (a_name(rng) if chance(rng, 70) else people(rng, 0)), verb("arriver")
    else:
        noun_name, event_name = rng.choice(_INTERRUPTIONS)
        comer, event = noun_phrase(noun(noun_name), "the"), verb(event_name)
    return join(comer.fragment, verb_group(comer, event, PAST))


def contrast(rng: Random) -> Fragment:
    """Two people, two actions at one time, joined by and or but."""
    tense = rng.choice((PRESENT, PAST, FUTURE))
    return statement(_short_clause(rng, tense), rng.choice((AND, BUT)), _short_clause(rng, tense))


def _short_clause(rng: Random, tense: str) -> Fragment:
    doer = a_name(rng)
    deed = rng.choice([deed for deed in transitive("person") if deed.has_past and deed.willed])
    return join(doer.fragment, verb_group(doer, deed, tense), object_of(rng, deed))
