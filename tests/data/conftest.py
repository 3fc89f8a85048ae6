"""A tokenizer simple enough to know its output by heart: byte b is token b + 4."""

from __future__ import annotations

from collections.abc import Sequence

import pytest


class ByteTokenizer:
    pad, unknown, start, end = 0, 1, 2, 3

    def __init__(self, vocabulary_size: int = 260, fingerprint: str = "bytes", shift: int = 4) -> None:
        self.vocabulary_size, self.fingerprint, self.shift = vocabulary_size, fingerprint, shift
        self.calls: list[list[str]] = []

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        self.calls.append(list(texts))
        return [[byte + self.shift for byte in text.encode()] for text in texts]


@pytest.fixture(scope="session")
def make_tokenizer() -> type[ByteTokenizer]:
    return ByteTokenizer
