"""Questions: *est-ce que* beside do, does, did and the inverted auxiliary; *où est*, *comment va*.

With *être* and with "can" the English verb itself comes before the subject, and *est-ce que* has no counterpart; with
other verbs *est-ce que* is linked with the auxiliary (do, is ... going to).
"""

from __future__ import annotations

from random import Random

from .choices import (
    a_name,
    asked_person,
    beast,
    chance,
    object_of,
    particular,
    place,
    somebody,
    tense_of,
    third_person,
    willing,
)
from .fragment import EMPTY, Fragment, join, leaf
from .grammar import NounPhrase, be, be_form, do_form, infinitive, noun_phrase, predicate, verb_group
from .lexicon import adjectives_for, nouns
from .particles import COMMA, HOW, QUESTION_MARK, WHEN, WHERE, WHY
from .verbs import FUTURE, IMPERFECT, PRESENT, REFLEXIVE, Verb, auxiliary, transitive, verb

_ASK = "est/AUX -ce/PRON que/SCONJ"
_UNLINKED_ASK = leaf("est/AUX:- -ce/PRON:- que/SCONJ:-", "")


def _inverted(subject: NounPhrase, verb_: Verb, tense: str) -> tuple[Fragment, Fragment, Fragment]:
    """est-ce que with the English auxiliary, the subject, and the verb in its French form and its English base."""
    french = verb_group(subject, verb_, tense)
    if tense == FUTURE:
        asked, english = be_form(subject), f"going to {verb_.english}"
    else:
        asked, english = do_form(subject, tense), verb_.english
    marked = " ".join(f"{word}/VERB" for word in english.split())
    spelled = " ".join(f"{word.text}/{word.tag}" for word in french.french)
    return leaf(_ASK, f"{asked}/AUX"), subject.fragment, leaf(spelled, marked, *french.facts)


def asked_be(subject: NounPhrase, tense: str, question: Fragment, rest: Fragment) -> Fragment:
    """Why is the door open?: the English verb moves before the subject."""
    return join(question, _UNLINKED_ASK, subject.fragment, be(subject, tense), rest, QUESTION_MARK, english=(0, 1, 3, 2, 4, 5))


def doing(rng: Random) -> Fragment:
    """Does somebody do something? Perhaps why, where or when."""
    subject = asked_person(rng)
    deed = rng.choice(transitive("person"))
    tense = tense_of(rng, deed, subject)
    question = rng.choice((EMPTY, EMPTY, WHY, WHY, WHERE, WHEN))
    return join(question, *_inverted(subject, deed, tense), object_of(rng, deed), QUESTION_MARK)


def happening(rng: Random) -> Fragment:
    """Where, when or why does somebody sleep, leave, get up?"""
    subject = beast(rng) if chance(rng, 15) else asked_person(rng)
    question, names = rng.choice(
        (
            (WHERE, ("dormir", "courir", "travailler", "habiter", "aller", "danser")),
            (WHEN, ("partir", "arriver", "dormir", "manger", "travailler")),
            (WHY, ("pleurer", "partir", "courir", "dormir", "danser", "chanter")),
        )
    )
    deed = verb(rng.choice(names))
    if subject.noun in {entry.french for entry in nouns("animal")}:
        deed = verb("dormir")
    tense = PRESENT if deed.infinitive == "habiter" else tense_of(rng, deed, subject)
    return join(question, *_inverted(subject, deed, tense), QUESTION_MARK)


def rising(rng: Random) -> Fragment:
    """When does somebody get up, go to bed?"""
    subject = asked_person(rng)
    deed = rng.choice([entry for entry in REFLEXIVE if entry.objects != "self"])
    tense = tense_of(rng, deed, subject)
    return join(rng.choice((WHEN, WHY, EMPTY)), *_inverted(subject, deed, tense), QUESTION_MARK)


def being(rng: Random) -> Fragment:
    """Is the door open? Why was the teacher sad?"""
    entry = rng.choice([entry for entry in nouns("person animal fixture vehicle room dish") if "kin" not in entry.classes])
    plural = chance(rng, 20) and "mass" not in entry.classes
    subject = noun_phrase(entry, rng.choice(("the", "the", "this")), plural)
    adjective = predicate(subject, rng.choice(adjectives_for(entry, predicate=True)))
    return asked_be(subject, rng.choice((PRESENT, IMPERFECT)), rng.choice((EMPTY, WHY)), adjective)


def where_is(rng: Random) -> Fragment:
    """Où est la voiture ?"""
    kind = rng.random()
    if kind < 0.5:
        subject = particular(rng, rng.choice(nouns("thing clothes vehicle")))
    elif kind < 0.7:
        subject = place(rng, rng.choice(nouns("goal")))
    else:
        subject = third_person(rng, indefinite=False) if chance(rng, 60) else beast(rng, indefinite=False)
    tense = PRESENT if chance(rng, 65) else IMPERFECT
    return join(WHERE, be(subject, tense), subject.fragment, QUESTION_MARK)


def can(rng: Random) -> Fragment:
    """Can you open the door?"""
    subject, deed = somebody(rng), willing(rng)
    main = verb("pouvoir")
    group = verb_group(subject, main, PRESENT)
    rest = join(infinitive(subject, deed, "bare"), object_of(rng, deed))
    return join(_UNLINKED_ASK, subject.fragment, group, rest, QUESTION_MARK, english=(0, 2, 1, 3, 4))


def wanting(rng: Random) -> Fragment:
    """Do you want to eat the apple?"""
    subject, deed = asked_person(rng), willing(rng)
    rest = join(infinitive(subject, deed, "to"), object_of(rng, deed))
    return join(*_inverted(subject, verb("vouloir"), PRESENT), rest, QUESTION_MARK)


def what(rng: Random) -> Fragment:
    """Qu'est-ce que ... ?"""
    subject = asked_person(rng)
    names = ("manger", "boire", "acheter", "vendre", "chercher", "trouver", "préparer", "étudier", "oublier", "voir", "lire")
    deed = verb(rng.choice(names))
    return join(leaf("que/PRON", "what/PRON"), *_inverted(subject, deed, tense_of(rng, deed)), QUESTION_MARK)


def who(rng: Random) -> Fragment:
    """Qui a trouvé la clé ?"""
    deed = rng.choice(transitive("person"))
    asked = NounPhrase(EMPTY, "m", noun="qui")
    group = verb_group(asked, deed, tense_of(rng, deed))
    return join(leaf("qui/PRON", "who/PRON"), group, object_of(rng, deed), QUESTION_MARK)


def how_is(rng: Random) -> Fragment:
    """Comment va Jane ? How is Jane?"""
    subject = third_person(rng, indefinite=False)
    goes = auxiliary("aller", 3, subject.plural)
    group = leaf(f"{goes}/VERB", f"{'are' if subject.plural else 'is'}/AUX")
    return join(HOW, group, subject.fragment, rng.choice(_HOW_TAILS), QUESTION_MARK)


_HOW_TAILS = (
    EMPTY,
    EMPTY,
    leaf("aujourd'hui/ADV", "today/NOUN"),
    leaf("maintenant/ADV", "now/ADV"),
    leaf("ce/DET:a matin/NOUN:b", "this/DET:a morning/NOUN:b"),
    leaf("ce/DET soir/NOUN", "tonight/NOUN"),
)


HOW_ARE_YOU = join(HOW, leaf("allez/VERB:v -vous/PRON:p", "are/AUX:v you/PRON:p"))


def how_are_you(rng: Random) -> Fragment:
    """Comment allez-vous ? with a greeting, a name or a time."""
    kind = rng.random()
    tail = rng.choice(_HOW_TAILS)
    if kind < 0.4:
        return join(HOW_ARE_YOU, tail, COMMA, a_name(rng).fragment, QUESTION_MARK)
    if kind < 0.8:
        return join(leaf("bonjour/INTJ", "hello/INTJ"), a_name(rng).fragment, COMMA, HOW_ARE_YOU, tail, QUESTION_MARK)
    return join(HOW_ARE_YOU, tail, QUESTION_MARK)
