"""Required phrases: what an output must hold, whatever the model thinks of it.

Every sentence has its phrases, every phrase one or more spellings (sequences of tokens). The output holds a spelling of each,
its tokens side by side. Occurrences may overlap, and one may lie inside another: "a b c" holds "b". A phrase that is
given n times occurs at n places.

**How it is certain.** The spellings of a sentence, and the banned words that could come between them, form one machine
(:mod:`pellucid.decoding.phrases`). It knows the *plan*: the fewest tokens that complete all that is missing. A token may come
only if the plan after it still fits before the limit, and the end only when nothing is missing: so there is always a way to go
on, and when there is no room to wait, the plan is what is left.

**How it is good.** Beams: see :class:`pellucid.decoding.beam.ConstrainedBeam`. With one row (greedy search, sampling) the model
writes what it likes until the end is the most probable token; then the missing phrase whose beginning it finds most
probable is written, and the model goes on freely.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.base.config import DecodingConfig
from pellucid.base.errors import UsageError
from pellucid.decoding.phrases import Ids, Machine, Phrase, State
from pellucid.decoding.rules import (
    BannedWords,
    EndOnly,
    Forcing,
    Prefixes,
    Restrictions,
    Rule,
    Written,
    check,
    rules_of,
)


class Tracker:
    """Follows every row through the machine of its sentence, and forces what the limit leaves no more room to wait for.

    Args:
        machines: of each sentence.
        last: of each sentence, most tokens before its end.
        prefixes: of each sentence, number of forced tokens: they are followed, not restricted.
        end: id of the end token, if there is one.
        beams: rows a sentence.
        bans: the rules that hold even where others give way.
    """

    def __init__(
        self,
        machines: Sequence[Machine],
        last: Sequence[int],
        prefixes: Sequence[int],
        *,
        end: int | None,
        beams: int,
        bans: Sequence[Rule] = (),
    ) -> None:
        self.machines, self.last, self.prefixes = machines, last, prefixes
        self.end, self.beams, self.bans = end, beams, bans
        self.sentences = [sentence for sentence in range(len(machines)) for _ in range(beams)]  # of each row
        self.states = [machines[sentence].begin() for sentence in self.sentences]

    def __call__(self, log_probabilities: Tensor, without_rules: Tensor, written: Written, /) -> Tensor:
        """Gives (R, V) with -inf where a token would leave too little room, and at the end while something is missing."""
        position = written.tokens.shape[1]
        rows = [
            row for row, sentence in enumerate(self.sentences) if self.states[row].plan and position >= self.prefixes[sentence]
        ]
        if not rows:
            return log_probabilities
        if self.beams == 1 and self.end is not None:
            ending = (without_rules.argmax(dim=1) == self.end).tolist()
            for row in rows:
                self.states[row] = self.states[row]._replace(hurried=ending[row] or self.states[row].hurried)
        found = self._restricted(log_probabilities, {row: self._room(row, position) for row in rows})
        possible = ((found > -torch.inf) | found.isnan()).any(dim=1).tolist()  # NaN is for the strategy to find
        stuck = {row: self.states[row].needed - 1 for row in rows if not possible[row]}
        if stuck:  # a rule leaves nothing: what is required prevails, but not over banned words
            for ban in self.bans:
                without_rules = ban(without_rules, written)
            at = torch.tensor(list(stuck), device=found.device)
            found[at] = self._restricted(without_rules, stuck)[at]
        return found

    def _room(self, row: int, position: int) -> int:
        """Most tokens that may still be needed after the next one."""
        state = self.states[row]
        return state.needed - 1 if state.hurried else self.last[self.sentences[row]] - position - 1

    def _restricted(self, log_probabilities: Tensor, room: dict[int, int]) -> Tensor:
        """A copy of (R, V); the rows named keep the tokens after which they need no more than they have room for."""
        found, shut = log_probabilities.clone(), []
        kept: list[tuple[int, int]] = []
        removed: list[tuple[int, int]] = []
        for row, most in room.items():
            others, needed = self.machines[self.sentences[row]].needed(self.states[row])
            if others > most:
                shut.append(row)
                kept += [(row, token) for token, number in needed.items() if number <= most]
            else:
                removed += [(row, token) for token, number in needed.items() if number > most]
                removed += [(row, self.end)] if self.end is not None else []
        found[shut] = -torch.inf
        rows, ids = _columns(kept)
        found[rows, ids] = log_probabilities[rows, ids]
        found[_columns(removed)] = -torch.inf
        return found

    def follow(self, rows: Tensor | None, ids: Tensor) -> None:
        """Row ``i`` becomes what row ``rows[i]`` (None: all in place) was, and has written ``ids[i]``."""
        before = range(len(self.states)) if rows is None else rows.tolist()
        self.states = [self.after(row, token) for row, token in zip(before, ids.tolist(), strict=True)]
        self.sentences = [self.sentences[row] for row in before]

    def after(self, row: int, token: int) -> State:
        """The state of a row one token later."""
        return self.machines[self.sentences[row]].after(self.states[row], token)

    def advancing(self, row: int) -> list[int]:
        """The tokens after which a row needs fewer."""
        state = self.states[row]
        _, needed = self.machines[self.sentences[row]].needed(state)
        return [token for token, number in needed.items() if number < state.needed] if state.plan else []


def _columns(pairs: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [row for row, _ in pairs], [token for _, token in pairs]


def restricting(
    config: DecodingConfig,
    rules: Sequence[Rule],
    prefixes: Sequence[Sequence[int]] | None = None,
    required: Sequence[Sequence[Phrase]] | None = None,
    *,
    limits: Tensor,
    end: int | None,
    forbidden: Sequence[int],
    before: Sequence[Sequence[int]] | None = None,
) -> tuple[Restrictions, Tracker | None]:
    """Everything that a request asks of the tokens, as one; and the tracker that must follow every step, if there is one.

    Args: as for :func:`pellucid.decoding.search.search`; limits (N,).

    Raises:
        UsageError: what is asked for contradicts itself.
    """
    rules = [*rules_of(config, end), *rules]
    earlier = None if before is None or not any(before) else torch.tensor(before, dtype=torch.int64, device=limits.device)
    check(rules, limits if earlier is None else limits + earlier.shape[1])
    forcing, tracker = forced(rules, prefixes, required, limits=limits, end=end, forbidden=forbidden, beams=config.beams)
    never = torch.tensor(forbidden, dtype=torch.int64, device=limits.device)
    return Restrictions(never, config.repetition_penalty, tuple(rules), forcing, earlier), tracker


def forced(
    rules: Sequence[Rule],
    prefixes: Sequence[Sequence[int]] | None,
    required: Sequence[Sequence[Phrase]] | None,
    *,
    limits: Tensor,
    end: int | None,
    forbidden: Sequence[int],
    beams: int,
) -> tuple[tuple[Forcing, ...], Tracker | None]:
    """What forces prefixes and required phrases, the former over the latter, and the tracker that must follow every step.

    Args:
        rules: banned words and the tokens before the end are read from them.
        prefixes, required: of each sentence; None: nothing.
        limits: (N,) most tokens of each output.
        end: id of the end token, if there is one.
        forbidden: ids that are never chosen.
        beams: rows a sentence.

    Raises:
        UsageError: a sentence has none, a phrase has no spelling, or what is forced cannot come: it has no room, or is banned.
    """
    if prefixes is None and not any(required or ()):
        return (), None
    numbers = {"prefixes": prefixes, "required": required}
    for name, given in numbers.items():
        if given is not None and len(given) != len(limits):
            raise UsageError("every sentence needs one", where=name, expected=len(limits), found=len(given))
    prefixes = [()] * len(limits) if prefixes is None else prefixes
    banning = [rule for rule in rules if isinstance(rule, BannedWords)]
    bans = [sequence for rule in banning for sequence in rule.sequences]
    bans += [(token,) for token in forbidden]
    ends = [rule.last(limits) for rule in rules if isinstance(rule, EndOnly)]
    last = torch.stack([limits, *ends]).amin(dim=0).tolist()
    for sentence, prefix in enumerate(prefixes):
        _check_prefix(sentence, tuple(prefix), int(limits[sentence]), last[sentence], bans, end)
    forcing = Prefixes(prefixes, limits.device)
    if not any(required or ()):
        return (forcing,), None
    longer = [ban for ban in bans if len(ban) > 1]
    never = {ban[0] for ban in bans if len(ban) == 1} | ({end} if end is not None else set())
    machines = []
    for sentence, (phrases, prefix) in enumerate(zip(required or (), prefixes, strict=True)):
        for phrase in phrases:
            if not phrase or not all(phrase):
                raise UsageError("a required phrase has no tokens", where=f"sentence {sentence}", found=phrase)
        machines.append(Machine(phrases, longer, never))
        room = 0 if end in prefix else last[sentence] - len(prefix)
        _check_room(sentence, machines[-1], phrases, prefix, room)
    tracker = Tracker(machines, last, [len(prefix) for prefix in prefixes], end=end, beams=beams, bans=banning)
    return (tracker, forcing), tracker


def _check_prefix(sentence: int, prefix: Ids, limit: int, last: int, bans: Sequence[Ids], end: int | None) -> None:
    where = f"prefix of sentence {sentence}"
    if len(prefix) > limit or len(prefix) - (prefix[-1:] == (end,)) > last:
        raise UsageError("the forced prefix is longer than the output may be", where=where, expected=last, found=len(prefix))
    if end in prefix[:-1]:
        raise UsageError("the forced prefix goes on after the end token", where=where, found=prefix)
    for ban in bans:
        if any(prefix[at : at + len(ban)] == ban for at in range(len(prefix))):
            raise UsageError("what is forced is banned as well", where=where, found=ban, advice="leave out one of them")


def _check_room(sentence: int, machine: Machine, phrases: Sequence[Phrase], prefix: Sequence[int], room: int) -> None:
    state = machine.begin()
    for token in prefix:
        state = machine.after(state, token)
    where = f"sentence {sentence}"
    if state.plan is None:
        what = "what is required is banned or forbidden as well"
        raise UsageError(
            what, where=where, found=[list(map(list, phrase)) for phrase in phrases], advice="leave out one of them"
        )
    if state.needed > room:
        what = "the required phrases have no room in the output"
        advice = "ask for fewer or for a longer output"
        found = f"{state.needed} tokens needed"
        raise UsageError(what, where=where, expected=f"at most {room} tokens", found=found, advice=advice)
