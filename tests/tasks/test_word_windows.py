"""What word vectors learn from: subsampling and noise by their formulas, windows by counting."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.base.config import TextConfig, WordVectorsConfig
from pellucid.tasks.word_windows import (
    BREAK,
    NO_WORD,
    ROW,
    Parts,
    Vocabulary,
    Windows,
    in_rows,
    kept_shares,
    neighbours,
    noise_shares,
)
from pellucid.text.ngrams import buckets_of
from pellucid.text.tokenizer import CONTROL_TOKENS, Tokenizer

COUNTS = torch.tensor([810, 160, 29, 1])


def windows(counts: torch.Tensor = COUNTS, **settings: object) -> Windows:
    config = WordVectorsConfig(**{"subsample": 0.0, **settings})  # type: ignore[arg-type]
    return Windows(counts, Parts([f"w{n}" for n in range(len(counts))], config), config)


def test_the_shares_that_stay() -> None:
    """sqrt(t / f), f the share of the text: 0.81, 0.16, 0.029, 0.001; at most 1."""
    expected = [0.1 / 0.9, 0.1 / 0.4, (0.01 / 0.029) ** 0.5, 1.0]
    assert kept_shares(COUNTS, 0.01).tolist() == pytest.approx(expected)
    assert kept_shares(COUNTS, 0).tolist() == [1.0, 1.0, 1.0, 1.0]


def test_the_shares_of_noise() -> None:
    """16^0.75 = 8, 81^0.75 = 27, 1, and a word that the text has not is never drawn."""
    assert noise_shares(torch.tensor([81, 16, 1, 0]), 0.75).tolist() == pytest.approx([27 / 36, 8 / 36, 1 / 36, 0])
    assert noise_shares(torch.tensor([3, 0, 1]), 0.0).tolist() == pytest.approx([1 / 2, 0, 1 / 2])


def test_what_is_drawn_has_these_shares() -> None:
    counts = torch.tensor([81, 16, 1, 0])
    found = windows(counts).batch(torch.zeros(64 * 400, dtype=torch.long), torch.Generator().manual_seed(1)).noise
    assert found.shape == (400, ROW)
    shares = torch.bincount(found.flatten(), minlength=4) / found.numel()
    assert shares.tolist() == pytest.approx([27 / 36, 8 / 36, 1 / 36, 0], abs=0.01)  # standard errors below 0.003


def test_what_stays_has_these_shares() -> None:
    made = windows(torch.tensor([75, 25]), subsample=0.03)  # kept: 0.2 and sqrt(0.12)
    text = torch.tensor([0, 1] * 20000)
    batch = made.batch(text, torch.Generator().manual_seed(1))
    kept = torch.bincount(batch.words[batch.centres].flatten(), minlength=2)
    assert (kept / 20000).tolist() == pytest.approx([0.2, 0.12**0.5], abs=0.015)  # and less than 64 words of filling


def pairs_of(batch_near: torch.Tensor, window: int) -> set[tuple[int, int]]:
    """Centre and neighbour by their places in the text."""
    rows, centres, others = batch_near.nonzero(as_tuple=True)
    found = list(zip((rows * ROW + centres).tolist(), (rows * ROW + others - window).tolist(), strict=True))
    assert len(set(found)) == len(found)
    return set(found)


def test_windows_by_counting() -> None:
    """Every pair of a line within the reach of its centre, across the borders of rows, and no other."""
    generator = torch.Generator().manual_seed(3)
    lines = torch.randint(0, 2, (150,), generator=generator).cumsum(0) // 9  # about 18 words a line
    reach = torch.randint(1, 5, (150,), generator=generator)
    found = neighbours(lines, reach, 4)
    assert found.shape == (3, ROW, ROW + 8)
    expected = {
        (i, j) for i in range(150) for j in range(150) if 0 < abs(i - j) <= int(reach[i]) and int(lines[i]) == int(lines[j])
    }
    assert pairs_of(found, 4) == expected


def test_a_window_is_drawn_anew_from_1_to_its_width() -> None:
    """A neighbour k words away is one with probability (W - k + 1) / W: of W = 5, the five shares 1, 4/5, ... 1/5."""
    batch = windows(window=5).batch(torch.zeros(64 * 500, dtype=torch.long), torch.Generator().manual_seed(1))
    _, centres, others = batch.near.nonzero(as_tuple=True)
    distances = torch.bincount((others - 5 - centres).abs(), minlength=6)
    assert (distances / (2 * 64 * 500)).tolist() == pytest.approx([0, 1, 0.8, 0.6, 0.4, 0.2], abs=0.01)
    assert batch.pairs == int(batch.near.sum()) == int(distances.sum())


def test_rare_words_are_left_out_before_windows_are_laid() -> None:
    text = torch.tensor([1, NO_WORD, 2, BREAK, 3, 0, BREAK, 2])
    batch = windows(window=1).batch(text, torch.Generator().manual_seed(1))
    words = batch.words[batch.centres].flatten()[:5].tolist()
    assert words == [1, 2, 3, 0, 2]
    assert pairs_of(batch.near, 1) == {(0, 1), (1, 0), (2, 3), (3, 2)}
    around = batch.words[batch.around[0]]  # one word farther on both sides: place i of the text is i + 1 here
    assert around[1:6].tolist() == words


@pytest.mark.parametrize("text", [[], [BREAK], [NO_WORD, BREAK], [3]])
def test_a_text_without_pairs(text: list[int]) -> None:
    batch = windows().batch(torch.tensor(text, dtype=torch.long))
    assert batch.pairs == 0


def test_rows_with_margins() -> None:
    found = in_rows(torch.arange(70), 2, -1)
    assert found.shape == (2, ROW + 4)
    assert found[0].tolist() == [-1, -1, *range(66)]
    assert found[1].tolist() == [*range(62, 70), *[-1] * 60]


class TestVocabulary:
    def test_a_word_is_one_with_and_without_a_space_before_it(self) -> None:
        config = TextConfig(tokenizer="word", min_frequency=1)
        tokenizer = Tokenizer.train(["the cat (the dog) \t", "<s> don't"], config)
        found = Vocabulary.of(tokenizer, len(CONTROL_TOKENS))
        assert sorted(found.words) == sorted(["the", "cat", "(", "dog", ")", "<", "s", ">", "don'", "t"])
        ids = tokenizer.encode("the (the\t</s> <unk>x")
        numbers = found.numbers[ids].tolist()
        assert numbers[:4] == [found.words.index(word) for word in ("the", "(", "the")] + [NO_WORD]
        assert BREAK not in numbers
        assert found.numbers[:4].tolist() == [NO_WORD, NO_WORD, NO_WORD, BREAK]


class TestParts:
    def test_rows_of_words_and_of_unknown_ones(self) -> None:
        config = WordVectorsConfig(buckets=50, shortest=3, longest=4)
        parts = Parts(["as", "where"], config)
        own, other = ([2 + bucket for bucket in buckets_of(word, 3, 4, 50)] for word in ("as", "where"))
        rows, begins = parts.of(torch.tensor([1, 0, 1]))
        assert rows.tolist() == [1, *other, 0, *own, 1, *other]
        assert begins.tolist() == [0, 1 + len(other), 2 + len(other) + len(own)]
        assert parts.of_unknown("as") == own

    def test_without_buckets_a_word_is_one_row(self) -> None:
        parts = Parts(["as", "where"], WordVectorsConfig())
        assert [values.tolist() for values in parts.of(torch.tensor([1, 0]))] == [[1, 0], [0, 1]]
        assert parts.of_unknown("whereas") == []
        assert np.array_equal(parts.of(torch.tensor([], dtype=torch.long))[0].numpy(), [])
