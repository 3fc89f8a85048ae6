"""Verbs: tables, and their conjugation.

A French tense has one English tense: present = simple present (*il mange*, he eats), passé composé = simple past
(*il a mangé*, he ate), imparfait = past progressive (*il mangeait*, he was eating), futur proche = going to
(*il va manger*, he is going to eat). A verb whose English past equals its base (to read) is not
used in the past, since *they read* would stand for two French sentences.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from .lexicon import add_s

PRESENT, PAST, IMPERFECT, FUTURE = "present", "past", "imperfect", "future"

_PERSONS = {(1, False): 0, (3, False): 1, (1, True): 2, (2, True): 3, (3, True): 4}
"""Column of a person and number; vous counts as plural, as its verb does."""

_AUXILIARIES = {
    "être": ("suis", "est", "sommes", "êtes", "sont"),
    "avoir": ("ai", "a", "avons", "avez", "ont"),
    "aller": ("vais", "va", "allons", "allez", "vont"),
}


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb in both languages.

    `present` holds the French forms for je, il, nous, vous, ils; `objects` and `subjects` the classes of nouns that
    make sense. The English forms may have more words ("look at"), of which the first inflects.
    """

    infinitive: str
    present: tuple[str, ...]
    participle: str
    english: str
    english_past: str
    english_ing: str
    objects: str
    subjects: str
    auxiliary: str
    reflexive: bool

    @property
    def key(self) -> str:
        """The name of the verb in combinations: *se laver* and *laver* are two verbs."""
        return f"se {self.infinitive}" if self.reflexive else self.infinitive

    @property
    def has_past(self) -> bool:
        """Whether the English simple past can be told from the present."""
        return self.english_past != self.english

    @property
    def willed(self) -> bool:
        """Whether one does it on purpose: one does not want, or plan, to lose a key."""
        return self.infinitive not in ("perdre", "oublier", "casser", "tomber")

    def french_present(self, person: int, plural: bool) -> str:
        """The present for a person and number."""
        return self.present[_PERSONS[person, plural]]

    def french_imperfect(self, plural: bool) -> str:
        """The imparfait of the third person, from the stem of the present with nous."""
        return self.present[2].removesuffix("ons") + ("aient" if plural else "ait")

    def french_participle(self, gender: str, plural: bool) -> str:
        """The past participle agreeing with a gender and number."""
        form = self.participle + ("e" if gender == "f" else "")
        return form + "s" if plural and not form.endswith("s") else form

    def english_present(self, third_singular: bool) -> str:
        """The simple present: eat, eats."""
        if not third_singular:
            return self.english
        first, space, rest = self.english.partition(" ")
        return ({"have": "has", "go": "goes"}.get(first) or add_s(first)) + space + rest


def auxiliary(name: str, person: int, plural: bool) -> str:
    """The present of être, avoir or aller."""
    return _AUXILIARIES[name][_PERSONS[person, plural]]


# Columns: infinitive | present | participle | English base, past, -ing | objects | subjects.
# Present: nothing for a regular -er verb; two forms (je, nous) where the stem of an -er verb changes; else je, il,
# nous, vous, ils. Participle and -ing: only where irregular. English words of one form are tied with "_".
# "+" before the infinitive: être in the passé composé.
_TRANSITIVE = """
manger     | mange mangeons | | eat ate | food | person animal
boire      | bois boit buvons buvez boivent | bu | drink drank | drink |
préparer   | | | prepare prepared | dish taught |
acheter    | achète achetons | | buy bought | food thing clothes furniture private |
vendre     | vends vend vendons vendez vendent | vendu | sell sold | thing clothes furniture private |
chercher   | | | look_for looked_for | thing clothes pet person |
trouver    | | | find found | thing clothes pet |
perdre     | perds perd perdons perdez perdent | perdu | lose lost | thing clothes |
oublier    | | | forget forgot forgetting | thing mental taught |
prendre    | prends prend prenons prenez prennent | pris | take took | thing |
choisir    | choisis choisit choisissons choisissez choisissent | choisi | choose chose | thing clothes |
cacher     | | | hide hid | thing |
porter     | | | wear wore | clothes |
laver      | | | wash washed | washable pet |
nettoyer   | nettoie nettoyons | | clean cleaned | room furniture |
réparer    | | | repair repaired | vehicle device furniture |
casser     | | | break broke | fragile device |
conduire   | conduis conduit conduisons conduisez conduisent | conduit | drive drove | road |
lire       | lis lit lisons lisez lisent | lu | read read | reading |
écrire     | écris écrit écrivons écrivez écrivent | écrit | write wrote | written |
ouvrir     | ouvre ouvre ouvrons ouvrez ouvrent | ouvert | open opened | fixture container closable |
fermer     | | | close closed | fixture container closable |
regarder   | | | look_at looked_at | beauty famous animal |
voir       | vois voit voyons voyez voient | vu | see saw seeing | animal vehicle person place |
entendre   | entends entend entendons entendez entendent | entendu | hear heard | animal person heard |
appeler    | appelle appelons | | call called | person pet |
attendre   | attends attend attendons attendez attendent | attendu | wait_for waited_for | person awaited |
aider      | | | help helped | person |
inviter    | | | invite invited | person |
rencontrer | | | meet met | person |
remercier  | | | thank thanked | person |
admirer    | | | admire admired | person beauty |
étudier    | | | study studied | subject taught |
comprendre | comprends comprend comprenons comprenez comprennent | compris | understand understood | mental |
construire | construis construit construisons construisez construisent | construit | build built | building |
dessiner   | | | draw drew | animal building drawn |
visiter    | | | visit visited | sight |
chasser    | | | hunt hunted | prey | hunter
"""

_INTRANSITIVE = """
dormir     | dors dort dormons dormez dorment | dormi | sleep slept | | person animal
courir     | cours court courons courez courent | couru | run ran running | | person animal
manger     | mange mangeons | | eat ate | | person animal
nager      | nage nageons | | swim swam swimming | |
marcher    | | | walk walked | |
danser     | | | dance danced | |
chanter    | | | sing sang | |
travailler | | | work worked | |
parler     | | | talk talked | |
pleurer    | | | cry cried | |
voyager    | voyage voyageons | | travel traveled | |
+arriver   | | | arrive arrived | |
+partir    | pars part partons partez partent | parti | leave left | |
+tomber    | | | fall fell | | person animal
"""

_MOTION = """
+aller     | vais va allons allez vont | | go went | |
+arriver   | | | arrive arrived | |
+retourner | | | return returned | |
+rester    | | | stay stayed | |
"""

_REFLEXIVE = """
+laver     | | | wash washed | self |
+regarder  | | | look_at looked_at | self |
+lever     | lève levons | | get_up got_up getting_up | |
+coucher   | | | go_to_bed went_to_bed | |
+réveiller | | | wake_up woke_up | |
+habiller  | | | get_dressed got_dressed getting_dressed | |
+reposer   | | | rest rested | |
+amuser    | | | have_fun had_fun | |
+promener  | promène promenons | | take_a_walk took_a_walk | |
"""

_DATIVE = """
parler     | | | talk_to talked_to | |
téléphoner | | | phone phoned | |
répondre   | réponds répond répondons répondez répondent | répondu | answer answered | |
"""

_GIVING = """
donner     | | | give gave | thing |
montrer    | | | show showed | thing |
envoyer    | envoie envoyons | | send sent | mailed |
vendre     | vends vend vendons vendez vendent | vendu | sell sold | thing private |
prêter     | | | lend lent | lent |
"""

_OTHERS = """
aimer      | | | love loved | |
détester   | | | hate hated | |
préférer   | préfère préférons | | prefer preferred | |
vouloir    | veux veut voulons voulez veulent | voulu | want wanted | |
pouvoir    | peux peut pouvons pouvez peuvent | pu | can could | |
devoir     | dois doit devons devez doivent | dû | must must | |
habiter    | | | live lived | |
enseigner  | | | teach taught | |
jouer      | | | play played | |
avoir      | ai a avons avez ont | eu | have had | |
penser     | | | think thought | |
dire       | dis dit disons dites disent | dit | say said | |
croire     | crois croit croyons croyez croient | cru | believe believed | |
savoir     | sais sait savons savez savent | su | know knew | |
traverser  | | | cross crossed | |
rentrer    | | | fit fit | |
sonner     | | | ring rang | |
+sortir    | sors sort sortons sortez sortent | sorti | come_out came_out | |
"""


def _present(infinitive: str, forms: list[str]) -> tuple[str, ...]:
    stem = infinitive[:-2]
    if len(forms) == 5:
        return tuple(forms)
    singular, plural = forms or (stem + "e", stem + "ons")
    return (singular, singular, plural, stem + "ez", singular + "nt")


def _ing(english: str) -> str:
    first, space, rest = english.partition(" ")
    return (first[:-1] if first.endswith("e") else first) + "ing" + space + rest


def _verb(row: str, reflexive: bool) -> Verb:
    """One row of a table; see the comment above the first."""
    infinitive, present, participle, english, objects, subjects = (cell.strip() for cell in row.split("|"))
    base, past, *ing = (form.replace("_", " ") for form in english.split())
    bare = infinitive.removeprefix("+")
    return Verb(
        infinitive=bare,
        present=_present(bare, present.split()),
        participle=participle or bare[:-2] + "é",
        english=base,
        english_past=past,
        english_ing=ing[0] if ing else _ing(base),
        objects=objects,
        subjects=subjects or "person",
        auxiliary="être" if infinitive.startswith("+") else "avoir",
        reflexive=reflexive,
    )


def _table(rows: str, reflexive: bool = False) -> tuple[Verb, ...]:
    return tuple(_verb(row, reflexive) for row in rows.strip().split("\n"))


TRANSITIVE = _table(_TRANSITIVE)
INTRANSITIVE = _table(_INTRANSITIVE)
MOTION = _table(_MOTION)
REFLEXIVE = _table(_REFLEXIVE, reflexive=True)
DATIVE = _table(_DATIVE)
GIVING = _table(_GIVING)
LIKE = _verb("aimer | | | like liked | | person animal", reflexive=False)
"""aimer before an infinitive; before a noun, the aimer of the table, it is to love."""
_BY_NAME = {entry.infinitive: entry for entry in (*DATIVE, *GIVING, *INTRANSITIVE, *MOTION, *_table(_OTHERS), *TRANSITIVE)}


@cache
def verb(infinitive: str) -> Verb:
    """The verb with this infinitive (the transitive one, where there are two)."""
    return _BY_NAME[infinitive]


@cache
def transitive(subject_class: str) -> tuple[Verb, ...]:
    """The transitive verbs that a subject of this class can have."""
    return tuple(entry for entry in TRANSITIVE if subject_class in entry.subjects.split())
