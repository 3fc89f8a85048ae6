"""The encoder-decoder of the paper, whole, and its step-by-step side.

Shapes: B batch, S source positions, T target positions, R target rows (B times beams), V target vocabulary, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from pellucid.base.taps import Tap, Tapper, within
from pellucid.model.cache import KeyValueCache, same_rows
from pellucid.model.decoder import Decoder, KeyValue
from pellucid.model.encoder import Encoder
from pellucid.model.heads import LanguageHead

Head = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Memory:
    """What the encoder leaves behind.

    Args:
        states: the output of every layer, each (B, S, D); the last one is the encoder's output.
        mask: (B, S) True = real token, or ``None``: no padding.
    """

    states: tuple[Tensor, ...]
    mask: Tensor | None


class State:
    """What the decoder carries from step to step: keys and values of the source and of the tokens so far."""

    def __init__(self, memory: list[KeyValue], memory_mask: Tensor | None, beams: int) -> None:
        self.memory, self.memory_mask = memory, memory_mask
        self.beams = beams
        self.caches = [KeyValueCache() for _ in memory]

    @property
    def length(self) -> int:
        """Positions written so far."""
        return self.caches[0].length

    @property
    def n_sentences(self) -> int:
        """Rows of the memory, B."""
        return self.memory[0][0].shape[0]

    def select(self, rows: Tensor) -> None:
        """Keep these of the R rows, in this order. The ``beams`` rows of a sentence stay together."""
        if same_rows(rows, self.n_sentences * self.beams):
            return
        for cache in self.caches:
            cache.select(rows)
        sentences = rows[:: self.beams] // self.beams
        if same_rows(sentences, self.n_sentences):
            return  # beams changed places inside their sentences: the memory stays
        self.memory = [(key[sentences], value[sentences]) for key, value in self.memory]
        if self.memory_mask is not None:
            self.memory_mask = self.memory_mask[sentences]

    def truncate(self, length: int) -> None:
        """Forget the positions from ``length`` on."""
        for cache in self.caches:
            cache.truncate(length)


class EncoderDecoder(nn.Module):
    """The Transformer of Figure 1.

    Args:
        encoder: reads the source.
        decoder: writes the target.
        head: from vectors to logits.
        weights: the embedding and output matrices, each (V, D) and owned here alone.
        roles: which of ``weights`` serves as ``"source"`` embedding, ``"target"`` embedding and ``"output"`` projection;
            two roles with one name are tied.
    """

    def __init__(
        self,
        *,
        encoder: Encoder,
        decoder: Decoder,
        head: LanguageHead,
        weights: nn.ParameterDict,
        roles: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head
        self.weights = weights
        self.roles = dict(roles)

    def weight(self, role: str) -> Tensor:
        """The matrix (V, D) that serves as "source", "target" or "output"."""
        return self.weights[self.roles[role]]

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        *,
        source_mask: Tensor | None = None,
        target_mask: Tensor | None = None,
        wanted: Tensor | None = None,
        head: Head | None = None,
        tap: Tapper | None = None,
    ) -> Tensor:
        """Logits of the token after each target position.

        Args:
            source: (B, S) token ids.
            target: (B, T) token ids, beginning with the start token.
            source_mask, target_mask: True = real token; ``None``: no padding. Padding to the right of the target needs no
                mask, since no real position sees it.
            wanted: (B, T) True where logits are wanted; ``None``: everywhere.
            head: what to make of the decoder's vectors (N, D) and the output matrix (V, D) instead of logits: a loss that
                never holds all the logits at once goes in here, so that training still runs through this ``forward``. The
                taps "logits" and "probs" are not reached then.
            tap: called with the name of each step and its tensor, see :mod:`pellucid.base.taps`.

        Returns:
            (B, T, V), or (N, V) for the N wanted positions; or what ``head`` returns.

        Raises:
            DataError: a sequence is longer than the positions reach.
        """
        memory = self.encode(source, source_mask, tap=tap)
        return self.decode(target, memory, target_mask, wanted=wanted, head=head, tap=tap)

    def encode(self, source: Tensor, mask: Tensor | None = None, *, tap: Tapper | None = None) -> Memory:
        """What the source (B, S) leaves behind."""
        inside = None if tap is None else Tap(tap)
        return Memory(self.encoder(source, self.weight("source"), mask, within(inside, "encoder")), mask)

    def decode(
        self,
        target: Tensor,
        memory: Memory,
        mask: Tensor | None = None,
        *,
        wanted: Tensor | None = None,
        head: Head | None = None,
        tap: Tapper | None = None,
    ) -> Tensor:
        """Logits of the token after each position of ``target`` (B, T), given the memory of its source; see forward."""
        inside = None if tap is None else Tap(tap)
        x = self.decoder(
            target,
            self.weight("target"),
            self.decoder.project(memory.states, within(inside, "decoder")),
            keys=mask,
            memory_keys=memory.mask,
            tap=within(inside, "decoder"),
        )  # (B, T, D)
        x = x if wanted is None else x[wanted]  # (N, D)
        return self.head(x, self.weight("output"), inside) if head is None else head(x, self.weight("output"))

    def start(self, memory: Memory, beams: int = 1) -> State:
        """The state before the first token. Keys and values of the source are computed here, once."""
        return State(self.decoder.project(memory.states), memory.mask, beams)

    def step(self, ids: Tensor, state: State, *, tap: Tapper | None = None) -> tuple[Tensor, State]:
        """Logits (R, T, V) of the token after each of one or more new positions, ``ids`` (R, T)."""
        inside = None if tap is None else Tap(tap)
        x = self.decoder(
            ids,
            self.weight("target"),
            state.memory,
            memory_keys=state.memory_mask,
            caches=state.caches,
            tap=within(inside, "decoder"),
        )
        return self.head(x, self.weight("output"), inside), state
