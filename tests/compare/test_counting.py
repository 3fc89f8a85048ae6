"""The strings that counting is tested on, and what counts as a whole answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.compare.experiments.counting import BEGIN, END, A, B, batch
from pellucid.compare.whole import right_rows, share_right


def test_strings_and_what_follows_each_b() -> None:
    found = batch(torch.tensor([1, 3]))
    assert found.ids.tolist() == [[BEGIN, A, B, END, END, END, END], [BEGIN, A, A, A, B, B, B]]
    assert found.wanted.int().tolist() == [[0, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1]]
    assert found.answers.tolist() == [END, B, B, END]


class _SaysB(nn.Module):
    """Takes every b to be followed by another one."""

    def forward(self, ids: Tensor, *, wanted: Tensor) -> Tensor:
        return nn.functional.one_hot(torch.full((int(wanted.sum()),), B), 4).float()


class _Counts(nn.Module):
    """Knows the language."""

    def forward(self, ids: Tensor, *, wanted: Tensor) -> Tensor:
        over = (ids == A).cumsum(1) == (ids == B).cumsum(1)
        return nn.functional.one_hot(torch.where(over, END, B)[wanted], 4).float()


def test_a_row_is_right_when_all_its_answers_are() -> None:
    strings = batch(torch.tensor([2, 5, 4]))
    assert right_rows(_SaysB(), strings).tolist() == [False, False, False]
    assert right_rows(_Counts(), strings).tolist() == [True, True, True]
    strings.answers[3] = A  # the second answer of the second row
    assert right_rows(_Counts(), strings).tolist() == [True, False, True]
    assert share_right(_Counts(), strings) == float(torch.tensor(2, dtype=torch.float64) / 3)
