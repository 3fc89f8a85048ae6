"""Statements about what somebody does: each function draws one sentence of its pattern."""

from __future__ import annotations

from random import Random

from .choices import (
    a_name,
    acted_on,
    beast,
    chance,
    city,
    field_of_study,
    is_habit,
    manner_of,
    object_of,
    particular,
    people,
    place,
    somebody,
    statement,
    tense_of,
    thing,
    third_person,
    timed,
    willing,
)
from .fragment import Fragment, join, leaf, starts_with_vowel
from .grammar import HER, HIM, ME, NOT, THEM, US, VOUS, YOU, Clitic, Manner, NounPhrase, infinitive, noun_phrase, verb_group
from .lexicon import noun, nouns
from .particles import AT, IN, IN_CITY, OBJECT_A, TO, WITH
from .verbs import DATIVE, GIVING, INTRANSITIVE, LIKE, MOTION, PAST, PRESENT, REFLEXIVE, Verb, transitive, verb

_INSTRUMENTS = (("piano", "m", "piano"), ("guitare", "f", "guitar"), ("violon", "m", "violin"), ("flûte", "f", "flute"))
_GAMES = (("football", "soccer"), ("tennis", "tennis"), ("basket", "basketball"))


def _told(rng: Random, subject: NounPhrase, deed: Verb, *rest: Fragment, percent: int = 30) -> Fragment:
    """Subject, verb in some tense with some negation, and the rest, sometimes with a time."""
    tense = tense_of(rng, deed, subject)
    manner = manner_of(rng, tense)
    group = verb_group(subject, deed, tense, manner)
    return timed(rng, tense, subject.fragment, group, *rest, manner=manner, percent=percent)


def action(rng: Random) -> Fragment:
    """Somebody does something with something, now and then every day; a negation changes the article of the object."""
    subject = somebody(rng)
    deed = rng.choice(transitive("person"))
    tense = tense_of(rng, deed, subject)
    manner = manner_of(rng, tense)
    every_day = tense == PRESENT and manner is None and deed.infinitive not in _ONCE and chance(rng, 30)
    habit = every_day or is_habit(manner)
    target = object_of(rng, deed, negative=manner is not None and manner.negative, habit=habit)
    group = verb_group(subject, deed, tense, manner)
    percent = 30 if tense != PRESENT else 100 if every_day else 0
    return timed(rng, tense, subject.fragment, group, target, manner=manner, percent=percent)


_ONCE = ("comprendre", "trouver", "perdre", "casser", "construire", "choisir")
"""What one does not do every day."""


def animal_action(rng: Random) -> Fragment:
    """An animal eats something or hunts another animal."""
    if chance(rng, 50):
        subject, deed, target = beast(rng, "hunter"), verb("chasser"), beast(rng, "prey")
    else:
        subject, deed, target = beast(rng, "walker"), verb("manger"), thing(rng, rng.choice(nouns("fruit")))
    tense = tense_of(rng, deed)
    percent = 0 if tense == PRESENT else 20
    return timed(rng, tense, subject.fragment, verb_group(subject, deed, tense), acted_on(deed, target), percent=percent)


def intransitive(rng: Random) -> Fragment:
    """Somebody or an animal sleeps, runs, ... perhaps somewhere."""
    deed = rng.choice(INTRANSITIVE)
    subject = beast(rng) if "animal" in deed.subjects and chance(rng, 30) else somebody(rng)
    somewhere = deed.infinitive in _ANYWHERE and chance(rng, 40)
    rest = (IN, place(rng, rng.choice(nouns("inside"))).fragment) if somewhere else ()
    return _told(rng, subject, deed, *rest)


_ANYWHERE = ("dormir", "courir", "manger", "marcher", "danser", "chanter", "travailler", "parler", "pleurer")


def motion(rng: Random) -> Fragment:
    """Somebody goes to, arrives at or stays at a place."""
    deed = rng.choice(MOTION)
    going = deed.infinitive in ("aller", "retourner")
    if chance(rng, 35):
        return _told(rng, somebody(rng), deed, TO if going else IN_CITY, city(rng))
    goal = place(rng, rng.choice(nouns("goal")), adjective_percent=10)
    return _told(rng, somebody(rng), deed, TO if going else AT, goal.fragment)


def visiting(rng: Random) -> Fragment:
    """Somebody visits a city."""
    return _told(rng, somebody(rng), verb("visiter"), city(rng))


def reflexive(rng: Random) -> Fragment:
    """Somebody gets up, washes himself, ..."""
    deed, subject = rng.choice(REFLEXIVE), somebody(rng)
    while deed.objects == "self" and subject is VOUS:  # yourself or yourselves
        subject = somebody(rng)
    return _told(rng, subject, deed)


def giving(rng: Random) -> Fragment:
    """Somebody gives something to somebody."""
    subject, deed = somebody(rng), rng.choice(GIVING)
    tense = tense_of(rng, deed)
    manner = manner_of(rng, tense)
    gift = object_of(rng, deed, negative=manner is not None and manner.negative, habit=is_habit(manner))
    group = verb_group(subject, deed, tense, manner)
    receiver = third_person(rng).fragment
    return timed(rng, tense, subject.fragment, group, gift, TO, receiver, manner=manner, percent=15)


def addressing(rng: Random) -> Fragment:
    """Verbs with à where English has an object or "to": answer, phone, talk to somebody."""
    return _told(rng, somebody(rng), rng.choice(DATIVE), OBJECT_A, third_person(rng).fragment, percent=15)


def teaching(rng: Random) -> Fragment:
    """Somebody teaches somebody, perhaps with something."""
    pupil = noun(rng.choice(("élève", "élève", "enfant", "garçon", "fille", "ami", "voisin")))
    receiver = a_name(rng) if chance(rng, 20) else particular(rng, pupil)
    rest: tuple[Fragment, ...] = (OBJECT_A, receiver.fragment)
    if chance(rng, 65):
        rest = (*rest, WITH, particular(rng, noun(rng.choice(_MATERIALS))).fragment)
    teacher = people(rng, 20, "known") if chance(rng, 40) else somebody(rng)
    return _told(rng, teacher, verb("enseigner"), *rest, percent=10)


_MATERIALS = ("livre", "livre", "journal", "lettre", "photo", "ordinateur", "exercice", "chanson", "film", "téléphone")


def using(rng: Random) -> Fragment:
    """Somebody does something with an instrument."""
    infinitive_, target, instrument = rng.choice(_USES)
    subject, deed = somebody(rng), verb(infinitive_)
    tense = tense_of(rng, deed)
    tool = noun_phrase(noun(instrument), rng.choice(("the", "the", "a", "this", "my", "your")))
    manner = NOT if chance(rng, 15) else None
    group = verb_group(subject, deed, tense, manner)
    done = acted_on(deed, particular(rng, noun(target)))
    return timed(rng, tense, subject.fragment, group, done, WITH, tool.fragment, manner=manner, percent=15)


_USES = (
    ("ouvrir", "porte", "clé"),
    ("ouvrir", "boîte", "couteau"),
    ("fermer", "porte", "clé"),
    ("écrire", "lettre", "crayon"),
    ("écrire", "livre", "ordinateur"),
    ("dessiner", "maison", "crayon"),
    ("dessiner", "cheval", "crayon"),
    ("dessiner", "fleur", "ordinateur"),
    ("préparer", "leçon", "livre"),
    ("préparer", "leçon", "ordinateur"),
    ("étudier", "leçon", "livre"),
    ("casser", "lampe", "ballon"),
    ("casser", "verre", "ballon"),
)
"""Verb, what it is done to, and with what."""


def playing(rng: Random) -> Fragment:
    """jouer du piano, jouer au tennis: play the piano, play tennis."""
    if chance(rng, 50):
        french, gender, english = rng.choice(_INSTRUMENTS)
        article = "la" if gender == "f" else "le"
        what = leaf(f"de/ADP:- {article}/DET:d {french}/NOUN:n", f"the/DET:d {english}/NOUN:n")
    else:
        french, english = rng.choice(_GAMES)
        what = leaf(f"à/ADP:- le/DET:- {french}/NOUN:n", f"{english}/NOUN:n")
    return _told(rng, somebody(rng), verb("jouer"), what)


def studying(rng: Random) -> Fragment:
    """Somebody studies a field."""
    return _told(rng, somebody(rng), verb("étudier"), field_of_study(rng).fragment)


def wishing(rng: Random) -> Fragment:
    """Want to, can, must with an infinitive."""
    subject = somebody(rng)
    main = verb(rng.choice(("vouloir", "vouloir", "pouvoir", "devoir")))
    manner = NOT if chance(rng, 25) else None
    form = "to" if main.infinitive == "vouloir" else "bare"
    rest = _doing(rng, subject, form, negative=manner is not None)
    return statement(subject.fragment, verb_group(subject, main, PRESENT, manner), rest)


def liking(rng: Random) -> Fragment:
    """aimer, détester with an infinitive: like, hate doing something."""
    subject = somebody(rng)
    deed, manner = _likes(rng)
    rest = _doing(rng, subject, "ing", negative=manner is not None)
    return statement(subject.fragment, verb_group(subject, deed, PRESENT, manner), rest)


def _likes(rng: Random) -> tuple[Verb, Manner | None]:
    """Before an infinitive aimer is "like"; before a noun it is "love"."""
    deed = verb("détester") if chance(rng, 25) else LIKE
    return deed, NOT if deed is LIKE and chance(rng, 20) else None


def _doing(rng: Random, subject: NounPhrase, form: str, *, negative: bool) -> Fragment:
    """An infinitive with what belongs to it; after "like" (-ing) something that one does often."""
    kind = rng.random()
    if kind < 0.15:
        return infinitive(subject, rng.choice([deed for deed in REFLEXIVE if deed.objects != "self"]), form)
    if kind < 0.35:
        return infinitive(
            subject, rng.choice([deed for deed in INTRANSITIVE if deed.willed and deed.infinitive != "pleurer"]), form
        )
    if kind < 0.45:
        return join(infinitive(subject, verb("visiter"), form), city(rng))
    deed = verb("manger") if kind < 0.6 else willing(rng)
    return join(infinitive(subject, deed, form), object_of(rng, deed, negative=negative, habit=form == "ing"))


def role_reversal(rng: Random) -> Fragment:
    """Who eats whom: absurd on purpose, since here only the order of the words tells the roles apart."""
    if chance(rng, 55):
        food = rng.choice(nouns("food"))
        eater = noun_phrase(food, "generic", "mass" not in food.classes)
    else:
        eater = noun_phrase(rng.choice(nouns("animal")), rng.choice(("the", "this")), chance(rng, 30))
    deed = verb(rng.choice(("manger", "manger", "manger", "regarder", "chercher")))
    liked, manner = _likes(rng)
    group = verb_group(eater, liked, PRESENT, manner)
    if chance(rng, 60):
        whom = rng.choice((ME, ME, US, YOU, THEM, HIM, HER))
        return statement(eater.fragment, group, infinitive(eater, deed, "ing", whom))
    target = a_name(rng) if chance(rng, 50) else people(rng)
    return statement(eater.fragment, group, infinitive(eater, deed, "ing"), target.fragment)


_MET = (
    "voir",
    "entendre",
    "appeler",
    "attendre",
    "aider",
    "inviter",
    "rencontrer",
    "remercier",
    "admirer",
    "chercher",
    "regarder",
)


def pronoun_object(rng: Random) -> Fragment:
    """Somebody sees me, calls her, ...: the pronoun stands before the French verb."""
    subject, deed = somebody(rng), verb(rng.choice(_MET))
    tense = tense_of(rng, deed)
    whom = rng.choice(_pronouns(subject, deed, tense))
    manner = manner_of(rng, tense)
    group = verb_group(subject, deed, tense, manner, whom)
    return timed(rng, tense, subject.fragment, group, manner=manner, percent=20)


def _pronouns(subject: NounPhrase, deed: Verb, tense: str) -> tuple[Clitic, ...]:
    """The pronouns whose gender and number the French sentence shows.

    The participle shows that of *l'*, but not that of *me*, *nous*, *vous*; before the vowel of another form *l'* would
    be him or her.
    """
    if tense == PAST:
        return (HIM, HER)
    shown = (THEM,) if starts_with_vowel(deed.infinitive) else (HIM, HER, THEM)
    return (*shown, ME, US, YOU) if subject.person == 3 else shown
