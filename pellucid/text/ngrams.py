"""Parts of words: n-grams of characters, and the rows of a shared table that they have by their hash (Bojanowski et al., 2017,
section 3.2). The numbers are fastText's, so that its tables could be used."""

from __future__ import annotations

_OFFSET, _PRIME = 2166136261, 16777619  # of FNV-1a in 32 bits


def parts(word: str, shortest: int, longest: int) -> list[str]:
    """The n-grams of ``<word>``, ``shortest`` to ``longest`` characters long, in the order of their starts.

    ``where`` with 3 to 3 has ``<wh whe her ere re>``. The marks alone are no part; the whole of ``<word>`` is one if it is
    short enough.
    """
    marked = f"<{word}>"
    places = range(len(marked) + 1)
    return [
        marked[start:end]
        for start in places
        for end in places[start + shortest : start + longest + 1]
        if end - start > 1 or (start > 0 and end < len(marked))
    ]


def fnv1a(data: bytes) -> int:
    """The FNV-1a hash in 32 bits, with fastText's departure: a byte from 128 on is taken for a negative number."""
    value = _OFFSET
    for byte in data:
        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * _PRIME) & 0xFFFFFFFF
    return value


def buckets_of(word: str, shortest: int, longest: int, buckets: int) -> list[int]:
    """The bucket of each part of a word: numbers from 0, below ``buckets``."""
    return [fnv1a(part.encode("utf-8")) % buckets for part in parts(word, shortest, longest)]
