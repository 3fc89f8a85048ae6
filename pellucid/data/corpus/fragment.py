"""Pieces of a sentence in both languages at once, and how they become text.

A `Fragment` holds the French words, the English words and the links between them. The grammar builds small
fragments and composes them with `join`, which re-numbers the links; so the word alignment of a sentence is known by
construction and never guessed afterwards. What depends on the *next* word only (elision, contraction, *bel*, *cet*,
*an*) is left to one last pass, `realise`, which keeps the links.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

Fact = tuple[str, ...]
"""A combination that a sentence uses, such as ("adjective noun", "rouge", "voiture"); see `splits.HELD_OUT`."""

Link = tuple[int, int]

H_ASPIRE = frozenset({"hibou", "hiboux", "huit"})
"""Words whose h keeps the article whole (le hibou). Every other h of the lexicon is silent (l'hôtel)."""

_VOWELS = "aàâeéèêiîoôuûyœ"
_ELIDED = {"le": "l'", "la": "l'", "je": "j'", "me": "m'", "se": "s'", "ne": "n'", "de": "d'", "que": "qu'"}
_CONTRACTED = {("de", "le"): "du", ("de", "les"): "des", ("à", "le"): "au", ("à", "les"): "aux"}
_BEFORE_VOWEL_DETERMINER = {"ce": "cet", "ma": "mon"}
_BEFORE_VOWEL_ADJECTIVE = {"beau": "bel", "nouveau": "nouvel", "vieux": "vieil"}
_CONSONANT_SOUND = ("uni", "use")
"""English words that begin with the letter u but the sound of you: a university, a useful book."""

_WORD = re.compile(r"[Aa]ujourd'hui|[^\W_]+'|-?[^\W_]+|[^\w\s]")


def words(text: str) -> list[str]:
    """The words of a sentence of the corpus, in either language: what alignments and tags count.

    Split at spaces; an elided form (l', j', n', qu', d', s', m') is a word of its own, and so are the pronoun after
    a hyphen (est | -ce | que, allez | -vous) and each punctuation mark. *aujourd'hui* is one word.
    """
    return _WORD.findall(text)


@dataclass(frozen=True, slots=True)
class Word:
    """One word and its part of speech (universal tag set)."""

    text: str
    tag: str


@dataclass(frozen=True, slots=True)
class Fragment:
    """French words, English words, links (French index, English index) and the combinations used."""

    french: tuple[Word, ...]
    english: tuple[Word, ...]
    links: tuple[Link, ...] = ()
    facts: tuple[Fact, ...] = ()


EMPTY = Fragment((), ())


@cache
def leaf(french: str, english: str, *facts: Fact) -> Fragment:
    """A fragment from marked text: each word with its tag and, after a colon, the labels that link it.

    Words of the two sides that share a label (a letter) are linked: `leaf("ne/PART:n dort/VERB:v pas/ADV:n",
    "does/AUX:v not/PART:n sleep/VERB:v")`. Words without a colon share one label, so that
    `leaf("près/ADV de/ADP", "near/ADP")` links everything; "-" is linked with nothing.
    """
    left, left_labels = _read(french)
    right, right_labels = _read(english)
    links = tuple(
        (i, j)
        for i, labels in enumerate(left_labels)
        for j, others in enumerate(right_labels)
        if any(label in others for label in labels)
    )
    return Fragment(left, right, links, facts)


def _read(marked: str) -> tuple[tuple[Word, ...], list[str]]:
    read = []
    labels = []
    for item in marked.split():
        text, _, rest = item.partition("/")
        tag, _, label = rest.partition(":")
        read.append(Word(text, tag))
        labels.append("" if label == "-" else label or "*")
    return tuple(read), labels


def join(*parts: Fragment, english: Sequence[int] | None = None, facts: tuple[Fact, ...] = ()) -> Fragment:
    """The parts one after the other in French; in English in the order of the indices `english` (default: the same)."""
    left: list[Word] = []
    right: list[Word] = []
    french_start = []
    english_start = [0] * len(parts)
    for part in parts:
        french_start.append(len(left))
        left.extend(part.french)
    for index in range(len(parts)) if english is None else english:
        english_start[index] = len(right)
        right.extend(parts[index].english)
    links = tuple(
        (i + from_french, j + from_english)
        for part, from_french, from_english in zip(parts, french_start, english_start, strict=True)
        for i, j in part.links
    )
    gathered = tuple(fact for part in parts for fact in part.facts)
    return Fragment(tuple(left), tuple(right), links, gathered + facts)


@dataclass(frozen=True, slots=True)
class Realised:
    """A finished sentence: text, alignment and tags as `Pair` hands them out."""

    french: str
    english: str
    alignment: tuple[Link, ...]
    french_tags: tuple[str, ...]
    english_tags: tuple[str, ...]


def realise(sentence: Fragment) -> Realised:
    """Text of both sides: French elided and contracted, English with a or an, capitals and spaces set."""
    left, moved = _contract(_elide(list(sentence.french)))
    right = _choose_an(list(sentence.english))
    return Realised(
        french=_spell(left, spaced_marks="?!"),
        english=_spell(right, spaced_marks=""),
        alignment=tuple(sorted({(moved[i], j) for i, j in sentence.links})),
        french_tags=tuple(word.tag for word in left),
        english_tags=tuple(word.tag for word in right),
    )


def starts_with_vowel(word: str) -> bool:
    """Whether the French word begins with the sound of a vowel, so that the word before it elides."""
    word = word.lower()
    if word.startswith("h"):
        return word not in H_ASPIRE
    return word[0] in _VOWELS


def _elide(words_: list[Word]) -> list[Word]:
    """Forms that change before a vowel. An adjective only before its noun: *un bel ami*, but *il est beau et ...*."""
    for index in range(len(words_) - 1):
        word, following = words_[index], words_[index + 1]
        if not starts_with_vowel(following.text):
            continue
        text = _ELIDED.get(word.text)
        if word.tag == "DET":
            text = text or _BEFORE_VOWEL_DETERMINER.get(word.text)
        elif word.tag == "ADJ" and following.tag in ("NOUN", "ADJ"):
            text = _BEFORE_VOWEL_ADJECTIVE.get(word.text)
        if text:
            words_[index] = Word(text, word.tag)
    return words_


def _contract(words_: list[Word]) -> tuple[list[Word], list[int]]:
    """de + le = du and its like, for the article only (a pronoun stays); also where each old word went."""
    kept: list[Word] = []
    moved: list[int] = []
    for word in words_:
        merged = _CONTRACTED.get((kept[-1].text, word.text)) if kept and word.tag == "DET" else None
        if merged:
            kept[-1] = Word(merged, kept[-1].tag)
        else:
            kept.append(word)
        moved.append(len(kept) - 1)
    return kept, moved


def _choose_an(words_: list[Word]) -> list[Word]:
    for index in range(len(words_) - 1):
        following = words_[index + 1].text
        if words_[index].text == "a" and following[0] in "aeiou" and not following.startswith(_CONSONANT_SOUND):
            words_[index] = Word("an", "DET")
    return words_


def _spell(words_: list[Word], spaced_marks: str) -> str:
    """The words with their spaces, the first one capitalised. French sets a plain space before ? and !."""
    text = ""
    for word in (word.text for word in words_):
        attached = word[0] in "-,." or (word in ("?", "!") and word not in spaced_marks)
        text += word if not text or attached or text.endswith("'") else " " + word
    return text[0].upper() + text[1:]
