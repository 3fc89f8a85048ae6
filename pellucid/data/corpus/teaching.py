"""The sentences that teaching notes like, built by the same grammar; no other split holds any of them."""

from __future__ import annotations

from .choices import compound, named_city, statement
from .fragment import Fragment, join
from .grammar import JE, ME, NOT, NounPhrase, be, infinitive, name, noun_phrase, predicate, pronoun_for, verb_group
from .lexicon import CITIES, COMPOUNDS, NAMES, NUMBERS, TASTY, Adjective, adjective, noun
from .particles import AND, BECAUSE, IN, IN_FRONT_OF, INSIDE, OBJECT_A, OUT_OF, QUESTION_MARK, THAT, TOO, WHY, WITH
from .questions import HOW_ARE_YOU, asked_be
from .references import WIDE
from .verbs import IMPERFECT, LIKE, PAST, PRESENT, REFLEXIVE, verb


def teaching_sentences() -> tuple[Fragment, ...]:
    """The fixed list of the teaching split."""
    return (*_simple(), *_roles(), *_pronouns(), *_more())


def _person(text: str) -> NounPhrase:
    gender = "f" if text in NAMES["f"] else "m"
    return name(NAMES[gender].index(text), gender)


def _the(french: str) -> NounPhrase:
    return noun_phrase(noun(french))


def _simple() -> list[Fragment]:
    jane, teacher = _person("Jane"), _the("professeur")
    learning = compound(COMPOUNDS[0])
    return [
        # Jane visite Paris.
        statement(jane.fragment, verb_group(jane, verb("visiter")), named_city(CITIES[0])),
        # J'aime l'apprentissage automatique.
        statement(JE.fragment, verb_group(JE, verb("aimer")), learning.fragment),
        # Le professeur a enseigné à l'élève avec le livre.
        statement(
            teacher.fragment,
            verb_group(teacher, verb("enseigner"), PAST),
            OBJECT_A,
            _the("élève").fragment,
            WITH,
            _the("livre").fragment,
        ),
        # Comment allez-vous ?
        join(HOW_ARE_YOU, QUESTION_MARK),
    ]


def _roles() -> list[Fragment]:
    pizza, lion = noun_phrase(noun("pizza"), "generic"), _the("lion")
    some_pizza = noun_phrase(noun("pizza"), "partitive")
    return [
        # J'aime manger de la pizza.
        statement(JE.fragment, verb_group(JE, LIKE), infinitive(JE, verb("manger"), "ing"), some_pizza.fragment),
        # La pizza aime me manger.
        statement(pizza.fragment, verb_group(pizza, LIKE), infinitive(pizza, verb("manger"), "ing", ME)),
        # Le lion aime manger Jane.
        statement(lion.fragment, verb_group(lion, LIKE), infinitive(lion, verb("manger"), "ing"), _person("Jane").fragment),
    ]


def _pronouns() -> list[Fragment]:
    pizza, oven, animal, street = _the("pizza"), _the("four"), _the("animal"), _the("rue")
    book, suitcase = _the("livre"), _the("valise")
    came = join(pizza.fragment, verb_group(pizza, verb("sortir"), PAST), OUT_OF, oven.fragment, AND)
    crossing = join(animal.fragment, verb_group(animal, verb("traverser"), PAST, NOT), street.fragment, BECAUSE)
    fitting = join(book.fragment, verb_group(book, verb("rentrer"), PRESENT, NOT), IN, suitcase.fragment, BECAUSE)
    return [
        # La pizza est sortie du four et elle était bonne / et il était chaud à l'intérieur.
        statement(came, _it_was(pizza, TASTY)),
        statement(came, _it_was(oven, adjective("chaud")), INSIDE),
        # L'animal n'a pas traversé la rue parce qu'il était trop fatigué / parce qu'elle était trop large.
        statement(crossing, _it_was(animal, adjective("fatigué"), TOO)),
        statement(crossing, _it_was(street, WIDE, TOO)),
        # Le livre ne rentre pas dans la valise parce qu'il est trop grand / parce qu'elle est trop petite.
        statement(fitting, _it_is(book, adjective("grand"))),
        statement(fitting, _it_is(suitcase, adjective("petit"))),
    ]


def _it_was(antecedent: NounPhrase, quality: Adjective, *degree: Fragment) -> Fragment:
    pronoun = pronoun_for(antecedent, personal=False)
    return join(pronoun.fragment, be(pronoun, IMPERFECT), *degree, predicate(antecedent, quality))


def _it_is(antecedent: NounPhrase, quality: Adjective) -> Fragment:
    pronoun = pronoun_for(antecedent, personal=False)
    return join(pronoun.fragment, be(pronoun), TOO, predicate(antecedent, quality))


def _more() -> list[Fragment]:
    jane, marie, paul = _person("Jane"), _person("Marie"), _person("Paul")
    learning, teacher = compound(COMPOUNDS[0]), _the("professeur")
    car = noun_phrase(noun("voiture"), adjective=adjective("bleu"))
    house = noun_phrase(noun("maison"), adjective=adjective("vieux"))
    cats = noun_phrase(noun("chat"), "number", True, adjective("petit"), NUMBERS[1])
    getting_up = next(entry for entry in REFLEXIVE if entry.infinitive == "lever")
    return [
        # La voiture bleue est devant la vieille maison.
        statement(car.fragment, be(car), IN_FRONT_OF, house.fragment),
        # Paul pense que l'apprentissage automatique est difficile.
        statement(
            paul.fragment,
            verb_group(paul, verb("penser")),
            THAT,
            learning.fragment,
            be(learning),
            predicate(learning, adjective("difficile")),
        ),
        # Marie ne s'est pas levée.
        statement(marie.fragment, verb_group(marie, getting_up, PAST, NOT)),
        # Jane a trois petits chats.
        statement(jane.fragment, verb_group(jane, verb("avoir")), cats.fragment),
        # Pourquoi est-ce que le professeur est fatigué ?
        asked_be(teacher, PRESENT, WHY, predicate(teacher, adjective("fatigué"))),
    ]
