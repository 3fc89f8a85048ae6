"""Streams through batches of similar lengths: order, limits, memory, and what never reaches the work."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.decoding.batching import in_batches

WORDS = st.lists(st.text(alphabet="ab", max_size=12), max_size=60)


@given(words=WORDS, tokens=st.integers(1, 40), most=st.integers(1, 9), window=st.integers(1, 20))
def test_every_item_gets_its_result_in_order_and_no_batch_is_too_large(
    words: list[str], tokens: int, most: int, window: int
) -> None:
    batches: list[list[str]] = []

    def work(batch: list[str]) -> list[str]:
        batches.append(batch)
        return [word.upper() for word in batch]

    results = in_batches(words, work, length=len, empty="nothing", batch_tokens=tokens, batch_items=most, window=window)
    assert list(results) == [word.upper() or "nothing" for word in words]
    assert sorted(word for batch in batches for word in batch) == sorted(word for word in words if word)
    for batch in batches:
        assert 1 <= len(batch) <= most
        assert len(batch) == 1 or len(batch) * max(map(len, batch)) <= tokens


def test_batches_by_hand() -> None:
    """Window of 6: lengths 1 5 2 0 5 3, sorted 5 5 3 2 1. Two of 5 fill 10; three of 3 fit. Then a window of 1."""
    batches: list[list[str]] = []

    def work(batch: list[str]) -> list[int]:
        batches.append(batch)
        return [len(word) for word in batch]

    words = ["a", "bbbbb", "cc", "", "ddddd", "eee", "ffffffffffff"]
    assert list(in_batches(words, work, length=len, empty=0, batch_tokens=10, window=6)) == [1, 5, 2, 0, 5, 3, 12]
    assert batches == [["bbbbb", "ddddd"], ["eee", "cc", "a"], ["ffffffffffff"]]


def test_no_more_than_one_window_is_read_ahead() -> None:
    read = 0

    def stream() -> Iterator[int]:
        nonlocal read
        while True:  # never ends
            read += 1
            yield read

    results = in_batches(stream(), lambda batch: batch, length=lambda item: 1, empty=0, batch_tokens=8, window=10)
    assert [next(results) for _ in range(25)] == list(range(1, 26))
    assert read == 30


def test_items_without_tokens_never_reach_the_work() -> None:
    def work(batch: list[str]) -> list[str]:
        raise AssertionError(f"asked to work on {batch}")

    lines = ["", "  ", "\t", ""]
    results = in_batches(lines, work, length=lambda line: len(line.split()), empty="", batch_tokens=8)
    assert list(results) == ["", "", "", ""]


def test_a_result_too_few_is_noticed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        list(in_batches(["a", "b"], lambda batch: batch[:1], length=len, empty="", batch_tokens=8))
