"""The built-in corpus: what each split promises, the grammar's agreement, and alignments written down by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from pellucid.data.corpus import SPLITS, Pair, pairs, words
from pellucid.data.corpus.fragment import Fragment, join, leaf, realise
from pellucid.data.corpus.grammar import HER, NOT, Manner, NounPhrase, be, name, noun_phrase, verb_group
from pellucid.data.corpus.lexicon import NAMES, add_s, adjective, noun
from pellucid.data.corpus.splits import HELD_OUT, MOST_PER_COMBINATION, RAREST, Sentence, sentences_by_split
from pellucid.data.corpus.verbs import PAST, REFLEXIVE, verb

TAGS = ["NOUN", "VERB", "AUX", "ADJ", "DET", "PRON", "ADP", "ADV", "NUM", "PROPN", "CCONJ", "SCONJ", "PART", "INTJ", "PUNCT"]
CONTENT = ("NOUN", "VERB", "ADJ", "PROPN", "NUM")


@pytest.fixture(scope="module")
def splits() -> dict[str, list[Pair]]:
    return {split: pairs(split) for split in SPLITS}


@pytest.fixture(scope="module")
def every(splits: dict[str, list[Pair]]) -> list[Pair]:
    return [pair for split in SPLITS for pair in splits[split]]


@pytest.fixture(scope="module")
def sentences() -> dict[str, tuple[Sentence, ...]]:
    return sentences_by_split(1)


def word_counts(side: str, chosen: list[Pair]) -> Counter[str]:
    return Counter(word.lower() for pair in chosen for word in words(getattr(pair, side)))


# Splits


def test_sizes(splits: dict[str, list[Pair]]) -> None:
    sizes = {split: len(chosen) for split, chosen in splits.items()}
    assert 18_000 <= sizes.pop("train") <= 19_500
    assert sizes == {"dev": 500, "test": 500, "compositional": 500, "teaching": 18}


def test_one_english_sentence_for_each_french_one_and_the_other_way_round(every: list[Pair]) -> None:
    assert len({pair.french for pair in every}) == len(every)
    assert len({pair.english for pair in every}) == len(every)


def test_the_grammar_itself_is_a_bijection() -> None:
    """Over several seeds a French sentence never meets a second English one, nor an English one a second French."""
    french: dict[str, str] = {}
    english: dict[str, str] = {}
    for seed in (1, 2):
        for split in SPLITS:
            for pair in pairs(split, seed):
                assert french.setdefault(pair.french, pair.english) == pair.english
                assert english.setdefault(pair.english, pair.french) == pair.french


def test_unknown_split_is_refused() -> None:
    with pytest.raises(KeyError):
        pairs("validation")


@pytest.mark.parametrize("side", ["french", "english"])
def test_every_word_is_frequent_in_train(side: str, splits: dict[str, list[Pair]]) -> None:
    counts = word_counts(side, splits["train"])
    assert min(counts.values()) >= RAREST
    assert 400 <= len(counts) <= 900
    for split in SPLITS:
        assert set(word_counts(side, splits[split])) <= set(counts), split


def test_no_combination_that_is_held_out_occurs_in_ordinary_splits(
    sentences: dict[str, tuple[Sentence, ...]],
) -> None:
    for split in ("train", "dev", "test"):
        used = {fact for sentence in sentences[split] for fact in sentence.facts}
        assert not used & HELD_OUT, split
    assert all(sentence.held_out for sentence in sentences["compositional"])


def test_combinations_that_are_held_out_are_balanced(sentences: dict[str, tuple[Sentence, ...]]) -> None:
    counts = Counter(fact for sentence in sentences["compositional"] for fact in set(sentence.held_out))
    assert max(counts.values()) <= MOST_PER_COMBINATION
    assert {fact[0] for fact in counts} == {fact[0] for fact in HELD_OUT}
    assert len(counts) >= 0.8 * len(HELD_OUT)


def test_both_halves_and_all_structures_of_compositional_are_known_from_train(
    sentences: dict[str, tuple[Sentence, ...]],
) -> None:
    train = sentences["train"]
    halves = {(fact[0], index, half) for s in train for fact in s.facts for index, half in enumerate(fact[1:])}
    for fact in HELD_OUT:
        assert {(fact[0], 0, fact[1]), (fact[0], 1, fact[2])} <= halves, fact
    patterns = Counter(sentence.pattern for sentence in train)
    assert min(patterns.values()) >= 50
    assert {sentence.pattern for sentence in sentences["compositional"]} <= set(patterns)


def test_a_held_out_combination_can_be_read_from_the_text(splits: dict[str, list[Pair]]) -> None:
    """The rule checked without the grammar's own notes: no red car and no big house, in either language."""
    for split in ("train", "dev", "test"):
        for pair in splits[split]:
            text = f"{pair.french} {pair.english}".lower()
            for combination in ("voiture rouge", "voitures rouges", "red car", "grande maison", "big house"):
                assert combination not in text
    english = " ".join(pair.english for pair in splits["compositional"])
    assert "big house" in english or "house is big" in english or "house was big" in english


TEACHING = {
    "Jane visite Paris.": "Jane visits Paris.",
    "J'aime l'apprentissage automatique.": "I love machine learning.",
    "Le professeur a enseigné à l'élève avec le livre.": "The teacher taught the student with the book.",
    "J'aime manger de la pizza.": "I like eating pizza.",
    "La pizza aime me manger.": "Pizza likes eating me.",
    "Comment allez-vous ?": "How are you?",
    "La pizza est sortie du four et elle était bonne.": "The pizza came out of the oven and it was tasty.",
    "La pizza est sortie du four et il était chaud à l'intérieur.": ("The pizza came out of the oven and it was hot inside."),
    "L'animal n'a pas traversé la rue parce qu'il était trop fatigué.": (
        "The animal did not cross the street because it was too tired."
    ),
    "L'animal n'a pas traversé la rue parce qu'elle était trop large.": (
        "The animal did not cross the street because it was too wide."
    ),
}


def test_teaching_sentences(splits: dict[str, list[Pair]]) -> None:
    found = {pair.french: pair.english for pair in splits["teaching"]}
    assert TEACHING.items() <= found.items()


@pytest.mark.parametrize(
    ("phrase", "least"),
    [
        ("Comment allez-vous", 30),
        ("Comment va ", 80),
        ("La pizza est sortie ", 15),
        ("J'aime ", 20),
        ("a enseigné à", 30),
    ],
)
def test_train_has_neighbours_of_the_teaching_sentences(phrase: str, least: int, splits: dict[str, list[Pair]]) -> None:
    assert sum(phrase in pair.french for pair in splits["train"]) >= least


def test_the_same_seed_gives_the_same_list_whatever_the_hash_seed() -> None:
    """Also that the corpus needs the standard library only."""
    script = (
        "import hashlib, sys; from pellucid.data.corpus import SPLITS, pairs;"
        "print(hashlib.sha256(repr([pairs(split, 3) for split in SPLITS]).encode()).hexdigest(),"
        "sorted({'torch', 'numpy'} & set(sys.modules)))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "77")
    }
    assert len(outputs) == 1
    assert outputs.pop().endswith(" []\n")


def test_another_seed_gives_other_sentences() -> None:
    assert pairs("test", 1) != pairs("test", 2)


# Text


def test_words() -> None:
    assert words("Où est-ce qu'il va aujourd'hui ?") == ["Où", "est", "-ce", "qu'", "il", "va", "aujourd'hui", "?"]
    assert words("L'ami d'Anna est là.") == ["L'", "ami", "d'", "Anna", "est", "là", "."]
    assert words("Hello Paul, how are you?") == ["Hello", "Paul", ",", "how", "are", "you", "?"]


def test_capitals_marks_and_spaces(every: list[Pair]) -> None:
    for pair in every:
        assert pair.french[0].isupper()
        assert pair.english[0].isupper()
        assert pair.french.endswith((".", " ?"))
        assert pair.english.endswith((".", "?"))
        assert pair.french.endswith("?") == pair.english.endswith("?")
        for text in (pair.french, pair.english):
            assert not any(wrong in text for wrong in ("  ", " .", " ,", "' "))
        assert " ?" not in pair.english
        assert 3 <= len(words(pair.french)) <= 18


@pytest.mark.parametrize(
    "wrong",
    [" de le ", " de les ", " à le ", " à les ", " le a", " la e", " je a", " que il", " ne a", " se e", " ce o", " le h"],
)
def test_elision_and_contraction_leave_no_full_form(wrong: str, every: list[Pair]) -> None:
    for pair in every:
        text = " " + pair.french.lower()
        start = text.find(wrong)
        assert start < 0 or text[start:].startswith(" le hibou"), pair.french


def test_elision_keeps_an_aspirated_h_apart(every: list[Pair]) -> None:
    text = " ".join(pair.french for pair in every).lower()
    assert all(form in text for form in ("le hibou", "ce hibou", "l'homme", "cet homme", "l'hôtel", "l'animal"))
    assert not any(form in text for form in ("l'hibou", "cet hibou", "le homme", "ce homme"))


# Agreement: French forms from a French grammar's tables.


def told(*parts: Fragment) -> str:
    return realise(join(*parts)).french


@pytest.mark.parametrize(
    ("entry", "determiner", "plural", "quality", "expected", "english"),
    [
        ("voiture", "the", False, "rouge", "La voiture rouge", "The red car"),
        ("maison", "a", False, "grand", "Une grande maison", "A big house"),
        ("maison", "a", True, "grand", "De grandes maisons", "Big houses"),
        ("ami", "my", False, "vieux", "Mon vieil ami", "My old friend"),
        ("école", "my", False, "nouveau", "Ma nouvelle école", "My new school"),
        ("université", "my", False, None, "Mon université", "My university"),
        ("université", "a", False, None, "Une université", "A university"),
        ("oiseau", "this", False, "beau", "Ce bel oiseau", "This beautiful bird"),
        ("hôtel", "this", False, "cher", "Cet hôtel cher", "This expensive hotel"),
        ("robe", "the", True, "blanc", "Les robes blanches", "The white dresses"),
        ("cheval", "the", True, "heureux", "Les chevaux heureux", "The happy horses"),
        ("souris", "a", True, "gentil", "Des souris gentilles", "Kind mice"),
        ("eau", "partitive", False, None, "De l'eau", "Water"),
        ("pain", "partitive", False, None, "Du pain", "Bread"),
    ],
)
def test_noun_phrases_agree(
    entry: str, determiner: str, plural: bool, quality: str | None, expected: str, english: str
) -> None:
    chosen = adjective(quality) if quality else None
    text = realise(noun_phrase(noun(entry), determiner, plural, chosen).fragment)
    assert (text.french, text.english) == (expected, english)


def person(text: str) -> NounPhrase:
    gender = "f" if text in NAMES["f"] else "m"
    return name(NAMES[gender].index(text), gender)


def test_the_participle_agrees_with_the_subject_after_etre_and_with_the_pronoun_after_avoir() -> None:
    marie, paul = person("Marie"), person("Paul")
    girls = noun_phrase(noun("fille"), plural=True)
    up = next(entry for entry in REFLEXIVE if entry.infinitive == "lever")
    assert told(marie.fragment, verb_group(marie, up, PAST)) == "Marie s'est levée"
    assert told(girls.fragment, verb_group(girls, up, PAST, NOT)) == "Les filles ne se sont pas levées"
    assert told(paul.fragment, verb_group(paul, verb("arriver"), PAST)) == "Paul est arrivé"
    assert told(paul.fragment, verb_group(paul, verb("voir"), PAST, None, HER)) == "Paul l'a vue"
    assert told(marie.fragment, verb_group(marie, verb("voir"), PAST)) == "Marie a vu"


def test_negation_stands_around_the_verb() -> None:
    paul = person("Paul")
    no_longer = Manner("plus", "no/ADV:n longer/ADV:n", negative=True)
    sentence = realise(join(paul.fragment, verb_group(paul, verb("habiter"), manner=no_longer)))
    assert (sentence.french, sentence.english) == ("Paul n'habite plus", "Paul no longer lives")
    sentence = realise(join(paul.fragment, verb_group(paul, verb("manger"), PAST, NOT)))
    assert (sentence.french, sentence.english) == ("Paul n'a pas mangé", "Paul did not eat")
    sentence = realise(join(paul.fragment, be(paul, manner=NOT)))
    assert (sentence.french, sentence.english) == ("Paul n'est pas", "Paul is not")


def test_english_endings() -> None:
    assert [add_s(word) for word in ("box", "city", "buy", "watch", "key", "study")] == [
        "boxes",
        "cities",
        "buys",
        "watches",
        "keys",
        "studies",
    ]


def test_the_pronoun_finds_its_noun(splits: dict[str, list[Pair]]) -> None:
    """Of the oven and what comes out of it, only food tastes good and only an oven is hot inside."""
    feminine = {"pizza", "tarte", "viande", "salade", "soupe"}
    seen = Counter[str]()
    for pair in splits["train"]:
        tokens = words(pair.french.lower())
        if " sorti" not in pair.french or "four" not in tokens:
            continue
        food = tokens[1]
        if pair.english.endswith("it was tasty."):
            assert ("elle" in tokens) == (food in feminine), pair
            seen["food"] += 1
        elif pair.english.endswith("it was hot inside."):
            assert "il" in tokens, pair
            seen["oven"] += 1
    assert min(seen["food"], seen["oven"]) >= 8


# Alignment and tags


def test_alignment_and_tags_fit_the_words(every: list[Pair]) -> None:
    for pair in every:
        french, english = words(pair.french), words(pair.english)
        assert len(pair.french_tags) == len(french)
        assert len(pair.english_tags) == len(english)
        assert set(pair.french_tags + pair.english_tags) <= set(TAGS)
        assert list(pair.alignment) == sorted(set(pair.alignment))
        assert all(0 <= i < len(french) and 0 <= j < len(english) for i, j in pair.alignment)
        linked = {i for i, _ in pair.alignment}
        assert all(i in linked for i, tag in enumerate(pair.french_tags) if tag in CONTENT), pair
        linked = {j for _, j in pair.alignment}
        assert all(j in linked for j, tag in enumerate(pair.english_tags) if tag in CONTENT), pair


# Written down by hand, word by word, as "French-English".
ALIGNED = {
    # Jane visite Paris . | Jane visits Paris .
    "Jane visite Paris.": "0-0 1-1 2-2 3-3",
    # J' aime l' apprentissage automatique . | I love machine learning .
    "J'aime l'apprentissage automatique.": "0-0 1-1 3-3 4-2 5-4",
    # Le professeur a enseigné à l' élève avec le livre . | The teacher taught the student with the book .
    "Le professeur a enseigné à l'élève avec le livre.": "0-0 1-1 2-2 3-2 5-3 6-4 7-5 8-6 9-7 10-8",
    # La pizza aime me manger . | Pizza likes eating me .
    "La pizza aime me manger.": "1-0 2-1 3-3 4-2 5-4",
    # Comment allez -vous ? | How are you ?
    "Comment allez-vous ?": "0-0 1-1 2-2 3-3",
    # La pizza est sortie du four et elle était bonne . | The pizza came out of the oven and it was tasty .
    "La pizza est sortie du four et elle était bonne.": ("0-0 1-1 2-2 2-3 3-2 3-3 4-4 4-5 5-6 6-7 7-8 8-9 9-10 10-11"),
    # L' animal n' a pas traversé la rue parce qu' il était trop fatigué .
    # The animal did not cross the street because it was too tired .
    "L'animal n'a pas traversé la rue parce qu'il était trop fatigué.": (
        "0-0 1-1 2-3 3-2 4-3 5-4 6-5 7-6 8-7 9-7 10-8 11-9 12-10 13-11 14-12"
    ),
    # La voiture bleue est devant la vieille maison . | The blue car is in front of the old house .
    "La voiture bleue est devant la vieille maison.": "0-0 1-2 2-1 3-3 4-4 4-5 4-6 5-7 6-8 7-9 8-10",
    # Marie ne s' est pas levée . | Marie did not get up .
    "Marie ne s'est pas levée.": "0-0 1-2 2-3 2-4 3-1 4-2 5-3 5-4 6-5",
    # Pourquoi est -ce que le professeur est fatigué ? | Why is the teacher tired ?
    "Pourquoi est-ce que le professeur est fatigué ?": "0-0 4-2 5-3 6-1 7-4 8-5",
}


@pytest.mark.parametrize("french", ALIGNED)
def test_alignments_written_by_hand(french: str, splits: dict[str, list[Pair]]) -> None:
    pair = next(pair for pair in splits["teaching"] if pair.french == french)
    assert " ".join(f"{i}-{j}" for i, j in pair.alignment) == ALIGNED[french]


def test_tags_written_by_hand(splits: dict[str, list[Pair]]) -> None:
    pair = next(pair for pair in splits["teaching"] if pair.french.startswith("Le professeur a enseigné"))
    assert " ".join(pair.french_tags) == "DET NOUN AUX VERB ADP DET NOUN ADP DET NOUN PUNCT"
    assert " ".join(pair.english_tags) == "DET NOUN VERB DET NOUN ADP DET NOUN PUNCT"


def test_links_follow_the_words_through_contraction() -> None:
    text = realise(join(leaf("de/ADP", "of/ADP"), leaf("le/DET", "the/DET"), leaf("four/NOUN", "oven/NOUN")))
    assert (text.french, text.alignment) == ("Du four", ((0, 0), (0, 1), (1, 2)))
