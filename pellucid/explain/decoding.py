"""Decoding, step by step: what was considered, kept and chosen, with which score, random number and beam.

The search is the shipped one. A rule that forbids nothing sees the log probabilities from which it chooses.

Legend: K beams, R rows (one sentence: the beams still searched), V vocabulary, S source length, L tokens so far.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.base.config import DecodingConfig
from pellucid.decoding.beam import Beam
from pellucid.decoding.filters import filtered
from pellucid.decoding.greedy import Greedy
from pellucid.decoding.hypothesis import Hypothesis
from pellucid.decoding.rules import Written
from pellucid.decoding.sampling import uniform
from pellucid.decoding.search import Strategy, searching
from pellucid.explain.edits import Edit
from pellucid.explain.recording import edited
from pellucid.explain.subject import Subject, Writing
from pellucid.explain.trace import Candidate, Step
from pellucid.model.transformer import DecoderOnly, EncoderDecoder, Memory, Prompt

SHOWN = 10  # candidates of a step without beams


class _Onlooker:
    """A rule that forbids nothing, and remembers what the search is about to choose from."""

    log_probabilities: Tensor
    tokens: Tensor

    def __call__(self, log_probabilities: Tensor, written: Written, /) -> Tensor:
        self.log_probabilities, self.tokens = log_probabilities, written.tokens
        return log_probabilities


def decoding(subject: Subject, edits: Sequence[Edit] = ()) -> Generator[Step, None, Hypothesis]:
    """The steps of the search for an output, each as soon as it is done; at last the output.

    With edits the model is asked anew for the whole text at every step, so that an edit means the same places in every step.

    Raises:
        UsageError, NothingToChooseError: as :func:`pellucid.decoding.search.search`.
    """
    writing, model = _writing(subject), subject.model
    assert isinstance(model, (EncoderDecoder, DecoderOnly))
    device = model.weight("output").device
    if subject.source is None:
        source = torch.tensor([writing.prompt[:-1]], dtype=torch.int64, device=device)
        mask = torch.ones_like(source, dtype=torch.bool)
    else:
        source = subject.source.to(device)
        mask = torch.ones(1, len(subject.source_names), dtype=torch.bool, device=device)
    onlooker = _Onlooker()
    asked: Any = WithEdits(model, edits) if edits else model
    search = searching(
        asked,
        source,
        mask if subject.source_mask is None else subject.source_mask.to(device),
        writing.decoding,
        start=writing.prompt[-1],
        end=writing.end,
        limits=torch.tensor([writing.limit]),
        forbidden=writing.forbidden,
        seeds=[writing.seed],
        prefixes=[writing.prefix] if writing.prefix else None,
        rules=[onlooker],
    )
    total, number = 0.0, -1
    for number, strategy in enumerate(search):
        if isinstance(strategy, Beam):
            yield _beam_step(number, strategy, onlooker, subject, writing.end)
        else:
            assert isinstance(strategy, Greedy)
            step = _single_step(number, strategy, onlooker, subject, total)
            total = next(candidate.score for candidate in step.candidates if candidate.fate in ("chosen", "ended"))
            yield step
        found = strategy.hypotheses[0]
    return found[0]


def _writing(subject: Subject) -> Writing:
    assert subject.writing is not None
    return subject.writing


def _single_step(number: int, strategy: Greedy, seen: _Onlooker, subject: Subject, total: float) -> Step:
    """Of greedy search and of drawing: the most probable tokens, and the one that was taken."""
    writing = _writing(subject)
    values = seen.log_probabilities[0].double()
    taken = _last_token(strategy, writing.end)
    kept = _kept(seen.log_probabilities, writing.decoding)
    best = values.topk(min(SHOWN, len(values))).indices.tolist()
    best = [token for token in best if values[token] > -torch.inf]
    if taken not in best:
        best = [*best[: SHOWN - 1], taken]
    done = not strategy.live
    candidates = []
    for token, name in zip(best, subject.name(best), strict=True):
        fate = "kept" if kept[token] else "dropped"
        if token == taken:
            fate = "ended" if done and token == writing.end else "chosen"
        log_probability = values[token].item()
        candidates.append(Candidate(0, token, name, log_probability, total + log_probability, fate))
    tokens = strategy.tokens[0].tolist() if strategy.live else list(strategy.hypotheses[0][0].ids)
    draw = uniform(writing.seed, number) if writing.decoding.temperature > 0.0 else None
    return Step(number, tuple(candidates), (tuple(subject.name(tokens)),), (0,), draw)


def _kept(log_probabilities: Tensor, config: DecodingConfig) -> list[bool]:
    """Which tokens can be taken: all that the filters leave, or the most probable one."""
    if config.temperature > 0.0:
        found: list[bool] = (filtered(log_probabilities, config)[0] > -torch.inf).tolist()
        return found
    return [False] * log_probabilities.shape[1]


def _last_token(strategy: Strategy, end: int | None) -> int:
    if strategy.live:
        return int(strategy.tokens[0, -1])
    [[found]] = strategy.hypotheses
    return found.ids[-1] if found.reason == "length" or end is None else end


def _beam_step(number: int, strategy: Beam, seen: _Onlooker, subject: Subject, end: int | None) -> Step:
    """Of beam search: the candidates, those that closed an output, and those that the beams go on with."""
    live = bool(strategy.live)
    alive = strategy.totals.flatten() > float("-inf")  # the others only fill up
    on = set(zip(strategy.parents[alive].tolist(), strategy.tokens[alive, -1].tolist(), strict=True)) if live else set()
    closed = {(hypothesis.ids, hypothesis.log_probability) for hypothesis in strategy.hypotheses[0]}
    candidates = []
    for total, row, token in strategy.considered[0]:
        if total == float("-inf"):
            continue  # there is no such beam
        prefix = seen.tokens[row].tolist()
        ids_then = tuple(prefix if token == end else [*prefix, token])
        fate = "chosen" if (row, token) in on else "ended" if (ids_then, total) in closed else "dropped"
        [name] = subject.name([token])
        candidates.append(Candidate(row, token, name, seen.log_probabilities[row, token].item(), total, fate))
    written = [subject.name(tokens) for tokens in strategy.tokens.tolist()] if live else []
    parents = strategy.parents.tolist() if live else []
    return Step(number, tuple(candidates), tuple(map(tuple, written)), tuple(parents))


class WithEdits:
    """A model with edits, behind the contract of :mod:`pellucid.decoding.contract`, without a cache.

    Args:
        model: that writes.
        edits: applied at every step, to the taps of the whole text so far.
    """

    def __init__(self, model: EncoderDecoder | DecoderOnly, edits: Sequence[Edit]) -> None:
        self.model, self.edits = model, tuple(edits)

    def tap(self, name: str, tensor: Tensor) -> Tensor:
        """What the edits make of it."""
        return edited(name, tensor, self.edits)

    def encode(self, source: Tensor, mask: Tensor, /) -> Memory | Prompt:
        """As the model's own."""
        if isinstance(self.model, EncoderDecoder):
            # Without padding there is no mask: its taps would not be those of the forward over the finished text.
            return self.model.encode(source, None if mask.all() else mask, tap=self.tap)
        return self.model.encode(source, mask)

    def start(self, memory: Memory | Prompt, /, beams: int = 1) -> WholeText:
        """The state before the first token."""
        begun = memory.ids if isinstance(memory, Prompt) else torch.empty(1, 0, dtype=torch.int64)
        return WholeText(memory, begun.to(self.model.weight("output").device).repeat_interleave(beams, 0))

    def step(self, ids: Tensor, state: WholeText, /) -> tuple[Tensor, WholeText]:
        """The logits of the new positions, (R, new, V), out of a forward over everything."""
        state.tokens = torch.cat((state.tokens, ids), dim=1)
        rows = len(state.tokens)
        if isinstance(self.model, EncoderDecoder):
            assert isinstance(state.memory, Memory)
            logits = self.model.decode(state.tokens, state.memory.repeated(rows), tap=self.tap)
        else:
            logits = self.model(state.tokens, tap=self.tap)
        return logits[:, -ids.shape[1] :], state


class WholeText:
    """What is left behind when nothing is cached: the memory, and the tokens (R, L) of every row."""

    def __init__(self, memory: Memory | Prompt, tokens: Tensor) -> None:
        self.memory, self.tokens = memory, tokens

    @property
    def length(self) -> int:
        """L."""
        return self.tokens.shape[1]

    def select(self, rows: Tensor, /) -> None:
        """Keep these rows, in this order."""
        self.tokens = self.tokens[rows]

    def truncate(self, length: int, /) -> None:
        """Forget the positions from ``length`` on."""
        self.tokens = self.tokens[:, :length]
