"""The decoder stack (section 3.1 of the paper, Figure 1 right); without cross-attention, a decoder that stands alone.

Shapes: R target rows, T target positions, L target positions with the cached ones, B memory rows, S source positions, D width
of the model, H heads, K width of a head. R is B, or B times the number of beams: beams of one sentence share its memory.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pellucid.base.taps import Tap, within
from pellucid.model.attention import in_type_of_products
from pellucid.model.block import Block, KeyValue, running
from pellucid.model.cache import KeyValueCache
from pellucid.model.embedding import TokenEmbedding
from pellucid.model.masks import Mask
from pellucid.model.packing import Packing, behind
from pellucid.model.positions import Positions, position_ids
from pellucid.model.residual import Norm


class Decoder(nn.Module):
    """A stack of layers over the embedded target, reading the memory of a source where there is one.

    Args:
        embed: the embedding box.
        positions: the scheme.
        layers: in order.
        norm: of the output, where the layers leave it unnormalised (pre-norm); else ``None``.
        reads: the encoder layer that each layer reads, -1 is the last; empty: there is no encoder.
    """

    def __init__(
        self,
        *,
        embed: TokenEmbedding,
        positions: Positions,
        layers: Sequence[Block],
        norm: Norm | None,
        reads: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.embed, self.positions = embed, positions
        self.layers = nn.ModuleList(layers)
        self.norm = norm
        self.recompute = False  # training may set it, see :func:`pellucid.model.block.running`
        self.reads = tuple(reads)

    def caches(self) -> list[KeyValueCache]:
        """What keeps keys and values of the tokens so far, one a layer; still empty."""
        return [KeyValueCache() for _ in self.layers]

    def project(self, states: Sequence[Tensor], keys: Tensor | None = None, tap: Tap | None = None) -> list[KeyValue]:
        """Keys and values that each layer's cross-attention reads, from the encoder's states (B, S, D) each.

        Args:
            states: of the encoder's layers.
            keys: (B, S) True for real source tokens; in training nothing is computed for the others.
            tap: see :mod:`pellucid.base.taps`.
        """
        packing = Packing.of(keys) if self.training and tap is None else None
        sources = {
            read: in_type_of_products(states[read] if packing is None else packing.pack(states[read]))
            for read in dict.fromkeys(self.reads)
        }
        return [
            layer.cross_attn.project(  # type: ignore[operator, union-attr]
                sources[read], tap=within(tap, "layers", number, "cross_attn"), packing=packing
            )
            for number, (layer, read) in enumerate(zip(self.layers, self.reads, strict=True))
        ]

    def forward(
        self,
        ids: Tensor,
        weight: Tensor,
        memory: Sequence[KeyValue] = (),
        *,
        keys: Tensor | None = None,
        memory_keys: Tensor | None = None,
        caches: Sequence[KeyValueCache] = (),
        tap: Tap | None = None,
    ) -> Tensor:
        """Decode ``ids`` (R, T), embedded by ``weight`` (V, D), one vector for each position: (R, T, D).

        Args:
            ids: the tokens, those after the cached ones when ``caches`` are given.
            weight: the target embedding.
            memory: keys and values for each layer, from :meth:`project`.
            keys: (R, L) True for real target tokens, the cached ones first.
            memory_keys: (B, S) True for real source tokens.
            caches: keys and values of the positions before ``ids``, one cache a layer; appended to.
            tap: see :mod:`pellucid.base.taps`.

        Raises:
            DataError: a sequence is longer than the positions reach.
        """
        new = ids.shape[1]
        length = new + (caches[0].length if caches else 0)
        self.positions.check(length)
        packing = None
        if keys is not None and self.training and tap is None and not caches and behind(keys):
            packing, keys = Packing.of(keys), None
        places = position_ids(keys, length, ids.device)  # (R or 1, L)
        here = places[:, length - new :]  # (R or 1, T)
        x = self.embed(ids, weight, self.positions.added(here), tap=within(tap, "embed"))
        rotation = self.positions.rotation(here, like=x)
        mask = Mask(keys, causal=True).resolve(new, length, like=x, bias=self.positions.bias(here, places))
        memory_mask = Mask(memory_keys).resolve(1, memory[0][0].shape[2], like=x) if memory else None
        if packing is not None:
            x = packing.pack(x)  # (N, D)
        for number, layer in enumerate(self.layers):
            run = running(layer, recompute=self.recompute and self.training and tap is None)
            x = run(
                x,
                mask,
                rotation,
                memory=memory[number] if memory else None,
                memory_mask=memory_mask,
                cache=caches[number] if caches else None,
                tap=within(tap, "layers", number),
                packing=packing,
            )
        if self.norm is not None:
            x = self.norm(x, within(tap, "norm"))
        if packing is not None:
            x = packing.pad(x)
        return x if tap is None else tap("out", x)
