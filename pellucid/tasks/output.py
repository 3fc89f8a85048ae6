"""What a model that writes gives: texts with their scores, their tokens, and why each ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Scored(NamedTuple):
    """A token as it is read, and its natural log probability after those before it."""

    token: str
    log_probability: float


@dataclass(frozen=True)
class Output:
    """One text that a model wrote.

    Args:
        text: detokenised.
        score: log probability over length penalty; larger is better.
        reason: ``"end"``: ended by itself, ``"length"``: cut at the limit, ``"empty"``: nothing to answer, ``"stopped"``: not
            answered, since a stop was asked for.
        tokens: what was written, the end token last if it was; ``None``: not asked for.
        alignment: pairs of source word and target word, from 0; ``None``: not asked for.
    """

    text: str
    score: float
    reason: str
    tokens: tuple[Scored, ...] | None = None
    alignment: frozenset[tuple[int, int]] | None = None


EMPTY = Output("", 0.0, "empty")


def one_line(text: str) -> str:
    """A model of bytes can write a line feed; N lines in must stay N lines out."""
    return text.replace("\n", " ")


@dataclass(frozen=True)
class PairScore:
    """What a model thinks of a given text.

    Args:
        tokens: each with its log probability, the end token last.
        log_probability: their sum.
    """

    tokens: tuple[Scored, ...]
    log_probability: float


@dataclass(frozen=True)
class Option:
    """A token that could stand at a position.

    Args:
        token: as it is read; the end token: the output could end there.
        log_probability: of the token after what stands before it.
        output: how the text goes on with it, from its beginning.
    """

    token: str
    log_probability: float
    output: Output
