"""Speculative decoding: the distribution of the large model exactly, whatever the small one proposes; and how it counts."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import product

import pytest
import torch
from toys import (
    END,
    LIMITS,
    SOURCES,
    START,
    Ids,
    PromptToy,
    Table,
    Toy,
    log_softmax,
    padded,
    random_table,
    run,
    untrained,
    whole,
)

from pellucid.base.config import DecodingConfig
from pellucid.base.errors import UsageError
from pellucid.decoding import speculative
from pellucid.decoding.ensemble import Ensemble
from pellucid.decoding.hypothesis import NothingToChooseError
from pellucid.decoding.rules import BannedWords
from pellucid.decoding.search import search
from pellucid.decoding.speculative import Speculated, accept, speculate

GREEDY = DecodingConfig(beams=1)
DRAWN = DecodingConfig(beams=1, temperature=1.0)


def speculated(
    large: Table, small: Table, sources: Sequence[Ids], config: DecodingConfig, limits: Sequence[int], **options: object
) -> list[Speculated]:
    source, mask = padded(sources)
    options = {"start": START, "end": END, **options}
    return speculate(Toy(large), Toy(small), source, mask, config, limits=torch.tensor(limits), **options)  # type: ignore[arg-type]


# One proposal


def test_accepting_by_hand() -> None:
    """p = 0.5, 0.3, 0.2 and q = 0.25, 0.15, 0.6. Token 2 is accepted in 1 of 3 cases; else 0.25 and 0.15 are scaled."""
    large, small = torch.tensor([0.5, 0.3, 0.2]).double(), torch.tensor([0.25, 0.15, 0.6]).double()
    for token, chance in enumerate([1.0, 1.0, 1 / 3]):
        found, instead = accept(large, small, token)
        assert found == pytest.approx(chance, abs=1e-7)
        torch.testing.assert_close(instead, torch.tensor([0.625, 0.375, 0.0]).double(), rtol=0.0, atol=1e-7)


def random_shares(numbers: random.Random, vocabulary: int) -> list[float]:
    """Some of them 0."""
    weights = [0.0 if numbers.random() < 0.3 else numbers.expovariate(1.0) for _ in range(vocabulary)]
    weights[numbers.randrange(vocabulary)] += 0.5
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize("vocabulary", [2, 3, 7])
def test_what_is_accepted_and_what_comes_instead_add_up_to_the_large_model(vocabulary: int) -> None:
    """P(y) = q(y) a(y) + sum over x of q(x) (1 - a(x)) r(y) is p(y), for 300 pairs of distributions and when both are equal."""
    numbers = random.Random(vocabulary)
    pairs = [(random_shares(numbers, vocabulary), random_shares(numbers, vocabulary)) for _ in range(300)]
    pairs += [(shares, shares) for shares, _ in pairs[:50]]
    for large, small in pairs:
        total = [0.0] * vocabulary
        for token, share in enumerate(small):
            if share > 0.0:
                chance, instead = accept(torch.tensor(large).double(), torch.tensor(small).double(), token)
                total[token] += share * chance
                total = [one + share * (1.0 - chance) * other for one, other in zip(total, instead.tolist(), strict=True)]
        assert total == pytest.approx(large, abs=1e-6)


# Whole outputs, every random number enumerated


def quarters(tokens: Ids, *, large: bool) -> list[float]:
    """Distributions such that every chance and every sum is a multiple of 1/4; they depend on the tokens before."""
    kinds = [
        ((0.25, 0.75), (0.5, 0.5)),
        ((0.75, 0.25), (1.0, 0.0)),
        ((0.5, 0.5), (0.5, 0.5)),
        ((0.0, 1.0), (0.25, 0.75)),
        ((0.75, 0.25), (0.5, 0.5)),
        ((0.5, 0.5), (0.0, 1.0)),
        ((0.25, 0.75), (1.0, 0.0)),
    ]
    both = kinds[(3 * sum(2**at * token for at, token in enumerate(tokens)) + 2 * len(tokens)) % len(kinds)]
    return list(both[0] if large else both[1])


def logarithms(shares: Callable[[Ids], Sequence[float]]) -> Table:
    return lambda source, tokens: [math.log(share) if share else -math.inf for share in shares(tokens)]


def scripts(play: Callable[[Callable[[int, int], float]], None]) -> Iterator[float]:
    """Plays with every sequence of the numbers 1/8, 3/8, 5/8, 7/8, each place asked for once; the weight of each sequence."""
    pending: list[dict[int, float]] = [{}]
    while pending:
        known = dict(pending.pop())
        used: set[int] = set()

        def number(seed: int, place: int, known: dict[int, float] = known, used: set[int] = used) -> float:
            used.add(place)
            if place not in known:
                pending.extend({**known, place: other} for other in (3 / 8, 5 / 8, 7 / 8))
                known[place] = 1 / 8
            return known[place]

        play(number)
        assert used == known.keys()
        yield 0.25 ** len(known)


@pytest.mark.parametrize(("ahead", "limit"), [(1, 2), (2, 3)])
def test_every_output_has_exactly_the_probability_that_the_large_model_gives_it(
    ahead: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs of two tokens. That each of the four numbers stands for a quarter of all is exact here: nothing is chance."""
    large = logarithms(lambda tokens: quarters(tokens, large=True))
    small = logarithms(lambda tokens: quarters(tokens, large=False))
    found: list[Ids] = []

    def play(number: Callable[[int, int], float]) -> None:
        monkeypatch.setattr(speculative, "uniform", number)
        [one] = speculated(large, small, [(5,)], DRAWN, [limit], end=None, ahead=ahead)
        found.append(one.hypothesis.ids)

    weights = list(scripts(play))
    total: Counter[Ids] = Counter()
    for ids, weight in zip(found, weights, strict=True):
        total[ids] += weight  # type: ignore[assignment]
    assert len(found) > 100
    for ids in product((0, 1), repeat=limit):
        expected = math.prod(quarters(ids[:at], large=True)[ids[at]] for at in range(limit))
        assert total[ids] == expected, ids
    assert len(set(total.values())) > 1


# Two samples


def chi_square_p(first: Counter[Ids], second: Counter[Ids], least: int = 10) -> float:
    """Pearson's two-sample test; outputs that came fewer than ``least`` times in all are counted together."""
    cells: dict[object, list[int]] = {}
    for key in first | second:
        cell = cells.setdefault(key if first[key] + second[key] >= least else "rare", [0, 0])
        cell[0] += first[key]
        cell[1] += second[key]
    ratio = math.sqrt(second.total() / first.total())
    statistic = sum((a * ratio - b / ratio) ** 2 / (a + b) for a, b in cells.values())
    p: float = torch.special.gammaincc(torch.tensor((len(cells) - 1) / 2).double(), torch.tensor(statistic / 2).double()).item()
    return p


def test_the_chi_square_test_by_closed_forms() -> None:
    """Statistic 400/180 + 400/220. With 1 degree of freedom p is erfc(sqrt(x / 2)), with 2 it is exp(-x / 2)."""
    statistic = 400 / 180 + 400 / 220
    two = Counter({(0,): 100, (1,): 100}), Counter({(0,): 80, (1,): 120})
    assert chi_square_p(*two) == pytest.approx(math.erfc(math.sqrt(statistic / 2)), abs=1e-6)
    three = Counter({(0,): 100, (1,): 100, (2,): 50}), Counter({(0,): 80, (1,): 120, (2,): 50})
    assert chi_square_p(*three) == pytest.approx(math.exp(-statistic / 2), abs=1e-6)
    rare = Counter({(2,): 4, (3,): 3, (4,): 5, (5,): 1}), Counter({(2,): 1, (3,): 2, (4,): 4, (6,): 6})  # 13 each
    assert chi_square_p(two[0] + rare[0], two[1] + rare[1]) == pytest.approx(math.exp(-statistic / 2), abs=1e-6)


FILTERED = DecodingConfig(beams=1, temperature=1.4, top_k=4, top_p=0.9)
RULED = DecodingConfig(beams=1, temperature=1.2, min_p=0.2, repetition_penalty=1.5, no_repeat_ngram=2, min_length=1)
N_DRAWN = 1200


@cache
def counted(config: DecodingConfig, ahead: int | None) -> Counter[Ids]:
    """Outputs of up to 3 tokens, of a toy and another as its draft; without ``ahead`` those of plain drawing."""
    large, small = random_table(41, vocabulary=5, spread=0.8), random_table(42, vocabulary=5, spread=0.8)
    sources, limits = [(5,)] * N_DRAWN, [3] * N_DRAWN
    if ahead is None:
        plain = run(Toy(large), sources, config, limits, forbidden=(START,))
        return Counter(whole(one) for (one,) in plain)
    found = speculated(
        large, small, sources, config, limits, ahead=ahead, forbidden=(START,), seeds=range(10_000, 10_000 + N_DRAWN)
    )
    assert 0.2 * N_DRAWN < sum(one.accepted for one in found) < sum(one.proposed for one in found)
    return Counter(whole(one.hypothesis) for one in found)


@pytest.mark.parametrize("config", [DRAWN, FILTERED, RULED])
def test_outputs_come_as_often_as_those_of_plain_drawing(config: DecodingConfig) -> None:
    """Both samples are fixed by their seeds. If they were not, the test would fail once in a thousand times."""
    plain, found = counted(config, None), counted(config, 2)
    assert len(plain) > 10
    assert chi_square_p(plain, found) > 0.001


def test_accepting_everything_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speculative, "accept", lambda large, small, token: (1.0, large))
    large, small = random_table(41, vocabulary=5, spread=0.8), random_table(42, vocabulary=5, spread=0.8)
    found = speculated(large, small, [(5,)] * 600, DRAWN, [3] * 600, ahead=2, forbidden=(START,))
    wrong = Counter(whole(one.hypothesis) for one in found)
    assert chi_square_p(counted(DRAWN, None), wrong) < 1e-6


# Greedy


@pytest.mark.parametrize("ahead", [1, 2, 3, 7])
@pytest.mark.parametrize("drafts_seed", [50, 51])
def test_greedy_ids_and_scores_are_those_of_greedy_search(ahead: int, drafts_seed: int) -> None:
    """Once the draft is the model itself, once another."""
    large, small = (random_table(seed, vocabulary=6, towards_end=-1.0) for seed in (50, drafts_seed))
    config = DecodingConfig(beams=1, length_penalty="gnmt", alpha=0.6)
    expected = run(Toy(large), SOURCES, config, LIMITS, forbidden=(START, 4))
    found = speculated(large, small, SOURCES, config, LIMITS, ahead=ahead, forbidden=(START, 4))
    for one, (other,) in zip(found, expected, strict=True):
        assert (one.hypothesis.ids, one.hypothesis.reason) == (other.ids, other.reason)
        assert one.hypothesis.score == pytest.approx(other.score, abs=1e-6)
        assert one.hypothesis.log_probability == pytest.approx(other.log_probability, abs=1e-6)
    assert {one.hypothesis.reason for one in found} == {"end", "length"}
    if drafts_seed == 50:
        assert all(one.accepted == one.proposed for one in found)


def test_counts_by_hand() -> None:
    """The large model writes 1 2 1 2 1 2 ..., the small one 1 2 4, then 1 again: of the first three proposals two are right.

    Passes: 1 2 | 1 instead of 4, then 2 1 2, all right, and 1 of its own; then 2 1, and the limit: a pass must give one itself.
    """

    def large(source: Ids, tokens: Ids) -> list[float]:
        return [9.0 if token == (1, 2)[len(tokens) % 2] else 0.0 for token in range(5)]

    def small(source: Ids, tokens: Ids) -> list[float]:
        wanted = 4 if len(tokens) == 2 else (1, 2)[len(tokens) % 2]
        return [9.0 if token == wanted else 0.0 for token in range(5)]

    [one] = speculated(large, small, [(5,)], GREEDY, [10], ahead=3)
    assert one.hypothesis.ids == (1, 2, 1, 2, 1, 2, 1, 2, 1, 2)
    assert one.hypothesis.reason == "length"
    assert (one.proposed, one.accepted, one.passes) == (8, 7, 3)


def test_the_output_ends_at_an_accepted_end_and_nothing_is_proposed_behind_it() -> None:
    def table(source: Ids, tokens: Ids) -> list[float]:
        return [9.0 if token == (1, 2, END, 1)[len(tokens)] else 0.0 for token in range(5)]

    [one] = speculated(table, table, [(5,)], GREEDY, [9], ahead=6)
    assert (one.hypothesis.ids, one.hypothesis.reason) == ((1, 2), "end")
    assert (one.proposed, one.accepted, one.passes) == (3, 3, 1)
    assert one.hypothesis.log_probability == pytest.approx(3 * log_softmax([9.0, 0.0, 0.0, 0.0, 0.0])[0], abs=1e-6)


# Models with caches


PROMPTS: list[Ids] = [(5, 6, 7), (8,), (9, 9, 4, 2), (6,), (7, 7)]


@pytest.mark.parametrize("architecture", ["encoder-decoder", "decoder"])
@pytest.mark.parametrize("ahead", [1, 4])
def test_transformers_write_greedily_what_the_large_one_writes_alone(architecture: str, ahead: int) -> None:
    """Proposals are taken back from both caches, prompts and sources padded in the batch."""
    large, small = untrained(1, 2, 12, architecture), untrained(2, 1, 8, architecture)
    similar = untrained(1, 2, 12, architecture, noise=0.05)
    prompts = PROMPTS if architecture == "decoder" else [(*prompt, END) for prompt in PROMPTS]
    source, mask = padded([prompt[:-1] for prompt in prompts])
    start = torch.tensor([prompt[-1] for prompt in prompts])
    options = {"start": start, "end": END, "limits": torch.tensor([12, 9, 14, 1, 11]), "forbidden": (START,)}
    expected = search(large, source, mask, GREEDY, **options)  # type: ignore[arg-type]
    for draft in (small, similar, large):
        found = speculate(large, draft, source, mask, GREEDY, ahead=ahead, **options)  # type: ignore[arg-type]
        assert [one.hypothesis.ids for one in found] == [one.ids for (one,) in expected]
        scores = [one.log_probability for (one,) in expected]
        assert [one.hypothesis.log_probability for one in found] == pytest.approx(scores, abs=1e-4)
        accepted, proposed = sum(one.accepted for one in found), sum(one.proposed for one in found)
        assert (accepted == proposed) if draft is large else (0 < accepted < proposed)


def test_a_drawn_text_depends_on_its_seed_alone() -> None:
    large, small = untrained(1, 2, 12, "decoder"), untrained(2, 1, 8, "decoder")
    source, mask = padded([prompt[:-1] for prompt in PROMPTS])
    starts, limits, seeds = [prompt[-1] for prompt in PROMPTS], [9, 6, 11, 3, 8], [4, 2**40, -7, 0, 12]
    found = speculate(
        large,
        small,
        source,
        mask,
        FILTERED,
        start=torch.tensor(starts),
        end=None,
        limits=torch.tensor(limits),
        seeds=seeds,
    )
    for prompt, limit, seed, one in zip(PROMPTS, limits, seeds, found, strict=True):
        alone = padded([prompt[:-1]])
        limits_alone = torch.tensor([limit])
        options = {"start": prompt[-1], "end": None, "limits": limits_alone, "seeds": torch.tensor([seed])}
        assert speculate(large, small, *alone, FILTERED, **options) == [one]  # type: ignore[arg-type]
        assert len(one.hypothesis.ids) == limit
    others = speculate(
        large, small, source, mask, FILTERED, start=torch.tensor(starts), end=None, limits=torch.tensor(limits), seeds=range(5)
    )
    assert [one.hypothesis.ids for one in others] != [one.hypothesis.ids for one in found]


def test_an_ensemble_can_be_the_large_model_and_limits_default_to_the_source() -> None:
    tables = [random_table(seed, vocabulary=6, towards_end=-3.0) for seed in (60, 61)]
    ensemble = Ensemble([Toy(table) for table in tables])
    config = DecodingConfig(beams=1, max_extra=4)
    source, mask = padded(SOURCES)
    expected = search(ensemble, source, mask, config, start=START, end=END)
    found = speculate(ensemble, Toy(tables[0]), source, mask, config, start=START, end=END)
    assert [one.hypothesis.ids for one in found] == [one.ids for (one,) in expected]
    assert max(len(one.hypothesis.ids) for one in found) == 5 + 4


def test_prompts_and_filters_that_leave_one_token() -> None:
    large, small = random_table(62, vocabulary=8), random_table(63, vocabulary=8)
    source, mask = padded([prompt[:-1] for prompt in PROMPTS])
    options = {"start": torch.tensor([prompt[-1] for prompt in PROMPTS]), "end": END, "limits": torch.tensor([9, 4, 12, 1, 7])}
    expected = search(PromptToy(large), source, mask, GREEDY, **options)  # type: ignore[arg-type]
    for config in (DecodingConfig(beams=1, temperature=1.0, top_p=1e-9), DecodingConfig(beams=1, temperature=5.0, top_k=1)):
        found = speculate(PromptToy(large), PromptToy(small), source, mask, config, **options)  # type: ignore[arg-type]
        assert [one.hypothesis.ids for one in found] == [one.ids for (one,) in expected]


def test_rules_and_prefixes_hold_as_in_greedy_search() -> None:
    """The rules count what has been written up to each proposal; a prefix is always accepted."""
    large, small = random_table(64, vocabulary=6, towards_end=1.0), random_table(65, vocabulary=6, towards_end=1.0)
    config = DecodingConfig(beams=1, repetition_penalty=1.3, no_repeat_ngram=2, min_length=3)
    prefixes: list[Ids] = [(1, 2), (), (4, 4, 4), (5,), (), (2,), ()]
    options = {"rules": [BannedWords([(5, 1), (2,)])], "forbidden": (START,)}
    for more in ({}, {"prefixes": [(1, 4), (), (4, 4, 4), (5,), (), (1,), ()]}):
        expected = run(Toy(large), SOURCES, config, LIMITS, **options, **more)
        found = speculated(large, small, SOURCES, config, LIMITS, ahead=3, **options, **more)
        assert [one.hypothesis.ids for one in found] == [one.ids for (one,) in expected]
        scores = [one.score for (one,) in expected]
        assert [one.hypothesis.score for one in found] == pytest.approx(scores, abs=1e-6)
        assert sum(one.accepted for one in found) > 3
    plain = run(Toy(large), SOURCES, DecodingConfig(beams=1), LIMITS, forbidden=(START,))
    assert [one.hypothesis.ids for one in found] != [one.ids for (one,) in plain]
    with pytest.raises(UsageError, match="what is forced is banned"):
        speculated(large, small, SOURCES, config, LIMITS, prefixes=prefixes, **options)


# What is wrong


def test_what_makes_no_sense_is_refused() -> None:
    table = random_table(1)
    with pytest.raises(UsageError, match=r"beams: speculative decoding has no beams\n.*1\n.*4"):
        speculated(table, table, [(5,)], DecodingConfig(beams=4), [3])
    with pytest.raises(UsageError, match="ahead: the small model must propose something"):
        speculated(table, table, [(5,)], GREEDY, [3], ahead=0)
    with pytest.raises(UsageError, match="every sentence needs one seed"):
        speculated(table, table, [(5,)], DRAWN, [3], seeds=[1, 2])
    with pytest.raises(UsageError, match=r"must share their vocabulary\n.*expected: 4\n.*found: +6\n"):
        speculated(table, random_table(1, vocabulary=6), [(5,)], GREEDY, [3])


@pytest.mark.parametrize("config", [GREEDY, DRAWN])
@pytest.mark.parametrize("damaged", ["large", "small"])
@pytest.mark.parametrize("bad", [[math.nan] * 4, [math.inf, 0.0, 0.0, 0.0], [-math.inf] * 4])
def test_bad_logits_of_either_model_end_the_search(config: DecodingConfig, damaged: str, bad: list[float]) -> None:
    def broken(source: Ids, tokens: Ids) -> list[float]:
        return bad if source == (6,) and len(tokens) == 1 else [0.0, 0.1, 0.2, -99.0]

    def sound(source: Ids, tokens: Ids) -> list[float]:
        return [0.0, 0.1, 0.2, -99.0]

    models = (broken, sound) if damaged == "large" else (sound, broken)
    with pytest.raises(NothingToChooseError, match=r"sentence 1 of the batch .*, output token 2"):
        speculated(*models, [(5,), (6,)], config, [4, 4], ahead=2)
