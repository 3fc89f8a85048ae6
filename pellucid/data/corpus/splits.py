"""The five splits: drawn from one seed, disjoint, and with chosen combinations kept out of training.

`HELD_OUT` is the rule of the compositional split: a sentence that uses one of these combinations goes there and
nowhere else, although training shows both halves of each combination, in other company.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from random import Random

from . import actions, questions, references, states
from .fragment import Fact, Fragment, Realised, realise, words
from .teaching import teaching_sentences

SPLITS = ("train", "dev", "test", "compositional", "teaching")
HELD_BACK = 500
"""Sentences of dev, of test and of compositional."""

DRAWN = 22_200
"""Sentences drawn; train keeps what remains of them, about 18,500."""

RAREST = 10
"""Every word is at least so frequent in train; sentences with rarer words are left out."""

MOST_PER_COMBINATION = 15
"""Sentences of the compositional split that may share a combination."""

PATTERNS: tuple[tuple[int, Callable[[Random], Fragment]], ...] = (
    (13, actions.action),
    (3, actions.animal_action),
    (6, actions.intransitive),
    (6, actions.motion),
    (3, actions.visiting),
    (6, actions.reflexive),
    (6, actions.giving),
    (3, actions.addressing),
    (3, actions.teaching),
    (4, actions.using),
    (3, actions.playing),
    (2, actions.studying),
    (5, actions.wishing),
    (5, actions.liking),
    (4, actions.role_reversal),
    (5, actions.pronoun_object),
    (6, states.quality),
    (2, states.field_quality),
    (3, states.feeling),
    (3, states.state),
    (5, states.location),
    (4, states.existence),
    (5, states.possession),
    (2, states.living),
    (6, states.taste),
    (5, questions.doing),
    (3, questions.happening),
    (2, questions.rising),
    (3, questions.being),
    (3, questions.where_is),
    (2, questions.can),
    (2, questions.wanting),
    (2, questions.what),
    (3, questions.who),
    (2, questions.how_is),
    (1, questions.how_are_you),
    (7, references.out_of),
    (5, references.across),
    (4, references.into),
    (5, references.two_qualities),
    (6, references.and_it),
    (7, references.opinion),
    (4, references.reason),
    (5, references.interrupted),
    (4, references.contrast),
)
"""How often each pattern is tried."""

HELD_OUT: frozenset[Fact] = frozenset(
    (kind, *pair.strip().split(" + "))
    for kind, pairs in {
        "adjective noun": """
            rouge + voiture, grand + maison, vieux + chat, petit + clé, blanc + robe, noir + chien, bleu + chemise,
            nouveau + professeur, beau + jardin, jeune + femme, cher + montre, sombre + forêt, heureux + reine,
            fatigué + élève, intéressant + livre, long + lettre, vert + valise, intelligent + fille, délicieux + tarte,
            froid + lait, difficile + question, cassé + lampe, ouvert + fenêtre, malade + sœur, sale + four,
            bon + gâteau, fatigué + tortue, petit + boîte""",
        "number noun": """
            trois + chien, trois + cheval, trois + vélo, trois + valise, trois + robe, trois + chapeau, trois + lampe,
            trois + clé, trois + livre, trois + tasse""",
        "verb object": """
            acheter + voiture, acheter + guitare, lire + lettre, porter + chapeau, laver + chien, ouvrir + fenêtre,
            nettoyer + cuisine, visiter + musée, conduire + camion, écrire + livre, chercher + cheval,
            attendre + train, manger + orange, préparer + salade""",
        "verb tense": "chercher + future, danser + future, ouvrir + infinitive bare, se lever + infinitive to",
        "verb manner": "boire + pas, perdre + jamais, se laver + pas, comprendre + pas, donner + pas",
        "subject verb": """
            chien + manger, roi + aimer, fille + chanter, Jane + acheter, Paul + écrire, nous + vendre, Emma + aller,
            médecin + penser, ils + jouer""",
    }.items()
    for pair in pairs.split(",")
)
"""The combinations by kind; of adjectives the masculine, of verbs the infinitive."""


@dataclass(frozen=True, slots=True)
class Sentence:
    """A realised sentence with the pattern that drew it and the combinations that it uses."""

    text: Realised
    pattern: str
    facts: tuple[Fact, ...]

    @property
    def held_out(self) -> tuple[Fact, ...]:
        """Its combinations that belong to the compositional split alone."""
        return tuple(fact for fact in self.facts if fact in HELD_OUT)

    @property
    def vocabulary(self) -> list[str]:
        """The different words of both sides, marked "fr" and "en", capitals aside."""
        french = [f"fr {word}" for word in words(self.text.french.lower())]
        english = [f"en {word}" for word in words(self.text.english.lower())]
        return list(dict.fromkeys(french + english))


@lru_cache(maxsize=4)
def sentences_by_split(seed: int) -> dict[str, tuple[Sentence, ...]]:
    """Every split, drawn from the seed."""
    rng = Random(seed)
    teaching = tuple(Sentence(realise(fragment), "teaching", fragment.facts) for fragment in teaching_sentences())
    drawn = _draw(rng, teaching)
    ordinary, counts = _without_rare_words([sentence for sentence in drawn if not sentence.held_out])
    rng.shuffle(ordinary)
    held_back, train = _hold_back(ordinary, counts)
    return {
        "train": tuple(train),
        "dev": tuple(held_back[:HELD_BACK]),
        "test": tuple(held_back[HELD_BACK:]),
        "compositional": tuple(_compositional(drawn, counts)),
        "teaching": teaching,
    }


def _draw(rng: Random, apart: tuple[Sentence, ...]) -> list[Sentence]:
    """Sentences of which no two share a side, nor one with a sentence in `apart`."""
    french = {sentence.text.french for sentence in apart}
    english = {sentence.text.english for sentence in apart}
    drawn: list[Sentence] = []
    patterns = [pattern for weight, pattern in PATTERNS for _ in range(weight)]
    while len(drawn) < DRAWN:
        pattern = rng.choice(patterns)
        fragment = pattern(rng)
        if _says_twice(fragment):
            continue
        text = realise(fragment)
        if text.french not in french and text.english not in english:
            french.add(text.french)
            english.add(text.english)
            drawn.append(Sentence(text, pattern.__name__, fragment.facts))
    return drawn


def _says_twice(fragment: Fragment) -> bool:
    """Whether a noun or a name occurs twice: the bag is in the bag, Emma helps Emma."""
    named = [word.text for word in fragment.french if word.tag in ("NOUN", "PROPN")]
    return len(set(named)) < len(named)


def _without_rare_words(sentences: list[Sentence]) -> tuple[list[Sentence], Counter[str]]:
    """The sentences whose words are all frequent among those kept, and how often each word occurs in them."""
    kept = [(sentence, sentence.vocabulary) for sentence in sentences]
    counts = Counter(word for _, vocabulary in kept for word in vocabulary)
    while rare := {word for word, count in counts.items() if 0 < count < RAREST}:
        counts.subtract(word for _, vocabulary in kept if not rare.isdisjoint(vocabulary) for word in vocabulary)
        kept = [(sentence, vocabulary) for sentence, vocabulary in kept if rare.isdisjoint(vocabulary)]
    return [sentence for sentence, _ in kept], counts


def _hold_back(sentences: list[Sentence], counts: Counter[str]) -> tuple[list[Sentence], list[Sentence]]:
    """dev and test first, the rest for train: none is held back that would leave train with a word too rare.

    Takes the words of those held back out of `counts`.
    """
    held_back: list[Sentence] = []
    train: list[Sentence] = []
    for sentence in sentences:
        if len(held_back) < 2 * HELD_BACK and _known(sentence.vocabulary, counts, spare=1):
            counts.subtract(sentence.vocabulary)
            held_back.append(sentence)
        else:
            train.append(sentence)
    return held_back, train


def _compositional(drawn: list[Sentence], counts: Counter[str]) -> list[Sentence]:
    """Sentences with a combination that is held out and with words that train knows, the combinations balanced."""
    used: Counter[Fact] = Counter()
    chosen: list[Sentence] = []
    for sentence in drawn:
        combinations = sentence.held_out
        if not combinations or any(used[fact] == MOST_PER_COMBINATION for fact in combinations):
            continue
        if len(chosen) < HELD_BACK and _known(sentence.vocabulary, counts):
            used.update(set(combinations))
            chosen.append(sentence)
    return chosen


def _known(vocabulary: list[str], counts: Counter[str], spare: int = 0) -> bool:
    return all(counts[word] >= RAREST + spare for word in vocabulary)
