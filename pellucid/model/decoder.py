"""The decoder stack (section 3.1 of the paper, Figure 1 right).

Shapes: R target rows, T target positions, B memory rows, S source positions, D width of the model, H heads, K width of a head.
R is B, or B times the number of beams: beams of one sentence share its memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pellucid.base.taps import Tap, within
from pellucid.model.attention import MultiHeadAttention
from pellucid.model.cache import KeyValueCache
from pellucid.model.embedding import Embedding
from pellucid.model.feed_forward import FeedForward
from pellucid.model.masks import Mask, ResolvedMask
from pellucid.model.residual import LayerNorm, Residual

KeyValue = tuple[Tensor, Tensor]


class DecoderLayer(nn.Module):
    """Masked self-attention, cross-attention to the encoder, feed-forward, each with its add & norm."""

    def __init__(
        self,
        *,
        self_attn: MultiHeadAttention,
        self_attn_residual: Residual,
        cross_attn: MultiHeadAttention,
        cross_attn_residual: Residual,
        feed_forward: FeedForward,
        feed_forward_residual: Residual,
    ) -> None:
        super().__init__()
        self.self_attn, self.self_attn_residual = self_attn, self_attn_residual
        self.cross_attn, self.cross_attn_residual = cross_attn, cross_attn_residual
        self.feed_forward, self.feed_forward_residual = feed_forward, feed_forward_residual

    def forward(
        self,
        x: Tensor,
        memory: KeyValue,
        mask: ResolvedMask | None,
        memory_mask: ResolvedMask | None,
        cache: KeyValueCache | None = None,
        tap: Tap | None = None,
    ) -> Tensor:
        """(R, T, D) -> (R, T, D); ``memory`` holds the keys and values of the source, (B, H, S, K) each."""

        def attend_to_self(x: Tensor) -> Tensor:
            inside = within(tap, "self_attn")
            key, value = self.self_attn.project(x, inside)
            if cache is not None:
                key, value = cache.update(key, value)
            return self.self_attn(x, key, value, mask, inside)

        def attend_to_memory(x: Tensor) -> Tensor:
            # Queries do not see each other here, so the beams of a sentence stand in one row and share its memory.
            beside = x.reshape(memory[0].shape[0], -1, x.shape[-1])  # (B, R / B * T, D)
            return self.cross_attn(beside, *memory, memory_mask, within(tap, "cross_attn")).view_as(x)

        x = self.self_attn_residual(x, attend_to_self, tap, "self_attn")
        x = self.cross_attn_residual(x, attend_to_memory, tap, "cross_attn")
        x = self.feed_forward_residual(x, lambda x: self.feed_forward(x, within(tap, "ffn")), tap, "ffn")
        return x if tap is None else tap("out", x)


class Decoder(nn.Module):
    """A stack of layers over the embedded target, reading the memory of the source.

    Args:
        embed: the embedding box.
        layers: in order.
        norm: of the output, where the layers leave it unnormalised (pre-norm); else ``None``.
        reads: the encoder layer that each layer reads; -1 is the last.
    """

    def __init__(
        self, *, embed: Embedding, layers: Sequence[DecoderLayer], norm: LayerNorm | None, reads: Sequence[int]
    ) -> None:
        super().__init__()
        self.embed = embed
        self.layers = nn.ModuleList(layers)
        self.norm = norm
        self.reads = tuple(reads)

    def project(self, states: Sequence[Tensor], tap: Tap | None = None) -> list[KeyValue]:
        """Keys and values that each layer's cross-attention reads, from the encoder's states (B, S, D) each."""
        return [
            layer.cross_attn.project(states[read], within(tap, "layers", number, "cross_attn"))  # type: ignore[operator, union-attr]
            for number, (layer, read) in enumerate(zip(self.layers, self.reads, strict=True))
        ]

    def forward(
        self,
        ids: Tensor,
        weight: Tensor,
        memory: Sequence[KeyValue],
        *,
        keys: Tensor | None = None,
        memory_keys: Tensor | None = None,
        caches: Sequence[KeyValueCache] | None = None,
        tap: Tap | None = None,
    ) -> Tensor:
        """Decode ``ids`` (R, T), embedded by ``weight`` (V, D), one vector for each position: (R, T, D).

        Args:
            ids: the tokens, those after the cached ones when ``caches`` are given.
            weight: the target embedding.
            memory: keys and values for each layer, from :meth:`project`.
            keys: (R, T) True for real target tokens; not together with caches.
            memory_keys: (B, S) True for real source tokens.
            caches: keys and values of the positions before ``ids``, one cache a layer; appended to.
            tap: see :mod:`pellucid.base.taps`.
        """
        past = caches[0].length if caches else 0
        x = self.embed(ids, weight, keys, past, within(tap, "embed"))
        mask = Mask(keys, causal=True).resolve(ids.shape[1], past + ids.shape[1], like=x)
        memory_mask = Mask(memory_keys).resolve(1, memory[0][0].shape[2], like=x)
        for number, layer in enumerate(self.layers):
            cache = caches[number] if caches else None
            x = layer(x, memory[number], mask, memory_mask, cache, within(tap, "layers", number))
        if self.norm is not None:
            x = self.norm(x, within(tap, "norm"))
        return x if tap is None else tap("out", x)
