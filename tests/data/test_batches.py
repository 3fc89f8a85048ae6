"""Batches: each example once, no batch too large, every epoch the same on every machine, arrays with the right edges."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.base.config import DataConfig
from pellucid.base.errors import DataError
from pellucid.data import batches
from pellucid.data.batches import Plan, all_windows, collate, plan, shapes, windows, worst
from pellucid.data.readers import PairsInMemory
from pellucid.data.store import PairEncoder, Store, prepare

Lengths = npt.NDArray[np.int32]

PAIR_LENGTHS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=120)
SIZES = st.integers(31, 200)


def array(pairs: list[tuple[int, int]]) -> Lengths:
    return np.array(pairs, dtype=np.int32).reshape(-1, 2)


def realistic(count: int, seed: int = 0) -> Lengths:
    """Lengths as of captions and their translations: log-normal, about 14 tokens, sides that go together loosely."""
    draws = np.random.default_rng(seed)
    source = np.exp(draws.normal(2.55, 0.33, count))
    return np.stack([source, source * np.exp(draws.normal(0.0, 0.2, count))], axis=1).round().astype(np.int32)


def all_of(plan: Plan) -> list[list[int]]:
    return [plan[i].tolist() for i in range(len(plan))]


# --- the plan --------------------------------------------------------------------------------------------------------


@given(pairs=PAIR_LENGTHS, tokens=SIZES, seed=st.integers(0, 1 << 70), epoch=st.integers(0, 1 << 40))
@pytest.mark.parametrize("size", [7, 1 << 20])
def test_each_example_once_and_no_batch_too_large(
    size: int, pairs: list[tuple[int, int]], tokens: int, seed: int, epoch: int
) -> None:
    lengths = array(pairs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "_BLOCK", size)
        made = all_of(plan(lengths, tokens=tokens, seed=seed, epoch=epoch))
    assert sorted(index for batch in made for index in batch) == list(range(len(pairs)))
    for batch in made:
        longest = max(max(pairs[index]) + 1 for index in batch)  # the end token counts
        assert len(batch) * longest <= tokens


@given(pairs=PAIR_LENGTHS, tokens=SIZES, seed=st.integers(0, 100), epoch=st.integers(0, 100))
def test_the_plan_is_a_pure_function(pairs: list[tuple[int, int]], tokens: int, seed: int, epoch: int) -> None:
    np.random.seed(len(pairs))  # the global generator must not matter
    first = all_of(plan(array(pairs), tokens=tokens, seed=seed, epoch=epoch))
    np.random.random(3)
    assert all_of(plan(array(pairs), tokens=tokens, seed=seed, epoch=epoch)) == first


@given(pairs=PAIR_LENGTHS, tokens=SIZES, seeds=st.tuples(st.integers(0, 9), st.integers(0, 9)))
def test_shapes_are_the_same_in_every_epoch(pairs: list[tuple[int, int]], tokens: int, seeds: tuple[int, int]) -> None:
    lengths = array(pairs)
    found = [
        sorted(shapes(plan(lengths, tokens=tokens, seed=seed, epoch=epoch), lengths).tolist())
        for epoch, seed in enumerate(seeds)
    ]
    assert found[0] == found[1]


@given(pairs=PAIR_LENGTHS, tokens=SIZES)
def test_batches_are_full(pairs: list[tuple[int, int]], tokens: int) -> None:
    made = plan(array(pairs), tokens=tokens, seed=1, epoch=0)
    for begin, end in zip(made.starts[:-2], made.starts[1:-1], strict=True):
        one_more = made.examples[begin : end + 1]  # with the next example in order of length
        assert len(one_more) * max(max(pairs[index]) + 1 for index in one_more) > tokens


def test_seed_and_epoch_change_order_and_company() -> None:
    lengths = realistic(2000)
    plans = [plan(lengths, tokens=512, seed=seed, epoch=epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0), (2, 1))]
    for first, second in itertools.combinations(plans, 2):
        places = np.argsort(first.order), np.argsort(second.order)  # when each batch, in order of length, is met
        assert abs(np.corrcoef(*places)[0, 1]) < 0.3  # 120 batches in unrelated orders: 0.09 is usual
        together = [{frozenset(batch) for batch in all_of(each)} for each in (first, second)]
        assert len(together[0] & together[1]) < 0.2 * len(first), "most batches have other members"


def test_short_and_long_batches_are_mixed() -> None:
    lengths = realistic(20_000)
    widths = shapes(plan(lengths, tokens=1024, seed=1, epoch=0), lengths)[:, 1:].max(axis=1)
    halves = widths[: len(widths) // 2].mean(), widths[len(widths) // 2 :].mean()
    assert abs(halves[0] - halves[1]) < 0.1 * widths.mean()  # in order of length they would differ by half the mean


def test_blocks_are_spread_over_the_corpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corpus of two parts, one after the other, all of one length: a batch holds examples of both."""
    monkeypatch.setattr(batches, "_BLOCK", 100)
    made = plan(array([(5, 5)] * 1000), tokens=6 * 20, seed=1, epoch=0)
    assert {len(batch) for batch in all_of(made)} == {20}
    assert all(min(batch) < 500 <= max(batch) for batch in all_of(made))


def test_a_plan_by_hand() -> None:
    lengths = array([(3, 4), (1, 1), (9, 2), (5, 5), (2, 8), (4, 4), (1, 2), (7, 7), (6, 1), (3, 4), (4, 3), (2, 2)])
    # In order of longest side, then source - target, upwards when the longest side is even:
    #   1 | 6 11 | 0 9 (in either order) 5 10 | 3 | 8 | 7 | 4 | 2
    # and each batch takes what fits into 24 tokens: 4 rows of 5, 4 of 6, 2 of 8, 2 of 10.
    made = all_of(plan(lengths, tokens=24, seed=3, epoch=2))
    assert sorted(made, key=lambda batch: max(lengths[batch].max(axis=1))) in (
        [[1, 6, 11, first], [second, 5, 10, 3], [8, 7], [4, 2]] for first, second in ((0, 9), (9, 0))
    )


def philox(counter: list[int], key: list[int]) -> list[int]:
    """Philox 4x64 with 10 rounds, from its definition (Salmon et al. 2011, section 3.3)."""
    mask = (1 << 64) - 1
    for _ in range(10):
        first, second = 0xD2E7470EE14C6C93 * counter[0], 0xCA5A826395121157 * counter[2]
        counter = [(second >> 64) ^ counter[1] ^ key[0], second & mask, (first >> 64) ^ counter[3] ^ key[1], first & mask]
        key = [(key[0] + 0x9E3779B97F4A7C15) & mask, (key[1] + 0xBB67AE8584CAA73B) & mask]
    return counter


def test_random_numbers_are_the_same_on_every_machine() -> None:
    found = batches._random(6, 3, 2, 9).tolist()
    assert found == philox([1, 0, 0, 9], [3, 2]) + philox([2, 0, 0, 9], [3, 2])[:2]  # numpy counts up before it draws


def test_an_example_larger_than_a_batch_is_refused() -> None:
    lengths = array([(3, 3), (10, 4), (2, 12)])
    assert len(plan(lengths, tokens=13, seed=0, epoch=0)) == 3  # 12 and the end token just fit
    with pytest.raises(DataError, match=r"example 2: .*\n.*training\.batch_tokens = 12 tokens\n.*13 tokens"):
        plan(lengths, tokens=12, seed=0, epoch=0)


def test_no_examples() -> None:
    with pytest.raises(DataError, match="no examples"):
        plan(array([]), tokens=12, seed=0, epoch=0)


def test_a_batch_beyond_the_last() -> None:
    made = plan(array([(3, 3)]), tokens=12, seed=0, epoch=0)
    with pytest.raises(IndexError):
        made[1]


@pytest.mark.parametrize("tokens", [4096, 8192])
def test_little_is_padding(tokens: int) -> None:
    lengths = realistic(29_000)
    rows, source, target = shapes(plan(lengths, tokens=tokens, seed=1, epoch=0), lengths).T
    real = int((lengths + 1).sum())
    assert real / int((rows * (source + target)).sum()) > 0.9  # found: 0.96 and 0.94
    assert real / (len(rows) * 2 * tokens) > 0.85  # of the room that the batches have; found: 0.91 and 0.90
    in_file_order = (lengths + 1).reshape(-1, 250, 2).max(axis=1).sum() * 250
    assert real / in_file_order < 0.5, "the lengths are spread enough for the test to mean something"


@given(pairs=PAIR_LENGTHS, tokens=SIZES)
def test_the_worst_batch(pairs: list[tuple[int, int]], tokens: int) -> None:
    lengths = array(pairs)
    made = plan(lengths, tokens=tokens, seed=1, epoch=0)

    def size(batch: list[int]) -> tuple[int, int]:
        longest = [max(pairs[index][side] for index in batch) + 1 for side in (0, 1)]
        return len(batch) * sum(longest), max(longest)

    found = worst(made, lengths).tolist()
    assert found in all_of(made)
    assert size(found) == max(size(batch) for batch in all_of(made))


# --- one column, and three -------------------------------------------------------------------------------------------


def test_a_plan_of_one_column_by_hand() -> None:
    lengths = np.array([[3], [1], [9], [5], [8], [4], [2]], dtype=np.int32)
    # In order of length: 1 6 0 5 3 4 2; 12 tokens hold 3 rows of 4 with the end token, 2 of 6, 1 of 9 and 1 of 10.
    made = plan(lengths, tokens=12, seed=3, epoch=2)
    assert sorted(all_of(made), key=lambda batch: max(lengths[batch])) == [[1, 6, 0], [5, 3], [4], [2]]
    assert sorted(shapes(made, lengths).tolist()) == [[1, 9], [1, 10], [2, 6], [3, 4]]
    assert worst(made, lengths).tolist() == [5, 3]  # 12 tokens, as [1, 6, 0], but longer


def test_a_plan_of_three_columns_by_hand() -> None:
    lengths = np.array([[1, 2, 7], [3, 1, 0], [2, 2, 2], [0, 0, 6], [5, 6, 1]], dtype=np.int32)
    # Longest column 7, 3, 2, 6, 6; of the two with 6, an even one, 4 comes first: 5 - 6 < 0 - 0. In order: 2 1 4 3 0.
    made = plan(lengths, tokens=14, seed=1, epoch=0)
    assert sorted(all_of(made), key=lambda batch: max(lengths[batch].max(axis=1))) == [[2, 1], [4, 3], [0]]
    assert sorted(shapes(made, lengths).tolist()) == [[1, 2, 3, 8], [2, 4, 3, 3], [2, 6, 7, 7]]
    assert worst(made, lengths).tolist() == [4, 3]  # 2 x 20 tokens
    with pytest.raises(DataError, match=r"example 0: .*\n.*\n.*8 tokens"):
        plan(lengths, tokens=7, seed=1, epoch=0)


@given(data=st.data(), columns=st.integers(1, 4), tokens=SIZES)
def test_each_example_once_whatever_the_columns(data: st.DataObject, columns: int, tokens: int) -> None:
    row = st.tuples(*[st.integers(0, 30)] * columns)
    lengths = np.array(data.draw(st.lists(row, min_size=1, max_size=60)), dtype=np.int32)
    made = plan(lengths, tokens=tokens, seed=1, epoch=0)
    assert sorted(index for batch in all_of(made) for index in batch) == list(range(len(lengths)))
    assert all(rows * max(widths) <= tokens for rows, *widths in shapes(made, lengths).tolist())


# --- windows of a running text ---------------------------------------------------------------------------------------


def windows_of(n_tokens: int, context: int, rows: int, seed: int = 1, epoch: int = 0) -> list[list[int]]:
    made = windows(n_tokens, context=context, rows=rows, seed=seed, epoch=epoch)
    return [made[index].tolist() for index in range(len(made))]


@given(
    context=st.integers(1, 12),
    rows=st.integers(1, 5),
    extra=st.integers(0, 200),
    seed=st.integers(0, 1 << 70),
    epoch=st.integers(0, 1 << 40),
)
def test_windows_follow_each_other_and_stay_inside(context: int, rows: int, extra: int, seed: int, epoch: int) -> None:
    n_tokens = (rows + 1) * context + extra
    made = windows_of(n_tokens, context, rows, seed, epoch)
    assert {len(batch) for batch in made} == {rows}
    starts = sorted(start for batch in made for start in batch)
    assert len(set(starts)) == len(starts)
    assert len({start % context for start in starts}) == 1, "steps of a context, counted from the first window"
    assert starts[0] >= 0
    assert starts[-1] + context + 1 <= n_tokens
    predicted = len(starts) * context
    assert n_tokens - predicted <= 2 * context + (rows - 1) * context, "little is left out"


def test_windows_without_a_batch_half_full_have_no_gap() -> None:
    for epoch in range(20):
        starts = [batch[0] for batch in windows_of(1000, context=7, rows=1, epoch=epoch)]
        first = min(starts)
        assert 0 <= first < 7
        assert sorted(starts) == list(range(first, first + 7 * len(starts), 7))
        assert len(starts) == (1000 - 7) // 7  # as many as fit behind the last place where the first may begin


def test_seed_and_epoch_change_place_and_order() -> None:
    made = [windows_of(5000, context=50, rows=4, seed=seed, epoch=epoch) for seed in (1, 2) for epoch in range(8)]
    assert len({min(min(batch) for batch in each) for each in made}) > 8, "places among 50"
    assert len({len(each) for each in made}) == 1, "as many batches in each epoch"
    orders = [[start // 50 for batch in each for start in batch] for each in made]
    for first, second in itertools.combinations(orders, 2):
        assert first != second
    assert windows_of(5000, context=50, rows=4, seed=2, epoch=7) == made[-1]
    assert all(order != sorted(order) for order in orders)


def test_the_left_over_windows_are_others_in_each_epoch() -> None:
    made = [windows_of(70, context=10, rows=4, epoch=epoch) for epoch in range(12)]  # 6 windows, of which 4 are met
    assert {len(each) for each in made} == {1}
    assert len({frozenset(start // 10 for start in each[0]) for each in made}) > 3


def test_windows_by_hand() -> None:
    """The smallest text: one place for the first window, one window."""
    assert windows_of(6, context=5, rows=1, epoch=3) == [[0]]
    assert sorted(windows_of(9, context=4, rows=1, seed=1, epoch=0)) in [[[place]] for place in range(4)]
    made = windows(100, context=5, rows=3, seed=4, epoch=2)
    assert made[0].dtype == np.int64
    with pytest.raises(IndexError):
        made[len(made)]


def test_texts_too_short_for_windows() -> None:
    for n_tokens in (0, 1, 5):
        with pytest.raises(
            DataError, match=rf"shorter than one window\n  expected: at least 6 tokens\n  found:    {n_tokens} tok"
        ):
            windows(n_tokens, context=5, rows=1, seed=1, epoch=0)
    with pytest.raises(
        DataError, match=r"fewer windows than a batch has rows\n.*at least 3 windows of 5(.|\n)*14 tokens, 1 windows"
    ):
        windows(14, context=5, rows=3, seed=1, epoch=0)


@given(n_tokens=st.integers(2, 200), context=st.integers(1, 30))
def test_validation_predicts_each_token_once(n_tokens: int, context: int) -> None:
    tokens = list(range(n_tokens))
    pieces = [tokens[start : start + context + 1] for start in all_windows(n_tokens, context)]
    assert [token for piece in pieces for token in piece[1:]] == tokens[1:]
    assert all(len(piece) == context + 1 for piece in pieces[:-1])
    assert 2 <= len(pieces[-1]) <= context + 1


def test_validation_windows_by_hand() -> None:
    assert all_windows(9, 4).tolist() == [0, 4]
    assert all_windows(10, 4).tolist() == [0, 4, 8]
    with pytest.raises(DataError, match="at least 2 tokens"):
        all_windows(1, 4)


# --- the arrays ------------------------------------------------------------------------------------------------------


class Raw:
    """Each character of a text is the token of that number, control tokens too, whatever a sane tokenizer does."""

    pad, start, end, vocabulary_size, fingerprint = 0, 2, 3, 300, "raw"

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(character) for character in text.strip("~")] for text in texts]


@pytest.fixture(scope="module")
def make_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[tuple[list[int], list[int]]]], Store]:
    def make(pairs: list[tuple[list[int], list[int]]]) -> Store:
        # "~" keeps a side without tokens from counting as empty
        texts = [("~" + "".join(map(chr, source)), "~" + "".join(map(chr, target))) for source, target in pairs]
        directory = tmp_path_factory.mktemp("run") / "train"
        return prepare(PairsInMemory("train", texts, DataConfig()), PairEncoder(Raw(), Raw()), directory, DataConfig())

    return make


def test_collate_by_hand(make_store: Any) -> None:
    store = make_store([([11, 12, 13], [21]), ([14], [22, 23, 24, 25]), ([], [26])])
    batch = collate(store, np.array([1, 0, 2]))
    assert batch.source.tolist() == [[14, 3, 0, 0], [11, 12, 13, 3], [3, 0, 0, 0]]
    assert batch.target_input.tolist() == [[2, 22, 23, 24, 25], [2, 21, 0, 0, 0], [2, 26, 0, 0, 0]]
    assert batch.target_output.tolist() == [[22, 23, 24, 25, 3], [21, 3, 0, 0, 0], [26, 3, 0, 0, 0]]
    assert batch.source_mask.sum(axis=1).tolist() == [2, 4, 1]
    assert batch.target_mask.tolist() == [[True] * 5, [True] * 2 + [False] * 3, [True] * 2 + [False] * 3]
    assert batch.target_tokens == 9
    assert {ids.dtype for ids in (batch.source, batch.target_input, batch.target_output)} == {np.dtype(np.int64)}
    assert {batch.source_mask.dtype, batch.target_mask.dtype} == {np.dtype(bool)}


TOKENS = st.lists(st.integers(0, 12), max_size=6)  # control tokens among them: a mask must not come from comparing ids


@settings(max_examples=40)
@given(data=st.data(), pairs=st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=6))
def test_collate_keeps_every_token(make_store: Any, data: st.DataObject, pairs: list[tuple[list[int], list[int]]]) -> None:
    store = make_store(pairs)
    chosen = data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=1, max_size=8))
    batch = collate(store, np.array(chosen))
    for row, index in enumerate(chosen):
        source, target = pairs[index]
        real_source, real_target = batch.source_mask[row], batch.target_mask[row]
        assert batch.source[row][real_source].tolist() == [*source, 3]
        assert batch.target_input[row][real_target].tolist() == [2, *target]
        assert batch.target_output[row][real_target].tolist() == [*target, 3]
        for ids, real in (
            (batch.source, real_source),
            (batch.target_input, real_target),
            (batch.target_output, real_target),
        ):
            assert not ids[row][~real].any(), "padding is the pad token"
            assert real.tolist() == sorted(real.tolist(), reverse=True), "padding is on the right"
    assert batch.source.shape[1] == max(len(pairs[index][0]) for index in chosen) + 1
    assert batch.target_tokens == sum(len(pairs[index][1]) + 1 for index in chosen)


def test_the_padded_arrays_fit_the_plan(make_store: Any) -> None:
    draws = np.random.default_rng(5)
    pairs = [([9] * int(s), [9] * int(t)) for s, t in draws.integers(1, 20, (200, 2))]
    store = make_store(pairs)
    made = plan(store.lengths, tokens=128, seed=1, epoch=0)
    expected = shapes(made, store.lengths)
    for index in range(len(made)):
        batch = collate(store, made[index])
        assert (*batch.source.shape, batch.target_input.shape[1]) == tuple(expected[index])
        assert max(batch.source.size, batch.target_output.size) <= 128


def test_the_store_is_opened_read_only(make_store: Any) -> None:
    store = make_store([([11], [12])])
    with pytest.raises(ValueError, match="read-only"):
        store.source(0)[0] = 5
