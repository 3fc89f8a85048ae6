"""One output of a search, what closes it, and the error when there can be none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pellucid.base.errors import ModelError

Reason = Literal["end", "length"]


@dataclass(frozen=True)
class Hypothesis:
    """A finished output.

    Attributes:
        ids: its tokens, without what it began from (start token, prompt) and without the end token.
        score: ``log_probability`` divided by the length penalty; larger is better.
        log_probability: sum of the natural log probabilities of its tokens, the end token included where there is one.
        reason: ``end``, the model chose the end token; ``length``, the output was cut at its limit.
    """

    ids: tuple[int, ...]
    score: float
    log_probability: float
    reason: Reason

    @classmethod
    def close(
        cls, tokens: Sequence[int], log_probability: float, *, end: int | None, penalty: Callable[[int], float]
    ) -> Hypothesis:
        """From all tokens chosen, the end token last unless the output was cut; they all count in the penalty."""
        ended = tokens[-1] == end
        ids = tuple(tokens[:-1] if ended else tokens)
        return cls(ids, log_probability / penalty(len(tokens)), log_probability, "end" if ended else "length")


class NothingToChooseError(ModelError):
    """The model's logits hold NaN or infinity, or no token that may be chosen has a probability above zero.

    Attributes:
        sentence: its number in the batch, from 0.

    Args:
        sentence: the same.
        position: of the token in the output, from 1.
        bad: whether the logits hold NaN or infinity.
    """

    def __init__(self, sentence: int, position: int, *, bad: bool = True) -> None:
        self.sentence = sentence
        damaged = "the weights are probably damaged or diverged in training: take an earlier checkpoint"
        too_strict = "all tokens are forbidden here: ask for fewer rules (banned words, repeated n-grams, minimum length)"
        super().__init__(
            "the model gives no token that could be chosen",
            where=f"sentence {sentence} of the batch (from 0), output token {position} (from 1)",
            expected="finite logits for the tokens that may be chosen",
            found="NaN or infinity among the logits" if bad else "probability zero for each of them",
            advice=damaged if bad else too_strict,
        )
