"""What the programs make of digits, by hand, and how examples are laid out."""

from __future__ import annotations

import pytest
import torch

from pellucid.compare.experiments.programs import END, GIVES, PROGRAMS, answer, joined, rows_of


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("copy", [[7, 9, 2, 5], [3, 0, 3, 1]]),
        ("reverse", [[5, 2, 9, 7], [1, 3, 0, 3]]),
        ("sort", [[2, 5, 7, 9], [0, 1, 3, 3]]),
        ("add", [[9, 4, 1], [6, 1, 0]]),  # 97 + 52 = 149, 3 + 13 = 16: ones first
    ],
)
def test_answers(program: str, expected: list[list[int]]) -> None:
    assert answer(program, torch.tensor([[7, 9, 2, 5], [3, 0, 3, 1]])).tolist() == expected


def test_a_sum_carries_to_the_end() -> None:
    assert answer("add", torch.tensor([[9, 9, 9, 1, 0, 0]])).tolist() == [[0, 0, 0, 1]]  # 999 + 1 = 1000


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_example_wants_the_answer_and_the_end(program: str) -> None:
    ids, wanted = rows_of(program, 3, 2, torch.Generator().manual_seed(5))
    digits = 6 if program == "add" else 3
    assert ids[:, 0].tolist() == [10 + PROGRAMS.index(program)] * 2
    question = ids[:, 1 : digits + 1]
    assert ids[:, digits + 1].tolist() == [GIVES] * 2
    assert torch.equal(ids[:, digits + 2 : -1], answer(program, question))
    assert ids[:, -1].tolist() == [END] * 2
    following = ids[:, 1:][wanted[:, :-1]].view(2, -1)
    assert torch.equal(following, ids[:, digits + 2 :])
    assert not wanted[:, -1].any()


def test_examples_of_several_lengths_are_filled_up() -> None:
    generator = torch.Generator().manual_seed(5)
    short, long = rows_of("copy", 1, 1, generator), rows_of("sort", 2, 3, generator)
    batch = joined([short, long])
    assert batch.ids.shape == batch.wanted.shape == (4, 6)
    assert batch.ids[0].tolist() == [*short[0][0].tolist(), END]
    assert batch.wanted.sum(1).tolist() == [2, 3, 3, 3]
    assert batch.answers.tolist()[:2] == short[0][0, -2:].tolist()
