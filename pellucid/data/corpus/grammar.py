"""French and English phrases: agreement of the noun phrase, the verb with its negation, pronouns and tenses.

Choices that keep one French sentence for each English one:

- *vous* is the only "you"; it is never followed by a word that would have to show one person or many.
- After *je* and *nous* stand only adjectives with one form for both genders, and no participle with *être*.
- "they" without a noun before it is *ils*; *elles* needs a feminine noun in the sentence. "it" always has its noun.
- No *son, sa, ses* (his or her?). *ce* is "this". A bare English noun is *du, de la, des* after most verbs, *le, la,
  les* after verbs of taste (*il aime le thé*, he loves tea), whose objects are therefore never "the ...".
- English is not contracted (does not); "can" with *pas* is cannot.
"""

from __future__ import annotations

from dataclasses import dataclass

from .fragment import EMPTY, Fact, Fragment, join, leaf
from .lexicon import NAMES, Adjective, Noun
from .verbs import FUTURE, IMPERFECT, PAST, PRESENT, Verb, auxiliary


@dataclass(frozen=True, slots=True)
class NounPhrase:
    """A phrase that can be a subject or an object, with what must agree with it."""

    fragment: Fragment
    gender: str
    plural: bool = False
    person: int = 3
    noun: str = ""

    @property
    def third_singular(self) -> bool:
        """Whether the English verb takes its -s."""
        return self.person == 3 and not self.plural


@dataclass(frozen=True, slots=True)
class Manner:
    """What stands beside the verb: a negation (*ne ... pas*) or an adverb of frequency (*souvent*)."""

    french: str
    english: str
    negative: bool = False


NOT = Manner("pas", "not/PART:n", negative=True)
NEVER = Manner("jamais", "never/ADV:n", negative=True)
NO_LONGER = Manner("plus", "no/ADV:n longer/ADV:n", negative=True)
OFTEN = Manner("souvent", "often/ADV:n")
ALWAYS = Manner("toujours", "always/ADV:n")
RARELY = Manner("rarement", "rarely/ADV:n")


@dataclass(frozen=True, slots=True)
class Clitic:
    """An object pronoun: before the verb in French, after it in English. Gender and number for the participle."""

    french: str
    english: str
    gender: str = "m"
    plural: bool = False


ME, US, YOU = Clitic("me", "me"), Clitic("nous", "us", "m", True), Clitic("vous", "you", "m", True)
HIM, HER, THEM = Clitic("le", "him"), Clitic("la", "her", "f"), Clitic("les", "them", "m", True)


def it(antecedent: NounPhrase) -> Clitic:
    """The object pronoun for a thing named before: it or them."""
    french = "les" if antecedent.plural else "la" if antecedent.gender == "f" else "le"
    return Clitic(french, "them" if antecedent.plural else "it", antecedent.gender, antecedent.plural)


def _pronoun(french: str, english: str, gender: str, plural: bool = False, person: int = 3) -> NounPhrase:
    return NounPhrase(leaf(f"{french}/PRON", f"{english}/PRON"), gender, plural, person, noun=french)


JE, WE = _pronoun("je", "I", "m", False, 1), _pronoun("nous", "we", "m", True, 1)
VOUS, THEY = _pronoun("vous", "you", "m", True, 2), _pronoun("ils", "they", "m", True)
HE, SHE = _pronoun("il", "he", "m"), _pronoun("elle", "she", "f")


def pronoun_for(antecedent: NounPhrase, personal: bool) -> NounPhrase:
    """The subject pronoun that takes up a noun: il or elle by its gender; he or she (`personal`) or it in English."""
    french = ("elle" if antecedent.gender == "f" else "il") + ("s" if antecedent.plural else "")
    one = ("she" if antecedent.gender == "f" else "he") if personal else "it"
    return _pronoun(french, "they" if antecedent.plural else one, antecedent.gender, antecedent.plural)


def name(index: int, gender: str) -> NounPhrase:
    """A person's name."""
    text = NAMES[gender][index]
    return NounPhrase(leaf(f"{text}/PROPN", f"{text}/PROPN"), gender, noun=text)


# Determiners: French masculine, feminine, plural; English singular, plural. "a" in the plural and the last three have
# no English word: apples, bread, music, (not) bread.
_DETERMINERS = {
    "the": ("le/DET", "la/DET", "les/DET", "the/DET", "the/DET"),
    "a": ("un/DET", "une/DET", "des/DET:-", "a/DET", ""),
    "this": ("ce/DET", "cette/DET", "ces/DET", "this/DET", "these/DET"),
    "my": ("mon/DET", "ma/DET", "mes/DET", "my/DET", "my/DET"),
    "our": ("notre/DET", "notre/DET", "nos/DET", "our/DET", "our/DET"),
    "your": ("votre/DET", "votre/DET", "vos/DET", "your/DET", "your/DET"),
    "their": ("leur/DET", "leur/DET", "leurs/DET", "their/DET", "their/DET"),
    "several": ("", "", "plusieurs/DET", "", "several/ADJ"),
    "many": ("", "", "beaucoup/ADV de/ADP", "", "many/ADJ"),
    "number": ("", "", "", "", ""),
    "generic": ("le/DET:-", "la/DET:-", "les/DET:-", "", ""),
    "partitive": ("de/DET:- le/DET:-", "de/DET:- la/DET:-", "", "", ""),
    "negated": ("de/DET:-", "de/DET:-", "de/DET:-", "", ""),
}


def _determiner(kind: str, gender: str, plural: bool, adjective_first: bool) -> Fragment:
    """The determiner; *des* becomes *de* before an adjective (de grandes maisons)."""
    masculine, feminine, several, english, english_plural = _DETERMINERS[kind]
    if not plural:
        return leaf(feminine if gender == "f" else masculine, english)
    return leaf("de/DET:-" if kind == "a" and adjective_first else several, english_plural)


def noun_phrase(
    noun: Noun,
    determiner: str = "the",
    plural: bool = False,
    adjective: Adjective | None = None,
    number: tuple[str, str] | None = None,
) -> NounPhrase:
    """Determiner, number, noun and adjective, agreeing in gender and number, each language in its own order."""
    facts: tuple[Fact, ...] = ()
    before = after = count = EMPTY
    if adjective:
        form = adjective.french_form(noun.gender, plural)
        described = leaf(f"{form}/ADJ", f"{adjective.english}/ADJ", ("adjective noun", adjective.masculine, noun.french))
        before, after = (described, EMPTY) if adjective.before else (EMPTY, described)
    if number:
        count = leaf(f"{number[0]}/NUM", f"{number[1]}/NUM", ("number noun", number[0], noun.french))
    article = _determiner(determiner, noun.gender, plural, before is not EMPTY)
    core = leaf(f"{noun.french_form(plural)}/NOUN", f"{noun.english_form(plural)}/NOUN")
    fragment = join(article, count, before, core, after, english=(0, 1, 2, 4, 3), facts=facts)
    return NounPhrase(fragment, noun.gender, plural, noun=noun.french)


_REFLEXIVE = {(1, False): "me", (1, True): "nous", (2, True): "vous", (3, False): "se", (3, True): "se"}


def _self(subject: NounPhrase) -> str:
    """myself, ourselves, themselves, himself, herself, itself: from the English subject."""
    if subject.person == 1:
        return "ourselves" if subject.plural else "myself"
    if subject.plural:
        return "themselves"
    return "herself" if subject.gender == "f" else "himself"


def _object_pronoun(subject: NounPhrase, verb: Verb, clitic: Clitic | None) -> tuple[str, str]:
    """French and English marked text of the pronoun beside the verb; "self" verbs alone name it in English."""
    if verb.reflexive:
        french = _REFLEXIVE[subject.person, subject.plural]
        if verb.objects == "self":
            return f"{french}/PRON:c", f"{_self(subject)}/PRON:c"
        return f"{french}/PRON:v", ""
    if clitic:
        return f"{clitic.french}/PRON:c", f"{clitic.english}/PRON:c"
    return "", ""


def _marked(text: str, label: str) -> str:
    """English words of a verb, marked: the first is the verb, the others its particles."""
    first, *rest = text.split()
    return " ".join([f"{first}/VERB:{label}", *(f"{word}/ADP:{label}" for word in rest)])


def be_form(subject: NounPhrase, past: bool = False) -> str:
    """am, is, are, was, were."""
    if past:
        return "was" if subject.third_singular or (subject.person == 1 and not subject.plural) else "were"
    if subject.third_singular:
        return "is"
    return "am" if subject.person == 1 and not subject.plural else "are"


def _text(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def verb_group(
    subject: NounPhrase,
    verb: Verb,
    tense: str = PRESENT,
    manner: Manner | None = None,
    clitic: Clitic | None = None,
) -> Fragment:
    """The verb of a statement with its negation or adverb and its pronouns, agreeing with the subject."""
    ne = "ne/PART:n" if manner and manner.negative else ""
    beside = f"{manner.french}/ADV:n" if manner else ""
    pronoun, english_pronoun = _object_pronoun(subject, verb, clitic)
    french = _french_verb(subject, verb, tense, clitic, ne, beside, pronoun)
    english = _english_verb(subject, verb, tense, manner)
    return leaf(french, _text(english, english_pronoun), *_verb_facts(subject, verb, tense, manner))


def _verb_facts(subject: NounPhrase, verb: Verb, tense: str, manner: Manner | None) -> tuple[Fact, ...]:
    facts: tuple[Fact, ...] = (("verb tense", verb.key, tense), ("subject verb", subject.noun, verb.key))
    return (*facts, ("verb manner", verb.key, manner.french)) if manner else facts


def _french_verb(subject: NounPhrase, verb: Verb, tense: str, clitic: Clitic | None, ne: str, beside: str, pronoun: str) -> str:
    person, plural = subject.person, subject.plural
    if tense == PRESENT:
        return _text(ne, pronoun, f"{verb.french_present(person, plural)}/VERB:v", beside)
    if tense == IMPERFECT:
        return _text(ne, pronoun, f"{verb.french_imperfect(plural)}/VERB:v", beside)
    if tense == FUTURE:
        going = auxiliary("aller", person, plural)
        return _text(ne, f"{going}/AUX:a", beside, pronoun, f"{verb.infinitive}/VERB:v")
    # The participle agrees with the subject after être, with a pronoun object before it after avoir.
    if verb.auxiliary == "être":
        participle = verb.french_participle(subject.gender, plural)
    elif clitic:
        participle = verb.french_participle(clitic.gender, clitic.plural)
    else:
        participle = verb.participle
    return _text(ne, pronoun, f"{auxiliary(verb.auxiliary, person, plural)}/AUX:a", beside, f"{participle}/VERB:v")


def _english_verb(subject: NounPhrase, verb: Verb, tense: str, manner: Manner | None) -> str:
    adverb = manner.english if manner else ""
    if tense == FUTURE:
        return _text(f"{be_form(subject)}/AUX:a", adverb, "going/VERB:a to/PART:v", _marked(verb.english, "v"))
    if tense == IMPERFECT:
        return _text(f"{be_form(subject, past=True)}/AUX:v", adverb, _marked(verb.english_ing, "v"))
    if verb.english in ("can", "must"):
        return "cannot/AUX:vn" if verb.english == "can" and manner is NOT else _text(f"{verb.english}/AUX:v", adverb)
    if manner is NOT:
        return _text(f"{do_form(subject, tense)}/AUX:{'a' if tense == PAST else 'v'}", adverb, _marked(verb.english, "v"))
    if tense == PAST:
        return _text(adverb, _marked(verb.english_past, "av"))
    return _text(adverb, _marked(verb.english_present(subject.third_singular), "v"))


def do_form(subject: NounPhrase, tense: str) -> str:
    """do, does, did."""
    if tense == PAST:
        return "did"
    return "does" if subject.third_singular else "do"


def infinitive(subject: NounPhrase, verb: Verb, form: str, clitic: Clitic | None = None) -> Fragment:
    """A verb that depends on another: `form` is "to" (to eat), "bare" (eat) or "ing" (eating)."""
    pronoun, english_pronoun = _object_pronoun(subject, verb, clitic)
    english = _marked(verb.english_ing if form == "ing" else verb.english, "v")
    to = "to/PART:v" if form == "to" else ""
    fact = ("verb tense", verb.key, f"infinitive {form}")
    return leaf(_text(pronoun, f"{verb.infinitive}/VERB:v"), _text(to, english, english_pronoun), fact)


def be(subject: NounPhrase, tense: str = PRESENT, manner: Manner | None = None) -> Fragment:
    """être: is (present), was (imparfait), is going to be (future), with its negation or adverb."""
    ne = "ne/PART:n" if manner and manner.negative else ""
    beside = f"{manner.french}/ADV:n" if manner else ""
    adverb = manner.english if manner else ""
    if tense == FUTURE:
        going = auxiliary("aller", subject.person, subject.plural)
        french = _text(ne, f"{going}/AUX:a", beside, "être/AUX:v")
        return leaf(french, _text(f"{be_form(subject)}/AUX:a", adverb, "going/VERB:a to/PART:v be/AUX:v"))
    if tense == IMPERFECT:
        form = {(1, False): "étais", (1, True): "étions", (2, True): "étiez", (3, True): "étaient"}.get(
            (subject.person, subject.plural), "était"
        )
    else:
        form = auxiliary("être", subject.person, subject.plural)
    english = be_form(subject, past=tense == IMPERFECT)
    return leaf(_text(ne, f"{form}/AUX:v", beside), _text(f"{english}/AUX:v", adverb))


def predicate(subject: NounPhrase, adjective: Adjective) -> Fragment:
    """An adjective after être, agreeing with the subject."""
    form = adjective.french_form(subject.gender, subject.plural)
    fact = ("adjective noun", adjective.masculine, subject.noun)
    return leaf(f"{form}/ADJ", f"{adjective.english}/ADJ", fact)
