"""Beam search: the ``beams`` best beginnings of every sentence, extended side by side.

Legend: N sentences of the batch, S of them still searched, K beams, R = S * K rows, V vocabulary, T tokens so far,
C candidates.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable
from math import inf

import torch
from torch import Tensor

from pellucid.decoding.constraints import Tracker
from pellucid.decoding.hypothesis import Hypothesis, NothingToChooseError, has_ended
from pellucid.decoding.ranking import largest_sums
from pellucid.decoding.rules import Written


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
        totals, rows, ids = self._candidates(log_probabilities)  # (S, C) each
        ended, at_limit = has_ended(ids, self.end), self.limits <= self.tokens.shape[1] + 1
        self._keep(totals, rows, ids, closed=ended | at_limit[:, None])
        living, order = self._living(totals.masked_fill(ended, -torch.inf))  # (S, K)
        going_on = ~at_limit & (living[:, 0] / self.largest > self.worst)  # (S,) NaN: False
        rows, ids = rows.gather(1, order), ids.gather(1, order)
        if not going_on.all():
            self._raise_for_nothing(totals[:, 0], going_on)
            living, rows, ids = living[going_on], rows[going_on], ids[going_on]
            self._drop(going_on)
        self.totals, rows, ids = living, rows.flatten(), ids.flatten()  # (R,)
        self.tokens = torch.cat((self.tokens.index_select(0, rows), ids[:, None]), dim=1)  # (R, T + 1)
        return rows, ids

    def written(self) -> Written:
        """What the rows have written; one without a beam (total -inf) has something, too."""
        sentences = torch.tensor(self.live, device=self.limits.device)
        return Written(self.tokens, sentences.repeat_interleave(self.beams), self.limits.repeat_interleave(self.beams))

    def _candidates(self, log_probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Sum of log probabilities, row it extends and token of the C = 2 K best extensions, best first: (S, C) each."""
        totals, beams, ids = largest_sums(self.totals, log_probabilities, 2 * self.beams)
        first_rows = torch.arange(0, len(log_probabilities), self.beams, device=ids.device)  # (S,)
        return totals, first_rows[:, None] + beams, ids

    def _living(self, totals: Tensor) -> tuple[Tensor, Tensor]:
        """From sums (S, C), -inf where it ended: those of the K candidates to go on with, best first, and their places."""
        living, order = totals.sort(dim=1, descending=True, stable=True)
        return living[:, : self.beams], order[:, : self.beams]

    def _keep(self, totals: Tensor, rows: Tensor, ids: Tensor, *, closed: Tensor) -> None:
        """Adds the closed ones among the first K candidates to the hypotheses."""
        first = slice(self.beams)
        self._add(totals[:, first], rows[:, first], ids[:, first], closed[:, first])

    def _add(self, totals: Tensor, rows: Tensor, ids: Tensor, closed: Tensor) -> None:
        """Adds the closed ones among the candidates to the hypotheses, where they beat what is kept."""
        n = self.tokens.shape[1] + 1
        better = closed & (totals / self.penalty(n) > self.worst[:, None])  # (S, C)
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

    def _raise_for_nothing(self, best: Tensor, going_on: Tensor) -> None:
        """Of sentences that stop, the best candidate (S,) is a number, and unless it is finite there are hypotheses."""
        for at in (~going_on & ~(best > -torch.inf)).nonzero().flatten().tolist():
            bad = bool(best[at].isnan())
            if bad or not self.hypotheses[self.live[at]]:
                raise NothingToChooseError(self.live[at], self.tokens.shape[1] + 1, bad=bad)

    def _drop(self, going_on: Tensor) -> None:
        self.live = [self.live[at] for at in going_on.nonzero().flatten().tolist()]
        self.limits, self.largest, self.worst = self.limits[going_on], self.largest[going_on], self.worst[going_on]


class ConstrainedBeam(Beam):
    """Beam search for outputs that hold required phrases, by dynamic beam allocation (Post & Vilar 2018; Hu et al. 2019).

    An output that has just written a required word is usually less probable, for the moment, than one that has not: ranked
    together, the former would never live to be completed. So candidates are ranked against those that need as many further
    tokens (a *bank*), and the K places are dealt out in turn: to the best of every bank, to the second of every bank, and so
    on. Where a round has fewer places than banks, the bank that needs fewest comes first, the others in order of their sums.

    Besides the 2 K best extensions, candidates are the best one of every beam and those that bring it nearer to what it needs.
    Ended ones need nothing, and are ranked among the candidates that need nothing. A sentence for which nothing is
    required has one bank: it is searched as :class:`Beam` does.
    """

    def __init__(
        self,
        limits: Tensor,
        *,
        beams: int,
        n_best: int,
        end: int | None,
        penalty: Callable[[int], float],
        tracker: Tracker,
    ) -> None:
        super().__init__(limits, beams=beams, n_best=n_best, end=end, penalty=penalty)
        self.tracker = tracker
        self.needed: list[list[int]] = []  # tokens that each candidate (S, C) still needs

    def _candidates(self, log_probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        best, rows, ids = super()._candidates(log_probabilities)
        if best[:, 0].isnan().any():  # an error soon
            self.needed = [[0] * best.shape[1]] * len(best)
            return best, rows, ids
        found = [
            {(row, token): total for total, row, token in zip(*one, strict=True) if total > -inf}
            for one in zip(best.tolist(), rows.tolist(), ids.tolist(), strict=True)
        ]
        pairs = self._more(log_probabilities)
        if pairs:
            at, more = torch.tensor(pairs, device=ids.device).unbind(dim=1)
            sums = self.totals.flatten()[at] + log_probabilities[at, more]
            for (row, token), total in zip(pairs, sums.tolist(), strict=True):
                if total > -inf:
                    found[row // self.beams].setdefault((row, token), total)
        ranked = [sorted((-total, row, token) for (row, token), total in one.items()) for one in found]  # ties: beam, token
        self.needed = [[self.tracker.after(row, token).needed for _, row, token in one] for one in ranked]
        width = max(best.shape[1], *map(len, ranked))
        filled = [[*one, *[(inf, at * self.beams, 0)] * (width - len(one))] for at, one in enumerate(ranked)]  # (S, C) triples
        totals = [[-negative for negative, _, _ in one] for one in filled]
        places = torch.tensor([[pair[1:] for pair in one] for one in filled], device=ids.device)  # (S, C, 2)
        return best.new_tensor(totals), places[:, :, 0], places[:, :, 1]

    def _more(self, log_probabilities: Tensor) -> list[tuple[int, int]]:
        """Rows and tokens: of beams that need something the best extension, and all that bring them nearer to it."""
        alive = (self.totals.flatten() > -inf).tolist()
        rows = [row for row, state in enumerate(self.tracker.states) if alive[row] and state.plan]
        best = log_probabilities.argmax(dim=1).tolist() if rows else []
        return [(row, token) for row in rows for token in {best[row], *self.tracker.advancing(row)}]

    def _keep(self, totals: Tensor, rows: Tensor, ids: Tensor, *, closed: Tensor) -> None:
        """Adds the closed ones among the first K candidates that need nothing."""
        ready = torch.zeros_like(closed)
        for at, needed in enumerate(self.needed):
            ready[at, : len(needed)] = torch.tensor([number == 0 for number in needed], device=ready.device)
        self._add(totals, rows, ids, closed & ready & (ready.cumsum(dim=1) <= self.beams))

    def _living(self, totals: Tensor) -> tuple[Tensor, Tensor]:
        places = []
        for needed, sums in zip(self.needed, totals.tolist(), strict=True):
            living = [place for place in range(len(needed)) if sums[place] > -inf]
            chosen = sorted(_dealt([needed[place] for place in living])[: self.beams])
            kept = [living[index] for index in chosen]
            gone = [place for place in range(len(sums)) if sums[place] == -inf]
            places.append([*kept, *gone][: self.beams])
        order = torch.tensor(places, device=totals.device)
        return totals.gather(1, order), order


def _dealt(needed: list[int]) -> list[int]:
    """Places of the candidates, which come best first, in the order in which places in the beam are given to them."""
    rounds: Counter[int] = Counter()
    keys = []
    for place, number in enumerate(needed):
        keys.append((rounds[number], number != min(needed), place))
        rounds[number] += 1
    return sorted(range(len(needed)), key=keys.__getitem__)
