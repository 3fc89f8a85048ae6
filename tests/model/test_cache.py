"""Keys and values kept from step to step: the cache itself, and that the model gives the same with it as without."""

from __future__ import annotations

import pytest
import torch
from examples import SOURCE, SOURCE_MASK, close, ids, make
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pellucid.model.cache import KeyValueCache, same_rows
from pellucid.model.transformer import EncoderDecoder, Memory, State

R, H, K = 3, 2, 5  # rows, heads, width of a head


def keys_and_values(length: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(R, H, length, K, generator=generator), torch.randn(R, H, length, K, generator=generator)


operations = st.lists(
    st.one_of(
        st.tuples(st.just("update"), st.integers(1, 5)),
        st.tuples(st.just("truncate"), st.integers(0, 12)),
        st.tuples(st.just("select"), st.lists(st.integers(0, R - 1), min_size=R, max_size=R)),
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=60)
@given(operations)
def test_a_cache_is_a_list_that_grows_is_cut_and_reordered(todo: list[tuple[str, int | list[int]]]) -> None:
    """Against concatenation, cutting and indexing of plain tensors, from a capacity of 2 through several doublings."""
    cache = KeyValueCache(capacity=2)
    key, value = keys_and_values(0, seed=0)
    for seed, (what, how) in enumerate(todo):
        if isinstance(how, list):
            cache.select(torch.tensor(how))
            key, value = key[how], value[how]
        elif what == "truncate":
            cache.truncate(how)
            key, value = key[:, :, :how], value[:, :, :how]
        else:
            new_key, new_value = keys_and_values(how, seed)
            key, value = torch.cat([key, new_key], 2), torch.cat([value, new_value], 2)
            kept = cache.update(new_key, new_value)
            assert torch.equal(kept[0], key)
            assert torch.equal(kept[1], value)
        assert cache.length == key.shape[2]


def test_a_selection_may_shrink_the_rows() -> None:
    cache = KeyValueCache()
    key, value = keys_and_values(4, seed=1)
    cache.update(key, value)
    cache.select(torch.tensor([2]))
    kept = cache.update(key[:1], value[:1])
    assert torch.equal(kept[0], torch.cat([key[2:], key[:1]], 2))
    assert torch.equal(kept[1], torch.cat([value[2:], value[:1]], 2))


def test_memory_is_laid_out_ahead() -> None:
    cache = KeyValueCache(capacity=4)
    first, _ = cache.update(*keys_and_values(1, seed=1))
    second, _ = cache.update(*keys_and_values(3, seed=2))
    assert first.data_ptr() == second.data_ptr()
    third, _ = cache.update(*keys_and_values(1, seed=3))
    assert third.data_ptr() != second.data_ptr()
    assert cache.capacity == 8


def test_rows_that_stay_are_noticed() -> None:
    assert same_rows(torch.tensor([0, 1, 2]), 3)
    assert not same_rows(torch.tensor([0, 2, 1]), 3)
    assert not same_rows(torch.tensor([0, 1]), 3)


def in_chunks(model: EncoderDecoder, state: State, target: Tensor, first: int, then: int = 1) -> Tensor:
    """Logits of the target, fed as a prompt of ``first`` tokens and further pieces of ``then``."""
    pieces = [target[:, :first], *target[:, first:].split(then, dim=1)]
    return torch.cat([model.step(piece, state)[0] for piece in pieces if piece.shape[1]], 1)


@pytest.fixture(params=["post", "pre"])
def model(request: pytest.FixtureRequest) -> EncoderDecoder:
    return make(norm=request.param)


@pytest.fixture(params=["dot", "additive"])
def any_model(request: pytest.FixtureRequest) -> EncoderDecoder:
    positions = {"dot": "sinusoidal", "additive": "learned"}[request.param]
    return make(attention=request.param, positions=positions, norm="pre")


@pytest.mark.parametrize(("first", "then"), [(1, 1), (3, 1), (37, 1), (3, 4)])
@torch.inference_mode()
def test_step_by_step_equals_the_whole_forward(any_model: EncoderDecoder, first: int, then: int) -> None:
    # 37 positions are more than the capacity that a cache begins with.
    target = ids(4, 37, seed=5)
    state = any_model.start(any_model.encode(SOURCE, SOURCE_MASK))
    assert state.length == 0
    close(in_chunks(any_model, state, target, first, then), any_model(SOURCE, target, source_mask=SOURCE_MASK), 1e-10)
    assert state.length == 37


@torch.inference_mode()
def test_a_step_returns_the_state_that_it_was_given(model: EncoderDecoder) -> None:
    state = model.start(model.encode(SOURCE))
    assert model.step(ids(4, 2), state)[1] is state


@torch.inference_mode()
def test_a_state_goes_on_after_it_was_cut(model: EncoderDecoder) -> None:
    target, other = ids(4, 6, seed=5), ids(4, 4, seed=6)
    state = model.start(model.encode(SOURCE, SOURCE_MASK))
    model.step(target, state)
    state.truncate(2)
    assert state.length == 2
    logits, _ = model.step(other, state)
    whole = model(SOURCE, torch.cat([target[:, :2], other], 1), source_mask=SOURCE_MASK)
    close(logits, whole[:, 2:], 1e-10)


@torch.inference_mode()
def test_two_searches_from_one_memory_do_not_meet(model: EncoderDecoder) -> None:
    memory, target = model.encode(SOURCE, SOURCE_MASK), ids(4, 5, seed=5)
    first = in_chunks(model, model.start(memory), target, first=1)
    assert torch.equal(in_chunks(model, model.start(memory), target, first=1), first)


BEAMS = 3
ROWS = {
    "same": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
    "beams change places": [2, 0, 0, 4, 4, 4, 6, 8, 7, 11, 10, 9],
    "sentences leave": [3, 5, 5, 11, 9, 9],
    "sentences change places": [9, 9, 10, 0, 2, 1, 6, 7, 8, 3, 4, 4],
    "one sentence twice": [4, 3, 3, 5, 5, 3],
}


@pytest.mark.parametrize("rows", ROWS.values(), ids=list(ROWS))
@torch.inference_mode()
def test_a_selection_then_a_step_equals_starting_again(model: EncoderDecoder, rows: list[int]) -> None:
    """Row r belongs to sentence r // beams: its past follows the row, its source follows the sentence."""
    target, new = ids(4 * BEAMS, 3, seed=7), ids(len(rows), 2, seed=8)
    state = model.start(model.encode(SOURCE, SOURCE_MASK), beams=BEAMS)
    model.step(target, state)
    state.select(torch.tensor(rows))
    assert state.rows == len(rows)
    logits, _ = model.step(new, state)
    sentences = [row // BEAMS for row in rows]
    whole = model(SOURCE[sentences], torch.cat([target[rows], new], 1), source_mask=SOURCE_MASK[sentences])
    close(logits, whole[:, 3:], 1e-10)


@torch.inference_mode()
def test_selections_add_up(model: EncoderDecoder) -> None:
    """Sentences leave twice and beams change places between: the memory must follow each time."""
    target = ids(4 * BEAMS, 5, seed=7)
    state = model.start(model.encode(SOURCE, SOURCE_MASK), beams=BEAMS)
    rows = torch.arange(4 * BEAMS)
    for position, choice in enumerate(([3, 4, 5, 8, 7, 6, 9, 10, 11], [2, 2, 0, 3, 4, 5, 8, 7, 7], [8, 6, 6])):
        model.step(target[rows, position, None], state)
        state.select(torch.tensor(choice))
        target, rows = target[rows][choice], torch.arange(len(choice))
    logits, _ = model.step(target[:, 3:4], state)
    whole = model(SOURCE[[3] * 3], target[:, :4], source_mask=SOURCE_MASK[[3] * 3])
    close(logits, whole[:, 3:], 1e-10)


@torch.inference_mode()
def test_beams_share_the_memory_of_their_sentence(model: EncoderDecoder) -> None:
    """Equal to memory repeated for each beam (repeat_interleave, not repeat), and to each sentence alone and unpadded."""
    target = ids(4 * BEAMS, 4, seed=9)
    memory = model.encode(SOURCE, SOURCE_MASK)
    shared = in_chunks(model, model.start(memory, beams=BEAMS), target, first=2)
    repeated = Memory(
        tuple(state.repeat_interleave(BEAMS, 0) for state in memory.states), SOURCE_MASK.repeat_interleave(BEAMS, 0)
    )
    close(shared, in_chunks(model, model.start(repeated), target, first=2), 1e-10)
    for sentence, length in enumerate(SOURCE_MASK.sum(1).tolist()):
        mine = slice(BEAMS * sentence, BEAMS * (sentence + 1))
        alone = model.start(model.encode(SOURCE[sentence, None, :length]), beams=BEAMS)
        close(shared[mine], in_chunks(model, alone, target[mine], first=2), 1e-10)


@torch.inference_mode()
def test_memory_is_not_copied_for_beams(model: EncoderDecoder) -> None:
    state = model.start(model.encode(SOURCE), beams=BEAMS)
    assert all(key.shape[0] == len(SOURCE) for key, _ in state.memory)
    before = [key.data_ptr() for key, _ in state.memory]
    model.step(ids(4 * BEAMS, 1), state)
    state.select(torch.tensor(ROWS["beams change places"]))
    assert [key.data_ptr() for key, _ in state.memory] == before
