"""Recurrent networks behind the same contract as the Transformer: what differs is what stands between encoder and decoder.

A decoder that stands alone is :class:`pellucid.model.transformer.DecoderOnly`, handed a recurrent one.

Shapes: as in :mod:`pellucid.model.transformer`; M width of what the encoder hands over at a position.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from pellucid.base.taps import Tap, Tapper, within
from pellucid.model.cache import StateCache
from pellucid.model.heads import Head
from pellucid.model.recurrent_stacks import RecurrentDecoder, RecurrentEncoder, mean_of
from pellucid.model.transformer import EncoderDecoder, EncoderOnly, Memory, Readout, State, Transformer, needed


class RecurrentEncoderDecoder(EncoderDecoder):
    """Two recurrent networks (Cho et al., 2014; Sutskever et al., 2014), with or without attention.

    Args:
        encoder, decoder, head, weights, roles: see :class:`pellucid.model.transformer.EncoderDecoder`.
        mean: whether the decoder begins with the mean of the encoder's states instead of the last one.
    """

    encoder: RecurrentEncoder  # type: ignore[assignment]
    decoder: RecurrentDecoder  # type: ignore[assignment]

    def __init__(
        self,
        *,
        encoder: RecurrentEncoder,
        decoder: RecurrentDecoder,
        head: Head,
        weights: nn.ParameterDict,
        roles: Mapping[str, str],
        mean: bool,
    ) -> None:
        super().__init__(encoder=encoder, decoder=decoder, head=head, weights=weights, roles=roles)  # type: ignore[arg-type]
        self.mean = mean

    def encode(self, source: Tensor, mask: Tensor | None = None, *, tap: Tapper | None = None) -> Memory:
        """What the source leaves behind: the states at every position, and those at last."""
        memory = _encode(self, self.encoder, source, mask, None, tap)
        return Memory(memory.states, mask, mean_of(memory.states, mask, len(memory.final[0]))) if self.mean else memory

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
        at = within(inside, "decoder")
        x = self.decoder(
            target,
            self.weight("target"),
            self.decoder.project(memory.states, memory.mask, at),
            keys=mask,
            memory_keys=memory.mask,
            begun=self.decoder.begin(memory.final, at),
            tap=at,
        )  # (B, T, D)
        return self.read_out(x, mask, wanted, readout, inside)

    def start(self, memory: Memory, beams: int = 1) -> State:
        """The state before the first token."""
        begun = self.decoder.begin(memory.final).repeat_interleave(beams, dim=1)  # (N, R, H)
        projected = [(key.contiguous(), value.contiguous()) for key, value in self.decoder.project(memory.states, memory.mask)]
        return State([StateCache(begun)], begun.shape[1], beams, projected, needed(memory.mask))


class RecurrentEncoderOnly(EncoderOnly):
    """A recurrent encoder with a head."""

    encoder: RecurrentEncoder  # type: ignore[assignment]

    def __init__(self, *, encoder: RecurrentEncoder, head: Head, weights: nn.ParameterDict, roles: Mapping[str, str]) -> None:
        super().__init__(encoder=encoder, head=head, weights=weights, roles=roles)  # type: ignore[arg-type]

    def encode(
        self, source: Tensor, mask: Tensor | None = None, *, types: Tensor | None = None, tap: Tapper | None = None
    ) -> Memory:
        """The states at every position of the source, layer by layer, and those at last."""
        return _encode(self, self.encoder, source, mask, types, tap)


def _encode(
    model: Transformer, encoder: RecurrentEncoder, source: Tensor, mask: Tensor | None, types: Tensor | None, tap: Tapper | None
) -> Memory:
    weight = model.weight("source") if "source" in model.roles else None  # pictures have no vocabulary
    states, final = encoder(source, weight, mask, types=types, tap=within(None if tap is None else Tap(tap), "encoder"))
    return Memory(states, mask, final)
