"""Parts of words and their hash, against the paper's example and published values of FNV-1a."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.text.ngrams import buckets_of, fnv1a, parts


def test_the_example_of_the_paper() -> None:
    """Bojanowski et al. (2017), section 3.2: the word where, n = 3."""
    assert parts("where", 3, 3) == ["<wh", "whe", "her", "ere", "re>"]


def test_lengths_from_three_to_six() -> None:
    assert parts("as", 3, 6) == ["<as", "<as>", "as>"]
    counted = [sum(len(part) == n for part in parts("where", 3, 6)) for n in (2, 3, 4, 5, 6, 7)]
    assert counted == [0, 5, 4, 3, 2, 0]  # <where> has seven characters


def test_a_mark_alone_is_no_part() -> None:
    assert parts("a<", 1, 2) == ["<a", "a", "a<", "<", "<>"]  # the word's own < is one


def test_characters_count_not_bytes() -> None:
    assert parts("né", 3, 3) == ["<né", "né>"]


@pytest.mark.parametrize(
    ("data", "expected"),
    # Published by the authors of the hash (Fowler, Noll, Vo: test_fnv.c).
    [(b"", 0x811C9DC5), (b"a", 0xE40C292C), (b"b", 0xE70C2DE5), (b"foobar", 0xBF9CF968)],
)
def test_published_hashes(data: bytes, expected: int) -> None:
    assert fnv1a(data) == expected


def test_bytes_beyond_ascii_are_signed_as_in_fasttext() -> None:
    """``h = h ^ uint32_t(int8_t(byte)); h = h * 16777619`` in arithmetic of 32 bits: é is 0xC3 0xA9, negative as int8."""
    with np.errstate(over="ignore"):
        value = np.uint32(2166136261)
        for byte in (0xC3, 0xA9):
            value = (value ^ np.array(byte, np.uint8).astype(np.int8).astype(np.int32).astype(np.uint32)) * np.uint32(16777619)
    assert fnv1a("é".encode()) == int(value)
    plain = ((((2166136261 ^ 0xC3) * 16777619) ^ 0xA9) * 16777619) % 2**32
    assert fnv1a("é".encode()) != plain  # what the standard says


def test_the_bucket_of_a_part_by_hand() -> None:
    """<a> alone: bytes 0x3c 0x61 0x3e."""
    value = 2166136261
    for byte in (0x3C, 0x61, 0x3E):
        value = (value ^ byte) * 16777619 % 4294967296
    assert buckets_of("a", 3, 6, 2_000_000) == [value % 2_000_000]
