"""Beam search: the ``beams`` best beginnings of every sentence, extended side by side.

Legend: N sentences of the batch, S of them still searched, K beams, R = S * K rows, V vocabulary, T tokens so far,
C candidates.
"""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Callable
from math import inf, isnan
from typing import NamedTuple

import torch
from torch import Tensor

from pellucid.decoding.constraints import Tracker
from pellucid.decoding.hypothesis import Hypothesis, NothingToChooseError
from pellucid.decoding.rules import Written
from pellucid.model.ranking import largest_sums


class Candidate(NamedTuple):
    """An extension of a beam: its sum of log probabilities, the row that it extends, and the token."""

    total: float
    row: int
    token: int


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
        self.limits = limits
        self.live = list(range(len(limits)))  # number in the batch of each sentence still searched
        self._limits: list[int] = limits.tolist()  # of each sentence of the batch, as all that follows
        self._largest = [penalty(n) for n in self._limits]  # at the limit
        self._worst = [-inf] * len(limits)  # score to beat
        # (S, K) sums of log probabilities; -inf: no beam. float64: a sum of hundreds of float32 numbers would drift.
        self.totals = torch.full((len(limits), beams), -inf, dtype=torch.float64, device=limits.device)
        self.totals[:, 0] = 0.0  # all beams begin alike: only the first one counts
        self.tokens = limits.new_empty((len(limits) * beams, 0))  # (R, T)
        # For whoever looks on: the last step's candidates of each sentence, and the row that each beam was, (R,)
        self.considered: list[list[Candidate]] = []
        self.parents = self.tokens.flatten()

    def choose(self, log_probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Takes (R, V), gives the rows to go on with and the token that each goes on with."""
        return self._go_on(self._candidates(log_probabilities))

    def take(self, sums: Tensor, beams: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Takes sum, beam and token of each sentence's candidates, best first, (S, C) each, gives what ``choose`` gives."""
        return self._go_on(self._as_candidates(sums, beams, tokens))

    def _go_on(self, considered: list[list[Candidate]]) -> tuple[Tensor, Tensor]:
        # A few candidates a sentence: Python is done with them before torch has begun its second operation.
        self.considered = considered
        n = self.tokens.shape[1] + 1
        chosen: list[Candidate] = []
        going_on = []
        for at, (sentence, candidates) in enumerate(zip(self.live, self.considered, strict=True)):
            at_limit = self._limits[sentence] <= n
            for candidate in self._closing(at, candidates):
                if at_limit or candidate.token == self.end:
                    self._add(sentence, candidate, n)
            living = self._living(at, candidates)
            # NaN is not larger than anything
            if not at_limit and living[0].total / self._largest[sentence] > self._worst[sentence]:
                chosen += living
                going_on.append(at)
            else:
                self._check_found(sentence, candidates[0].total)
        if len(going_on) < len(self.live):
            self.live = [self.live[at] for at in going_on]
            self.limits = self.limits[going_on]
        rows = torch.tensor([candidate.row for candidate in chosen], dtype=torch.int64, device=self.limits.device)  # (R,)
        ids = torch.tensor([candidate.token for candidate in chosen], dtype=torch.int64, device=self.limits.device)
        totals = [candidate.total for candidate in chosen]
        self.totals = torch.tensor(totals, dtype=torch.float64, device=self.limits.device).view(-1, self.beams)
        self.tokens = torch.cat((self.tokens.index_select(0, rows), ids[:, None]), dim=1)  # (R, T + 1)
        self.parents = rows
        return rows, ids

    def written(self) -> Written:
        """What the rows have written; one without a beam (total -inf) has something, too."""
        sentences = torch.tensor(self.live, device=self.limits.device)
        return Written(self.tokens, sentences.repeat_interleave(self.beams), self.limits.repeat_interleave(self.beams))

    def _candidates(self, log_probabilities: Tensor) -> list[list[Candidate]]:
        """Of each sentence the C = 2 K best extensions, best first."""
        return self._as_candidates(*largest_sums(self.totals, log_probabilities, 2 * self.beams))

    def _as_candidates(self, *found: Tensor) -> list[list[Candidate]]:
        rows = range(0, len(self.live) * self.beams, self.beams)  # the first one of each sentence
        return [
            [Candidate(total, first + beam, token) for total, beam, token in zip(*one, strict=True)]
            for first, *one in zip(rows, *(x.tolist() for x in found), strict=True)
        ]

    def _closing(self, at: int, candidates: list[Candidate]) -> list[Candidate]:
        """Those that become hypotheses if they end: the first K."""
        return candidates[: self.beams]

    def _living(self, at: int, candidates: list[Candidate]) -> list[Candidate]:
        """The K that go on, best first; where there are fewer, others without a beam (total -inf) fill up."""
        living = [candidate for candidate in candidates if not self._gone(candidate)]
        return (living + [one._replace(total=-inf) for one in candidates if self._gone(one)])[: self.beams]

    def _gone(self, candidate: Candidate) -> bool:
        return candidate.total == -inf or candidate.token == self.end

    def _add(self, sentence: int, candidate: Candidate, n: int) -> None:
        """Adds a candidate of n tokens to the hypotheses of its sentence, if it beats what is kept."""
        if not candidate.total / self.penalty(n) > self._worst[sentence]:
            return
        tokens = [*self.tokens[candidate.row].tolist(), candidate.token]
        kept = self.hypotheses[sentence]
        hypothesis = Hypothesis.close(tokens, candidate.total, end=self.end, penalty=self.penalty)
        insort(kept, hypothesis, key=lambda other: -other.score)  # behind its equals
        del kept[self.n_best :]
        if len(kept) == self.n_best:
            self._worst[sentence] = kept[-1].score

    def _check_found(self, sentence: int, best: float) -> None:
        """Of a sentence that stops, the best candidate is a number, and unless it is finite there are hypotheses."""
        if isnan(best) or (best == -inf and not self.hypotheses[sentence]):
            raise NothingToChooseError(sentence, self.tokens.shape[1] + 1, bad=isnan(best))


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
        self.needed: list[list[int]] = []  # tokens that each candidate still needs

    def _candidates(self, log_probabilities: Tensor) -> list[list[Candidate]]:
        best = super()._candidates(log_probabilities)
        if any(isnan(candidates[0].total) for candidates in best):  # an error soon
            self.needed = [[0] * len(candidates) for candidates in best]
            return best
        found = [{(one.row, one.token): one.total for one in candidates if one.total > -inf} for candidates in best]
        pairs = self._more(log_probabilities)
        if pairs:
            at, more = torch.tensor(pairs, device=log_probabilities.device).unbind(dim=1)
            sums = self.totals.flatten()[at] + log_probabilities[at, more]
            for (row, token), total in zip(pairs, sums.tolist(), strict=True):
                if total > -inf:
                    found[row // self.beams].setdefault((row, token), total)
        ranked = [sorted((-total, row, token) for (row, token), total in one.items()) for one in found]  # ties: beam, token
        self.needed = [[self.tracker.after(row, token).needed for _, row, token in one] for one in ranked]
        # Where nothing is possible any more the others stand for it.
        return [
            [Candidate(-negative, row, token) for negative, row, token in one]
            + [two for two in candidates if two.total == -inf]
            for one, candidates in zip(ranked, best, strict=True)
        ]

    def _more(self, log_probabilities: Tensor) -> list[tuple[int, int]]:
        """Rows and tokens: of beams that need something the best extension, and all that bring them nearer to it."""
        alive = (self.totals.flatten() > -inf).tolist()
        rows = [row for row, state in enumerate(self.tracker.states) if alive[row] and state.plan]
        best = log_probabilities.argmax(dim=1).tolist() if rows else []
        return [(row, token) for row in rows for token in {best[row], *self.tracker.advancing(row)}]

    def _closing(self, at: int, candidates: list[Candidate]) -> list[Candidate]:
        """The first K of those that need nothing."""
        ready = [one for one, number in zip(candidates, self.needed[at], strict=False) if number == 0]
        return ready[: self.beams]

    def _living(self, at: int, candidates: list[Candidate]) -> list[Candidate]:
        pairs = [
            (one, number) for one, number in zip(candidates, self.needed[at], strict=False) if not self._gone(one)
        ]  # those behind have no total
        chosen = sorted(_dealt([number for _, number in pairs])[: self.beams])
        rest = [one._replace(total=-inf) for one in candidates if self._gone(one)] or [candidates[0]._replace(total=-inf)]
        living = [pairs[place][0] for place in chosen]
        return (living + rest * self.beams)[: self.beams]


def _dealt(needed: list[int]) -> list[int]:
    """Places of the candidates, which come best first, in the order in which places in the beam are given to them."""
    rounds: Counter[int] = Counter()
    keys = []
    for place, number in enumerate(needed):
        keys.append((rounds[number], number != min(needed), place))
        rounds[number] += 1
    return sorted(range(len(needed)), key=keys.__getitem__)
