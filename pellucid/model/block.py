"""The block that every stack is made of (section 3.1 of the paper): self-attention, cross-attention where there is something
to read, feed-forward, each with its add & norm.

Shapes: R rows, T positions, B memory rows, S source positions, D width of the model, H heads, K width of a head.
R is B, or B times the number of beams: beams of one sentence share its memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pellucid.base.taps import Tap, within
from pellucid.model.attention import MultiHeadAttention, in_type_of_products
from pellucid.model.cache import KeyValueCache
from pellucid.model.feed_forward import FeedForward
from pellucid.model.masks import ResolvedMask
from pellucid.model.packing import Packing
from pellucid.model.positions import Rotation
from pellucid.model.residual import Residual

KeyValue = tuple[Tensor, Tensor]


class Block(nn.Module):
    """One layer of a stack.

    Args:
        self_attn, feed_forward: the sublayers of every stack.
        cross_attn: the sublayer that reads a memory; ``None`` in encoders and in decoders that stand alone.
        self_attn_residual, cross_attn_residual, feed_forward_residual: add & norm of each.
    """

    def __init__(
        self,
        *,
        self_attn: MultiHeadAttention,
        self_attn_residual: Residual,
        feed_forward: FeedForward,
        feed_forward_residual: Residual,
        cross_attn: MultiHeadAttention | None = None,
        cross_attn_residual: Residual | None = None,
    ) -> None:
        super().__init__()
        self.self_attn, self.self_attn_residual = self_attn, self_attn_residual
        self.cross_attn, self.cross_attn_residual = cross_attn, cross_attn_residual
        self.feed_forward, self.feed_forward_residual = feed_forward, feed_forward_residual

    def forward(
        self,
        x: Tensor,
        mask: ResolvedMask | None,
        rotation: Rotation | None = None,
        *,
        memory: KeyValue | None = None,
        memory_mask: ResolvedMask | None = None,
        cache: KeyValueCache | None = None,
        tap: Tap | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """(R, T, D) -> (R, T, D).

        Args:
            x: what the layer before hands over.
            mask: which positions each position may attend to, and any bias of their scores.
            rotation: of queries and keys, for positions that are rotations.
            memory: keys and values of what cross-attention reads, (B, H, S, K) each.
            memory_mask: which of them may be read.
            cache: keys and values of earlier positions; appended to.
            tap: see :mod:`pellucid.base.taps`.
            packing: of a batch whose padding was left out; then ``x`` and what is returned are (N, D). Not together with a
                cache or a tap.
        """

        def attend_to_self(x: Tensor) -> Tensor:
            inside = within(tap, "self_attn")
            x = in_type_of_products(x)
            query, key, value = self.self_attn.project_all(x, rotation, inside, packing)
            if cache is not None:
                key, value = cache.update(key, value)
            return self.self_attn.read(query, key, value, mask, inside, packing)

        x = self.self_attn_residual(x, attend_to_self, tap, "self_attn")
        if self.cross_attn is not None and self.cross_attn_residual is not None and memory is not None:
            cross_attn = self.cross_attn

            def attend_to_memory(x: Tensor) -> Tensor:
                if packing is not None:
                    return cross_attn(x, *memory, memory_mask, packing=packing)
                # Queries do not see each other here, so the beams of a sentence stand in one row and share its memory.
                beside = x.reshape(memory[0].shape[0], -1, x.shape[-1])  # (B, R / B * T, D)
                return cross_attn(beside, *memory, memory_mask, tap=within(tap, "cross_attn")).view_as(x)

            x = self.cross_attn_residual(x, attend_to_memory, tap, "cross_attn")
        x = self.feed_forward_residual(x, lambda x: self.feed_forward(x, within(tap, "ffn")), tap, "ffn")
        return x if tap is None else tap("out", x)


def running(layer: nn.Module, *, recompute: bool) -> Callable[..., Tensor]:
    """How a stack calls a layer: as it is, or so that of all it computes only the input is kept for the way back.

    Then the way back computes the rest again, dropout included: a third more work for much less memory (Chen et al., 2016).
    """
    return partial(checkpoint, layer, use_reentrant=False) if recompute else layer
