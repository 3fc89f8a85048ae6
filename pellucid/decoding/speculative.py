"""Speculative decoding: a small model proposes several tokens, one pass of the large one checks them all, and nothing is lost.

What is written has exactly the distribution of the large model (Leviathan et al. 2023, algorithm 1; Chen et al. 2023): greedy
search gives the tokens of plain greedy search, drawing those of plain drawing, though not the same ones for the same seed. The
more often the small model is right, the fewer passes of the large one a text takes.

Legend: B sentences, S source length, N proposals, V vocabulary. Sentences are written one at a time: in a batch every row would
accept another number of proposals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pellucid.base.config import DecodingConfig
from pellucid.base.errors import UsageError
from pellucid.decoding.constraints import restricting
from pellucid.decoding.contract import Model
from pellucid.decoding.filters import filtered
from pellucid.decoding.hypothesis import Hypothesis, NothingToChooseError
from pellucid.decoding.penalties import length_penalty
from pellucid.decoding.rules import Restrictions, Rule, Written
from pellucid.decoding.sampling import draw, seeds_of, uniform
from pellucid.decoding.search import longest
from pellucid.model.ranking import largest


@dataclass(frozen=True)
class Speculated:
    """An output and how it came about.

    Attributes:
        hypothesis: the output; score and log probability are those of the large model.
        proposed: tokens that the small model proposed.
        accepted: those of them that stand in the output.
        passes: of the large model. Each gives one token besides the accepted ones (none behind an accepted end token).
    """

    hypothesis: Hypothesis
    proposed: int
    accepted: int
    passes: int


def speculate(
    model: Model[Any, Any],
    draft: Model[Any, Any],
    source: Tensor,
    mask: Tensor,
    config: DecodingConfig,
    *,
    start: int | Tensor,
    end: int | None,
    limits: Tensor | None = None,
    ahead: int = 4,
    forbidden: Sequence[int] = (),
    seeds: Sequence[int] | Tensor | None = None,
    rules: Sequence[Rule] = (),
    prefixes: Sequence[Sequence[int]] | None = None,
    before: Sequence[Sequence[int]] | None = None,
) -> list[Speculated]:
    """One output for each source sentence, as :func:`pellucid.decoding.search.search` finds or draws it with one beam.

    Greedy ids are equal to those of ``search`` unless two tokens are as good as equal to rounding: a pass over several
    positions may differ from steps in the last digit.

    Args:
        model: the large model, in evaluation mode.
        draft: the small one, too. It reads the same source and has the same vocabulary.
        source: (B, S) int64, padded; each sentence with its end token. Decoder-only models: each prompt without its last token.
        mask: (B, S) bool, True = a real token.
        config: ``beams`` 1. Temperature, filters and rules apply to both models.
        start: id that every output begins with, or (B,) int64, the one of each sentence.
        end: id that closes an output; None: nothing but its limit does.
        limits: (B,) int64, most tokens of each output with its end token, at least 1. Default: as in ``search``.
        ahead: most tokens proposed at a time, at least 1.
        forbidden: ids that are never chosen.
        seeds: with a temperature, (B,) one for each sentence. Default: its place in the batch, from 0.
        rules, prefixes, before: as for ``search``, for both models. Required phrases cannot be asked for.

    Raises:
        UsageError: several beams, nothing proposed, a seed missing, a prefix without room or forbidden, or models with
            vocabularies of different sizes; the last is found at the first proposal.
        NothingToChooseError: the logits of a model are NaN or infinite, or all permitted tokens have probability zero.
    """
    if config.beams != 1:
        raise UsageError("speculative decoding has no beams", where="beams", expected=1, found=config.beams)
    if ahead < 1:
        raise UsageError("the small model must propose something", where="ahead", expected="at least 1", found=ahead)
    seeds = seeds_of(seeds, len(source))
    starts = torch.as_tensor(start).expand(len(source)).tolist()
    limits = (longest(mask, config) if limits is None else limits).to(source.device)
    restrictions, _ = restricting(config, rules, prefixes, limits=limits, end=end, forbidden=forbidden, before=before)
    found = []
    with torch.inference_mode():
        for at in range(len(source)):
            chooser = _Chooser(at, limits[at : at + 1], config, restrictions, seeds[at])
            alone = _without_padding(source, mask, at)
            large, small = _Writer(model, *alone, starts[at]), _Writer(draft, *alone, starts[at])
            found.append(_write(large, small, chooser, limit=int(limits[at]), ahead=ahead, end=end))
    return found


def accept(large: Tensor, small: Tensor, token: int) -> tuple[float, Tensor]:
    """The probability with which a proposal is accepted, and the distribution (V,) to draw from instead if it is not.

    With p of the large model and q of the small one: ``min(1, p / q)`` for the token, and ``max(0, p - q)`` scaled to sum 1. A
    token x is then written with ``min(p(x), q(x))`` as a proposal and ``max(0, p(x) - q(x))`` in place of others: p(x) in all.

    Args:
        large, small: (V,) probabilities float64, p and q.
        token: the proposal, drawn from q.
    """
    instead = (large - small).clamp(min=0.0)
    # Where both are equal, nothing but rounding can refuse a proposal, and nothing is left to draw from.
    instead = instead / instead.sum() if instead.sum() > 0.0 else large
    return min(1.0, float(large[token] / small[token])), instead


# Random numbers, three for each position of the output. A refused proposal takes back all that stands behind it; the numbers
# that are used again there had no part in refusing it, so that every token is drawn independently of what came before.
_PROPOSE, _ACCEPT, _DRAW = range(3)


class _Chooser:
    """The distributions that the tokens of one sentence are drawn from, and the random numbers to draw them with."""

    def __init__(self, sentence: int, limit: Tensor, config: DecodingConfig, restrictions: Restrictions, seed: int) -> None:
        self.sentence, self.limit, self.config, self.restrictions, self.seed = sentence, limit, config, restrictions, seed

    def values(self, logits: Tensor, tokens: Sequence[int]) -> Tensor:
        """Log probabilities, float32, of logits (N, V), which follow the last N of the start token and these tokens."""
        first = len(tokens) - len(logits) + 1
        rows = [
            self.restrictions.log_probabilities(logits[at : at + 1], partial(self._written, tokens[: first + at]))
            for at in range(len(logits))
        ]
        return torch.cat(rows)

    def _written(self, tokens: Sequence[int]) -> Written:
        written = self.limit.new_tensor([tokens], dtype=torch.int64)
        return Written(written, self.limit.new_tensor([self.sentence]), self.limit)

    def shares(self, values: Tensor) -> Tensor:
        """The distributions after temperature and filters, (N, V) float64; greedy search gives all to its choice."""
        if self.config.temperature == 0.0:
            _, ids = largest(values)
            return torch.zeros_like(values, dtype=torch.float64).scatter_(1, ids[:, None], 1.0)
        return filtered(values, self.config).softmax(dim=1)

    def number(self, position: int, purpose: int) -> float:
        """From 0 to below 1."""
        return uniform(self.seed, 3 * position + purpose)

    def draw(self, shares: Tensor, position: int, purpose: int) -> int:
        """The token at a position of the output (from 0), from a distribution (V,)."""
        number = torch.tensor([self.number(position, purpose)], dtype=torch.float64, device=shares.device)
        return int(draw(shares[None].log(), number))

    def check(self, value: Tensor, position: int) -> float:
        """The log probability of a chosen token, if it is a number above -inf."""
        if not value > -torch.inf:  # NaN, too
            raise NothingToChooseError(self.sentence, position + 1, bad=bool(value.isnan()))
        return value.item()


class _Writer:
    """A model and its state, which may be behind the output by a token or two."""

    def __init__(self, model: Model[Any, Any], source: Tensor, mask: Tensor, start: int) -> None:
        self.model, self.start, self.device = model, start, source.device
        self.state = model.start(model.encode(source, mask))
        self.before = self.state.length  # positions of a prompt

    def read(self, output: Sequence[int]) -> Tensor:
        """Takes in what is new of the output, the last token always, and gives the logits (N, V) after each new token."""
        new = [self.start, *output][self.state.length - self.before :]
        logits, self.state = self.model.step(torch.tensor([new], device=self.device), self.state)
        return logits[0]

    def forget(self, output: Sequence[int]) -> None:
        """Takes back what does not stand, and the last token: what follows it has not been asked for yet."""
        self.state.truncate(min(self.state.length, self.before + len(output)))


def _write(model: _Writer, draft: _Writer, chooser: _Chooser, *, limit: int, ahead: int, end: int | None) -> Speculated:
    output: list[int] = []
    total, n_proposed, n_accepted, passes = 0.0, 0, 0, 0
    while len(output) < limit and output[-1:] != [end]:
        count = min(ahead, limit - len(output) - 1)  # a pass gives one token of its own
        proposals, small = _propose(draft, chooser, output, count, end)
        tokens = [*output, *proposals]
        values = chooser.values(model.read(tokens), tokens)  # (N + 1, V)
        new, accepted = _examine(proposals, small, chooser, values, len(output), end)
        total += sum(chooser.check(values[at, token], len(output) + at) for at, token in enumerate(new))
        output += new
        passes, n_proposed, n_accepted = passes + 1, n_proposed + len(proposals), n_accepted + accepted
        for writer in (model, draft):
            writer.forget(output)
    penalty = length_penalty(chooser.config.length_penalty, chooser.config.alpha)
    return Speculated(Hypothesis.close(output, total, end=end, penalty=penalty), n_proposed, n_accepted, passes)


def _propose(
    draft: _Writer, chooser: _Chooser, output: list[int], count: int, end: int | None
) -> tuple[list[int], list[Tensor]]:
    """Up to ``count`` tokens, fewer if the output ends with them, and the distribution (V,) that each was drawn from."""
    proposals: list[int] = []
    small: list[Tensor] = []
    while len(proposals) < count and proposals[-1:] != [end]:
        tokens = [*output, *proposals]
        values = chooser.values(draft.read(tokens)[-1:], tokens)  # (1, V)
        [shares] = chooser.shares(values)
        token = chooser.draw(shares, len(tokens), _PROPOSE)
        chooser.check(values[0, token], len(tokens))
        proposals.append(token)
        small.append(shares)
    return proposals, small


def _examine(
    proposals: list[int], small: list[Tensor], chooser: _Chooser, values: Tensor, position: int, end: int | None
) -> tuple[list[int], int]:
    """The tokens that go into the output from this position on, and how many of them are proposals."""
    large = chooser.shares(values)  # (N + 1, V)
    for at, (token, shares) in enumerate(zip(proposals, small, strict=True)):
        _check_vocabularies(large.shape[1], len(shares))
        chance, instead = accept(large[at], shares, token)
        if chooser.number(position + at, _ACCEPT) >= chance:
            return [*proposals[:at], chooser.draw(instead, position + at, _DRAW)], at
    if proposals[-1:] == [end]:
        return proposals, len(proposals)
    return [*proposals, chooser.draw(large[-1], position + len(proposals), _DRAW)], len(proposals)


def _check_vocabularies(large: int, small: int) -> None:
    if large != small:
        what = "both models of speculative decoding must share their vocabulary"
        advice = "take a small model that was trained with the tokenizer of the large one"
        raise UsageError(what, expected=large, found=small, advice=advice)


def _without_padding(source: Tensor, mask: Tensor, at: int) -> tuple[Tensor, Tensor]:
    """Source and mask of one sentence, (1, S) each; of a source that is no row of tokens nothing is cut off."""
    if source.dim() > 2:
        return source[at : at + 1], mask[at : at + 1]
    real = mask[at]
    return source[at, real][None], real[real][None]
