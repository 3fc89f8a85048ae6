"""Which key may each query attend to? One convention everywhere: True = may attend.

Shapes: B batch, T queries, S keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mask:
    """A rule for attention. Rules combine with ``&``: a key is seen when every rule allows it.

    Args:
        keys: (B, S) boolean, True for real tokens, False for padding; ``None`` when there is no padding.
        causal: a query sees no key after its own position (section 3.2.3). The last query stands at the last key, so that
            one new query sees all the keys of a cache.
    """

    keys: Tensor | None = None
    causal: bool = False

    def __and__(self, other: Mask) -> Mask:
        if self.keys is None or other.keys is None:
            keys = other.keys if self.keys is None else self.keys
        else:
            keys = self.keys & other.keys
        return Mask(keys, self.causal or other.causal)

    def allowed(self, n_queries: int, n_keys: int, device: torch.device) -> Tensor | None:
        """The boolean tensor, broadcastable to (B, H, T, S); ``None`` when everything may be attended to."""
        allowed = None
        if self.causal and n_queries > 1:
            square = torch.ones(n_queries, n_keys, dtype=torch.bool, device=device)
            allowed = square.tril(n_keys - n_queries)[None, None]  # (1, 1, T, S)
        if self.keys is not None:
            padding = self.keys[:, None, None, :]  # (B, 1, 1, S)
            allowed = padding if allowed is None else allowed & padding
        return allowed

    def resolve(self, n_queries: int, n_keys: int, like: Tensor, bias: Tensor | None = None) -> ResolvedMask | None:
        """The tensors that attention computes with, made once a forward and shared by all layers of a stack.

        Args:
            n_queries, n_keys: T and S.
            like: a tensor of the type and on the device of the scores.
            bias: (B or 1, H, T, S) of a position scheme, to be added to the scaled scores.

        Returns:
            ``None`` when everything may be attended to as it is.
        """
        allowed = self.allowed(n_queries, n_keys, like.device)
        bias = None if bias is None else bias.to(like.dtype)
        if allowed is None:
            return None if bias is None else ResolvedMask(None, bias, bias, None)
        added = torch.zeros((), dtype=like.dtype, device=like.device) if bias is None else bias
        # The smallest finite number instead of -inf: a row of nothing but -inf would be NaN after the softmax, and NaN
        # in its gradient even if the output were overwritten later.
        hidden = added.masked_fill(~allowed, torch.finfo(like.dtype).min)
        # Only padding can leave a query without any key: a causal query always sees itself.
        alive = None if self.keys is None else allowed.any(-1, keepdim=True).to(like.dtype)
        causal_alone = self.keys is None and bias is None and n_queries == n_keys
        return ResolvedMask(allowed, bias, hidden, alive, causal_alone)


@dataclass(frozen=True)
class ResolvedMask:
    """A mask as tensors, each broadcastable to (B, H, T, S), together with the bias of the scores."""

    allowed: Tensor | None  # boolean; None: everything may be attended to
    bias: Tensor | None  # added to the scores
    hidden: Tensor  # both at once: the bias (or 0) where allowed, the smallest finite number elsewhere
    alive: Tensor | None  # (B, 1, T or 1, 1): 0 for queries that may attend to nothing, else 1; None: all may
    causal_alone: bool = False  # each position sees itself and those before, and there is nothing else to it

    def corner(self, first: int, end: int) -> ResolvedMask:
        """Of a causal mask that is nothing else: queries ``first`` to ``end``, and the keys up to there."""
        return ResolvedMask(None, None, self.hidden[..., first:end, :end], None, causal_alone=first == 0)
