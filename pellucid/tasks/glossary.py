"""Glossaries: what an output must hold, in words; which of it a text asks for, and files of them. No torch, no tokenizer.

A **term** is a list of spellings of which the output holds one. It is asked for by every text, or, with a source term, by each
text in which that occurs: as whole words, of several that begin at one place the longest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.base.errors import DataError, UsageError
from pellucid.data.lines import lines_of


@dataclass(frozen=True)
class Term:
    """What an output must hold.

    Args:
        spellings: one of them, as text.
        source: only where this occurs in the source; ``None``: always.
    """

    spellings: tuple[str, ...]
    source: str | None = None


Spelt = str | Sequence[str]
Glossary = Mapping[str, Spelt] | Sequence[Spelt | Term]


def terms_of(glossary: Glossary) -> tuple[Term, ...]:
    """The terms of a glossary: source terms with what they become, or phrases that are always required.

    Raises:
        UsageError: a term is empty.
    """
    if isinstance(glossary, Mapping):
        found = [Term(_spellings(spelt), source) for source, spelt in glossary.items()]
    else:
        found = [spelt if isinstance(spelt, Term) else Term(_spellings(spelt)) for spelt in glossary]
    for term in found:
        named = [*term.spellings, *([] if term.source is None else [term.source])]
        if not term.spellings or not all(text.strip() for text in named):
            raise UsageError("a term of the glossary is empty", found=named, advice="leave it out")
    return tuple(found)


def _spellings(spelt: Spelt) -> tuple[str, ...]:
    return (spelt,) if isinstance(spelt, str) else tuple(spelt)


class Finder:
    """Which terms a text asks for.

    Args:
        terms: of a glossary.
        fold: whether case does not count, as in models that fold it.
    """

    def __init__(self, terms: Iterable[Term], *, fold: bool = False) -> None:
        terms = tuple(terms)
        self._always = [term for term in terms if term.source is None]
        self._fold = fold
        self._by_source: dict[str, list[Term]] = {}
        for term in terms:
            if term.source is not None:
                self._by_source.setdefault(self._folded(term.source), []).append(term)
        longest_first = sorted(self._by_source, key=len, reverse=True)
        some = "|".join(rf"{_edge(source[0], '<!')}{re.escape(source)}{_edge(source[-1], '!')}" for source in longest_first)
        self._pattern = re.compile(some) if some else None

    def _folded(self, text: str) -> str:
        text = text.strip()
        return text.lower() if self._fold else text

    def __call__(self, text: str) -> list[Term]:
        """Those always asked for, then those whose source term occurs, in the order in which it does; each once."""
        found = dict.fromkeys(self._always)
        for match in self._pattern.finditer(self._folded(text)) if self._pattern else ():
            found |= dict.fromkeys(self._by_source[match.group()])
        return list(found)


def _edge(character: str, ahead: str) -> str:
    """No letter or digit beside a term that begins or ends with one, so that whole words are found."""
    return rf"(?{ahead}\w)" if re.match(r"\w", character) else ""


def read_glossary(path: Path, *, sources: bool) -> dict[str, list[str]] | list[list[str]]:
    """A glossary from a file, one term a line; empty lines are left out.

    Args:
        path: UTF-8, plain or ``.gz``.
        sources: a line is a source term, a tab, what it becomes and, after more tabs, other spellings of that; else a line is a
            phrase with its other spellings.

    Raises:
        DataError: no such file, or a line is not like that.
    """
    rows: list[list[str]] = []
    seen: dict[str, str] = {}
    for line in lines_of(path):
        try:
            row = [item.strip() for item in line.raw.decode("utf-8").split("\t")]
        except UnicodeDecodeError:
            raise DataError("not UTF-8", where=line.place, advice="convert the glossary to UTF-8 (iconv)") from None
        if not any(row):
            continue
        if len(row) < 1 + sources or not all(row):
            expected = "source term, tab, target term" if sources else "a phrase, and after tabs its other spellings"
            raise DataError("this is no term of a glossary", where=line.place, expected=expected, found=repr("\t".join(row)))
        if sources and row[0] in seen:
            advice = "put all its spellings on one line, with tabs between them"
            raise DataError(
                "the source term has been given", where=line.place, found=f"{row[0]!r}, {seen[row[0]]}", advice=advice
            )
        seen[row[0]] = line.place
        rows.append(row)
    return {row[0]: row[1:] for row in rows} if sources else rows
