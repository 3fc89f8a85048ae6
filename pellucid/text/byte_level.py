"""Bytes written as printable characters, so that a vocabulary of byte pieces stays readable text.

The table is the one of the ``tokenizers`` library's byte-level steps (first made for GPT-2): a byte that prints in
Latin-1 stands for itself, the others take the characters from U+0100 on. A space becomes ``Ġ``, the two bytes of ``é``
become ``Ã©``.
"""

from __future__ import annotations

import itertools


def _byte_characters() -> list[str]:
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = itertools.count(0x100)
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


BYTE_CHARACTERS = _byte_characters()  # bytes 0 to 255, in order
_BYTE_OF = {character: byte for byte, character in enumerate(BYTE_CHARACTERS)}
_CONTINUATION = frozenset(BYTE_CHARACTERS[0x80:0xC0])  # bytes that go on with a character of UTF-8 and never begin one


def readable(piece: str) -> str:
    """The text of a piece written in byte characters; bytes that are not whole characters become ``\\xe2`` and the like."""
    return bytes(_BYTE_OF[character] for character in piece).decode("utf-8", errors="backslashreplace")


def character_bounds(word: str) -> list[int]:
    """Where the characters of a word written in byte characters begin, and where the last one ends."""
    return [at for at, byte in enumerate(word) if byte not in _CONTINUATION] + [len(word)]
