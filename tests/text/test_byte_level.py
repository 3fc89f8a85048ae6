"""Bytes as printable characters."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from pellucid.text.byte_level import BYTE_CHARACTERS, character_bounds, readable


def test_the_table_is_the_librarys() -> None:
    assert set(BYTE_CHARACTERS) == set(pre_tokenizers.ByteLevel.alphabet())


@settings(deadline=None)
@given(st.text())
def test_the_library_writes_text_in_these_characters_and_readable_reads_it(text: str) -> None:
    pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    word = "".join(piece for piece, _ in pieces)
    assert word == "".join(BYTE_CHARACTERS[byte] for byte in text.encode("utf-8"))
    assert readable(word) == text


def test_bytes_that_are_no_character_are_shown_as_escapes() -> None:
    first, second = (BYTE_CHARACTERS[byte] for byte in "é".encode())
    assert readable(first + second) == "é"
    assert readable(first) == r"\xc3"
    assert readable(second + "a") == r"\xa9a"


def test_bounds_lie_between_characters() -> None:
    word = "".join(BYTE_CHARACTERS[byte] for byte in "aé€🙂".encode())  # 1, 2, 3 and 4 bytes
    assert character_bounds(word) == [0, 1, 3, 6, 10]
