"""Rules: what may come next.

Against masks by hand, and against searches without cache, batch and stop rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from test_rules_exhaustive import ngrams, repeating_less
from test_search import PENALTIES
from test_search_transformer import transformer, without_cache
from torch import Tensor
from toys import (
    END,
    LIMITS,
    SOURCES,
    START,
    Bigrams,
    Ids,
    PromptToy,
    Toy,
    assert_same,
    log_softmax,
    padded,
    penalised,
    plain_beam_search,
    random_table,
    run,
    whole,
)

from pellucid.base.config import DecodingConfig, Penalty
from pellucid.base.errors import UsageError
from pellucid.decoding import rules
from pellucid.decoding.constraints import restricting
from pellucid.decoding.hypothesis import NothingToChooseError
from pellucid.decoding.rules import BannedWords, EndOnly, MinimumLength, NoRepeatedNgrams, Prefixes, Rule, Written
from pellucid.decoding.scoring import log_probabilities
from pellucid.decoding.search import search

GONE = -math.inf


def written(tokens: list[list[int]], limits: Sequence[int] = (9, 9, 9)) -> Written:
    n = len(tokens)
    return Written(torch.tensor(tokens, dtype=torch.int64), torch.arange(n), torch.tensor(limits[:n]))


def removed(rule: Rule, tokens: list[list[int]], limits: Sequence[int] = (9, 9, 9), vocabulary: int = 6) -> list[set[int]]:
    """The tokens that each row loses; all others keep their value, and what came in is as it was."""
    values = torch.randn(len(tokens), vocabulary)
    before = values.clone()
    found = rule(values, written(tokens, limits))
    assert torch.equal(values, before)
    assert torch.equal(found[found > GONE], values[found > GONE])
    return [set((row == GONE).nonzero().flatten().tolist()) for row in found]


# Each by hand


def test_minimum_length_by_hand() -> None:
    rule = MinimumLength(2, END)
    assert removed(rule, [[], []]) == removed(rule, [[1], [2]]) == [{END}, {END}]
    assert removed(rule, [[1, 1], [2, 4]]) == removed(rule, [[1, 1, 1], [2, 4, 4]]) == [set(), set()]


def test_end_only_by_hand() -> None:
    """With a limit of 3 the third token is the end, with a length of 1 the second one is, unless the limit is 1."""
    others = {0, 1, 2, 4, 5}
    assert removed(EndOnly(END), [[1, 1], [2, 2], [4, 4]], [3, 4, 2]) == [others, set(), others]
    assert removed(EndOnly(END, 1), [[1], [2], [4]], [3, 4, 2]) == [others, others, others]
    assert removed(EndOnly(END, 1), [[], [], []], [3, 1, 2]) == [set(), others, set()]


def test_repeated_ngrams_by_hand() -> None:
    tokens = [[1, 2, 4, 1, 2], [5, 5, 5, 5, 5], [1, 2, 1, 4, 1]]
    assert removed(NoRepeatedNgrams(1), tokens) == [{1, 2, 4}, {5}, {1, 2, 4}]
    assert removed(NoRepeatedNgrams(2), tokens) == [{4}, {5}, {2, 4}]
    assert removed(NoRepeatedNgrams(3), tokens) == [{4}, {5}, set()]
    assert removed(NoRepeatedNgrams(4), tokens) == [set(), {5}, set()]
    assert removed(NoRepeatedNgrams(5), tokens) == [set(), {5}, set()]
    assert removed(NoRepeatedNgrams(6), tokens) == [set(), set(), set()]
    assert removed(NoRepeatedNgrams(1), [[], []]) == [set(), set()]


def test_banned_words_by_hand() -> None:
    rule = BannedWords([[5], [1, 2], [2, 2], [1, 2, 4], [2, END]])
    assert removed(rule, [[], []]) == [{5}, {5}]
    assert removed(rule, [[1], [2]]) == [{5, 2}, {5, 2, END}]
    assert removed(rule, [[1, 2], [4, 1]]) == [{5, 2, 4, END}, {5, 2}]
    with pytest.raises(UsageError, match="banned word has no tokens"):
        BannedWords([[5], []])


def test_prefixes_by_hand() -> None:
    """They prevail over what rules left, and leave the value that the model gave."""
    force = Prefixes([[4, 5], [], [2]], torch.device("cpu"))
    values, ruled = torch.randn(3, 6), torch.full((3, 6), GONE)
    found = force(ruled, values, written([[], [], []]))
    assert found[[0, 2], [4, 2]].tolist() == values[[0, 2], [4, 2]].tolist()
    assert (found > GONE).nonzero().tolist() == [[0, 4], [2, 2]]
    found = force(values, values, written([[4], [1], [2]]))
    assert torch.equal(found[1:], values[1:])
    assert (found[0] > GONE).nonzero().tolist() == [[5]]
    assert force(values, values, written([[4, 5], [1, 1], [2, 2]])) is values


def test_repetition_penalty_by_hand() -> None:
    """Positive logits are divided, negative ones multiplied, once however often the token came; zero stays."""
    logits = torch.tensor([[3.0, -3.0, 0.0, 1.0, -1.0], [3.0, -3.0, 0.0, 1.0, -1.0]])
    found = rules.penalised_repetition(logits, torch.tensor([[0, 1, 0], [2, 4, 4]]), 1.5)
    assert found.tolist() == [[2.0, -4.5, 0.0, 1.0, -1.0], [3.0, -3.0, 0.0, 1.0, -1.5]]
    assert torch.equal(rules.penalised_repetition(logits, torch.empty(2, 0, dtype=torch.int64), 1.5), logits)


# Batches, several outputs, what the model remembers

EVERYTHING: dict[str, Any] = {
    "rules": [MinimumLength(3, END), NoRepeatedNgrams(2), BannedWords([[1, 2], [4], [6, 6]])],
    "prefixes": [[], [5, 1], [7], [], [1, 1, 5], [2], []],
}


def may_come(prefix: Ids) -> Callable[[Ids, int], bool]:
    def permitted(tokens: Ids, token: int) -> bool:
        text = (*tokens, token)
        if len(text) <= len(prefix):
            return text == prefix[: len(text)]
        return (
            (token != END or len(text) > 3)
            and text[-2:] not in ngrams(tokens, 2)
            and text[-2:] not in [(1, 2), (6, 6)]
            and token != 4
        )

    return permitted


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("beams", [2, 5])
def test_a_batch_with_rules_equals_searches_without_cache(penalty: tuple[Penalty, float], beams: int) -> None:
    """And n-best are unique, sorted and, by teacher forcing, worth what they are said to be."""
    config = DecodingConfig(beams=beams, length_penalty=penalty[0], alpha=penalty[1])
    limits = [9, 4, 12, 1, 7, 9, 6]
    table = random_table(30, vocabulary=8, towards_end=0.5)
    found = run(Toy(table), SOURCES, config, limits, n_best=beams, forbidden=(START,), **EVERYTHING)
    for source, limit, ones, prefix in zip(SOURCES, limits, found, EVERYTHING["prefixes"], strict=True):
        next_logits = lambda tokens, source=source: table(source, tokens)  # noqa: E731
        permitted = may_come(tuple(prefix))
        assert_same(ones, plain_beam_search(next_logits, limit, config, beams, forbidden=(START,), permitted=permitted))
        texts = [whole(one) for one in ones]
        assert len(set(texts)) == len(texts)
        assert [one.score for one in ones] == sorted((one.score for one in ones), reverse=True)
        totals = log_probabilities(Toy(table), *padded([source] * len(ones)), texts, start=START)
        assert [one.log_probability for one in ones] == pytest.approx(totals, abs=1e-4)
        scores = [total / penalised(*penalty, len(text)) for total, text in zip(totals, texts, strict=True)]
        assert [one.score for one in ones] == pytest.approx(scores, abs=1e-4)


@pytest.mark.parametrize("beams", [2, 4])
def test_a_transformer_with_cache_and_rules_equals_the_search_without(beams: int) -> None:
    model, config = transformer("post"), DecodingConfig(beams=beams)
    limits = [14, 9, 11, 6, 12]
    options = {"rules": EVERYTHING["rules"], "prefixes": EVERYTHING["prefixes"][:5]}
    found = run(model, SOURCES[:5], config, limits, n_best=beams, forbidden=(START,), **options)
    for source, limit, ones, prefix in zip(SOURCES, limits, found, options["prefixes"], strict=False):
        logits = without_cache(model, source)
        permitted = may_come(tuple(prefix))
        assert_same(ones, plain_beam_search(logits, limit, config, beams, (START,), permitted), tolerance=1e-4)


@pytest.mark.parametrize("config", [DecodingConfig(beams=3), DecodingConfig(beams=1), DecodingConfig(beams=1, temperature=1.5)])
def test_a_sentence_alone_equals_itself_in_a_batch(config: DecodingConfig) -> None:
    table = random_table(31, vocabulary=8)
    one_by_one = [
        run(Toy(table), [source], config, [limit], seeds=[9], rules=EVERYTHING["rules"], prefixes=[prefix])[0]
        for source, limit, prefix in zip(SOURCES, [9, 4, 12, 1, 7, 9, 6], EVERYTHING["prefixes"], strict=True)
    ]
    assert run(Toy(table), SOURCES, config, [9, 4, 12, 1, 7, 9, 6], seeds=[9] * 7, **EVERYTHING) == one_by_one


@pytest.mark.parametrize(
    ("config", "n"),
    [
        (DecodingConfig(beams=1, no_repeat_ngram=2), 2),
        (DecodingConfig(beams=3, no_repeat_ngram=3), 3),
        (DecodingConfig(beams=1, temperature=0.7, top_k=4, no_repeat_ngram=2), 2),
        (DecodingConfig(beams=1, temperature=1.5, no_repeat_ngram=1), 1),
    ],
)
def test_no_ngram_comes_twice_in_a_thousand_decodes(config: DecodingConfig, n: int) -> None:
    """Of tables that repeat themselves when they may. With n = 1 there are as many tokens as steps."""
    generator, count, limit = torch.Generator().manual_seed(8), 1000, 24
    model = Bigrams(2.0 * torch.randn(count, 30, 30, generator=generator))
    asked = {"start": START, "end": END, "limits": torch.full((count,), limit), "forbidden": (START,)}
    source, mask = torch.arange(count)[:, None], torch.ones(count, 1, dtype=torch.bool)
    texts = [whole(one) for (one, *_) in search(model, source, mask, config, **asked)]  # type: ignore[arg-type]
    assert all(len(set(ngrams(text, n))) == len(ngrams(text, n)) for text in texts)
    free = search(model, source, mask, DecodingConfig(beams=1), **asked)  # type: ignore[arg-type]
    repeating = [ids for ids in (one.ids for (one,) in free) if len(set(ngrams(ids, n))) < len(ngrams(ids, n))]
    assert len(repeating) > 300


# Prompts, scores, settings, and what cannot be


def test_a_prompt_does_not_count() -> None:
    """A model that writes 7, 5, 4 in turn: after a prompt that holds all three it may still write each of them once."""
    following = {7: 5, 5: 4, 4: 7}
    model = PromptToy(lambda prompt, tokens: [4.0 * (token == following.get((*prompt, *tokens)[-1])) for token in range(8)])
    source, mask = padded([(7, 5)])
    asked = {"start": torch.tensor([4]), "end": None, "limits": torch.tensor([3])}
    for config in (
        DecodingConfig(beams=1, no_repeat_ngram=1),
        DecodingConfig(beams=3, no_repeat_ngram=2, repetition_penalty=9.0),
    ):
        ((one, *_),) = search(model, source, mask, config, **asked)  # type: ignore[arg-type]
        assert one.ids == (7, 5, 4)
        assert one.log_probability == pytest.approx(3 * log_softmax([4.0] + [0.0] * 7)[0], rel=1e-5)


@pytest.mark.parametrize("beams", [1, 3])
def test_settings_are_rules(beams: int) -> None:
    model = Toy(random_table(32, vocabulary=8, towards_end=2.0))
    config = DecodingConfig(beams=beams, min_length=3, no_repeat_ngram=2)
    expected = run(model, SOURCES, DecodingConfig(beams=beams), LIMITS, rules=[MinimumLength(3, END), NoRepeatedNgrams(2)])
    assert run(model, SOURCES, config, LIMITS) == expected
    assert expected != run(model, SOURCES, DecodingConfig(beams=beams), LIMITS)
    assert all(len(one.ids) >= min(3, limit) for (one,), limit in zip(expected, LIMITS, strict=True))


@pytest.mark.parametrize("temperature", [0.0, 1.3])
def test_a_repetition_penalty_is_on_the_logits_for_one_row_too(temperature: float) -> None:
    table = random_table(33, vocabulary=8)
    config = DecodingConfig(beams=1, temperature=temperature)
    expected = run(Toy(repeating_less(table, 1.7)), SOURCES, config, LIMITS)
    found = run(Toy(table), SOURCES, DecodingConfig(beams=1, temperature=temperature, repetition_penalty=1.7), LIMITS)
    for (one,), (other,) in zip(found, expected, strict=True):
        assert one.ids == other.ids
        assert one.score == pytest.approx(other.score, abs=1e-5)


def test_a_prefix_counts_in_the_limit_and_may_fill_it() -> None:
    table = random_table(34, vocabulary=8)
    for beams in (1, 3):
        found = run(Toy(table), [(5,), (6,)], DecodingConfig(beams=beams), [3, 2], prefixes=[[4, 4, 5], [7, END]])
        assert [(one.ids, one.reason) for (one,) in found] == [((4, 4, 5), "length"), ((7,), "end")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefixes": [[4, 4, 5, 5]]}, "longer than the output"),
        ({"prefixes": [[4, 4, 5]], "rules": [EndOnly(END)]}, "longer than the output"),
        ({"prefixes": [[END, 4]]}, "after the end token"),
        ({"prefixes": [[4], [5]]}, "every sentence needs one"),
        ({"prefixes": [[4, 5]], "rules": [BannedWords([[4, 5]])]}, "banned as well"),
        ({"prefixes": [[START]], "forbidden": (START,)}, "banned as well"),
        ({"rules": [MinimumLength(3, END), EndOnly(END)]}, "forbidden before it must come"),
    ],
)
def test_what_cannot_be_is_refused_before_the_model_runs(options: dict[str, Any], message: str) -> None:
    class Untouched(Toy):
        def encode(self, source: Tensor, mask: Tensor) -> list[Ids]:
            raise AssertionError("the model was asked")

    with pytest.raises(UsageError, match=message):
        run(Untouched(random_table(1)), [(5,)], DecodingConfig(beams=2), [3], **options)


@pytest.mark.parametrize("beams", [1, 3])
def test_rules_that_leave_nothing_say_so(beams: int) -> None:
    """Three tokens, each once, and no end before six."""
    options = {"rules": [NoRepeatedNgrams(1), MinimumLength(6, END)]}
    with pytest.raises(NothingToChooseError, match=r"sentence 0 .*, output token 4 (.|\n)*ask for fewer rules"):
        run(Toy(random_table(35)), [(5,)], DecodingConfig(beams=beams), [9], **options)


def test_a_beam_that_may_not_go_on_leaves_the_outputs_found_so_far() -> None:
    """Three tokens, each once: 15 outputs end, none is cut, and no more are to be found."""
    (found,) = run(Toy(random_table(36)), [(5,)], DecodingConfig(beams=40), [9], n_best=40, rules=[NoRepeatedNgrams(1)])
    assert len(found) == 1 + 3 + 6 + 6
    assert {one.reason for one in found} == {"end"}


def test_what_earlier_searches_have_written_counts_by_hand() -> None:
    """After 4 5 4 and the 5 of row 1: what rules and penalty see. What is forced counts from here."""
    config = DecodingConfig(beams=1, min_length=6, no_repeat_ngram=2, repetition_penalty=2.0)
    options: dict[str, Any] = {"limits": torch.tensor([9, 9]), "end": 3, "forbidden": (0,), "before": [[4, 5, 4], [2, 1, 5]]}
    restrictions, _ = restricting(config, [BannedWords([[4, 2]])], [[], [1]], **options)
    logits = torch.tensor([[0.1, -0.2, 0.3, 0.4, 0.5, -0.6]] * 2)
    changed = [[0.1, -0.2, 0.3, 0.4, 0.25, -1.2], [0.1, -0.4, 0.15, 0.4, 0.5, -1.2]]  # 4 and 5; 2, 1 and 5
    expected = torch.log_softmax(torch.tensor(changed), -1)
    expected[0, [0, 2, 3, 5]] = GONE  # never; "4 2" banned; the end; "4 5" again
    expected[1, [0, 2, 3, 4, 5]] = GONE  # the prefix is 1
    empty = Written(torch.empty((2, 0), dtype=torch.int64), torch.arange(2), torch.tensor([9, 9]))
    torch.testing.assert_close(restrictions.log_probabilities(logits, lambda: empty), expected)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_search_goes_on_where_another_one_ended(beams: int) -> None:
    """The prompt of the second search holds what the first one wrote: no two tokens come side by side twice in both."""
    table = random_table(61, vocabulary=8, towards_end=-99.0)
    config = DecodingConfig(beams=beams, no_repeat_ngram=2)
    source, mask = padded([(7, 5)])
    ((first, *_),) = search(PromptToy(table), source, mask, config, start=START, end=END, limits=torch.tensor([4]))
    longer, real = padded([(7, 5, START, *first.ids[:-1])])
    options: dict[str, Any] = {"start": torch.tensor([first.ids[-1]]), "end": END, "limits": torch.tensor([9])}
    ((second, *_),) = search(PromptToy(table), longer, real, config, before=[first.ids], **options)
    ids = (*first.ids, *second.ids)
    assert len(ids) == 13
    assert len(set(pairwise(ids))) == 12
