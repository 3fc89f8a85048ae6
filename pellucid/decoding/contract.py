"""What decoding knows of a model, and all it knows: three functions and a state that can be reordered and cut back.

Legend: B sentences, S source length, R rows, T new positions, V vocabulary. With ``beams`` rows a sentence,
``R = B * beams`` and row ``r`` belongs to sentence ``r // beams``. Every kind of model keeps the same contract.

For a decoder-only model the source is the prompt without its last token, and that token is the first one fed to ``step``.
A row of the mask may then be False throughout: a prompt of one token leaves nothing behind.
"""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

from torch import Tensor

MemoryType = TypeVar("MemoryType")
StateType = TypeVar("StateType", bound="State")


class State(Protocol):
    """What a model remembers of the outputs begun so far, changed in place."""

    @property
    def length(self) -> int:
        """Positions taken in so far: those of the prompt where the model is decoder-only, the start token, the output."""
        ...

    def select(self, rows: Tensor, /) -> None:
        """Row ``i`` becomes what row ``rows[i]`` was: beams reordered or doubled, finished sentences left out.

        Args:
            rows: (R',) int64, numbers of current rows. The rows of one sentence stay together and stay ``beams`` many.
        """
        ...

    def truncate(self, length: int, /) -> None:
        """Forgets every position from ``length`` on."""
        ...


class Model(Protocol[MemoryType, StateType]):
    """A model that can be decoded from."""

    def encode(self, source: Tensor, mask: Tensor, /) -> MemoryType:
        """What the source (B, S) int64 leaves behind; mask (B, S) bool, True = a real token."""
        ...

    def start(self, memory: MemoryType, /, beams: int = 1) -> StateType:
        """The state of outputs not yet begun, ``beams`` rows a sentence; a decoder-only model has taken the prompt in."""
        ...

    def step(self, ids: Tensor, state: StateType, /) -> tuple[Tensor, StateType]:
        """Takes in ids (R, T) int64 and gives the logits (R, T, V) after each of them, with the state to go on from."""
        ...


@runtime_checkable
class Choosing(State, Protocol):
    """A state that can besides say which tokens are the most probable ones, without showing all the others."""

    def best(self, ids: Tensor, never: Tensor, /) -> tuple[Tensor, Tensor]:
        """Takes in ids (R, 1); log probability and id of the most probable next token of each row, but for those of ``never``.

        Returns:
            (R,) each. Of equally probable tokens the lowest id.
        """
        ...

    def best_sums(self, ids: Tensor, never: Tensor, totals: Tensor, /) -> tuple[Tensor, Tensor, Tensor]:
        """Takes in ids (R, 1) of K beams a sentence, whose sums of log probabilities so far are ``totals`` (B, K).

        Returns:
            Of each sentence the 2 K largest sums with a next token that is not of ``never``, best first, and beam and token of
            each: (B, 2 K) each. Of equal sums the lower beam, then the lower token comes first.
        """
        ...
