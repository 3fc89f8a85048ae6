"""Plans for phrases: by hand, and against all sequences of tokens in order of length."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise, product

import pytest
from toys import Ids

from pellucid.decoding.phrases import GROUP, NEVER, OTHER, Machine, Phrase, State


def after(machine: Machine, tokens: Sequence[int]) -> State:
    state = machine.begin()
    for token in tokens:
        state = machine.after(state, token)
    return state


@pytest.mark.parametrize(
    ("phrases", "plan"),
    [
        ([], ()),
        ([[[5]]], (5,)),
        ([[[5, 6, 7]]], (5, 6, 7)),
        ([[[5, 6, 7], [8]]], (8,)),  # any one of the spellings
        ([[[5, 6]], [[6, 7]]], (5, 6, 7)),  # overlapping
        ([[[6, 7]], [[5, 6]]], (5, 6, 7)),
        ([[[5, 6, 7]], [[6]]], (5, 6, 7)),  # one inside the other
        ([[[6]], [[5, 6, 7]], [[6, 7]]], (5, 6, 7)),
        ([[[5, 6]], [[5, 6]]], (5, 6, 5, 6)),  # twice
        ([[[5, 5]], [[5, 5]]], (5, 5, 5)),  # at two places that overlap
        ([[[5, 6], [7]], [[7], [5, 6]]], (7, 7)),  # the same in another order
        ([[[5, 6], [7]], [[7], [8, 9]]], (7,)),  # one occurrence for both
        ([[[5, 6, 5]], [[5, 6, 5]], [[6, 5, 6]]], (5, 6, 5, 6, 5)),
    ],
)
def test_plans_by_hand(phrases: list[Phrase], plan: Ids) -> None:
    assert Machine(phrases).begin().plan == plan


def test_following_by_hand() -> None:
    """ "5 6 7" and "6 8": what is written decides how much is still needed."""
    machine = Machine([[[5, 6, 7]], [[6, 8]]])
    needed = {(): 5, (5,): 4, (5, 6): 3, (5, 6, 8): 3, (5, 6, 8, 5, 6): 1, (5, 6, 7): 2, (5, 4): 5, (5, 5): 4, (4, 6): 4}
    assert {tokens: after(machine, tokens).needed for tokens in needed} == needed
    assert after(machine, (6, 8, 4, 4, 5, 6, 7)).plan == ()
    assert after(machine, (6, 8, 5, 6, 7, 6, 4)) == after(machine, (6, 8, 5, 6, 7))  # nothing more to follow


def test_bans_between_phrases_by_hand() -> None:
    assert Machine([[[5]], [[6]]], bans=[(5, 6)]).begin().plan == (6, 5)
    assert Machine([[[5]], [[6]]], bans=[(5, 6), (6, 5)]).begin().plan == (5, OTHER, 6)
    assert Machine([[[5, 6]], [[7, 8]]], bans=[(6, 7), (8, 5)]).begin().plan == (5, 6, OTHER, 7, 8)
    assert after(Machine([[[5]]], bans=[(4, 5)]), (4,)).plan == (OTHER, 5)
    assert Machine([[[5]]], bans=[(4, 9)]).moves == [{5: 1}, {5: 1}]  # stands in no phrase's way


@pytest.mark.parametrize(
    ("phrases", "bans", "never"),
    [([[[5, 6]]], [(5, 6)], ()), ([[[4, 5, 6, 7]], [[8]]], [(5, 6)], ()), ([[[5]], [[6, 7]]], [], (7,))],
)
def test_what_cannot_be_has_no_plan(phrases: list[Phrase], bans: list[Ids], never: Ids) -> None:
    assert Machine(phrases, bans, never).begin().needed == NEVER
    assert Machine([[*phrase, [9]] for phrase in phrases], bans, never).begin().plan == (9,)


def places(text: Ids, phrase: Phrase) -> int:
    """Number of places at which one of the spellings ends."""
    return sum(any(text[:end][-len(one) :] == tuple(one) for one in phrase) for end in range(1, len(text) + 1))


def test_the_plan_is_the_shortest_there_is() -> None:
    """Of three tokens and another one: every sequence, in order of length, until one holds everything and nothing banned."""
    compared = 0
    for seed in range(120):
        numbers = random.Random(seed)
        phrases = [
            [numbers.choices((1, 2, 4), k=numbers.randint(1, 3)) for _ in range(numbers.choice([1, 1, 2]))]
            for _ in range(numbers.randint(1, 3))
        ]
        bans = [tuple(numbers.choices((1, 2, 4), k=2)) for _ in range(numbers.randint(0, 2))]
        begun = tuple(numbers.choices((1, 2, 4, 5), k=numbers.randint(0, 2)))
        wanted = {frozenset(map(tuple, phrase)): 0 for phrase in phrases}
        for phrase in phrases:
            wanted[frozenset(map(tuple, phrase))] += 1

        def holds(text: Ids, wanted: dict[frozenset[Ids], int] = wanted, bans: list[Ids] = bans) -> bool:
            pairs = list(pairwise(text))
            return all(places(text, list(one)) >= n for one, n in wanted.items()) and not any(ban in pairs for ban in bans)

        if any(ban in pairwise(begun) for ban in bans):
            continue
        plan = after(Machine(phrases, bans), begun).plan
        if plan is not None and len(plan) > 5:
            continue
        compared += 1
        lengths = range(6 if plan is None else len(plan) + 1)
        found = next((n for n in lengths for text in product((1, 2, 4, 5), repeat=n) if holds(begun + text)), None)
        assert found == (None if plan is None else len(plan)), seed
        assert plan is None or holds(begun + tuple(5 if token == OTHER else token for token in plan))
    assert compared > 80


def test_more_phrases_than_are_planned_together() -> None:
    """The plan holds them all, and who follows it has one token less before him at every step."""
    for seed in range(8):
        numbers = random.Random(seed)
        phrases = [[numbers.choices(range(4, 9), k=numbers.randint(1, 3))] for _ in range(2 * GROUP + seed % 3)]
        machine = Machine(phrases)
        state = machine.begin()
        text: Ids = ()
        while state.plan:
            text = (*text, state.plan[0])
            needed = state.needed
            state = machine.after(state, state.plan[0])
            assert state.needed < needed
        assert all(places(text, phrase) >= phrases.count(phrase) for phrase in phrases)
        assert len(text) <= sum(len(spelling) for (spelling,) in phrases)
