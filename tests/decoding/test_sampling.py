"""Outputs drawn at random: how often each token comes, what a seed decides, how they are scored."""

from __future__ import annotations

import math
import random
from collections import Counter
from itertools import product

import pytest
import torch
from torch import Tensor
from toys import END, LIMITS, SOURCES, START, Ids, PromptToy, Toy, log_softmax, padded, random_table, run, whole

from pellucid.base.config import ConfigProblems, DecodingConfig
from pellucid.base.errors import UsageError
from pellucid.decoding.hypothesis import Hypothesis, NothingToChooseError
from pellucid.decoding.sampling import draw, uniform
from pellucid.decoding.scoring import log_probabilities
from pellucid.decoding.search import search

DRAWN = DecodingConfig(beams=1, temperature=1.0)
SEEDS = [11, 5, 70_000, 0, 2**63 + 1, 9, -4]


# The random numbers


def test_a_random_number_depends_on_seed_and_position_alone() -> None:
    """The first 16 hexadecimal digits of ``printf 0/0 | sha256sum`` and so on, as a fraction."""
    first = {(0, 0): "5513e3eabba6d754", (7, 3): "653e83e7d95bb7be", (-5, 12): "aa643bbb979b17f4"}
    for (seed, position), digits in first.items():
        assert uniform(seed, position) == pytest.approx(int(digits, 16) / 16**16, abs=2**-53)
    assert uniform(1, 23) != uniform(12, 3)


def test_the_token_drawn_by_hand() -> None:
    """Shares 0, 1/4, 0, 1/2, 1/4, 0: sums 0, 1/4, 1/4, 3/4, 1, 1. The largest number below 1 still draws a possible token."""
    uniforms = [0.0, 0.2, 0.25, 0.7, 0.75, 1 - 2**-53]
    logits = torch.tensor([0.0, 1.0, 0.0, 2.0, 1.0, 0.0], dtype=torch.float64).log().expand(len(uniforms), -1)
    assert draw(logits, torch.tensor(uniforms, dtype=torch.float64)).tolist() == [1, 1, 3, 3, 4, 4]


# Frequencies


class Unmoved:
    """A model that remembers nothing and gives every row the same logits."""

    def __init__(self, logits: list[float]) -> None:
        self.logits = torch.tensor(logits)

    def encode(self, source: Tensor, mask: Tensor) -> None:
        return None

    def start(self, memory: None, beams: int = 1) -> None:
        return None

    def step(self, ids: Tensor, state: None) -> tuple[Tensor, None]:
        return self.logits.expand(len(ids), 1, -1), state


def many(logits: list[float], n: int, limit: int, config: DecodingConfig) -> list[list[Hypothesis]]:
    source, mask = torch.zeros(n, 0, dtype=torch.int64), torch.zeros(n, 0, dtype=torch.bool)
    return search(Unmoved(logits), source, mask, config, start=START, end=None, limits=torch.full((n,), limit))


def texts(found: list[list[Hypothesis]]) -> list[Ids]:
    return [whole(one) for (one,) in found]


def filtered(logits: list[float], config: DecodingConfig) -> list[float]:
    """The distribution to draw from, token by token."""
    weights = [math.exp(value / config.temperature) for value in logits]
    ranked = sorted(range(len(weights)), key=lambda token: -weights[token])
    ranked = ranked[: config.top_k or None]
    total, sums, kept = sum(weights[token] for token in ranked), 0.0, []
    for token in ranked:
        kept.append(token)
        sums += weights[token] / total
        if sums >= config.top_p:
            break
    kept = [token for token in kept if weights[token] >= config.min_p * max(weights)]
    total = sum(weights[token] for token in kept)
    return [weights[token] / total if token in kept else 0.0 for token in range(len(weights))]


@pytest.mark.parametrize(
    ("config", "possible"),
    [
        (DecodingConfig(beams=1, temperature=0.6), 5),
        (DecodingConfig(beams=1, temperature=1.5, top_k=3), 3),
        (DecodingConfig(beams=1, temperature=1.5, top_p=0.85), 4),
        (DecodingConfig(beams=1, temperature=1.5, top_k=3, top_p=0.75), 2),  # top-p first would leave 3
        (DecodingConfig(beams=1, temperature=1.5, min_p=0.4), 3),
        (DecodingConfig(beams=1, temperature=0.8, min_p=0.4), 2),  # without the temperature it would leave 3
        (DecodingConfig(beams=1, temperature=1.5, top_k=4, top_p=0.9, min_p=0.3), 4),
    ],
)
def test_frequencies_of_a_hundred_thousand_draws(config: DecodingConfig, possible: int) -> None:
    """Each count lies within 3 standard deviations of its binomial distribution; what was removed never comes."""
    logits = [0.3, 1.2, -0.6, 0.8, -1.0]
    n = 100_000
    counts = Counter(texts(many(logits, n, 1, config)))
    shares = filtered(logits, config)
    assert sum(share > 0 for share in shares) == possible
    assert len(counts) == possible
    for token, share in enumerate(shares):
        assert abs(counts[(token,)] - n * share) <= 3 * math.sqrt(n * share * (1 - share)), token


def test_tokens_of_one_output_and_of_neighbouring_seeds_are_independent() -> None:
    """Two tokens of each output, of seeds that follow one another: every pair as often as its shares' product says."""
    shares, n = [0.5, 0.2, 0.3], 40_000
    found = texts(many([math.log(share) for share in shares], n, 2, DRAWN))
    in_one = Counter(found)
    in_neighbours = Counter((found[at][0], found[at + 1][0]) for at in range(0, n, 2))
    for pair in product(range(3), repeat=2):
        share = shares[pair[0]] * shares[pair[1]]
        assert abs(in_one[pair] - n * share) <= 3 * math.sqrt(n * share * (1 - share)), pair
        assert abs(in_neighbours[pair] - n / 2 * share) <= 3 * math.sqrt(n / 2 * share * (1 - share)), pair


# What a seed decides


@pytest.mark.parametrize("config", [DRAWN, DecodingConfig(beams=1, temperature=1.7, top_k=6, top_p=0.95)])
def test_a_seed_gives_the_same_text_alone_and_in_any_batch(config: DecodingConfig) -> None:
    table = random_table(20, vocabulary=8, spread=1.0, towards_end=0.5)
    batch = run(Toy(table), SOURCES, config, LIMITS, seeds=SEEDS)
    alone = [
        run(Toy(table), [source], config, [limit], seeds=[seed])[0]
        for source, limit, seed in zip(SOURCES, LIMITS, SEEDS, strict=True)
    ]
    assert batch == alone
    assert len({len(text) for text in texts(batch)}) > 3
    order = random.Random(3).sample(range(len(SOURCES)), 4)
    mixed = run(Toy(table), [SOURCES[i] for i in order], config, [LIMITS[i] for i in order], seeds=[SEEDS[i] for i in order])
    assert mixed == [alone[i] for i in order]
    assert batch == run(Toy(table), SOURCES, config, LIMITS, seeds=SEEDS)  # a second call equals the first


def test_seeds_decide_and_default_to_the_place() -> None:
    table = random_table(21, vocabulary=8, towards_end=-99.0)
    same = [SOURCES[0]] * 30, DRAWN, [12] * 30
    by_place = run(Toy(table), *same)
    assert by_place == run(Toy(table), *same, seeds=range(30))
    assert by_place == run(Toy(table), *same, seeds=torch.arange(30))
    assert len(set(texts(by_place))) == 30
    assert len(set(texts(run(Toy(table), *same, seeds=[8] * 30)))) == 1
    assert set(texts(by_place)).isdisjoint(texts(run(Toy(table), *same, seeds=range(100, 130))))


def test_a_longer_limit_only_goes_on() -> None:
    table = random_table(22, vocabulary=8, towards_end=-3.0)
    ((short,),) = run(Toy(table), [(5,)], DRAWN, [6], seeds=[4])
    ((long,),) = run(Toy(table), [(5,)], DRAWN, [20], seeds=[4])
    assert (len(short.ids), short.reason) == (6, "length")
    assert long.ids[:6] == short.ids
    assert len(long.ids) > 6


@pytest.mark.parametrize("end", [END, None])
def test_prompts_with_last_tokens_of_their_own(end: int | None) -> None:
    prompts: list[Ids] = [(5, 6, 7), (8,), (9, 9, 4, 2), (6,), (7, 7)]
    model = PromptToy(random_table(23, vocabulary=8))
    source, mask = padded([prompt[:-1] for prompt in prompts])
    last, limits = torch.tensor([prompt[-1] for prompt in prompts]), torch.tensor([9, 4, 12, 1, 7])
    found = search(model, source, mask, DRAWN, start=last, end=end, limits=limits, seeds=SEEDS[:5])
    for prompt, limit, seed, one in zip(prompts, limits, SEEDS, found, strict=False):
        first = padded([prompt[:-1]])
        assert search(model, *first, DRAWN, start=prompt[-1], end=end, limits=limit[None], seeds=[seed]) == [one]
    if end is None:
        assert [(len(one.ids), one.reason) for (one,) in found] == [(limit, "length") for limit in limits.tolist()]
        assert any(END in one.ids for (one,) in found)


# What becomes greedy search


@pytest.mark.parametrize(
    "config",
    [
        DecodingConfig(beams=1, temperature=1.0, top_p=1e-9),
        DecodingConfig(beams=1, temperature=5.0, top_k=1),
        DecodingConfig(beams=1, temperature=5.0, min_p=1.0),
        DecodingConfig(beams=1, temperature=1e-12),
    ],
)
def test_with_one_token_left_it_is_greedy_search(config: DecodingConfig) -> None:
    model = Toy(random_table(24, vocabulary=200, towards_end=2.0))
    found = run(model, SOURCES, config, LIMITS, forbidden=(START, 7), seeds=SEEDS)
    assert found == run(model, SOURCES, DecodingConfig(beams=1), LIMITS, forbidden=(START, 7))


@pytest.mark.parametrize("config", [DecodingConfig(beams=1, temperature=1.0, top_p=1e-9), DecodingConfig(beams=1)])
def test_among_equals_the_lowest_token_wins(config: DecodingConfig) -> None:
    ((one,),) = run(Toy(lambda source, tokens: [0.0] * 6), [(5,)], config, [3], forbidden=(START,))
    assert one.ids == (1, 1, 1)


# Scores, what is forbidden, and what is wrong


def test_the_score_is_the_models_without_temperature_and_filters() -> None:
    model = Toy(random_table(25, vocabulary=8, towards_end=1.0))
    config = DecodingConfig(beams=1, temperature=2.0, top_k=5, top_p=0.9, length_penalty="gnmt", alpha=1.0)
    found = run(model, SOURCES, config, LIMITS, forbidden=(START, 1), seeds=SEEDS)
    assert {one.reason for (one,) in found} == {"end", "length"}
    for source, limit, (one,) in zip(SOURCES, LIMITS, found, strict=True):
        text = whole(one)
        total = sum(log_softmax(model.table(source, text[:at]))[text[at]] for at in range(len(text)))
        assert one.log_probability == pytest.approx(total, abs=1e-5)
        assert one.score == pytest.approx(total / ((5 + len(text)) / 6), abs=1e-5)
        assert (len(one.ids) == limit) if one.reason == "length" else (END not in one.ids)
    totals = log_probabilities(model, *padded(SOURCES), texts(found), start=START)
    assert [one.log_probability for (one,) in found] == pytest.approx(totals, abs=1e-5)


def test_forbidden_tokens_are_never_drawn_and_take_no_place_from_the_filters() -> None:
    """Tokens 1 and 4 have most of the probability. Of the others, 5 and 2 are the two most probable."""
    model = Toy(lambda source, tokens: [0.0, 9.0, 1.0, 0.5, 8.0, 2.0])
    n = 400
    config = DecodingConfig(beams=1, temperature=1.0, top_k=2)
    options = {"forbidden": (1, 4), "seeds": range(n)}
    found = run(model, [(5,)] * n, config, [1] * n, **options)
    assert Counter(one.ids for (one,) in found).keys() == {(2,), (5,)}


@pytest.mark.parametrize("bad", [[math.nan] * 8, [math.inf] + [0.0] * 7, [0.0] * 3 + [math.nan] + [0.0] * 4, [-math.inf] * 8])
@pytest.mark.parametrize("config", [DRAWN, DecodingConfig(beams=1, temperature=0.5, top_k=3, top_p=0.9)])
def test_bad_logits_end_the_drawing_and_name_the_sentence(bad: list[float], config: DecodingConfig) -> None:
    def table(source: Ids, tokens: Ids) -> list[float]:
        return bad if source == (7, 7) and len(tokens) == 2 else [0.0, 0.1, 0.2, -99.0, 0.3, 0.4, 0.5, 0.6]

    with pytest.raises(NothingToChooseError, match=r"sentence 4 of the batch .*, output token 3"):
        run(Toy(table), SOURCES, config, [9, 4, 12, 1, 7, 9, 6])


def test_nothing_but_impossible_tokens_left_by_what_is_forbidden() -> None:
    model = Toy(lambda source, tokens: [0.0, 1.0, -math.inf, -math.inf])
    with pytest.raises(NothingToChooseError, match="sentence 0"):
        run(model, [(5,)], DRAWN, [3], forbidden=(0, 1))


def test_several_beams_are_refused() -> None:
    with pytest.raises(ConfigProblems, match="beams: must be 1 to draw tokens"):
        DecodingConfig(beams=4, temperature=1.0)


@pytest.mark.parametrize("seeds", [[1], [1, 2, 3], torch.tensor([1])])
def test_a_seed_for_every_sentence_or_none(seeds: object) -> None:
    with pytest.raises(UsageError, match=r"expected: 2\n.*found: +[13]"):
        run(Toy(random_table(1)), [(5,), (6,)], DRAWN, [3, 3], seeds=seeds)
