"""The encoder stack (section 3.1 of the paper, Figure 1 left).

Shapes: B batch, S source positions, D width of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pellucid.base.taps import Tap, within
from pellucid.model.block import Block, running
from pellucid.model.embedding import PatchEmbedding, TokenEmbedding
from pellucid.model.masks import Mask
from pellucid.model.packing import Packing
from pellucid.model.positions import Positions, position_ids
from pellucid.model.residual import Norm


class Encoder(nn.Module):
    """A stack of layers over the embedded source.

    Args:
        embed: the embedding box, for tokens or for pictures.
        positions: the scheme.
        layers: in order.
        norm: of the output, where the layers leave it unnormalised (pre-norm); else ``None``.
    """

    def __init__(
        self, *, embed: TokenEmbedding | PatchEmbedding, positions: Positions, layers: Sequence[Block], norm: Norm | None
    ) -> None:
        super().__init__()
        self.embed, self.positions = embed, positions
        self.layers = nn.ModuleList(layers)
        self.norm = norm
        self.recompute = False  # training may set it, see :func:`pellucid.model.block.running`

    def forward(
        self,
        source: Tensor,
        weight: Tensor | None,
        keys: Tensor | None,
        *,
        types: Tensor | None = None,
        tap: Tap | None = None,
    ) -> tuple[Tensor, ...]:
        """Encode the source: token ids (B, S), embedded by ``weight`` (V, D), or pixels (B, channels, height, width).

        Args:
            source: what to encode.
            weight: the embedding matrix; ``None`` for pixels.
            keys: (B, S) True for real tokens.
            types: (B, S) the type of each token, where the model tells types apart.
            tap: see :mod:`pellucid.base.taps`.

        Returns:
            The output of every layer, each (B, S, D); the last one is the output of the stack.

        Raises:
            DataError: a sequence is longer than the positions reach.
        """
        length = self.embed.length(source)
        self.positions.check(length)
        places = position_ids(keys, length, source.device)
        x = self.embed(source, weight, self.positions.added(places), types=types, tap=within(tap, "embed"))
        rotation = self.positions.rotation(places, like=x)
        mask = Mask(keys).resolve(length, length, like=x, bias=self.positions.bias(places, places))
        packing = Packing.of(keys) if self.training and tap is None else None
        if packing is not None:
            x = packing.pack(x)  # (N, D)
        states = []
        for number, layer in enumerate(self.layers):
            run = running(layer, recompute=self.recompute and self.training and tap is None)
            x = run(x, mask, rotation, tap=within(tap, "layers", number), packing=packing)
            states.append(x)
        if self.norm is not None:
            states[-1] = self.norm(states[-1], within(tap, "norm"))
        if packing is not None:
            states = [packing.pad(state) for state in states]
        if tap is not None:
            states[-1] = tap("out", states[-1])
        return tuple(states)
