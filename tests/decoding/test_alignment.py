"""Word alignments from attention weights, by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pellucid.base.config import TextConfig
from pellucid.base.errors import DataError
from pellucid.decoding.alignment import Gold, Head, Links, Maps, align, best_head, error_rate, pharaoh, read_pharaoh, words_of
from pellucid.text.tokenizer import Tokenizer


def links(*pairs: tuple[int, int]) -> Links:
    return frozenset(pairs)


# Tokens to words

PIECES = ["", "the", " ho", "use", " ", "  ", ",", " is", "\ufffd"]


def joined(ids: list[int]) -> str:
    return "".join(PIECES[i] for i in ids)


def test_words_of_pieces_by_hand() -> None:
    """``the house,   is``: the spaces are part of no word, nor is the end token (0), whose text is empty."""
    assert words_of([1, 2, 3, 6, 5, 7, 0], joined) == [0, 1, 1, 1, None, 2, None]  # type: ignore[arg-type]
    assert words_of([4, 1, 4], joined) == [None, 0, None]  # type: ignore[arg-type]
    assert words_of([], joined) == []  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["bpe", "unigram", "byte", "character", "word"])
def test_words_of_every_kind_of_tokenizer(kind: str) -> None:
    """The visible text of each word's tokens, put together, is the word."""
    text = "L'été, un €uro naïf:  trois 日本 voix !"
    config = TextConfig(tokenizer=kind, vocabulary=330, min_frequency=1)  # type: ignore[arg-type]
    tokenizer = Tokenizer.train([text, "un deux trois"] * 3, config)
    ids = [*tokenizer.encode(text), tokenizer.end]
    words = words_of(ids, tokenizer.decode)
    assert words[-1] is None
    parts: list[list[int]] = [[] for _ in text.split()]
    for token, word in zip(ids, words, strict=True):
        if word is not None:
            parts[word].append(token)
    assert [tokenizer.decode(part).strip() for part in parts] == text.split()
    assert len(ids) > len(parts) + 1


def test_an_unknown_word_is_a_word() -> None:
    config = TextConfig(tokenizer="word", vocabulary=100, min_frequency=1)
    tokenizer = Tokenizer.train(["the house is red, and"], config)
    ids = tokenizer.encode("the xyz, house is blue")
    assert [token == tokenizer.unknown for token in ids] == [False, True, False, False, False, True]
    words = words_of(ids, tokenizer.decode, unknown=tokenizer.unknown)
    assert words == [0, 1, 1, 2, 3, 4]
    assert words_of(ids, tokenizer.decode)[-1] is None


# Weights to links

WEIGHTS = torch.tensor(  # T = 4 target tokens, S = 6 source tokens
    [
        [0.30, 0.15, 0.20, 0.05, 0.00, 0.30],
        [0.10, 0.10, 0.10, 0.35, 0.35, 0.00],
        [0.40, 0.00, 0.05, 0.00, 0.05, 0.50],
        [0.00, 0.00, 0.00, 0.00, 0.00, 1.00],
    ]
)
SOURCE = [0, 1, 1, 2, 2, None]  # the end token last
TARGET = [0, 1, 1, None]


def test_the_best_source_word_of_each_target_word_by_hand() -> None:
    """Sums: word 0: 0.3, 0.35, 0.05, of two tokens each more than the largest single one; word 1: 0.5, 0.25, 0.75."""
    assert align(WEIGHTS, SOURCE, TARGET) == links((1, 0), (2, 1))
    assert pharaoh(align(WEIGHTS, SOURCE, TARGET)) == "1-0 2-1"
    assert align(WEIGHTS, [0, 1, 2, 3, 4, None], [0, 1, 2, None]) == links((0, 0), (3, 1), (0, 2))  # of equal sums the first


def test_words_without_tokens_of_their_own_get_no_link() -> None:
    assert align(WEIGHTS, [0, 2, 2, 3, 3, None], [1, 4, 4, None]) == links((2, 1), (3, 4))
    assert align(WEIGHTS, [None] * 6, TARGET) == links()
    assert align(WEIGHTS, SOURCE, [None] * 4) == links()
    assert align(torch.zeros(0, 6), SOURCE, []) == links()


def test_a_line_of_links_in_the_order_of_the_target() -> None:
    found = links((10, 2), (2, 10), (0, 2), (7, 0))
    assert pharaoh(found) == "7-0 0-2 10-2 2-10"
    assert read_pharaoh(pharaoh(found)) == Gold(found)
    assert pharaoh(links()) == ""
    assert read_pharaoh("  \n") == Gold(links())


def test_sure_and_possible_links() -> None:
    gold = read_pharaoh("0-0 1p2 3?4 12-5")
    assert gold.sure == links((0, 0), (12, 5))
    assert gold.possible == links((0, 0), (12, 5), (1, 2), (3, 4))


@pytest.mark.parametrize("item", ["0", "0-", "-1", "a-1", "0-1-2", "0:1", "²-1", "1.0-2"])
def test_what_is_no_link_is_refused(item: str) -> None:
    with pytest.raises(DataError, match=r"gold.txt:3: this is no alignment\n.*0-0 or 0p0\n.*found: +'"):
        read_pharaoh(f"0-0 {item} 1-1", where="gold.txt:3")


# Error rate, and the best head


def test_the_error_rate_by_hand() -> None:
    """First sentence: 3 links, 1 of 2 sure ones, 2 possible; second: 1 link, the 1 sure one. 1 - (2 + 3) / (4 + 3) = 2/7."""
    gold = [Gold(links((0, 0), (1, 1)), links((2, 2))), Gold(links((5, 5)))]
    found = [links((0, 0), (2, 2), (3, 3)), links((5, 5))]
    assert error_rate(found, gold) == pytest.approx(2 / 7, abs=1e-12)
    assert error_rate([one.sure for one in gold], gold) == 0.0
    assert error_rate([one.possible for one in gold], gold) == 0.0
    assert error_rate([links((9, 9)), links()], gold) == 1.0
    assert error_rate([links((0, 0)), links()], gold) == pytest.approx(1 - 2 / 4, abs=1e-12)  # few links are not enough
    assert error_rate([links()], [Gold(links())]) == 0.0


def one_hot(*best: int, n: int) -> Tensor:
    return torch.eye(n)[list(best)]


def test_the_best_head_by_hand() -> None:
    """Two layers, of 2 and 3 heads. Of 5 links, the heads of the first layer find none, those of the second 4, 5 and 3."""
    first = (
        [one_hot(0, 1, 2, n=4), one_hot(1, 1, 1, n=4)],
        [one_hot(2, 1, 0, n=4), one_hot(2, 0, 0, n=4), one_hot(2, 0, 1, n=4)],
    )
    second = [one_hot(1, 0, n=3), one_hot(2, 2, n=3)], [one_hot(0, 1, n=3), one_hot(0, 1, n=3), one_hot(0, 2, n=3)]
    maps = [
        Maps([torch.stack(heads) for heads in first], [0, 1, 2, None], [0, 1, 2]),
        Maps([torch.stack(heads) for heads in second], [0, 1, 2], [0, 1]),
    ]
    gold = [read_pharaoh("2-0 0-1 0-2"), read_pharaoh("0-0 1-1")]
    counted = {}
    for layer in range(2):
        for head in range(2 + layer):
            found = [align(one.weights[layer][head], one.source_words, one.target_words) for one in maps]
            counted[layer, head] = sum(len(a & b.sure) for a, b in zip(found, gold, strict=True))
    assert counted == {(0, 0): 0, (0, 1): 0, (1, 0): 4, (1, 1): 5, (1, 2): 3}
    assert best_head(maps, gold) == Head(1, 1, 0.0)
    assert best_head(maps[:1], gold[:1]) == Head(1, 1, 0.0)
    assert best_head(maps[1:], gold[1:]) == Head(1, 0, 0.0)  # of equally good ones the first
    assert best_head(maps, [read_pharaoh("2-0 0-1 3-2"), gold[1]]) == Head(1, 1, pytest.approx(1 / 5))  # 4 links right of 5


def test_nothing_to_compare_heads_by() -> None:
    with pytest.raises(DataError, match="0 sentence pairs, 0 alignments"):
        best_head([], [])
    with pytest.raises(DataError, match="1 sentence pairs, 2 alignments"):
        best_head([Maps([WEIGHTS[None]], SOURCE, TARGET)], [Gold(links()), Gold(links())])
