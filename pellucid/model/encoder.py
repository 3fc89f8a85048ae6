"""The encoder stack (section 3.1 of the paper, Figure 1 left).

Shapes: B batch, S source positions, D width of the model.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from pellucid.base.taps import Tap, within
from pellucid.model.attention import MultiHeadAttention
from pellucid.model.embedding import Embedding
from pellucid.model.feed_forward import FeedForward
from pellucid.model.masks import Mask, ResolvedMask
from pellucid.model.residual import LayerNorm, Residual


class EncoderLayer(nn.Module):
    """Self-attention, then feed-forward, each with its add & norm."""

    def __init__(
        self,
        *,
        self_attn: MultiHeadAttention,
        self_attn_residual: Residual,
        feed_forward: FeedForward,
        feed_forward_residual: Residual,
    ) -> None:
        super().__init__()
        self.self_attn, self.self_attn_residual = self_attn, self_attn_residual
        self.feed_forward, self.feed_forward_residual = feed_forward, feed_forward_residual

    def forward(self, x: Tensor, mask: ResolvedMask | None, tap: Tap | None = None) -> Tensor:
        """(B, S, D) -> (B, S, D)."""

        def attend_to_self(x: Tensor) -> Tensor:
            inside = within(tap, "self_attn")
            return self.self_attn(x, *self.self_attn.project(x, inside), mask, inside)

        x = self.self_attn_residual(x, attend_to_self, tap, "self_attn")
        x = self.feed_forward_residual(x, lambda x: self.feed_forward(x, within(tap, "ffn")), tap, "ffn")
        return x if tap is None else tap("out", x)


class Encoder(nn.Module):
    """A stack of layers over the embedded source.

    Args:
        embed: the embedding box.
        layers: in order.
        norm: of the output, where the layers leave it unnormalised (pre-norm); else ``None``.
    """

    def __init__(self, *, embed: Embedding, layers: Sequence[EncoderLayer], norm: LayerNorm | None) -> None:
        super().__init__()
        self.embed = embed
        self.layers = nn.ModuleList(layers)
        self.norm = norm

    def forward(self, ids: Tensor, weight: Tensor, keys: Tensor | None, tap: Tap | None = None) -> tuple[Tensor, ...]:
        """Encode ``ids`` (B, S), embedded by ``weight`` (V, D); ``keys`` (B, S) is True for real tokens.

        Returns:
            The output of every layer, each (B, S, D); the last one is the output of the stack.
        """
        x = self.embed(ids, weight, keys, tap=within(tap, "embed"))
        mask = Mask(keys).resolve(ids.shape[1], ids.shape[1], like=x)
        states = []
        for number, layer in enumerate(self.layers):
            x = layer(x, mask, within(tap, "layers", number))
            states.append(x)
        if self.norm is not None:
            states[-1] = self.norm(x, within(tap, "norm"))
        if tap is not None:
            states[-1] = tap("out", states[-1])
        return tuple(states)
