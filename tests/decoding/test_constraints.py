"""Required phrases: that they come, every time, and that the rest stays as good as it can be."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

import pytest
import torch
from test_phrases import places
from test_search import PENALTIES, copying
from test_search_transformer import transformer
from torch import Tensor
from toys import END, SOURCES, START, Bigrams, Ids, Toy, assert_same, exhaustive, padded, penalised, random_table, run, whole

from pellucid.base.config import DecodingConfig, Penalty
from pellucid.base.errors import UsageError
from pellucid.decoding import beam
from pellucid.decoding.constraints import Tracker
from pellucid.decoding.hypothesis import Hypothesis, NothingToChooseError
from pellucid.decoding.phrases import Phrase
from pellucid.decoding.rules import BannedWords, EndOnly, MinimumLength, NoRepeatedNgrams
from pellucid.decoding.scoring import log_probabilities
from pellucid.decoding.search import search

GREEDY, DRAWN = DecodingConfig(beams=1), DecodingConfig(beams=1, temperature=1.2, top_k=6, min_p=0.05)


def holds(text: Ids, phrases: Sequence[Phrase]) -> bool:
    """Each phrase as often as it is given."""
    sets = [frozenset(map(tuple, phrase)) for phrase in phrases]
    return all(places(text, phrase) >= sets.count(one) for phrase, one in zip(phrases, sets, strict=True))


# Always


def random_request(seed: int, vocabulary: int, limit: int) -> tuple[list[Phrase], list[int], int]:
    """Phrases of few tokens, so that they overlap, hold and repeat each other; a prefix; a limit near what they need."""
    numbers = random.Random(seed)
    tokens = [token for token in range(1, vocabulary) if token != END][: numbers.choice([3, 6, vocabulary])]
    phrases: list[Phrase] = [
        [numbers.choices(tokens, k=numbers.randint(1, 3)) for _ in range(numbers.choice([1, 1, 2]))]
        for _ in range(numbers.choice([0, 1, 1, 2, 3, 4, 6]))
    ]
    phrases += phrases[: numbers.choice([0, 0, 1])]
    prefix = numbers.choices(tokens, k=numbers.choice([0, 0, 1, 2]))
    needed = sum(min(map(len, phrase)) for phrase in phrases) + len(prefix)
    return phrases, prefix, min(max(needed + numbers.choice([0, 0, 1, 1, 2, 5, limit]), 1), limit)


def thousand(config: DecodingConfig, rules: list[Any], vocabulary: int = 12) -> tuple[list[Ids], list[Hypothesis], list[Any]]:
    """One output for each of 1,000 random requests, its tokens and what was asked."""
    generator, count = torch.Generator().manual_seed(3), 1000
    tables = 2.0 * torch.randn(count, vocabulary, vocabulary, generator=generator)
    tables[:, :, END] += torch.randint(-1, 3, (count, 1), generator=generator)
    asked = [random_request(seed, vocabulary, 32) for seed in range(count)]
    phrases, prefixes, limits = (list(column) for column in zip(*asked, strict=True))
    source, mask = torch.arange(count)[:, None], torch.ones(count, 1, dtype=torch.bool)
    options = {"limits": torch.tensor(limits), "rules": rules, "prefixes": prefixes, "required": phrases}
    found = search(Bigrams(tables), source, mask, config, start=START, end=END, forbidden=(START,), **options)
    best = [one for one, *_ in found]
    fed = [(START, *whole(one)) for one in best]
    values = tables.log_softmax(dim=2)
    for at, (one, text) in enumerate(zip(best, fed, strict=True)):
        total = values[at][list(text[:-1]), list(text[1:])].double().sum().item()
        assert one.log_probability == pytest.approx(total, abs=1e-4)  # scored as the model scores it, whatever was forced
    return [whole(one) for one in best], best, asked


@pytest.mark.parametrize("config", [GREEDY, DecodingConfig(beams=2), DecodingConfig(beams=5), DRAWN])
@pytest.mark.parametrize("rules", [[], [NoRepeatedNgrams(2), MinimumLength(4, END)]])
def test_a_thousand_of_a_thousand(config: DecodingConfig, rules: list[Any]) -> None:
    texts, best, asked = thousand(config, rules)
    for text, one, (phrases, prefix, limit) in zip(texts, best, asked, strict=True):
        assert holds(text, phrases)
        assert list(text[: len(prefix)]) == prefix
        assert START not in text
        assert len(text) <= limit
        assert (one.reason == "end") == (END in text) == (len(text) < limit or text[-1] == END)
    tight = [one for one, (_, prefix, limit) in zip(best, asked, strict=True) if one.reason == "length"]
    assert len(tight) > 200
    assert sum(one.reason == "end" for one in best) > 100


def test_without_what_forces_them_they_do_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slip that the thousand would notice: too much room is thought to be left, by one token."""
    room = Tracker._room
    monkeypatch.setattr(Tracker, "_room", lambda self, row, position: room(self, row, position) + 1)
    texts, _, asked = thousand(GREEDY, [])
    assert sum(not holds(text, phrases) for text, (phrases, _, _) in zip(texts, asked, strict=True)) > 100


def test_a_transformer_writes_them_and_scores_them_as_teacher_forcing_does() -> None:
    model = transformer("post")
    required: list[list[Phrase]] = [[[[5, 9]], [[4]]], [], [[[8, 8, 8]]], [[[10], [4, 4]]], [[[6]], [[6]]], [[[9, 5, 4]]], []]
    for config in (GREEDY, DecodingConfig(beams=4), DRAWN):
        found = run(model, SOURCES, config, [9, 4, 12, 3, 7, 9, 6], required=required, n_best=config.beams, forbidden=(START,))
        for source, phrases, ones in zip(SOURCES, required, found, strict=True):
            texts = [whole(one) for one in ones]
            assert len(set(texts)) == len(texts) == config.beams
            assert [one.score for one in ones] == sorted((one.score for one in ones), reverse=True)
            assert all(holds(text, phrases) for text in texts)
            totals = log_probabilities(model, *padded([source] * len(texts)), texts, start=START)
            assert [one.log_probability for one in ones] == pytest.approx(totals, abs=1e-4)


# As good as it can be

REQUESTS: dict[str, tuple[dict[str, Any], Callable[[Ids], bool]]] = {
    "one": ({"required": [[[[1]]]]}, lambda text: holds(text, [[[1]]])),
    "spellings": ({"required": [[[[1, 2], [0, 0]]]]}, lambda text: holds(text, [[[1, 2], [0, 0]]])),
    "overlapping": ({"required": [[[[1, 2]], [[2, 0]]]]}, lambda text: holds(text, [[[1, 2]], [[2, 0]]])),
    "one inside another": ({"required": [[[[1, 2, 0]], [[2]]]]}, lambda text: holds(text, [[[1, 2, 0]], [[2]]])),
    "twice": ({"required": [[[[2]], [[2]]]]}, lambda text: text.count(2) >= 2),
    "as long as the limit": ({"required": [[[[1, 2, 0, 0, 1]]]]}, lambda text: text == (1, 2, 0, 0, 1)),
    "among bans": (
        {"required": [[[[1]], [[2]]]], "rules": [BannedWords([[1, 2], [2, 1]])]},
        lambda text: holds(text, [[[1]], [[2]]]) and not holds(text, [[[1, 2]]]) and not holds(text, [[[2, 1]]]),
    ),
    "after a prefix": (
        {"required": [[[[1, 2]], [[0]]]], "prefixes": [[0, 1]], "rules": [EndOnly(END)]},
        lambda text: text[:2] == (0, 1) and holds(text, [[[1, 2]]]) and END in text,
    ),
}


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("name", REQUESTS)
def test_a_wide_beam_finds_what_exhaustive_search_finds(name: str, penalty: tuple[Penalty, float]) -> None:
    """All outputs of at most five tokens, those that do not hold what is required left out."""
    options, right = REQUESTS[name]
    config = DecodingConfig(beams=324, length_penalty=penalty[0], alpha=penalty[1])
    table = random_table(40, towards_end=0.5)
    (found,) = run(Toy(table), [(5,)], config, [5], n_best=7, **options)
    assert_same(found, [one for one in exhaustive(table, (5,), 5, penalty) if right(one[1])][:7])


def second_thoughts(source: Ids, tokens: Ids) -> list[float]:
    """Copies its source; in the place of 6 it finds 9 nearly as probable, and it goes on with 7 from either."""
    wanted = {0: {4: 6.0}, 1: {5: 6.0}, 2: {6: 6.0, 9: 4.5}, 3: {7: 6.0}}.get(len(tokens), {END: 6.0})
    return [wanted.get(token, 0.0) for token in range(12)]


def test_beams_write_a_phrase_where_the_model_would_have_it() -> None:
    """One row ends first what it was writing, and hurries then."""
    source, required = [(4, 5, 6, 7)], [[[[9]]]]
    ((best, *_),) = run(Toy(second_thoughts), source, DecodingConfig(beams=4), [20], required=required)
    assert (best.ids, best.reason) == ((4, 5, 9, 7), "end")
    ((one,),) = run(Toy(second_thoughts), source, GREEDY, [20], required=required)
    assert (one.ids, one.reason) == ((4, 5, 6, 7, 9), "end")


def test_one_row_writes_the_phrases_whose_beginning_is_most_probable_first() -> None:
    def table(source: Ids, tokens: Ids) -> list[float]:
        return [value + 1.0 * (token == 10) for token, value in enumerate(copying(source, tokens))]

    required: list[list[Phrase]] = [[[[9, 8]], [[10, 11], [9]]]]
    ((one,),) = run(Toy(table), [(4, 5)], GREEDY, [20], required=required)
    assert one.ids == (4, 5, 9, 8)  # 9 is a spelling of the second phrase: three tokens are never needed
    ((one,),) = run(Toy(table), [(4, 5)], GREEDY, [20], required=[[[[9, 8]], [[10, 11]]]])
    assert one.ids == (4, 5, 10, 11, 9, 8)


def test_banks_make_the_outputs_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranked together, beams that have begun a phrase are lost, and it is forced where the limit comes near."""
    tables = [random_table(seed, vocabulary=12, spread=2.5, towards_end=-1.0) for seed in range(12)]
    required, config = [[[[9, 8]], [[10]]]], DecodingConfig(beams=5, length_penalty="power", alpha=1.0)

    def average() -> float:
        return mean(run(Toy(table), [(5,)], config, [12], required=required)[0][0].score for table in tables)

    with_banks = average()
    one_row = mean(run(Toy(table), [(5,)], GREEDY, [12], required=required)[0][0].log_probability for table in tables)
    assert with_banks > one_row / 12
    monkeypatch.setattr(beam, "_dealt", lambda needed: list(range(len(needed))))
    assert with_banks > average() + 0.02


def test_places_are_dealt_to_the_banks_in_turn() -> None:
    """Candidates from the best to the worst, and what each still needs: the bank that needs nothing first, then by rank."""
    assert beam._dealt([2, 2, 1, 2, 0, 1]) == [4, 0, 2, 1, 5, 3]
    assert beam._dealt([3, 3, 3]) == [0, 1, 2]
    assert beam._dealt([]) == []


@pytest.mark.parametrize("config", [GREEDY, DecodingConfig(beams=3), DRAWN])
def test_sentences_do_not_touch_each_other(config: DecodingConfig) -> None:
    """Alone as in a batch; and one that requires nothing as in a batch in which no other does."""
    table = random_table(41, vocabulary=8, towards_end=1.0)
    required: list[list[Phrase]] = [[[[5, 1]]], [], [[[4], [6, 6]], [[2]]], [], [[[1]], [[1]]], [], [[[7, 7]]]]
    limits = [9, 4, 12, 1, 7, 9, 6]
    found = run(Toy(table), SOURCES, config, limits, seeds=range(7), required=required, n_best=config.beams)
    free = run(Toy(table), SOURCES, config, limits, seeds=range(7), n_best=config.beams)
    for at, phrases in enumerate(required):
        alone = run(Toy(table), [SOURCES[at]], config, [limits[at]], seeds=[at], required=[phrases], n_best=config.beams)
        assert alone == [found[at]]
        assert phrases or found[at] == free[at]
    assert found != free
    assert free == run(Toy(table), SOURCES, config, limits, seeds=range(7), n_best=config.beams, required=[[]] * 7)


def test_scores_are_divided_by_the_penalty_and_reasons_reported() -> None:
    config = DecodingConfig(beams=3, length_penalty="gnmt", alpha=1.0)
    (found,) = run(Toy(random_table(42, vocabulary=8)), [(5,)], config, [4], n_best=3, required=[[[[5, 1, 4]]]])
    assert {one.reason for one in found} == {"end", "length"}
    for one in found:
        assert one.score == pytest.approx(one.log_probability / penalised("gnmt", 1.0, len(whole(one))))
        assert holds(whole(one), [[[5, 1, 4]]])


def test_without_an_end_token() -> None:
    for config in (GREEDY, DecodingConfig(beams=3), DRAWN):
        options = {"start": START, "end": None, "limits": torch.tensor([6])}
        ((one, *_),) = search(
            Toy(random_table(43, vocabulary=8)), *padded([(5,)]), config, required=[[[[5, END]], [[2]]]], **options
        )  # type: ignore[arg-type]
        assert holds(one.ids, [[[5, END]], [[2]]])
        assert (len(one.ids), one.reason) == (6, "length")


@pytest.mark.parametrize("config", [GREEDY, DecodingConfig(beams=3), DRAWN])
def test_what_is_required_prevails_over_a_rule_that_leaves_nothing_else(config: DecodingConfig) -> None:
    """No token twice, but one is required twice; and an output that may hold only what it has held already."""
    ((one, *_),) = run(
        Toy(random_table(44)), [(5,)], config, [5], required=[[[[2]], [[2, 2]]]], rules=[NoRepeatedNgrams(1)], forbidden=(0, 1)
    )
    assert one.ids[:2] == (2, 2)


@pytest.mark.parametrize("config", [GREEDY, DecodingConfig(beams=3), DRAWN])
def test_banned_words_hold_where_other_rules_give_way(config: DecodingConfig) -> None:
    """ "1" and "2" may not stand side by side. Between them 4 is banned, 5 is what a rule of one's own forbids: 5 it is."""
    rules = [BannedWords([[1, 2], [2, 1], [4]]), lambda values, written: values.index_fill(1, torch.tensor([5]), -math.inf)]
    options: dict[str, Any] = {"required": [[[[1]], [[2]]]], "rules": rules, "forbidden": (START,)}
    ((one, *_),) = run(Toy(random_table(47, vocabulary=6)), [(5,)], config, [3], **options)
    assert one.ids in [(1, 5, 2), (2, 5, 1)]


@pytest.mark.parametrize("config", [GREEDY, DecodingConfig(beams=3)])
def test_bad_logits_are_still_found(config: DecodingConfig) -> None:
    model = Toy(lambda source, tokens: [0.0, math.nan, 0.0, 0.0, 0.0] if len(tokens) == 2 else [0.0] * 5)
    with pytest.raises(NothingToChooseError, match=r"output token 3(.|\n)*NaN"):
        run(model, [(5,)], config, [6], required=[[[[4, 1]]]])


# What cannot be


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"required": [[[[5, 6]], [[7, 8]]]]}, r"have no room in the output\n +expected: at most 3 .*\n +found: +4 tokens"),
        ({"required": [[[[5, 6, 7]]]], "prefixes": [[5, 5]]}, r"at most 1 tokens\n +found: +2 tokens"),
        ({"required": [[[[5, 6, 7]]]], "rules": [EndOnly(END)]}, "at most 2 tokens"),
        ({"required": [[[[5, 6]]]], "rules": [BannedWords([[6]])]}, "banned or forbidden"),
        ({"required": [[[[4, 5, 6]]]], "rules": [BannedWords([[5, 6], [9]])]}, "banned or forbidden"),
        ({"required": [[[[5, START]]]], "forbidden": (START,)}, "banned or forbidden"),
        ({"required": [[[[5, END]]]]}, "banned or forbidden"),
        ({"required": [[[[5], []]]]}, "has no tokens"),
        ({"required": [[[]]]}, "has no tokens"),
        ({"required": [[[[5]]], []]}, r"required: every sentence needs one\n +expected: 1\n +found: +2"),
        ({"required": [[[[5]]]], "prefixes": [[4, END]]}, "at most 0 tokens"),
    ],
)
@pytest.mark.parametrize("beams", [1, 2])
def test_what_cannot_be_is_refused_before_the_model_runs(options: dict[str, Any], message: str, beams: int) -> None:
    class Untouched(Toy):
        def encode(self, source: Tensor, mask: Tensor) -> list[Ids]:
            raise AssertionError("the model was asked")

    with pytest.raises(UsageError, match=message):
        run(Untouched(random_table(1)), [(5,)], DecodingConfig(beams=beams), [3], **options)


def test_a_spelling_that_cannot_be_leaves_the_others() -> None:
    table = random_table(45, vocabulary=8, towards_end=1.0)
    options: dict[str, Any] = {
        "required": [[[[5, 6], [7], [4, START]]]],
        "rules": [BannedWords([[5, 6]])],
        "forbidden": (START,),
    }
    for beams in (1, 3):
        ((one, *_),) = run(Toy(table), [(5,)], DecodingConfig(beams=beams), [9], **options)
        assert 7 in one.ids


def test_a_prefix_may_hold_what_is_required_or_its_beginning() -> None:
    for beams in (1, 3):
        table = random_table(46, vocabulary=8)
        options: dict[str, Any] = {"required": [[[[5, 6]], [[6, 7]]]], "prefixes": [[4, 5, 6]]}
        ((one, *_),) = run(Toy(table), [(5,)], DecodingConfig(beams=beams), [4], **options)
        assert (one.ids, one.reason) == ((4, 5, 6, 7), "length")
