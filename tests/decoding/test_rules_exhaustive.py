"""Rules against exhaustive search, in which a rule is said about the whole output; and deliberate slips that this notices."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from test_search import PENALTIES
from torch import Tensor
from toys import (
    END,
    Ids,
    Table,
    Toy,
    assert_same,
    exhaustive,
    random_table,
    run,
)

from pellucid.base.config import DecodingConfig, Penalty
from pellucid.decoding import rules
from pellucid.decoding.hypothesis import NothingToChooseError
from pellucid.decoding.rules import BannedWords, EndOnly, MinimumLength, NoRepeatedNgrams, Prefixes, Written

GONE = -math.inf


def ngrams(text: Ids, n: int) -> list[Ids]:
    return [text[at : at + n] for at in range(len(text) - n + 1)]


def holds_no(text: Ids, sequence: Ids) -> bool:
    return sequence not in ngrams(text, len(sequence))


CASES: dict[str, tuple[dict[str, Any], Callable[[Ids], bool]]] = {
    "minimum length": ({"rules": [MinimumLength(3, END)]}, lambda text: len(text) >= 4 or END not in text),
    "end only": ({"rules": [EndOnly(END)]}, lambda text: END in text),
    "end only at a length": ({"rules": [EndOnly(END, 2)]}, lambda text: END in text and len(text) <= 3),
    "exact length": ({"rules": [EndOnly(END, 3), MinimumLength(3, END)]}, lambda text: END in text and len(text) == 4),
    "no token twice": ({"rules": [NoRepeatedNgrams(1)]}, lambda text: len(set(text)) == len(text)),
    "no pair twice": ({"rules": [NoRepeatedNgrams(2)]}, lambda text: len(set(ngrams(text, 2))) == len(ngrams(text, 2))),
    "banned": (
        {"rules": [BannedWords([[1, 2], [0, 0, 0], [2, END]])]},
        lambda text: holds_no(text, (1, 2)) and holds_no(text, (0, 0, 0)) and holds_no(text, (2, END)),
    ),
    "prefix": ({"prefixes": [[2, 0]]}, lambda text: text[:2] == (2, 0)),
    "prefix that a rule bans": (
        {"prefixes": [[2, 2]], "rules": [NoRepeatedNgrams(1)]},
        lambda text: text[:2] == (2, 2) and len(set(text[1:])) == len(text[1:]),
    ),
    "all": (
        {"prefixes": [[1]], "rules": [MinimumLength(2, END), NoRepeatedNgrams(2), BannedWords([[1, 1], [0, 2]])]},
        lambda text: (
            text[0] == 1
            and (len(text) >= 3 or END not in text)
            and len(set(ngrams(text, 2))) == len(ngrams(text, 2))
            and holds_no(text, (1, 1))
            and holds_no(text, (0, 2))
        ),
    ),
}


def compare_with_exhaustive(name: str, penalty: tuple[Penalty, float], seeds: Sequence[int], n_best: int = 7) -> None:
    options, holds = CASES[name]
    config = DecodingConfig(beams=324, length_penalty=penalty[0], alpha=penalty[1])
    for seed in seeds:
        table = random_table(seed, towards_end=seed % 4 - 1.0)
        (found,) = run(Toy(table), [(5,)], config, [5], n_best=n_best, **options)
        assert_same(found, [one for one in exhaustive(table, (5,), 5, penalty) if holds(one[1])][:n_best])


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", CASES)
def test_a_wide_beam_finds_what_exhaustive_search_finds(name: str, penalty: tuple[Penalty, float]) -> None:
    compare_with_exhaustive(name, penalty, [2, 3])


def repeating_less(table: Table, penalty: float) -> Table:
    """The table with its logits changed, in plain arithmetic."""

    @cache
    def logits(source: Ids, tokens: Ids) -> list[float]:
        values = list(table(source, tokens))
        return [
            (value / penalty if value > 0 else value * penalty) if token in tokens else value
            for token, value in enumerate(values)
        ]

    return logits


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_wide_beam_with_a_repetition_penalty_finds_the_best_under_the_changed_distribution(
    penalty: tuple[Penalty, float],
) -> None:
    config = DecodingConfig(beams=324, length_penalty=penalty[0], alpha=penalty[1], repetition_penalty=1.4)
    for seed in (4, 5):
        table = random_table(seed)
        (found,) = run(Toy(table), [(5,)], config, [5], n_best=7)
        assert_same(found, exhaustive(repeating_less(table, 1.4), (5,), 5, penalty)[:7])


# Deliberate slips


def slipped(name: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Puts one mistake into the code; the case that must notice it."""
    if name == "end a token too early":
        late = MinimumLength.__call__
        monkeypatch.setattr(
            MinimumLength, "__call__", lambda self, values, now: late(MinimumLength(self.n - 1, END), values, now)
        )
        return "minimum length"
    if name == "n-grams one too long":
        long = NoRepeatedNgrams.__call__
        monkeypatch.setattr(
            NoRepeatedNgrams, "__call__", lambda self, values, now: long(NoRepeatedNgrams(self.n + 1), values, now)
        )
        return "no pair twice"
    if name == "all n-grams banned":

        def all_of_them(self: NoRepeatedNgrams, values: Tensor, now: Written) -> Tensor:
            return values.scatter(1, now.tokens, GONE)

        monkeypatch.setattr(NoRepeatedNgrams, "__call__", all_of_them)
        return "no pair twice"
    if name == "first token of a sequence banned":
        monkeypatch.setattr(BannedWords, "__call__", lambda self, values, now: values.index_fill(1, torch.tensor([1]), GONE))
        return "banned"
    if name == "probabilities shared out anew":
        plain = BannedWords.__call__
        monkeypatch.setattr(BannedWords, "__call__", lambda self, values, now: plain(self, values, now).log_softmax(1))
        return "banned"
    if name == "prefix below the rules":
        force = Prefixes.__call__
        monkeypatch.setattr(Prefixes, "__call__", lambda self, values, without, now: force(self, values, values, now))
        return "prefix that a rule bans"
    assert name == "prefix not in the score"

    def free(self: Prefixes, values: Tensor, without: Tensor, now: Written) -> Tensor:
        return Prefixes.forced(self, values, without, now).masked_fill(  # type: ignore[attr-defined, no-any-return]
            torch.tensor(now.tokens.shape[1] < 2) & (without > GONE), 0.0
        )

    monkeypatch.setattr(Prefixes, "forced", Prefixes.__call__, raising=False)
    monkeypatch.setattr(Prefixes, "__call__", free)
    return "prefix"


@pytest.mark.parametrize(
    "name",
    [
        "end a token too early",
        "n-grams one too long",
        "all n-grams banned",
        "first token of a sequence banned",
        "probabilities shared out anew",
        "prefix below the rules",
        "prefix not in the score",
    ],
)
def test_a_slip_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = slipped(name, monkeypatch)
    with pytest.raises((AssertionError, NothingToChooseError)):
        compare_with_exhaustive(case, ("none", 0.0), range(4), n_best=40)


def test_a_penalty_that_divides_negative_logits_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        rules, "penalised_repetition", lambda logits, tokens, by: logits.scatter(1, tokens, logits.gather(1, tokens) / by)
    )
    with pytest.raises(AssertionError):
        test_a_wide_beam_with_a_repetition_penalty_finds_the_best_under_the_changed_distribution(("none", 0.0))
