"""The phrases that one output must hold, as a machine that knows how far it has come and what is the shortest way to go.

The beginnings of all spellings are the nodes (Aho & Corasick 1975). Which node an output is at depends on its last tokens
alone: the longest beginning that it ends in.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

Ids = tuple[int, ...]
Phrase = Sequence[Sequence[int]]  # the spellings, any one of which will do

OTHER = -1  # in a plan: any token that stands in no phrase and no ban
NEVER = 10**9  # tokens that are missing where no output could hold everything
# Phrases that are planned together. Up to as many the plan is the shortest there is; the others follow in groups, and what an
# overlap with them would save is missed. The time for a plan grows as 2^GROUP.
GROUP = 6


class State(NamedTuple):
    """How far a row has come."""

    node: int  # of the machine
    missing: Ids  # times that each phrase must still occur
    plan: Ids | None  # the fewest tokens that complete them; None: nothing can
    hurried: bool = False  # a phrase has been begun because the output would have ended, and is not complete

    @property
    def needed(self) -> int:
        """Tokens of the plan."""
        return NEVER if self.plan is None else len(self.plan)


class Machine:
    """The phrases of one sentence.

    Args:
        phrases: each with at least one spelling, none empty.
        bans: sequences that may not come, of two tokens or more.
        never: tokens that may not come.
    """

    def __init__(self, phrases: Sequence[Phrase], bans: Iterable[Sequence[int]] = (), never: Iterable[int] = ()) -> None:
        self.never = frozenset(never)
        counts = Counter(frozenset(map(tuple, phrase)) for phrase in phrases)
        self.missing = tuple(counts.values())
        spellings = [(spelling, number) for number, phrase in enumerate(counts) for spelling in sorted(phrase)]
        spellings = [(spelling, number) for spelling, number in spellings if self.never.isdisjoint(spelling)]
        needed = {token for spelling, _ in spellings for token in spelling}
        # A ban that ends in another token never stands in the way of a phrase.
        in_the_way = [tuple(ban) for ban in bans if ban[-1] in needed and self.never.isdisjoint(ban)]
        self._build(spellings, in_the_way)
        # What has been worked out: few states come, and they come again and again
        self._plans: dict[tuple[int, Ids], Ids | None] = {}
        self._parts: dict[tuple[int, Ids], Ids | None] = {}
        self._found_ways: dict[int, dict[int, Ids]] = {}
        self._options: dict[tuple[int, Ids], dict[int, State]] = {}
        self._needed: dict[State, tuple[int, dict[int, int]]] = {}

    def _build(self, spellings: list[tuple[Ids, int]], bans: list[Ids]) -> None:
        """Nodes are the beginnings of spellings and bans, node 0 the empty one."""
        sequences = [*(spelling for spelling, _ in spellings), *bans]
        found = {sequence[:end] for sequence in sequences for end in range(len(sequence) + 1)} | {()}
        beginnings = sorted(found, key=lambda one: (len(one), one))
        nodes = {beginning: node for node, beginning in enumerate(beginnings)}
        self.complete = [
            {number for spelling, number in spellings if spelling == one} for one in beginnings
        ]  # phrases ending here
        self.banned = [one in bans for one in beginnings]
        self.moves: list[dict[int, int]] = [{} for _ in beginnings]  # token -> node; node 0 where there is none
        for node, beginning in enumerate(beginnings[1:], start=1):
            self.moves[nodes[beginning[:-1]]][beginning[-1]] = node
        for node, beginning in enumerate(beginnings[1:], start=1):  # shorter ones first: what is true of an ending is true here
            ending = next(nodes[beginning[at:]] for at in range(1, len(beginning) + 1) if beginning[at:] in nodes)
            self.complete[node] |= self.complete[ending]
            self.banned[node] |= self.banned[ending]
            self.moves[node] = self.moves[ending] | self.moves[node]

    def begin(self) -> State:
        """Nothing written yet."""
        return State(0, self.missing, self.plan(0, self.missing))

    def after(self, state: State, token: int) -> State:
        """One token later. Who follows the plan has one token less before him."""
        if state.plan == ():
            return state
        options = self.options(state)
        found = options.get(token) or self._planned(0, state.missing)
        if state.plan and state.plan[0] == (token if token in options else OTHER) and found.needed >= len(state.plan):
            found = found._replace(plan=state.plan[1:])  # plans made in groups are not always the shortest
        return found._replace(hurried=state.hurried and found.missing == state.missing)

    def options(self, state: State) -> dict[int, State]:
        """The states after the tokens that lie on a way to some phrase or ban. After all others the state is the same."""
        place = state.node, state.missing
        if place not in self._options:
            tokens = self.moves[state.node]
            self._options[place] = {token: self._planned(*self._step(*place, token)) for token in tokens}
        return self._options[place]

    def needed(self, state: State) -> tuple[int, dict[int, int]]:
        """Tokens still needed after any other token, and after each of those that matter."""
        if state not in self._needed:
            after = {token: self.after(state, token).needed for token in self.options(state)}
            self._needed[state] = self.after(state, OTHER).needed, after
        return self._needed[state]

    def _planned(self, node: int, missing: Ids) -> State:
        return State(node, missing, None if self.banned[node] else self.plan(node, missing))

    def _step(self, node: int, missing: Ids, token: int) -> tuple[int, Ids]:
        node = self.moves[node].get(token, 0)
        return node, self._left(node, missing)

    def _left(self, node: int, missing: Ids) -> Ids:
        """What is still missing after a phrase has been completed, or none, at a node."""
        done = self.complete[node]
        return tuple(count - (count > 0 and number in done) for number, count in enumerate(missing)) if done else missing

    def plan(self, node: int, missing: Ids) -> Ids | None:
        """The fewest tokens that complete what is missing; more than :data:`GROUP` phrases in groups, one after the other."""
        place = node, missing
        if place not in self._plans:
            group = [number for number, count in enumerate(missing) if count][:GROUP]
            plan = self._fewest(node, tuple(count * (number in group) for number, count in enumerate(missing)))
            for token in plan or ():
                node, missing = self._step(node, missing, token)
            rest = self.plan(node, missing) if plan and any(missing) else ()
            self._plans[place] = None if plan is None or rest is None else plan + rest
        return self._plans[place]

    def _fewest(self, node: int, missing: Ids) -> Ids | None:
        """Whichever phrase is completed next, the best way to go is the shortest way there and the best from there on."""
        place = node, missing
        if place not in self._parts:
            best: Ids | None = None if any(missing) else ()
            for goal, way in self._ways(node).items() if any(missing) else ():
                if best is not None and len(way) >= len(best):
                    break  # the shorter ones came first
                left = self._left(goal, missing)
                rest = self._fewest(goal, left) if left != missing else None
                if rest is not None and (best is None or len(way) + len(rest) < len(best)):
                    best = way + rest
            self._parts[place] = best
        return self._parts[place]

    def _ways(self, node: int) -> dict[int, Ids]:
        """The fewest tokens, at least one, to each node where a phrase is complete; found breadth first, the shortest first."""
        if node not in self._found_ways:
            queue: deque[tuple[int, Ids]] = deque([(node, ())])
            ways: dict[int, Ids] = {}
            while queue:
                at, way = queue.popleft()
                for token in (OTHER, *self.moves[at]):
                    after = self.moves[at].get(token, 0)
                    if after not in ways and not self.banned[after]:
                        ways[after] = (*way, token)
                        queue.append((after, ways[after]))
            self._found_ways[node] = {goal: way for goal, way in ways.items() if self.complete[goal]}
        return self._found_ways[node]
