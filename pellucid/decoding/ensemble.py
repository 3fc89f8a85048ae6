"""Several models that vote on every token, behind the contract of one: every search and every way of drawing takes them.

Legend: M models, B sentences, S source length, R rows, T new positions, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.base.errors import UsageError
from pellucid.decoding.contract import Model, State


class Ensemble:
    """The mean of what the models hold probable: ``p = (p_1 + ... + p_M) / M``, a token at a time.

    Probabilities are averaged, not their logarithms: one model that is sure carries a token, while a mean of logarithms lets
    one that holds it impossible forbid it. The models may be of different kinds and sizes.

    Args:
        models: of one vocabulary, with the same numbers for the same tokens, in evaluation mode and on one device.

    Raises:
        UsageError: there are no models.
    """

    def __init__(self, models: Sequence[Model[Any, Any]]) -> None:
        if not models:
            raise UsageError("an ensemble needs models", expected="at least one", found="none")
        self.models = list(models)

    def encode(self, source: Tensor, mask: Tensor) -> list[Any]:
        """What the source (B, S) leaves behind in each model."""
        return [model.encode(source, mask) for model in self.models]

    def start(self, memory: list[Any], beams: int = 1) -> EnsembleState:
        """The states of outputs not yet begun, ``beams`` rows a sentence."""
        pairs = zip(self.models, memory, strict=True)
        return EnsembleState([model.start(of_model, beams=beams) for model, of_model in pairs])

    def step(self, ids: Tensor, state: EnsembleState) -> tuple[Tensor, EnsembleState]:
        """Takes in ids (R, T) and gives the logarithm of the mean probability, float32 (R, T, V), after each of them.

        Raises:
            UsageError: the models have vocabularies of different sizes.
        """
        found = []
        for at, (model, of_model) in enumerate(zip(self.models, state.states, strict=True)):
            logits, state.states[at] = model.step(ids, of_model)  # (R, T, V)
            found.append(logits)
        sizes = [logits.shape[-1] for logits in found]
        if len(set(sizes)) > 1:
            raise UsageError(
                "the models of an ensemble must share their vocabulary",
                expected="as many tokens in each",
                found=", ".join(map(str, sizes)),
                advice="take models that were trained with the same tokenizer",
            )
        values = [torch.log_softmax(logits, dim=-1, dtype=torch.float32) for logits in found]
        return torch.logsumexp(torch.stack(values), dim=0) - math.log(len(values)), state


class EnsembleState:
    """The states of all models, which take the same steps; see :class:`pellucid.decoding.contract.State`."""

    def __init__(self, states: list[State]) -> None:
        self.states = states

    @property
    def length(self) -> int:
        """Positions taken in so far."""
        return self.states[0].length

    def select(self, rows: Tensor) -> None:
        """Row ``i`` becomes what row ``rows[i]`` was, in every model."""
        for state in self.states:
            state.select(rows)

    def truncate(self, length: int) -> None:
        """Forgets every position from ``length`` on, in every model."""
        for state in self.states:
            state.truncate(length)
