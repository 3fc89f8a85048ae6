"""Beam search: the ``beams`` best beginnings of every sentence, extended side by side.

Legend: N sentences of the batch, S of them still searched, K beams, R = S * K rows, V vocabulary, T tokens so
far.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable

import torch
from torch import Tensor

from pellucid.decoding.hypothesis import Hypothesis, NothingToChooseError, has_ended
from pellucid.decoding.ranking import largest_sums


class Beam:
    """Beam search with an exact stop rule.

    **A step.** Every beam is extended by every token; the 2 K extensions with the largest sum of log probabilities are
    the sentence's candidates. A beam can end in one way only, so that at least K of the 2 K go on: ending takes no
    place from the living. Candidates that end become hypotheses if they are among the first K. At the sentence's limit
    the first K are all closed, those that did not end without an end token (reason ``length``), and compete by score.

    **Score.** Sum of log probabilities / penalty(n); n counts the tokens, the end token included where there is one.

    **Stop rule.** A sentence is finished at its limit, or as soon as no living beam can beat the worst of the
    ``n_best`` hypotheses kept. A living beam's sum can only fall, and is negative, so that the largest penalty ahead of
    it does it most good; no penalty falls with n, so that is the penalty at the limit. A sentence stops when ``n_best``
    are kept and ``sum / penalty(limit) <= worst kept score`` for its best living beam: what is returned is exactly what
    a search up to the limit would return.

    **Ties** go to the beam that ranks higher, then to the lower token id, and between hypotheses to the one found
    first. Nothing depends on which other sentences are in the batch.

    Args:
        limits: (N,) int64, most tokens of each output, the end token included.
        beams: K.
        n_best: hypotheses kept of each sentence, at most K.
        end: id of the end token; None: only the limit closes an output.
        penalty: the length penalty as a function of n, which must not fall with n.
    """

    def __init__(self, limits: Tensor, *, beams: int, n_best: int, end: int | None, penalty: Callable[[int], float]) -> None:
        self.beams, self.n_best, self.end, self.penalty = beams, n_best, end, penalty
        self.hypotheses: list[list[Hypothesis]] = [[] for _ in limits]
        self.live = list(range(len(limits)))  # number in the batch of each sentence still searched
        self.limits = limits
        # float64: a sum of hundreds of float32 numbers would drift
        self.largest = limits.new_tensor([penalty(n) for n in limits.tolist()], dtype=torch.float64)  # (S,) at the limit
        self.worst = torch.full_like(self.largest, -torch.inf)  # (S,) score to beat
        self.totals = self.worst[:, None].repeat(1, beams)  # (S, K) sums of log probabilities; -inf: no beam
        self.totals[:, 0] = 0.0  # all beams begin alike: only the first one counts
        self.tokens = limits.new_empty((len(limits) * beams, 0))  # (R, T)

    def choose(self, log_probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Takes (R, V), gives the rows to go on with and the token that each goes on with."""
        totals, rows, ids = self._candidates(log_probabilities)  # (S, 2K) each
        ended, at_limit = has_ended(ids, self.end), self.limits <= self.tokens.shape[1] + 1
        self._keep(totals, rows, ids, closed=ended | at_limit[:, None])
        living, order = totals.masked_fill(ended, -torch.inf).sort(dim=1, descending=True, stable=True)
        living, order = living[:, : self.beams], order[:, : self.beams]  # (S, K)
        going_on = ~at_limit & (living[:, 0] / self.largest > self.worst)  # (S,) NaN: False
        rows, ids = rows.gather(1, order), ids.gather(1, order)
        if not going_on.all():
            self._raise_for_nothing(totals[:, 0])
            living, rows, ids = living[going_on], rows[going_on], ids[going_on]
            self._drop(going_on)
        self.totals, rows, ids = living, rows.flatten(), ids.flatten()  # (R,)
        self.tokens = torch.cat((self.tokens.index_select(0, rows), ids[:, None]), dim=1)  # (R, T + 1)
        return rows, ids

    def _candidates(self, log_probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sum of log probabilities, row it extends and token of the 2 K best extensions, best first: (S, 2K) each."""
        totals, beams, ids = largest_sums(self.totals, log_probabilities, 2 * self.beams)
        first_rows = torch.arange(0, len(log_probabilities), self.beams, device=ids.device)  # (S,)
        return totals, first_rows[:, None] + beams, ids

    def _keep(self, totals: Tensor, rows: Tensor, ids: Tensor, *, closed: Tensor) -> None:
        """Adds the closed ones among the first K candidates to the hypotheses, where they beat what is kept."""
        n = self.tokens.shape[1] + 1
        totals, rows, ids = totals[:, : self.beams], rows[:, : self.beams], ids[:, : self.beams]
        better = closed[:, : self.beams] & (totals / self.penalty(n) > self.worst[:, None])  # (S, K)
        found = better.nonzero()[:, 0].tolist()  # sentence of each, in order of rank
        if not found:
            return
        prefixes = self.tokens[rows[better]].tolist()
        for at, total, prefix, last in zip(found, totals[better].tolist(), prefixes, ids[better].tolist(), strict=True):
            kept = self.hypotheses[self.live[at]]
            hypothesis = Hypothesis.close([*prefix, last], total, end=self.end, penalty=self.penalty)
            insort(kept, hypothesis, key=lambda other: -other.score)  # behind its equals
            del kept[self.n_best :]
            if len(kept) == self.n_best:
                self.worst[at] = kept[-1].score

    def _raise_for_nothing(self, best: Tensor) -> None:
        """Every sentence searched has a living beam: its best candidate (S,) is finite, or the logits are bad."""
        bad = (~(best > -torch.inf)).nonzero().flatten().tolist()
        if bad:
            raise NothingToChooseError(self.live[bad[0]], self.tokens.shape[1] + 1)

    def _drop(self, going_on: Tensor) -> None:
        self.live = [self.live[at] for at in going_on.nonzero().flatten().tolist()]
        self.limits, self.largest, self.worst = self.limits[going_on], self.largest[going_on], self.worst[going_on]
