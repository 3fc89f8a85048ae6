"""Greedy search: the most probable token, every time.

Legend: N sentences of the batch, R of them (rows) still being decoded, V vocabulary, T tokens so far.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isnan

import torch
from torch import Tensor

from pellucid.decoding.hypothesis import Hypothesis, NothingToChooseError
from pellucid.decoding.rules import Written
from pellucid.model.ranking import largest


class Greedy:
    """One row a sentence; among equally probable tokens the one with the lowest id; a sentence is dropped when it ends.

    Args:
        limits: (N,) int64, most tokens of each output, the end token included.
        end: id of the end token; None: only the limit closes an output.
        penalty: the length penalty as a function of the number of tokens; it changes the score, never the choice.
    """

    def __init__(self, limits: Tensor, *, end: int | None, penalty: Callable[[int], float]) -> None:
        self.end, self.penalty = end, penalty
        self.hypotheses: list[list[Hypothesis]] = [[] for _ in limits]
        self.live = list(range(len(limits)))  # sentence of each row
        self.limits, self._soonest = limits, _least(limits)
        self.totals = torch.zeros(len(limits), dtype=torch.float64, device=limits.device)  # (R,) log probabilities
        self.tokens = limits.new_empty((len(limits), 0))  # (R, T)

    def choose(self, log_probabilities: Tensor) -> tuple[Tensor | None, Tensor]:
        """Takes (R, V), gives the rows to go on with (None: all) and the token that each goes on with."""
        return self.take(*self.pick(log_probabilities))

    def take(self, values: Tensor, ids: Tensor) -> tuple[Tensor | None, Tensor]:
        """Takes log probability and id of each row's token, (R,) each, gives what ``choose`` gives."""
        self.totals = self.totals + values
        self.tokens = torch.cat((self.tokens, ids[:, None]), dim=1)  # (R, T + 1)
        going_on = self.totals > -torch.inf  # NaN: False
        if self.end is not None:
            going_on &= ids != self.end
        if self.tokens.shape[1] >= self._soonest:
            going_on &= self.limits > self.tokens.shape[1]
        if going_on.all():
            return None, ids
        self._finish((~going_on).nonzero().flatten())
        rows = going_on.nonzero().flatten()
        self.live = [self.live[row] for row in rows.tolist()]
        self.limits, self.totals, self.tokens = self.limits[rows], self.totals[rows], self.tokens[rows]
        self._soonest = _least(self.limits)
        return rows, ids[rows]

    def written(self) -> Written:
        """What the rows have written."""
        return Written(self.tokens, torch.tensor(self.live, device=self.limits.device), self.limits)

    def pick(self, log_probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Takes (R, V), gives log probability and id of the next token of each row: (R,) each."""
        return largest(log_probabilities)

    def _finish(self, rows: Tensor) -> None:
        done = zip(rows.tolist(), self.totals[rows].tolist(), self.tokens[rows].tolist(), strict=True)
        for row, total, tokens in done:
            sentence = self.live[row]
            if not total > float("-inf"):
                raise NothingToChooseError(sentence, len(tokens), bad=isnan(total))
            self.hypotheses[sentence] = [Hypothesis.close(tokens, total, end=self.end, penalty=self.penalty)]


def _least(limits: Tensor) -> int:
    """Before so many tokens no output reaches its limit."""
    return int(limits.min()) if len(limits) else 0
