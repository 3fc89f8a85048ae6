"""Steps of a decoder as compiled code, made ahead of time (AOTInductor) and kept in the user's cache.

The weights are not part of the code: models of one shape share it. A step is compiled for a number of rows a sentence and any
length: for one sentence, and for many at a time, see :mod:`pellucid.model.compiled_step`.

Shapes: B sentences, N sentences that a search began with, K rows a sentence (beams), R = B K rows, C = 2 K candidates, L
positions so far, S source positions, G heads of keys and values, E width of a head, W keys and values of all layers side by
side, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.base.config import ModelConfig
from pellucid.base.errors import UsageError
from pellucid.model.compiled_step import Step, code, for_compiling
from pellucid.model.few_rows import FEW
from pellucid.model.packed import Int8Linear
from pellucid.model.ranking import largest, largest_sums
from pellucid.model.transformer import DecoderOnly, EncoderDecoder, Memory, Prompt, State


class Compiled:
    """A model whose steps are compiled; all else is the model's own. It keeps the contract of decoding.

    A step is compiled, or found in the user's cache, when it is first needed. Prompts that were padded, and batches in 8 bits
    on a processor that has no instruction for them, take the model's own step.

    Args:
        model: with its weights, in evaluation mode, on a CPU.
        config: its shape, and all else that its code depends on.
        beams: rows a sentence to compile for: 1 (greedy search, drawing), or the number of beams. Others are not compiled.

    Raises:
        UsageError: too many beams, or a model elsewhere than on a CPU; from :meth:`start`: there is no compiler.
        StorageError: from :meth:`start`: the user's cache cannot be written.
    """

    def __init__(self, model: EncoderDecoder | DecoderOnly, config: ModelConfig, beams: Sequence[int]) -> None:
        self.model, self.config, self.beams = model, config, tuple(beams)
        if max(self.beams) > FEW:
            raise UsageError("too many beams for a compiled step", where="beams", expected=f"at most {FEW}", found=max(beams))
        device = model.weight("output").device
        if device.type != "cpu":
            raise UsageError("steps are compiled for CPUs", where="device", expected="cpu", found=device)
        in_8_bits = any(isinstance(module, Int8Linear) for module in model.modules())
        self._compiles_batches = not in_8_bits or (torch.backends.mkldnn.is_available() and torch.cpu._is_vnni_supported())  # type: ignore[no-untyped-call]
        self._made: dict[tuple[int, bool], tuple[Step, Any]] = {}

    def encode(self, source: Tensor, mask: Tensor) -> Memory | Prompt:
        """As the model does."""
        return self.model.encode(source, mask)

    def start(self, memory: Memory | Prompt, beams: int = 1) -> State | CompiledState:
        """The state before the first step."""
        state = self.model.start(memory, beams)  # type: ignore[arg-type]
        many = state.rows > beams or state.memory_mask is not None
        if beams not in self.beams or state.keys is not None or (many and not self._compiles_batches):
            return state
        return CompiledState(state, *self._step(beams, many=many))

    def step(self, ids: Tensor, state: State | CompiledState) -> tuple[Tensor, State | CompiledState]:
        """Logits (R, T, V) of the token after each of one or more new positions, ``ids`` (R, T)."""
        if isinstance(state, State):
            return self.model.step(ids, state)
        columns = [state.step(column[:, None]) for column in ids.T.contiguous()]  # (R, V) each
        return torch.stack(columns, dim=1), state

    def _step(self, beams: int, *, many: bool) -> tuple[Step, Any]:
        """The graph of a step, and the compiled code."""
        if (beams, many) not in self._made:
            step = for_compiling(Step(self.model, beams, many=many))
            self._made[beams, many] = step, code(step, self.config)
        return self._made[beams, many]


class CompiledState:
    """What a compiled decoder carries from step to step: keys and values, laid out ahead.

    Args:
        state: after the prompt, where there is one.
        step: what is compiled.
        run: the compiled code.
    """

    def __init__(self, state: State, step: Step, run: Any) -> None:
        self.length, self.rows, self.beams = state.length, state.rows, state.beams
        self._check, self._run, self._many = step.decoder.positions.check, run, step.many
        self._barred = torch.zeros(step.vocabulary)
        self._never: Tensor | None = None  # what ``_barred`` was made from
        self._memory = [side for pair in state.memory for side in pair]  # (N, G, S, E) each
        room = max(64, 2 * self.length)
        self._store = torch.empty(room, self.rows, 2 * sum(step.widths), dtype=step.dtype)
        # Which row of the store holds a position of a row. Reordered in place of the store, which is larger.
        self._own = torch.arange(self.rows)
        self._order = self._own.repeat(room, 1)
        self._no_totals = torch.zeros(self.rows // self.beams, self.beams, dtype=torch.float64)
        self._read: list[Tensor] = []  # which sentences are left, and which positions of the sources are real
        if step.many and self._memory:
            n_sentences, source = self.rows // self.beams, self._memory[0].shape[2]
            mask = state.memory_mask
            self._read = [
                torch.arange(n_sentences),
                torch.ones(n_sentences, source, dtype=torch.bool) if mask is None else mask,
            ]
        if self.length:
            caches: list[Any] = state.caches  # of keys and values
            past = [cache.stored() for cache in caches]  # (R, G, L, E)
            self._store[: self.length] = torch.cat(
                [side.permute(2, 0, 1, 3).flatten(2) for pair in past for side in pair], dim=2
            )

    def step(self, ids: Tensor) -> Tensor:
        """Takes in ids (R, 1), gives logits (R, V)."""
        return self._advance(ids, self._no_totals)[0]

    def best(self, ids: Tensor, never: Tensor) -> tuple[Tensor, Tensor]:
        """Takes in ids (R, 1); log probability and id of each row's most probable token but for those of ``never``."""
        self._bar(never)
        logits, *found = self._advance(ids, self._no_totals)
        if self.beams == 1:
            values, best = found
            return values, best
        return largest(torch.log_softmax(logits, dim=1) + self._barred)

    def best_sums(self, ids: Tensor, never: Tensor, totals: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Takes in ids (R, 1) of beams, with their sums of log probabilities (B, K) so far, float64.

        Returns:
            The C largest sums of each sentence with a next token that is not of ``never``, the beam and the token of each:
            (B, C) each, as of :func:`pellucid.model.ranking.largest_sums`.
        """
        self._bar(never)
        logits, *found = self._advance(ids, totals)
        if self.beams > 1:
            sums, places, tied = found
            if not tied:
                return sums[:, :-1], places[:, :-1] // len(self._barred), places[:, :-1] % len(self._barred)
        return largest_sums(totals, torch.log_softmax(logits, dim=1) + self._barred, 2 * self.beams)

    def select(self, rows: Tensor) -> None:
        """Row ``i`` becomes what row ``rows[i]`` was; those of a sentence stay together."""
        chosen = self._order[: self.length].index_select(1, rows)
        if len(rows) == self.rows:
            self._order[: self.length] = chosen
        else:  # sentences are finished
            self.rows, self._own = len(rows), self._own[: len(rows)]
            self._order = torch.cat((chosen, self._own.expand(len(self._order) - self.length, -1)))
            self._no_totals = self._no_totals[: self.rows // self.beams]
        if self._read:
            self._read[0] = self._read[0].index_select(0, rows[:: self.beams] // self.beams)

    def truncate(self, length: int) -> None:
        """Forgets every position from ``length`` on."""
        self.length = min(self.length, length)
        self._order[self.length :] = self._own

    def _bar(self, never: Tensor) -> None:
        if never is not self._never:
            self._never, self._barred = never, torch.zeros_like(self._barred).index_fill_(0, never, -torch.inf)

    def _advance(self, ids: Tensor, totals: Tensor) -> list[Tensor]:
        """What the step gives but for the new keys and values, which are put into their place."""
        self._check(self.length + 1)
        if self.length + 1 > len(self._store):
            self._store = torch.cat((self._store, torch.empty_like(self._store)))
            self._order = torch.cat((self._order, self._own.expand_as(self._order)))
        order = [self._order[: self.length + 1], totals] if self._many or self.beams > 1 else []
        *found, fresh = self._run(
            [ids.view(-1, self.beams), self._store[: self.length + 1], self._barred, *self._memory, *order, *self._read]
        )
        self._store[self.length, : self.rows] = fresh
        self.length += 1
        return found
