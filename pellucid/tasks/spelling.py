"""Words that are asked for, as the tokens that the model can write: prefixes, required phrases, banned words."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from pellucid.base.errors import UsageError
from pellucid.tasks.framing import AnyTokenizer
from pellucid.tasks.glossary import Term


def inside(tokenizer: AnyTokenizer, text: str) -> list[int]:
    """Tokens of a text that stands inside another one, where its first word need not begin with a space.

    It is encoded after something that it does not merge with: a letter, or where it goes on with letters, a full stop.
    """
    for before in ("a", "."):
        known, whole = tokenizer.encode(before), tokenizer.encode(before + text)
        if whole[: len(known)] == known:
            return whole[len(known) :]
    return tokenizer.encode(text)


def spellings_of(tokenizer: AnyTokenizer, term: Term, never: Collection[int]) -> list[list[int]]:
    """The token sequences of which an output holds one: of each spelling as a text begins with it and as it goes on with it.

    Raises:
        UsageError: the tokenizer cannot write a spelling.
    """
    found: list[list[int]] = []
    for spelt in term.spellings:
        ways = [ids for ids in _ways(tokenizer, spelt) if _writes(tokenizer, ids, spelt, never)]
        if not ways:
            where = "glossary" if term.source is None else f"glossary, {term.source!r}"
            raise UsageError(
                "the model cannot write this term",
                where=where,
                expected="words that its tokenizer has tokens for",
                found=_shown(tokenizer, spelt),
                advice="leave it out, or give a spelling that the vocabulary holds",
            )
        found += [ids for ids in ways if ids not in found]
    return found


def banned_of(tokenizer: AnyTokenizer, words: Iterable[str]) -> list[list[int]]:
    """The token sequences that may not be written, wherever each word stands; what cannot be written need not be banned."""
    found = [ids for word in words for ids in _ways(tokenizer, word.strip()) if ids and not tokenizer.unknowns(ids)]
    return [ids for number, ids in enumerate(found) if ids not in found[:number]]


def prefix_of(tokenizer: AnyTokenizer, prefix: str, never: Collection[int], *, before: str | None = None) -> list[int]:
    """Tokens that an output begins with.

    Args:
        prefix: text; an empty one has no tokens.
        never: tokens that no output holds.
        before: text that the output goes on from, as a prompt; ``None``: it stands for itself.

    Raises:
        UsageError: the tokenizer cannot write it.
    """
    if not prefix:
        return []
    whole = tokenizer.encode((before or "") + prefix)
    known = tokenizer.encode(before) if before else []
    ids = whole[len(known) :] if whole[: len(known)] == known else inside(tokenizer, prefix)
    if not _writes(tokenizer, ids, prefix, never):
        what, expected = "the model cannot write this prefix", "text that its tokenizer has tokens for"
        raise UsageError(what, where="prefix", expected=expected, found=_shown(tokenizer, prefix))
    return ids


def _ways(tokenizer: AnyTokenizer, text: str) -> list[list[int]]:
    """At the beginning of a text and after a space; one and the same where a word begins with its space everywhere."""
    begun, going_on = tokenizer.encode(text), inside(tokenizer, f" {text}")
    return [begun] if begun == going_on else [begun, going_on]


def _writes(tokenizer: AnyTokenizer, ids: Sequence[int], text: str, never: Collection[int]) -> bool:
    """Whether these tokens read like the text; case and white space aside, which some tokenizers fold."""
    if not ids or tokenizer.unknowns(ids) or not set(ids).isdisjoint(never):
        return False
    return "".join(tokenizer.decode(ids).split()).lower() == "".join(text.split()).lower()


def _shown(tokenizer: AnyTokenizer, text: str) -> str:
    """The text and what the tokenizer makes of it."""
    return f"{text!r}, read as {' '.join(tokenizer.tokens(tokenizer.encode(text))) or 'nothing'}"
