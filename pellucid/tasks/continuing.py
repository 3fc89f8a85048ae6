"""Texts while a language model writes them, stretch by stretch where positions have a table, and which are written together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from pellucid.decoding.hypothesis import Hypothesis
from pellucid.tasks.framing import AnyTokenizer
from pellucid.tasks.writing import Wanted

ROWS = 64  # prompts that are continued together


@dataclass
class Writing:
    """A text being written.

    Attributes:
        prompt: tokens that it goes on from.
        wanted: what is asked for it.
        window: what the model reads: the prompt and the new tokens, or the last of them.
        new: tokens written, without the end token.
        values: their log probabilities, where they are asked for, with that of the end token.
        chosen: tokens, with the end token.
        log_probability: of all of them.
        reason: why it ended; empty: it has not.
    """

    prompt: list[int]
    wanted: Wanted
    window: list[int]
    new: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    chosen: int = 0
    log_probability: float = 0.0
    reason: str = ""

    def again(self, number: int) -> Writing:
        """The same text not yet begun, with a seed so much larger."""
        return Writing(self.prompt, replace(self.wanted, seed=self.wanted.seed + number), self.window)

    def limit(self, tokens: int, reach: int | None) -> int:
        """Of ``tokens`` in all, those that can be written before the positions are used up; the last one is never read."""
        left = tokens - self.chosen
        return left if reach is None else min(left, reach - len(self.window) + 1)

    def wanted_now(self) -> Wanted:
        """What is asked of the next stretch: what is forced comes in the first one."""
        return self.wanted if not self.chosen else Wanted(_seed(self.wanted.seed, self.chosen))

    def take(self, found: Hypothesis, tokens: int, reach: int | None) -> None:
        """Add a stretch. The next one, if there is any, goes on from the last half of what can be read."""
        self.new += found.ids
        self.chosen += len(found.ids) + (found.reason == "end")
        self.log_probability += found.log_probability
        if found.reason == "end" or self.chosen >= tokens:
            self.reason = found.reason
        elif reach is not None:
            self.window = [*self.prompt, *self.new][-max(reach // 2, 1) :]

    def text_of(self, new: Sequence[int], tokenizer: AnyTokenizer) -> str:
        """What comes after the prompt: taken from both together, since a first space is no part of a text's first word."""
        before, whole = tokenizer.decode(self.prompt), tokenizer.decode([*self.prompt, *new])
        return whole[len(before) :] if whole.startswith(before) else tokenizer.decode(new)


def together(texts: Sequence[Writing], tokens: int, reach: int | None, *, counting: bool) -> Iterator[list[Writing]]:
    """Batches. A short text with far to go does not fit beside a long one: its padding takes positions as well.

    Args:
        texts: not yet finished.
        tokens: most new tokens of each in all.
        reach: positions that there are; ``None``: no limit.
        counting: whether what a text has written already is counted, so that a batch holds texts that have written as much.
    """
    batch: list[Writing] = []
    for text in sorted(texts, key=lambda text: (text.chosen if counting else 0, -len(text.window))):
        longest = max(other.limit(tokens, reach) for other in [*batch, text])
        width = len(batch[0].window) + longest - 1 if batch else 0
        other = bool(batch) and counting and batch[0].chosen != text.chosen
        if len(batch) == ROWS or other or (reach is not None and width > reach):
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


def _seed(seed: int, written: int) -> int:
    """The seed of a text that goes on after so many tokens: its first is the caller's own."""
    return seed if written == 0 else int.from_bytes(hashlib.sha256(f"{seed}/{written}".encode()).digest()[:8])
