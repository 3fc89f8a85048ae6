"""The small words: prepositions, conjunctions, question words, degrees and marks, each a fragment of its own."""

from __future__ import annotations

from .fragment import leaf

PERIOD = leaf("./PUNCT", "./PUNCT")
QUESTION_MARK = leaf("?/PUNCT", "?/PUNCT")
COMMA = leaf(",/PUNCT", ",/PUNCT")

AND = leaf("et/CCONJ", "and/CCONJ")
BUT = leaf("mais/CCONJ", "but/CCONJ")
BECAUSE = leaf("parce/SCONJ que/SCONJ", "because/SCONJ")
THAT = leaf("que/SCONJ", "that/SCONJ")
WHILE_WHEN = leaf("quand/SCONJ", "when/SCONJ")

IN = leaf("dans/ADP", "in/ADP")
ON = leaf("sur/ADP", "on/ADP")
UNDER = leaf("sous/ADP", "under/ADP")
WITH = leaf("avec/ADP", "with/ADP")
OUT_OF = leaf("de/ADP", "of/ADP")
"""After *sortir*, come out."""
IN_FRONT_OF = leaf("devant/ADP", "in/ADP front/NOUN of/ADP")
BEHIND = leaf("derrière/ADP", "behind/ADP")
NEAR = leaf("près/ADV de/ADP", "near/ADP")
NEXT_TO = leaf("à/ADP côté/NOUN de/ADP", "next/ADJ to/ADP")
AT = leaf("à/ADP", "at/ADP")
"""*à* before the place where one is; before a city it is `IN_CITY`, before a goal or a receiver `TO`."""
IN_CITY = leaf("à/ADP", "in/ADP")
TO = leaf("à/ADP", "to/ADP")
OBJECT_A = leaf("à/ADP:-", "")
"""*à* before what is a plain object in English: enseigner à, to teach."""

WHERE = leaf("où/ADV", "where/ADV")
WHEN = leaf("quand/ADV", "when/ADV")
WHY = leaf("pourquoi/ADV", "why/ADV")
HOW = leaf("comment/ADV", "how/ADV")

VERY = leaf("très/ADV", "very/ADV")
TOO = leaf("trop/ADV", "too/ADV")
INSIDE = leaf("à/ADP:- le/DET:- intérieur/NOUN", "inside/ADV")
