"""The search for an output: one loop over the model's step.

The loop feeds tokens and gets logits; a strategy (greedy, beam, sample) chooses, keeps the finished and says which rows go on.

Legend: B sentences, S source length, K beams, R rows (K a sentence still searched), T target length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, Required, TypedDict, Unpack

import torch
from torch import Tensor

from pellucid.base.config import DecodingConfig
from pellucid.base.errors import UsageError
from pellucid.decoding.beam import Beam, ConstrainedBeam
from pellucid.decoding.constraints import Tracker, restricting
from pellucid.decoding.contract import Choosing, MemoryType, Model, StateType
from pellucid.decoding.greedy import Greedy
from pellucid.decoding.hypothesis import Hypothesis
from pellucid.decoding.penalties import length_penalty
from pellucid.decoding.phrases import Phrase
from pellucid.decoding.rules import Restrictions, Rule, Written
from pellucid.decoding.sampling import Sample, seeds_of


class Strategy(Protocol):
    """What the loop asks at every step, and what has been found so far."""

    live: list[int]  # number in the batch of each sentence still searched
    hypotheses: list[list[Hypothesis]]  # of every sentence, best first; with beams a sentence still searched may have some
    tokens: Tensor  # (R, T) what the rows have written, those of a sentence together, in the order of ``live``

    def choose(self, log_probabilities: Tensor) -> tuple[Tensor | None, Tensor]:
        """From the next token's log probabilities (R, V): rows that go on (None: all in place), and their tokens."""
        ...

    def written(self) -> Written:
        """What the rows have written, for the rules."""
        ...


class SearchOptions(TypedDict, total=False):
    """What is asked of a search besides model, source and configuration; all but ``start`` and ``end`` may be left out."""

    start: Required[int | Tensor]
    """id that every output begins with, or (B,) int64, the one of each sentence: the last token of its prompt"""
    end: Required[int | None]
    """id that closes an output; None: nothing but its limit does"""
    limits: Tensor | None
    """(B,) int64, most tokens of each output with its end token, at least 1. Default: the tokens of its source plus
    ``max_extra`` (the paper's input length + 50, section 6.1)"""
    n_best: int
    """outputs a sentence, at most ``config.beams``; 1"""
    forbidden: Sequence[int]
    """ids that are never chosen (padding, start, unknown). In scores the others keep their probabilities"""
    seeds: Sequence[int] | Tensor | None
    """with a temperature, (B,) one for each sentence, which gets the same text from the same seed in whatever batch it stands.
    Default: its place in this batch, from 0"""
    rules: Sequence[Rule]
    """what may not come, see :mod:`pellucid.decoding.rules`, besides those that ``config`` names. They prevail over the model,
    and what is forced prevails over them"""
    prefixes: Sequence[Sequence[int]] | None
    """of each sentence, tokens that its output begins with; they count in limit and score"""
    required: Sequence[Sequence[Phrase]] | None
    """of each sentence, phrases that its output must hold, see :mod:`pellucid.decoding.constraints`: each a list of spellings,
    any one of which will do, each spelling a list of tokens"""
    before: Sequence[Sequence[int]] | None
    """of each sentence, equally many tokens that earlier searches have written: rules and repetition penalty count them"""


def search(
    model: Model[MemoryType, StateType], source: Tensor, mask: Tensor, config: DecodingConfig, **asked: Unpack[SearchOptions]
) -> list[list[Hypothesis]]:
    """The outputs of each source sentence.

    With a temperature they are drawn, by :class:`Sample`; else they are the best, found by :class:`Greedy` with one beam and by
    the rules of :class:`Beam` with more. The model is used as it is: put it into evaluation mode first.

    Args:
        source: (B, S) int64, padded; each sentence with its end token. Decoder-only model: each prompt without its last token.
        mask: (B, S) bool, True = a real token; a row without any is the prompt of one token.
        config: beams, length penalty and ``max_extra``; ``temperature``, ``top_k`` and ``top_p``.
        asked: see :class:`SearchOptions`.

    Returns:
        For each sentence 1 to ``n_best`` hypotheses, all different, best score first; fewer if there are no more.

    Raises:
        UsageError: ``n_best`` is not between 1 and the number of beams; a seed is missing; what is forced has no room within
            the limit, or is itself forbidden. Raised before the model is asked anything.
        NothingToChooseError: the logits are NaN or infinite, or all permitted tokens have probability zero.
    """
    hypotheses: list[list[Hypothesis]] = []
    with torch.inference_mode():
        for strategy in _prepared(model, source, mask, config, **asked):
            hypotheses = strategy.hypotheses
    return hypotheses


def searching(
    model: Model[MemoryType, StateType], source: Tensor, mask: Tensor, config: DecodingConfig, **asked: Unpack[SearchOptions]
) -> Iterator[Strategy]:
    """The same search step by step, for whoever wants to see outputs grow: the strategy after each token of every row.

    It is one object, changed by every step. With one beam, the row of a sentence still in ``live`` is what it has written so
    far and all of it stands; the output of a sentence that is no longer there is in ``hypotheses``. Nothing is kept of an
    iterator that is left unfinished.

    Args, raises: as :func:`search`; what is asked for is checked at once, before the first step.
    """
    return _each(_prepared(model, source, mask, config, **asked))


@torch.inference_mode()  # entered again for every step, so that it does not hold for whoever takes them
def _each(steps: Iterator[Strategy]) -> Iterator[Strategy]:
    yield from steps


def _prepared(
    model: Model[MemoryType, StateType], source: Tensor, mask: Tensor, config: DecodingConfig, **asked: Unpack[SearchOptions]
) -> Iterator[Strategy]:
    """The steps, not yet begun, of what has been checked."""
    n_best, end, limits = asked.get("n_best", 1), asked["end"], asked.get("limits")
    _check(config, n_best)
    limits = (longest(mask, config) if limits is None else limits).to(source.device)
    restrictions, tracker = restricting(
        config,
        asked.get("rules", ()),
        asked.get("prefixes"),
        asked.get("required"),
        limits=limits,
        end=end,
        forbidden=asked.get("forbidden", ()),
        before=asked.get("before"),
    )
    strategy = _strategy(config, limits, n_best, end, asked.get("seeds"), tracker)
    return _steps(model, source, mask, strategy, asked["start"], config.beams, restrictions, tracker)


def _steps(
    model: Model[MemoryType, StateType],
    source: Tensor,
    mask: Tensor,
    strategy: Strategy,
    start: int | Tensor,
    beams: int,
    restrictions: Restrictions,
    tracker: Tracker | None,
) -> Iterator[Strategy]:
    state = model.start(model.encode(source, mask), beams=beams)
    ids = _first_tokens(start, source).repeat_interleave(beams)  # (R,)
    # Where nothing but the most probable tokens is wanted, a state that knows them need not show all the others.
    chooser = state if isinstance(state, Choosing) and restrictions.plain else None
    while strategy.live:
        if chooser is not None and type(strategy) is Greedy:
            rows, ids = strategy.take(*chooser.best(ids[:, None], restrictions.never))
        elif chooser is not None and type(strategy) is Beam:
            rows, ids = strategy.take(*chooser.best_sums(ids[:, None], restrictions.never, strategy.totals))
        else:
            logits, state = model.step(ids[:, None], state)  # (R, 1, V)
            rows, ids = strategy.choose(restrictions.log_probabilities(logits[:, -1], strategy.written))
        if tracker is not None:
            tracker.follow(rows, ids)
        if rows is not None and strategy.live:
            state.select(rows)
        yield strategy


def longest(mask: Tensor, config: DecodingConfig) -> Tensor:
    """The limit of each output where none is given: the tokens of its source plus ``max_extra``, (B,)."""
    return mask.sum(dim=1) + config.max_extra


def _check(config: DecodingConfig, n_best: int) -> None:
    if not 1 <= n_best <= config.beams:
        what = "a search gives at least one output a sentence, and at most as many as it has beams"
        advice = "ask for fewer outputs or for more beams"
        raise UsageError(what, expected=f"1 to {config.beams}", found=n_best, advice=advice)


def _strategy(
    config: DecodingConfig,
    limits: Tensor,
    n_best: int,
    end: int | None,
    seeds: Sequence[int] | Tensor | None,
    tracker: Tracker | None,
) -> Strategy:
    penalty = length_penalty(config.length_penalty, config.alpha)
    if config.temperature > 0.0:
        return Sample(limits, end=end, penalty=penalty, config=config, seeds=seeds_of(seeds, len(limits)))
    if config.beams == 1:
        return Greedy(limits, end=end, penalty=penalty)
    if tracker is not None:
        return ConstrainedBeam(limits, beams=config.beams, n_best=n_best, end=end, penalty=penalty, tracker=tracker)
    return Beam(limits, beams=config.beams, n_best=n_best, end=end, penalty=penalty)


def _first_tokens(start: int | Tensor, source: Tensor) -> Tensor:
    """The first token fed for each sentence: (B,)."""
    return torch.as_tensor(start, dtype=torch.int64, device=source.device).expand(len(source))
