"""The three architectures, whole: the paper's encoder-decoder, an encoder and a decoder alone; and their step-by-step side.

Shapes: B batch, S source positions, T target positions, L target positions so far, R target rows (B times beams), V vocabulary
or classes, D model width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pellucid.base.taps import Tap, Tapper, within
from pellucid.model.block import KeyValue
from pellucid.model.cache import Cache, same_rows
from pellucid.model.decoder import Decoder
from pellucid.model.encoder import Encoder
from pellucid.model.heads import Head

# What may take the place of the logits: vectors (N, D), output matrix (V, D) and bias (V,) in, whatever is wanted of them out.
Readout = Callable[[Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Memory:
    """What the encoder leaves behind.

    Args:
        states: the output of every layer, each (B, S, D); the last one is the encoder's output.
        mask: (B, S) True = real token, or ``None``: no padding.
        final: of a recurrent encoder what each layer carried at last, hidden state and cell, (B, D) each; else empty.
    """

    states: tuple[Tensor, ...]
    mask: Tensor | None
    final: tuple[tuple[Tensor, ...], ...] = ()

    def repeated(self, rows: int) -> Memory:
        """The memory of one source, for so many rows."""
        return Memory(
            tuple(vectors.expand(rows, -1, -1) for vectors in self.states),
            None if self.mask is None else self.mask.expand(rows, -1),
            tuple(tuple(state.expand(rows, -1) for state in layer) for layer in self.final),
        )


@dataclass(frozen=True)
class Prompt:
    """What a decoder that stands alone is given to go on from.

    Args:
        ids: (B, S) tokens; there may be none.
        mask: (B, S) True = real token, or ``None``: no padding.
    """

    ids: Tensor
    mask: Tensor | None


class State:
    """What the decoder carries from step to step: keys and values of the source, where there is one, and of the tokens so far,
    or what a recurrent decoder carries in their stead.

    Args:
        caches: of the tokens so far, as the decoder makes them.
        rows: R.
        beams: rows a sentence.
        memory: keys and values for each layer's cross-attention; empty: no source.
        memory_mask: (B, S) True for real source tokens.
    """

    def __init__(
        self,
        caches: Sequence[Cache],
        rows: int,
        beams: int,
        memory: list[KeyValue] | None = None,
        memory_mask: Tensor | None = None,
    ) -> None:
        self.rows, self.beams = rows, beams
        self.memory, self.memory_mask = memory or [], memory_mask
        self.caches = list(caches)
        self.keys: Tensor | None = None  # (R, L) True for real tokens, where a prompt was padded
        self._spare: Tensor | None = None

    @property
    def length(self) -> int:
        """Positions written so far, those of a prompt included."""
        return self.caches[0].length

    def grow(self, new: int) -> Tensor | None:
        """Count ``new`` more positions as real ones, and return the mask of all, (R, L + new)."""
        if self.keys is not None:
            self.keys = torch.cat((self.keys, self.keys.new_ones(len(self.keys), new)), dim=1)
        return self.keys

    def select(self, rows: Tensor) -> None:
        """Keep these of the R rows, in this order. The ``beams`` rows of a sentence stay together."""
        if same_rows(rows, self.rows):
            return
        for cache in self.caches:  # one spare memory goes round
            self._spare = cache.select(rows, self._spare)
        if self.keys is not None:
            self.keys = self.keys[rows]
        sentences, n_sentences = rows[:: self.beams] // self.beams, self.rows // self.beams
        self.rows = len(rows)
        if same_rows(sentences, n_sentences):
            return  # beams changed places inside their sentences: the memory stays
        self.memory = [(key[sentences], value[sentences]) for key, value in self.memory]
        if self.memory_mask is not None:
            self.memory_mask = self.memory_mask[sentences]

    def truncate(self, length: int) -> None:
        """Forget the positions from ``length`` on."""
        for cache in self.caches:
            cache.truncate(length)
        if self.keys is not None:
            self.keys = self.keys[:, :length]


class Transformer(nn.Module):
    """What the architectures share: matrices that may serve in several roles, a head, and how logits are asked for.

    Args:
        stacks: encoder and decoder, or one of them, by name.
        head: from vectors to logits.
        weights: the embedding and output matrices, each (V, D) and owned here alone.
        roles: which of ``weights`` serves as ``"source"`` embedding, ``"target"`` embedding and ``"output"`` projection;
            two roles with one name are tied.
    """

    def __init__(
        self, stacks: Mapping[str, nn.Module], *, head: Head, weights: nn.ParameterDict, roles: Mapping[str, str]
    ) -> None:
        super().__init__()
        for name, stack in stacks.items():  # first: initialisation draws its numbers in the order of the parts
            self.add_module(name, stack)
        self.head = head
        self.weights = weights
        self.roles = dict(roles)

    def weight(self, role: str) -> Tensor:
        """The matrix (V, D) that serves as "source", "target" or "output"."""
        return self.weights[self.roles[role]]

    def read_out(
        self, x: Tensor, mask: Tensor | None, wanted: Tensor | None, readout: Readout | None, tap: Tap | None
    ) -> Tensor:
        """Logits of a stack's vectors (B, T, D), of all or of the ``wanted`` (B, T) ones; or what ``readout`` makes of them."""
        x = x if wanted is None else x[wanted]  # (N, D)
        if readout is None:
            return self.head(x, self.weight("output"), mask, tap)
        return readout(self.head.features(x, mask, tap), self.weight("output"), self.head.bias)


class EncoderDecoder(Transformer):
    """The Transformer of Figure 1.

    Args:
        encoder: reads the source.
        decoder: writes the target.
        head, weights, roles: see :class:`Transformer`.
    """

    encoder: Encoder
    decoder: Decoder

    def __init__(
        self, *, encoder: Encoder, decoder: Decoder, head: Head, weights: nn.ParameterDict, roles: Mapping[str, str]
    ) -> None:
        super().__init__({"encoder": encoder, "decoder": decoder}, head=head, weights=weights, roles=roles)

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        *,
        source_mask: Tensor | None = None,
        target_mask: Tensor | None = None,
        wanted: Tensor | None = None,
        readout: Readout | None = None,
        tap: Tapper | None = None,
    ) -> Tensor:
        """Logits of the token after each target position.

        Args:
            source: (B, S) token ids; for a model that reads pictures, (B, channels, height, width) pixels.
            target: (B, T) token ids, beginning with the start token.
            source_mask, target_mask: True = real token; ``None``: no padding. Padding to the right of the target needs no
                mask, since no real position sees it.
            wanted: (B, T) True where logits are wanted; ``None``: everywhere.
            readout: what to make of the decoder's vectors (N, D), the output matrix (V, D) and its bias instead of logits: a
                loss that never holds all the logits at once goes in here, so that training still runs through this
                ``forward``. The taps "logits" and "probs" are not reached then.
            tap: called with the name of each step and its tensor, see :mod:`pellucid.base.taps`.

        Returns:
            (B, T, V), or (N, V) for the N wanted positions; or what ``readout`` returns.

        Raises:
            DataError: a sequence is longer than the positions reach.
        """
        memory = self.encode(source, source_mask, tap=tap)
        return self.decode(target, memory, target_mask, wanted=wanted, readout=readout, tap=tap)

    def encode(self, source: Tensor, mask: Tensor | None = None, *, tap: Tapper | None = None) -> Memory:
        """What the source leaves behind."""
        return _encode(self, self.encoder, source, mask, None, tap)

    def decode(
        self,
        target: Tensor,
        memory: Memory,
        mask: Tensor | None = None,
        *,
        wanted: Tensor | None = None,
        readout: Readout | None = None,
        tap: Tapper | None = None,
    ) -> Tensor:
        """Logits of the token after each position of ``target`` (B, T), given the memory of its source; see forward."""
        inside = None if tap is None else Tap(tap)
        x = self.decoder(
            target,
            self.weight("target"),
            self.decoder.project(memory.states, memory.mask, within(inside, "decoder")),
            keys=mask,
            memory_keys=memory.mask,
            tap=within(inside, "decoder"),
        )  # (B, T, D)
        return self.read_out(x, mask, wanted, readout, inside)

    def start(self, memory: Memory, beams: int = 1) -> State:
        """The state before the first token. Keys and values of the source are computed here, once."""
        rows = memory.states[-1].shape[0] * beams
        # Laid out once as every step reads them; and without padding there is no mask to apply at every step.
        projected = [(key.contiguous(), value.contiguous()) for key, value in self.decoder.project(memory.states, memory.mask)]
        return State(self.decoder.caches(), rows, beams, projected, needed(memory.mask))

    def step(self, ids: Tensor, state: State, *, tap: Tapper | None = None) -> tuple[Tensor, State]:
        """Logits (R, T, V) of the token after each of one or more new positions, ``ids`` (R, T)."""
        return _step(self, self.decoder, ids, state, tap)


class EncoderOnly(Transformer):
    """An encoder with a head: classes of a whole text or picture, of each token, or the words that were masked.

    Args:
        encoder: reads the source.
        head, weights, roles: see :class:`Transformer`.
    """

    encoder: Encoder

    def __init__(self, *, encoder: Encoder, head: Head, weights: nn.ParameterDict, roles: Mapping[str, str]) -> None:
        super().__init__({"encoder": encoder}, head=head, weights=weights, roles=roles)

    def forward(
        self,
        source: Tensor,
        *,
        source_mask: Tensor | None = None,
        types: Tensor | None = None,
        wanted: Tensor | None = None,
        readout: Readout | None = None,
        tap: Tapper | None = None,
    ) -> Tensor:
        """Logits at every position, or of the whole sequence where the head pools.

        Args:
            source: (B, S) token ids, or (B, channels, height, width) pixels.
            source_mask: (B, S) True = real token; ``None``: no padding.
            types: (B, S) the type of each token; ``None``: all of type 0.
            wanted: (B, S) True where logits are wanted; not for a head that pools.
            readout, tap: as for :class:`EncoderDecoder`.

        Returns:
            (B, S, V), (N, V) for the N wanted positions, or (B, V); or what ``readout`` returns.

        Raises:
            DataError: a sequence is longer than the positions reach.
        """
        memory = self.encode(source, source_mask, types=types, tap=tap)
        return self.read_out(memory.states[-1], source_mask, wanted, readout, None if tap is None else Tap(tap))

    def encode(
        self, source: Tensor, mask: Tensor | None = None, *, types: Tensor | None = None, tap: Tapper | None = None
    ) -> Memory:
        """The vectors of the source, layer by layer."""
        return _encode(self, self.encoder, source, mask, types, tap)


class DecoderOnly(Transformer):
    """A decoder that stands alone: it goes on writing what it is given (Liu et al., 2018; Radford et al., 2018).

    Args:
        decoder: without cross-attention.
        head, weights, roles: see :class:`Transformer`.
    """

    decoder: Decoder

    def __init__(self, *, decoder: Decoder, head: Head, weights: nn.ParameterDict, roles: Mapping[str, str]) -> None:
        super().__init__({"decoder": decoder}, head=head, weights=weights, roles=roles)

    def forward(
        self,
        ids: Tensor,
        *,
        mask: Tensor | None = None,
        wanted: Tensor | None = None,
        readout: Readout | None = None,
        tap: Tapper | None = None,
    ) -> Tensor:
        """Logits of the token after each position of ``ids`` (B, T), of which ``mask`` (B, T) says which are real.

        Padding to the right needs no mask, since no real position sees it. ``wanted``, ``readout``, ``tap``, what is returned
        and raised: as for :class:`EncoderDecoder`.
        """
        inside = None if tap is None else Tap(tap)
        x = self.decoder(ids, self.weight("target"), keys=mask, tap=within(inside, "decoder"))  # (B, T, D)
        return self.read_out(x, mask, wanted, readout, inside)

    def encode(self, prompt: Tensor, mask: Tensor | None = None) -> Prompt:
        """A prompt (B, S), which may be empty. There is no encoder: it is read by :meth:`start`."""
        return Prompt(prompt, mask)

    def start(self, memory: Prompt, beams: int = 1) -> State:
        """The state after the prompt, before the first token that is fed to :meth:`step`."""
        state = State(self.decoder.caches(), len(memory.ids), 1)
        if memory.ids.shape[1] > 0:
            state.keys = needed(memory.mask)
            self.decoder(memory.ids, self.weight("target"), keys=state.keys, caches=state.caches)
        if beams > 1:
            state.select(torch.arange(len(memory.ids), device=memory.ids.device).repeat_interleave(beams))
        state.beams = beams
        state.rows = len(memory.ids) * beams
        return state

    def step(self, ids: Tensor, state: State, *, tap: Tapper | None = None) -> tuple[Tensor, State]:
        """Logits (R, T, V) of the token after each of one or more new positions, ``ids`` (R, T)."""
        return _step(self, self.decoder, ids, state, tap)


def needed(mask: Tensor | None) -> Tensor | None:
    """The mask of a batch with padding; without any, none."""
    return None if mask is None or bool(mask.all()) else mask


def _encode(
    model: Transformer, encoder: Encoder, source: Tensor, mask: Tensor | None, types: Tensor | None, tap: Tapper | None
) -> Memory:
    weight = model.weight("source") if "source" in model.roles else None  # pictures have no vocabulary
    inside = None if tap is None else Tap(tap)
    return Memory(encoder(source, weight, mask, types=types, tap=within(inside, "encoder")), mask)


def _step(model: Transformer, decoder: Decoder, ids: Tensor, state: State, tap: Tapper | None) -> tuple[Tensor, State]:
    inside = None if tap is None else Tap(tap)
    x = decoder(
        ids,
        model.weight("target"),
        state.memory,
        keys=state.grow(ids.shape[1]),
        memory_keys=state.memory_mask,
        caches=state.caches,
        tap=within(inside, "decoder"),
    )
    return model.head(x, model.weight("output"), tap=inside), state
