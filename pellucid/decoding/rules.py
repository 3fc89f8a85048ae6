"""Rules: which tokens may come next. Pure functions over log probabilities.

A rule takes the log probabilities of the next token and what has been written, and gives them back with -inf where a token may
not come. **It leaves the others as they are**, so that the score of an output is what the model gives it, whatever the rules.

What is forced, a prefix and the required phrases of :mod:`pellucid.decoding.constraints`, comes after the rules and prevails.

Legend: R rows, T tokens so far, V vocabulary, N sentences of the batch, P longest prefix, B tokens of earlier searches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from pellucid.base.config import DecodingConfig
from pellucid.base.errors import UsageError


class Written(NamedTuple):
    """What the rows have written. Neither start token nor prompt nor padding is in it; a forced prefix is."""

    tokens: Tensor  # (R, T) int64
    sentences: Tensor  # (R,) int64, number in the batch of each row's sentence
    limits: Tensor  # (R,) int64, most tokens of each row, the end token included


class Rule(Protocol):
    """Which tokens may come next."""

    def __call__(self, log_probabilities: Tensor, written: Written, /) -> Tensor:
        """Takes (R, V), gives (R, V) with more of them -inf. What it was given stays unchanged."""
        ...


class Forcing(Protocol):
    """Which tokens must come next, whatever the rules say."""

    def __call__(self, log_probabilities: Tensor, without_rules: Tensor, written: Written, /) -> Tensor:
        """Takes (R, V) as the rules left it and as it was before them; gives (R, V)."""
        ...


@dataclass(frozen=True)
class MinimumLength:
    """No end before ``n`` tokens have been written. A limit below it closes the output all the same."""

    n: int
    end: int

    def __call__(self, log_probabilities: Tensor, written: Written, /) -> Tensor:
        if written.tokens.shape[1] >= self.n:
            return log_probabilities
        return log_probabilities.index_fill(1, torch.tensor([self.end], device=log_probabilities.device), -torch.inf)


@dataclass(frozen=True)
class EndOnly:
    """After ``length`` tokens only the end may come; by default where the limit leaves room for one token more.

    So that no output is cut; with a minimum length of as many tokens, all outputs have that length.
    """

    end: int
    length: int | None = None

    def last(self, limits: Tensor) -> Tensor:
        """Tokens before the end of each output, for limits of any shape."""
        return limits - 1 if self.length is None else (limits - 1).clamp(max=self.length)

    def __call__(self, log_probabilities: Tensor, written: Written, /) -> Tensor:
        closing = written.tokens.shape[1] >= self.last(written.limits)  # (R,)
        others = torch.arange(log_probabilities.shape[1], device=log_probabilities.device) != self.end  # (V,)
        return log_probabilities.masked_fill(closing[:, None] & others, -torch.inf)


@dataclass(frozen=True)
class NoRepeatedNgrams:
    """No ``n`` tokens in a row that the output has already (Paulus et al. 2018, section 2.5, for n = 3).

    A prompt does not count, a forced prefix does.
    """

    n: int

    def __call__(self, log_probabilities: Tensor, written: Written, /) -> Tensor:
        tokens, length = written.tokens, written.tokens.shape[1]
        if length < self.n:
            return log_probabilities
        ngrams = tokens.unfold(1, self.n, 1)  # (R, T - n + 1, n)
        begun = (ngrams[:, :, :-1] == tokens[:, None, length - self.n + 1 :]).all(dim=2)  # as the last n - 1 tokens do
        rows, places = begun.nonzero(as_tuple=True)
        return _without(log_probabilities, rows, ngrams[rows, places, -1])


class BannedWords:
    """None of these sequences of tokens: the last token of each may not come where the others have just been written.

    Args:
        sequences: at least one token each; the last one may be the end.

    Raises:
        UsageError: one has no tokens.
    """

    def __init__(self, sequences: Sequence[Sequence[int]]) -> None:
        self.sequences = [tuple(sequence) for sequence in sequences]
        if not all(self.sequences):
            raise UsageError("a banned word has no tokens", found=self.sequences, advice="leave it out")
        lengths = sorted({len(sequence) for sequence in self.sequences})
        self._by_length = [torch.tensor([one for one in self.sequences if len(one) == length]) for length in lengths]

    def __call__(self, log_probabilities: Tensor, written: Written, /) -> Tensor:
        tokens, length = written.tokens, written.tokens.shape[1]
        for sequences in self._by_length:
            before = sequences.shape[1] - 1
            if before > length:
                break
            sequences = sequences.to(tokens.device)  # (number, before + 1)
            begun = (tokens[:, None, length - before :] == sequences[:, :-1]).all(dim=2)  # (R, number)
            rows, which = begun.nonzero(as_tuple=True)
            log_probabilities = _without(log_probabilities, rows, sequences[which, -1])
        return log_probabilities


def _without(log_probabilities: Tensor, rows: Tensor, ids: Tensor) -> Tensor:
    """As given, but -inf at the pairs of row and token."""
    return log_probabilities.index_put((rows, ids), torch.tensor(-torch.inf, device=rows.device))


def rules_of(config: DecodingConfig, end: int | None) -> list[Rule]:
    """The rules that a configuration names."""
    rules: list[Rule] = []
    if config.min_length and end is not None:
        rules.append(MinimumLength(config.min_length, end))
    if config.no_repeat_ngram:
        rules.append(NoRepeatedNgrams(config.no_repeat_ngram))
    return rules


def check(rules: Sequence[Rule], limits: Tensor) -> None:
    """Raises a usage error where the end may not come yet and nothing else may come any more, within limits (N,)."""
    fewest = max((rule.n for rule in rules if isinstance(rule, MinimumLength)), default=0)
    for rule in rules:
        if isinstance(rule, EndOnly) and bool((rule.last(limits) < fewest).any()):
            what, advice = "the end is forbidden before it must come", "ask for a shorter minimum or a longer output"
            raise UsageError(what, expected=f"at most {int(rule.last(limits).min())} tokens", found=fewest, advice=advice)


class Prefixes:
    """What the output of each sentence begins with; it counts in length and score. Prevails over every rule.

    Args:
        prefixes: (N) one for each sentence, empty where nothing is forced.
    """

    def __init__(self, prefixes: Sequence[Sequence[int]], device: torch.device) -> None:
        longest = max(map(len, prefixes), default=0)
        self.lengths = torch.tensor([len(prefix) for prefix in prefixes], device=device)  # (N,)
        padded = [[*prefix, *[0] * (longest - len(prefix))] for prefix in prefixes]
        self.tokens = torch.tensor(padded, dtype=torch.int64, device=device)  # (N, P)

    def __call__(self, log_probabilities: Tensor, without_rules: Tensor, written: Written, /) -> Tensor:
        position = written.tokens.shape[1]
        if position >= self.tokens.shape[1]:
            return log_probabilities
        token = self.tokens[written.sentences, position][:, None]  # (R, 1)
        forced = torch.full_like(without_rules, -torch.inf).scatter(1, token, without_rules.gather(1, token))
        return torch.where((position < self.lengths[written.sentences])[:, None], forced, log_probabilities)


def penalised_repetition(logits: Tensor, tokens: Tensor, penalty: float) -> Tensor:
    """Logits (R, V), those of tokens that are among (R, T) made worse (Keskar et al. 2019, section 4.1).

    Positive ones are divided by the penalty, negative ones multiplied by it. **The prompt does not count**, nor how often a
    token has been written; a forced prefix counts. A penalty below 1 makes them better. The score of an output is then the log
    probability under the changed distribution, which is not what the model alone gives it.
    """
    logits = logits.float()
    values = logits.gather(1, tokens)  # (R, T)
    return logits.scatter(1, tokens, torch.where(values > 0, values / penalty, values * penalty))


@dataclass(frozen=True)
class Restrictions:
    """From the logits of a step to the log probabilities that a strategy chooses from.

    Attributes:
        never: ids that are never chosen.
        repetition_penalty: on the logits, before anything else; 1: none.
        rules: applied one after the other.
        forcing: applied after them, the last one prevails.
        before: (N, B) what each output holds already, written by searches before this one: rules and penalty count it, what
            is forced does not.
    """

    never: Tensor
    repetition_penalty: float = 1.0
    rules: tuple[Rule, ...] = ()
    forcing: tuple[Forcing, ...] = ()
    before: Tensor | None = None

    @property
    def plain(self) -> bool:
        """Whether some tokens never come, and that is all."""
        return self.repetition_penalty == 1.0 and not self.rules and not self.forcing

    def log_probabilities(self, logits: Tensor, write: Callable[[], Written]) -> Tensor:
        """Takes logits (R, V), gives log probabilities (R, V) float32; ``write`` is asked only where a rule has to know."""
        if self.repetition_penalty != 1.0:
            logits = penalised_repetition(logits, self._whole(write()).tokens, self.repetition_penalty)
        values = torch.log_softmax(logits, dim=-1, dtype=torch.float32).index_fill_(1, self.never, -torch.inf)
        if not self.rules and not self.forcing:
            return values
        written, without_rules = write(), values
        whole = self._whole(written)
        for rule in self.rules:
            values = rule(values, whole)
        for force in self.forcing:
            values = force(values, without_rules, written)
        return values

    def _whole(self, written: Written) -> Written:
        if self.before is None:
            return written
        before = self.before[written.sentences]  # (R, B)
        return Written(torch.cat((before, written.tokens), dim=1), written.sentences, written.limits + before.shape[1])
