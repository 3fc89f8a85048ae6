"""Greedy and beam search, against exhaustive search and against one without cache, batch and stop rule.

All of them search a toy: a table of logits for every beginning of an output. Numbers written out are worked by hand
beside them.
"""

from __future__ import annotations

import math
import random
from functools import partial

import pytest
import torch
from toys import (
    END,
    LIMITS,
    SOURCES,
    START,
    Ids,
    Toy,
    assert_same,
    exhaustive,
    log_softmax,
    padded,
    penalised,
    plain_beam_search,
    random_table,
    run,
    whole,
)

from pellucid.base.config import DecodingConfig, Penalty
from pellucid.base.errors import ModelError, UsageError
from pellucid.decoding.hypothesis import NothingToChooseError
from pellucid.decoding.penalties import length_penalty
from pellucid.decoding.scoring import log_probabilities
from pellucid.decoding.search import search

PENALTIES: list[tuple[Penalty, float]] = [
    ("none", 0.0),
    *(("gnmt", alpha) for alpha in (0.0, 0.6, 1.0, 2.5)),
    *(("power", alpha) for alpha in (0.0, 0.4, 1.0, 2.0)),
]


# Penalties


def test_penalties_by_hand() -> None:
    assert length_penalty("gnmt", 0.6)(1) == 1.0  # (6 / 6)^a
    assert length_penalty("gnmt", 2.0)(7) == 4.0  # (12 / 6)^2
    assert length_penalty("power", 0.5)(9) == 3.0
    assert length_penalty("power", 1.0)(7) == 7.0
    assert length_penalty("none", 5.0)(7) == 1.0
    assert length_penalty("gnmt", 0.0)(50) == length_penalty("power", 0.0)(50) == 1.0


# Beam search against exhaustive search


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("n_best", [1, 7])
def test_a_wide_beam_finds_what_exhaustive_search_finds(penalty: tuple[Penalty, float], n_best: int) -> None:
    """4 tokens, 5 long: 364 outputs, and no more than 4 * 3^4 = 324 extensions to rank at any step."""
    config = DecodingConfig(beams=324, length_penalty=penalty[0], alpha=penalty[1])
    for seed in range(12):
        table = random_table(seed, towards_end=seed % 4 - 1.0)
        (found,) = run(Toy(table), [(5,)], config, [5], n_best=n_best)
        assert_same(found, exhaustive(table, (5,), 5, penalty)[:n_best])


def test_the_whole_list_of_outputs_is_exhaustive() -> None:
    table = random_table(3)
    (found,) = run(Toy(table), [(5,)], DecodingConfig(beams=400, length_penalty="power", alpha=1.0), [5], n_best=364)
    assert_same(found, exhaustive(table, (5,), 5, ("power", 1.0)))
    assert len(found) == 1 + 3 + 9 + 27 + 81 + 243
    assert {one.reason for one in found} == {"end", "length"}


def first_ending_is_not_best(source: Ids, tokens: Ids) -> list[float]:
    """Log probabilities: at first 0.5 to end and 0.45 for token 1; then 0.9 to end."""
    shares = (0.05, 0.04, 0.01, 0.9) if tokens else (0.03, 0.45, 0.02, 0.5)
    return [math.log(share) for share in shares]


def test_the_stop_rule_by_hand() -> None:
    """The empty output scores ln 0.5 = -0.693. "1" sums to ln 0.405 = -0.904: worse, but a mean of -0.452 a token."""
    model = Toy(first_ending_is_not_best)
    ((found,),) = run(model, [(5,)], DecodingConfig(beams=2, length_penalty="none"), [20])
    assert (found.ids, found.reason) == ((), "end")
    assert found.score == found.log_probability == pytest.approx(math.log(0.5))
    assert len(model.rows) == 1  # ln 0.45 < ln 0.5, and sums only fall

    model = Toy(first_ending_is_not_best)
    ((found,),) = run(model, [(5,)], DecodingConfig(beams=2, length_penalty="power", alpha=1.0), [4])
    assert found.ids == (1,)
    assert found.log_probability == pytest.approx(math.log(0.45 * 0.9))
    assert found.score == pytest.approx(math.log(0.45 * 0.9) / 2)
    # Alive after two tokens at best 0.45 * 0.05, after three 0.45 * 0.05 * 0.05: ln over 4 is -0.949, then -1.698.
    assert len(model.rows) == 2


def test_searching_stops_long_before_the_limit() -> None:
    table = random_table(1, vocabulary=9, towards_end=3.0)
    model = Toy(table)
    run(model, [(5,)], DecodingConfig(beams=4, length_penalty="gnmt", alpha=0.6), [500])
    assert len(model.rows) < 40


# Beam search of batches against one without cache, batch and stop rule


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("beams", [2, 3, 5])
def test_a_batch_equals_searches_up_to_the_limit_without_cache(penalty: tuple[Penalty, float], beams: int) -> None:
    config = DecodingConfig(beams=beams, length_penalty=penalty[0], alpha=penalty[1])
    for seed in range(6):
        table = random_table(seed, vocabulary=8, spread=2.0, towards_end=seed / 3)
        for n_best in (1, beams):
            model = Toy(table)
            found = run(model, SOURCES, config, LIMITS, n_best=n_best, forbidden=(START, 1))
            for source, limit, one in zip(SOURCES, LIMITS, found, strict=True):
                expected = plain_beam_search(partial(table, source), limit, config, n_best, forbidden=(START, 1))
                assert_same(one, expected)
        assert model.rows[0] == len(SOURCES) * beams
        assert model.rows == sorted(model.rows, reverse=True)  # finished sentences leave
        assert model.rows[1] < model.rows[0]  # the limit of one is 1


@pytest.mark.parametrize("beams", [1, 5])
def test_a_sentence_alone_equals_itself_in_any_batch(beams: int) -> None:
    config = DecodingConfig(beams=beams)
    for seed in range(10):
        table = random_table(seed, vocabulary=8, spread=1.0, towards_end=1.0)
        alone = [run(Toy(table), [source], config, [limit])[0] for source, limit in zip(SOURCES, LIMITS, strict=True)]
        assert run(Toy(table), SOURCES, config, LIMITS) == alone
        order = random.Random(seed).sample(range(len(SOURCES)), 4)
        mixed = run(Toy(table), [SOURCES[i] for i in order], config, [LIMITS[i] for i in order])
        assert mixed == [alone[i] for i in order]


def test_a_second_search_equals_the_first() -> None:
    model = Toy(random_table(2, vocabulary=8))
    config = DecodingConfig(beams=3)
    assert run(model, SOURCES, config, LIMITS, n_best=2) == run(model, SOURCES, config, LIMITS, n_best=2)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_n_best_are_unique_sorted_and_scored_as_teacher_forcing_scores_them(penalty: tuple[Penalty, float]) -> None:
    model = Toy(random_table(4, vocabulary=8, towards_end=1.0))
    config = DecodingConfig(beams=5, length_penalty=penalty[0], alpha=penalty[1])
    lists = run(model, SOURCES, config, LIMITS, n_best=5)
    assert {one.reason for found in lists for one in found} == {"end", "length"}
    for source, found, limit in zip(SOURCES, lists, LIMITS, strict=True):
        assert len(found) == 5
        assert len({whole(one) for one in found}) == 5
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        totals = log_probabilities(model, *padded([source] * 5), [whole(one) for one in found], start=START)
        assert [one.log_probability for one in found] == pytest.approx(totals, abs=1e-4)
        scores = [total / penalised(*penalty, len(whole(one))) for total, one in zip(totals, found, strict=True)]
        assert [one.score for one in found] == pytest.approx(scores, abs=1e-4)
        assert all(len(one.ids) == limit for one in found if one.reason == "length")
        assert all(len(one.ids) < limit and END not in one.ids for one in found if one.reason == "end")


# Greedy search


def test_one_beam_is_greedy() -> None:
    table = random_table(5, vocabulary=8, towards_end=1.5)
    model = Toy(table)
    found = run(model, SOURCES, DecodingConfig(beams=1, length_penalty="gnmt", alpha=1.0), LIMITS, forbidden=(START,))
    for source, limit, (one,) in zip(SOURCES, LIMITS, found, strict=True):
        tokens: Ids = ()
        total = 0.0
        while len(tokens) < limit and END not in tokens:
            values = log_softmax(table(source, tokens))
            best = max(range(1, 8), key=values.__getitem__)
            tokens, total = (*tokens, best), total + values[best]
        assert whole(one) == tokens
        assert one.log_probability == pytest.approx(total, abs=1e-5)
        assert one.score == pytest.approx(total / ((5 + len(tokens)) / 6), abs=1e-5)
    assert {one.reason for (one,) in found} == {"end", "length"}
    lengths = [len(whole(one)) for (one,) in found]
    assert model.rows == [sum(length > step for length in lengths) for step in range(max(lengths))]


def copying(source: Ids, tokens: Ids) -> list[float]:
    wanted = (*source, END)[len(tokens)] if len(tokens) <= len(source) else END
    return [8.0 if token == wanted else 0.0 for token in range(12)]


@pytest.mark.parametrize("beams", [1, 4])
def test_a_copy_of_sixty_tokens_is_not_cut(beams: int) -> None:
    sources = [tuple(4 + i % 8 for i in range(60)), (4, 5)]
    config = DecodingConfig(beams=beams, max_extra=1)
    found = search(Toy(copying), *padded(sources), config, start=START, end=END)
    assert [(one.ids, one.reason) for (one,) in found] == [(source, "end") for source in sources]


@pytest.mark.parametrize("beams", [1, 4])
def test_the_default_limit_is_the_length_of_the_source_and_something(beams: int) -> None:
    """The end is impossible: every output is cut, at its own limit. Padding is no part of a source."""
    model = Toy(lambda source, tokens: [1.0, 0.0, 2.0, -math.inf])
    config = DecodingConfig(beams=beams, max_extra=3)
    found = search(model, *padded([(5, 6, 7, 8, 9), (5,), (5, 6)]), config, start=START, end=END)
    assert [(len(one.ids), one.reason) for (one,) in found] == [(8, "length"), (4, "length"), (5, "length")]


@pytest.mark.parametrize("beams", [1, 4])
def test_an_output_at_its_limit_says_so_and_counts_all_its_tokens(beams: int) -> None:
    config = DecodingConfig(beams=beams, length_penalty="power", alpha=1.0)
    ((cut,),) = run(Toy(copying), [(4, 5, 6, 7)], config, [3])
    assert (cut.ids, cut.reason) == ((4, 5, 6), "length")
    step = math.log(math.exp(8) / (math.exp(8) + 11))  # every token's log probability
    assert cut.log_probability == pytest.approx(3 * step, rel=1e-4)
    assert cut.score == pytest.approx(step, rel=1e-4)
    ((ended,),) = run(Toy(copying), [(4, 5, 6, 7)], config, [5])  # the end token still fits
    assert (ended.ids, ended.reason) == ((4, 5, 6, 7), "end")
    assert ended.score == pytest.approx(step, rel=1e-4)


# Ties, forbidden tokens, bad logits, precision


def test_among_equals_the_higher_ranked_beam_and_the_lower_token_win() -> None:
    """Every token is as probable as any other; with ``none`` the earliest ending is the best and the rest follow by id."""
    model = Toy(lambda source, tokens: [0.0] * 6)
    ((one,),) = run(model, [(5,)], DecodingConfig(beams=1), [3], forbidden=(START,))
    assert one.ids == (1, 1, 1)
    config = DecodingConfig(beams=2, length_penalty="none")
    (found,) = run(model, [(5,)], config, [3], n_best=2, forbidden=(START,))
    # Step 1 ranks 1 2 3 4: alive 1, 2 (END = 3 comes third and is no hypothesis). Step 2 ranks (1 1) (1 2) (1 END) (1 4):
    # alive 1 1, 1 2. Step 3, the limit, closes (1 1 1) and (1 1 2).
    assert [one.ids for one in found] == [(1, 1, 1), (1, 1, 2)]


@pytest.mark.parametrize("beams", [1, 4])
def test_forbidden_tokens_are_never_chosen_and_keep_their_probability(beams: int) -> None:
    table = random_table(6, vocabulary=8)
    forbidden = (START, 1, 2, 5)
    model = Toy(table)
    for (one,) in run(model, SOURCES, DecodingConfig(beams=beams), LIMITS, forbidden=forbidden):
        assert not set(one.ids) & set(forbidden)
    ((one,),) = run(model, [(5,)], DecodingConfig(beams=beams), [6], forbidden=forbidden)
    assert one.log_probability == pytest.approx(log_probabilities(model, *padded([(5,)]), [whole(one)], start=START)[0])


def test_fewer_possible_outputs_than_asked_for() -> None:
    """Only token 1 and the end may be chosen and two tokens fit: "", "1" and "1 1", which is cut."""
    model = Toy(random_table(7))
    (found,) = run(model, [(5,)], DecodingConfig(beams=6), [2], n_best=6, forbidden=(0, 2))
    assert sorted(whole(one) for one in found) == [(1, 1), (1, END), (END,)]


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("bad", [[math.nan] * 8, [math.inf] + [0.0] * 7, [0.0] * 3 + [math.nan] + [0.0] * 4, [-math.inf] * 8])
def test_bad_logits_end_the_search_and_name_the_sentence(beams: int, bad: list[float]) -> None:
    def table(source: Ids, tokens: Ids) -> list[float]:
        return bad if source == (7, 7) and len(tokens) == 2 else [0.0, 0.1, 0.2, -9.0, 0.3, 0.4, 0.5, 0.6]

    with pytest.raises(NothingToChooseError, match=r"sentence 4 of the batch .*, output token 3") as caught:
        run(Toy(table), SOURCES, DecodingConfig(beams=beams), [9, 4, 12, 1, 7, 9, 6])
    assert caught.value.sentence == 4
    assert isinstance(caught.value, ModelError)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_token_of_probability_zero_harms_nobody(beams: int) -> None:
    table = random_table(8, vocabulary=8)
    model = Toy(lambda source, tokens: [-math.inf, *table(source, tokens)[1:]])
    found = run(model, SOURCES, DecodingConfig(beams=beams), LIMITS)
    assert found == run(model, SOURCES, DecodingConfig(beams=beams), LIMITS, forbidden=(0,))
    assert all(0 not in one.ids and math.isfinite(one.score) for (one,) in found)


def test_more_outputs_than_beams_are_refused() -> None:
    for n_best in (0, 3):
        with pytest.raises(UsageError, match=f"1 to 2\n.*found: +{n_best}"):
            run(Toy(copying), [(5,)], DecodingConfig(beams=2), [3], n_best=n_best)


@pytest.mark.parametrize("beams", [1, 3])
def test_bfloat16_logits_are_normalised_in_float32(beams: int) -> None:
    """Many logits are equal after rounding; the sums still equal those of the rounded logits in full precision."""
    rough = Toy(random_table(9, vocabulary=40), dtype=torch.bfloat16)

    def rounded(source: Ids, tokens: Ids) -> list[float]:
        values: list[float] = torch.tensor(rough.table(source, tokens)).bfloat16().tolist()
        return values

    assert run(rough, SOURCES, DecodingConfig(beams=beams), LIMITS) == run(
        Toy(rounded), SOURCES, DecodingConfig(beams=beams), LIMITS
    )


def test_log_probabilities_by_hand() -> None:
    """Of targets of several lengths, an empty one among them."""
    model = Toy(first_ending_is_not_best)
    totals = log_probabilities(model, *padded([(5,), (5, 5), (5,)]), [(1, END), (), (2, 0, 1)], start=START)
    assert totals == pytest.approx([math.log(0.45 * 0.9), 0.0, math.log(0.02 * 0.05 * 0.04)], rel=1e-5)
    assert log_probabilities(model, *padded([(5,), (6,)]), [(), ()], start=START) == [0.0, 0.0]
