"""Nouns and adjectives: tables only; `grammar` inflects them.

Each English noun has one French noun and the other way round, so words whose translation depends on somebody's sex
or on taste appear once (*ami*, never *amie*). The classes of a noun say what makes sense with it: an adjective
lists the classes it may describe, a verb the classes of its objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

_FRENCH_PLURALS = (("eau", "eaux"), ("al", "aux"), ("ou", "oux"), ("s", "s"), ("x", "x"))
_ENGLISH_SIBILANTS = ("s", "x", "ch", "sh")


@dataclass(frozen=True, slots=True)
class Noun:
    """A noun: French form and gender ("m", "f"), English form, semantic classes, irregular plurals."""

    french: str
    gender: str
    english: str
    classes: tuple[str, ...]
    english_plural: str = ""

    def french_form(self, plural: bool) -> str:
        """The French word, singular or plural."""
        if not plural:
            return self.french
        for ending, plural_ending in _FRENCH_PLURALS:
            if self.french.endswith(ending):
                return self.french.removesuffix(ending) + plural_ending
        return self.french + "s"

    def english_form(self, plural: bool) -> str:
        """The English word, singular or plural."""
        if not plural:
            return self.english
        return self.english_plural or add_s(self.english)


@dataclass(frozen=True, slots=True)
class Adjective:
    """An adjective: French masculine and feminine, English form, and the classes of nouns that it may describe.

    `before`: it stands before the French noun. `use`: "attribute" (beside the noun only), "predicate" (after a verb
    only) or "both". `absolute`: not "very".
    """

    masculine: str
    feminine: str
    english: str
    classes: tuple[str, ...]
    before: bool = False
    use: str = "both"
    absolute: bool = False

    def french_form(self, gender: str, plural: bool) -> str:
        """The French form for a gender ("m", "f") and number."""
        form = self.feminine if gender == "f" else self.masculine
        if not plural or form.endswith(("s", "x")):
            return form
        return form + ("x" if form.endswith("eau") else "s")

    @property
    def same_in_both_genders(self) -> bool:
        """Whether masculine and feminine are the same word, so that it may describe *je* or *nous*."""
        return self.masculine == self.feminine


def add_s(word: str) -> str:
    """The English ending of plurals and of the third person: boxes, cities, boys."""
    if word.endswith(_ENGLISH_SIBILANTS):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeou":
        return word[:-1] + "ies"
    return word + "s"


def _noun(french: str, gender: str, english: str, classes: str, english_plural: str = "") -> Noun:
    return Noun(french, gender, english, tuple(classes.split()), english_plural)


def _adjective(
    masculine: str,
    feminine: str,
    english: str,
    classes: str,
    *,
    before: bool = False,
    use: str = "both",
    absolute: bool = False,
) -> Adjective:
    return Adjective(masculine, feminine, english, tuple(classes.split()), before, use, absolute)


NOUNS = (
    # People. "known" may be somebody's (my teacher); "kin" always is (my mother).
    _noun("homme", "m", "man", "person adult", "men"),
    _noun("femme", "f", "woman", "person adult", "women"),
    _noun("garçon", "m", "boy", "person"),
    _noun("fille", "f", "girl", "person"),
    _noun("enfant", "m", "child", "person", "children"),
    _noun("professeur", "m", "teacher", "person adult known worker"),
    _noun("élève", "m", "student", "person known worker"),
    _noun("médecin", "m", "doctor", "person adult known worker"),
    _noun("voisin", "m", "neighbor", "person adult known"),
    _noun("ami", "m", "friend", "person known"),
    _noun("roi", "m", "king", "person adult"),
    _noun("reine", "f", "queen", "person adult"),
    _noun("boulanger", "m", "baker", "person adult worker"),
    _noun("fermier", "m", "farmer", "person adult worker"),
    _noun("infirmière", "f", "nurse", "person adult worker"),
    _noun("chanteuse", "f", "singer", "person adult worker artist"),
    _noun("actrice", "f", "actress", "person adult worker artist"),
    _noun("pilote", "m", "pilot", "person adult worker"),
    _noun("mère", "f", "mother", "person kin"),
    _noun("père", "m", "father", "person kin"),
    _noun("frère", "m", "brother", "person kin"),
    _noun("sœur", "f", "sister", "person kin"),
    _noun("oncle", "m", "uncle", "person kin"),
    _noun("tante", "f", "aunt", "person kin"),
    # Animals.
    _noun("chat", "m", "cat", "animal pet walker hunter"),
    _noun("chien", "m", "dog", "animal pet walker hunter"),
    _noun("cheval", "m", "horse", "animal pet walker beauty"),
    _noun("oiseau", "m", "bird", "animal prey beauty"),
    _noun("souris", "f", "mouse", "animal walker prey", "mice"),
    _noun("vache", "f", "cow", "animal walker"),
    _noun("lion", "m", "lion", "animal wild hunter"),
    _noun("lapin", "m", "rabbit", "animal pet walker prey"),
    _noun("éléphant", "m", "elephant", "animal wild walker"),
    _noun("tortue", "f", "turtle", "animal pet walker"),
    _noun("singe", "m", "monkey", "animal wild walker"),
    _noun("loup", "m", "wolf", "animal wild hunter", "wolves"),
    _noun("animal", "m", "animal", "walker"),
    _noun("hibou", "m", "owl", "animal hunter"),
    _noun("girafe", "f", "giraffe", "animal wild walker"),
    _noun("poule", "f", "hen", "animal walker prey"),
    # Food and drink. "mass": may be uncounted (du pain, bread); "dish": somebody prepares it.
    _noun("pizza", "f", "pizza", "food count mass dish baked boxed"),
    _noun("tarte", "f", "pie", "food count mass dish baked boxed dessert"),
    _noun("gâteau", "m", "cake", "food count mass dish baked boxed dessert"),
    _noun("soupe", "f", "soup", "food mass dish cooked"),
    _noun("salade", "f", "salad", "food count mass dish"),
    _noun("pain", "m", "bread", "food mass baked"),
    _noun("viande", "f", "meat", "food mass cooked baked"),
    _noun("poulet", "m", "chicken", "food mass cooked baked"),
    _noun("riz", "m", "rice", "food mass cooked"),
    _noun("fromage", "m", "cheese", "food mass boxed"),
    _noun("chocolat", "m", "chocolate", "food mass boxed dessert"),
    _noun("pomme", "f", "apple", "food count fruit"),
    _noun("orange", "f", "orange", "food count fruit"),
    _noun("banane", "f", "banana", "food count fruit"),
    _noun("poire", "f", "pear", "food count fruit"),
    _noun("tomate", "f", "tomato", "food count fruit", "tomatoes"),
    _noun("carotte", "f", "carrot", "food count fruit"),
    _noun("œuf", "m", "egg", "food count fruit"),
    _noun("eau", "f", "water", "drink mass"),
    _noun("lait", "m", "milk", "drink mass"),
    _noun("thé", "m", "tea", "drink mass"),
    _noun("café", "m", "coffee", "drink mass"),
    _noun("vin", "m", "wine", "drink mass"),
    # Things. "thing": one can carry it; "colored": its colour is worth saying.
    _noun("livre", "m", "book", "thing colored reading written good durable weighty lent"),
    _noun("lettre", "f", "letter", "thing reading written long durable mailed"),
    _noun("journal", "m", "newspaper", "thing reading durable"),
    _noun("photo", "f", "photo", "thing beauty famous durable mailed"),
    _noun("clé", "f", "key", "thing small durable"),
    _noun("lampe", "f", "lamp", "thing device colored fragile durable weighty"),
    _noun("sac", "m", "bag", "thing colored container durable"),
    _noun("valise", "f", "suitcase", "thing colored container durable lent"),
    _noun("boîte", "f", "box", "thing colored container closable durable"),
    _noun("bouteille", "f", "bottle", "thing colored fragile closable durable"),
    _noun("tasse", "f", "cup", "thing colored fragile washable durable"),
    _noun("assiette", "f", "plate", "thing colored fragile washable"),
    _noun("verre", "m", "glass", "thing fragile washable"),
    _noun("couteau", "m", "knife", "thing washable small", "knives"),
    _noun("crayon", "m", "pencil", "thing colored small lent"),
    _noun("téléphone", "m", "phone", "thing device small durable lent"),
    _noun("ordinateur", "m", "computer", "thing device durable weighty lent"),
    _noun("montre", "f", "watch", "thing device small durable"),
    _noun("guitare", "f", "guitar", "thing beauty durable lent drawn"),
    _noun("cadeau", "m", "gift", "thing beauty mailed"),
    _noun("fleur", "f", "flower", "thing colored beauty drawn"),
    _noun("ballon", "m", "ball", "thing colored"),
    _noun("parapluie", "m", "umbrella", "thing colored small durable lent"),
    _noun("chemise", "f", "shirt", "clothes colored washable durable"),
    _noun("robe", "f", "dress", "clothes colored washable beauty long"),
    _noun("manteau", "m", "coat", "clothes colored washable long"),
    _noun("chapeau", "m", "hat", "clothes colored beauty"),
    _noun("jupe", "f", "skirt", "clothes colored washable long"),
    _noun("table", "f", "table", "furniture surface"),
    _noun("chaise", "f", "chair", "furniture"),
    _noun("lit", "m", "bed", "furniture surface"),
    _noun("porte", "f", "door", "fixture colored"),
    _noun("fenêtre", "f", "window", "fixture"),
    _noun("voiture", "f", "car", "vehicle colored road washable lent private"),
    _noun("camion", "m", "truck", "vehicle colored road washable private"),
    _noun("bus", "m", "bus", "vehicle colored road awaited"),
    _noun("vélo", "m", "bicycle", "vehicle colored washable lent private"),
    _noun("train", "m", "train", "vehicle awaited long"),
    _noun("bateau", "m", "boat", "vehicle colored beauty drawn private"),
    _noun("avion", "m", "plane", "vehicle"),
    _noun("four", "m", "oven", "source"),
    _noun("casserole", "f", "pot", "source"),
    _noun("frigo", "m", "fridge", "source"),
    _noun("panier", "m", "basket", "container"),
    # Places. "goal": one goes there (au marché); "inside": one is in it (dans la cuisine).
    _noun("maison", "f", "house", "place building inside beauty"),
    _noun("école", "f", "school", "place building goal work"),
    _noun("université", "f", "university", "place goal work famous"),
    _noun("hôpital", "m", "hospital", "place building goal work"),
    _noun("hôtel", "m", "hotel", "place building goal good"),
    _noun("gare", "f", "station", "place goal"),
    _noun("marché", "m", "market", "place goal"),
    _noun("musée", "m", "museum", "place building goal sight famous"),
    _noun("église", "f", "church", "place building sight beauty"),
    _noun("ville", "f", "city", "place sight beauty famous drawn"),
    _noun("village", "m", "village", "place sight beauty inside"),
    _noun("jardin", "m", "garden", "place inside beauty crossed drawn"),
    _noun("parc", "m", "park", "place inside beauty crossed"),
    _noun("rue", "f", "street", "place crossed long"),
    _noun("pont", "m", "bridge", "place crossed long drawn"),
    _noun("forêt", "f", "forest", "place inside crossed"),
    _noun("rivière", "f", "river", "place crossed long drawn"),
    _noun("plage", "f", "beach", "place goal beauty"),
    _noun("restaurant", "m", "restaurant", "place building goal good work"),
    _noun("bibliothèque", "f", "library", "place building goal work"),
    _noun("théâtre", "m", "theater", "place building goal"),
    _noun("cuisine", "f", "kitchen", "place room inside"),
    _noun("chambre", "f", "bedroom", "place room inside"),
    _noun("bureau", "m", "office", "place room inside"),
    # What one studies, understands, hears.
    _noun("musique", "f", "music", "subject art"),
    _noun("histoire", "f", "history", "subject"),
    _noun("physique", "f", "physics", "subject"),
    _noun("chimie", "f", "chemistry", "subject"),
    _noun("poésie", "f", "poetry", "subject art"),
    _noun("dessin", "m", "drawing", "subject art"),
    _noun("droit", "m", "law", "subject"),
    _noun("leçon", "f", "lesson", "mental taught"),
    _noun("question", "f", "question", "mental"),
    _noun("problème", "m", "problem", "mental"),
    _noun("exercice", "m", "exercise", "mental taught"),
    _noun("chanson", "f", "song", "heard beauty"),
    _noun("film", "m", "movie", "watched famous good"),
)

ADJECTIVES = (
    _adjective("grand", "grande", "big", "thing furniture vehicle place animal clothes", before=True),
    _adjective("petit", "petite", "small", "thing furniture vehicle place animal", before=True),
    _adjective("jeune", "jeune", "young", "adult animal worker", before=True),
    _adjective("vieux", "vieille", "old", "adult animal building vehicle durable furniture clothes", before=True),
    _adjective("nouveau", "nouvelle", "new", "vehicle device clothes worker building", before=True),
    _adjective("beau", "belle", "beautiful", "beauty", before=True),
    _adjective("bon", "bonne", "good", "good worker dish", before=True, use="attribute"),
    _adjective("mauvais", "mauvaise", "bad", "good worker", before=True, use="attribute"),
    _adjective("long", "longue", "long", "long", before=True),
    _adjective("rouge", "rouge", "red", "colored", absolute=True),
    _adjective("bleu", "bleue", "blue", "colored", absolute=True),
    _adjective("vert", "verte", "green", "colored", absolute=True),
    _adjective("noir", "noire", "black", "colored pet", absolute=True),
    _adjective("blanc", "blanche", "white", "colored pet", absolute=True),
    _adjective("gris", "grise", "gray", "colored pet", absolute=True),
    _adjective("jaune", "jaune", "yellow", "colored", absolute=True),
    _adjective("cher", "chère", "expensive", "vehicle device clothes building furniture"),
    _adjective("lourd", "lourde", "heavy", "container furniture weighty"),
    _adjective("léger", "légère", "light", "container clothes"),
    _adjective("sale", "sale", "dirty", "washable room pet"),
    _adjective("propre", "propre", "clean", "washable room", use="predicate"),
    _adjective("cassé", "cassée", "broken", "fragile device furniture", absolute=True),
    _adjective("vide", "vide", "empty", "container building room", absolute=True),
    _adjective("ouvert", "ouverte", "open", "fixture container building", absolute=True),
    _adjective("fermé", "fermée", "closed", "fixture container building", absolute=True),
    _adjective("moderne", "moderne", "modern", "building vehicle"),
    _adjective("rapide", "rapide", "fast", "vehicle hunter"),
    _adjective("lent", "lente", "slow", "vehicle"),
    _adjective("dangereux", "dangereuse", "dangerous", "wild crossed"),
    _adjective("calme", "calme", "quiet", "place person pet"),
    _adjective("sombre", "sombre", "dark", "room crossed"),
    _adjective("célèbre", "célèbre", "famous", "famous artist worker"),
    _adjective("chaud", "chaude", "hot", "dish drink cooked"),
    _adjective("froid", "froide", "cold", "dish drink cooked"),
    _adjective("délicieux", "délicieuse", "delicious", "food", absolute=True),
    _adjective("intéressant", "intéressante", "interesting", "reading mental subject watched"),
    _adjective("difficile", "difficile", "difficult", "mental taught subject"),
    _adjective("facile", "facile", "easy", "mental taught subject"),
    _adjective("utile", "utile", "useful", "device subject reading"),
    _adjective("important", "importante", "important", "mental subject written"),
    _adjective("heureux", "heureuse", "happy", "person animal"),
    _adjective("triste", "triste", "sad", "person heard watched"),
    _adjective("fatigué", "fatiguée", "tired", "person animal"),
    _adjective("malade", "malade", "sick", "person animal"),
    _adjective("intelligent", "intelligente", "smart", "person animal"),
    _adjective("fort", "forte", "strong", "person wild"),
    _adjective("gentil", "gentille", "kind", "person pet"),
    _adjective("timide", "timide", "shy", "person pet"),
    _adjective("riche", "riche", "rich", "adult"),
    _adjective("courageux", "courageuse", "brave", "person pet"),
)

TASTY = _adjective("bon", "bonne", "tasty", "", use="predicate")
"""After a verb *bon* speaks of the taste of food; beside a noun it is good (*un bon livre*)."""

COMPOUNDS = (
    ("apprentissage/NOUN:a automatique/ADJ:b", "machine/NOUN:b learning/NOUN:a", "m"),
    ("apprentissage/NOUN:a profond/ADJ:b", "deep/ADJ:b learning/NOUN:a", "m"),
    ("traduction/NOUN:a automatique/ADJ:b", "machine/NOUN:b translation/NOUN:a", "f"),
    ("intelligence/NOUN:a artificielle/ADJ:b", "artificial/ADJ:b intelligence/NOUN:a", "f"),
)
"""Fields of study of two words, which change places in translation; with their gender."""

NAMES = {
    "f": ("Jane", "Marie", "Emma", "Alice", "Nina", "Sarah"),
    "m": ("Paul", "Lucas", "Thomas", "David", "Adam", "Victor"),
}

CITIES = (
    ("Paris", "Paris"),
    ("Londres", "London"),
    ("Rome", "Rome"),
    ("Berlin", "Berlin"),
    ("Lyon", "Lyon"),
    ("Genève", "Geneva"),
    ("Bruxelles", "Brussels"),
    ("Lisbonne", "Lisbon"),
    ("Vienne", "Vienna"),
    ("Athènes", "Athens"),
)

NUMBERS = (
    ("deux", "two"),
    ("trois", "three"),
    ("quatre", "four"),
    ("cinq", "five"),
    ("six", "six"),
    ("sept", "seven"),
    ("huit", "eight"),
    ("dix", "ten"),
)


@cache
def nouns(classes: str) -> tuple[Noun, ...]:
    """The nouns in any of the classes (separated by spaces), in the order of the table."""
    wanted = classes.split()
    return tuple(noun for noun in NOUNS if any(name in noun.classes for name in wanted))


@cache
def noun(french: str) -> Noun:
    """The noun with this French form."""
    return next(entry for entry in NOUNS if entry.french == french)


@cache
def adjective(masculine: str) -> Adjective:
    """The adjective with this masculine form."""
    return next(entry for entry in ADJECTIVES if entry.masculine == masculine)


@cache
def adjectives_for(entry: Noun, predicate: bool = False) -> tuple[Adjective, ...]:
    """The adjectives that may describe the noun, beside it or (`predicate`) after *être*."""
    unsuited = "attribute" if predicate else "predicate"
    return tuple(a for a in ADJECTIVES if a.use != unsuited and any(name in entry.classes for name in a.classes))
