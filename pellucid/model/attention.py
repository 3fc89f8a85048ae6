"""Attention (section 3.2 of the paper).

Shapes: B batch, T queries, S keys, H heads, G heads of keys and values (H, or fewer that several query heads share), K width of
a head (d_head), D width of the model (d_model).
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.taps import Tap
from pellucid.model.dropout import Dropout
from pellucid.model.masks import ResolvedMask
from pellucid.model.packing import Packing
from pellucid.model.positions import Rotation, rotate

FEW = 8  # queries of a step, also of several beams
FEW_HEADS = 40  # of all rows, up to which torch's fused attention is the faster one for a step: it is called once
IN_CACHE = 1 << 19  # numbers of float32 that stay in a processor's cache from one operation to the next
LONG = 48  # keys from which on it is the faster one on a CPU, also where it is given a mask
WIDE = 128  # queries from which on causal attention without it takes less time in two halves on a CPU


class Score(nn.Module):
    """How well a query matches a key: (B, H, T, K), (B, G, S, K) -> (B, H, T, S), to be multiplied by ``scale``."""

    scale: float


class DotProduct(Score):
    """``q k^T / sqrt(d_head)``: without the scale a wide head pushes the softmax to where its gradient is tiny.

    Args:
        d_head: K.
        scaled: False leaves the scale to the weights, as T5 does.
    """

    def __init__(self, d_head: int, *, scaled: bool = True) -> None:
        super().__init__()
        self.scale = 1.0 / math.sqrt(d_head) if scaled else 1.0

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return by_groups(query, key.transpose(-2, -1))


class Additive(Score):
    """``v^T tanh(q + k)`` (Bahdanau et al., 2015): one hidden layer instead of a product, with one ``v`` a head."""

    def __init__(self, n_heads: int, d_head: int) -> None:
        super().__init__()
        self.scale = 1.0
        self.weight = nn.Parameter(torch.empty(n_heads, d_head))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        hidden = torch.tanh(query[:, :, :, None] + key[:, :, None])  # (B, H, T, S, K)
        return torch.einsum("bhtsk,hk->bhts", hidden, self.weight)


def by_groups(x: Tensor, shared: Tensor) -> Tensor:
    """``x @ shared`` head by head, (B, H, T, I) and (B, G, I, J) -> (B, H, T, J); H / G heads in a row share one of ``shared``.

    Heads that share are laid under each other as more rows of one product, so that nothing is copied (grouped heads: Ainslie et
    al., 2023; one for all: Shazeer, 2019).
    """
    if x.shape[1] == shared.shape[1]:
        return x @ shared
    rows = x.reshape(x.shape[0], shared.shape[1], -1, x.shape[3])  # (B, G, H / G * T, I)
    return (rows @ shared).view(*x.shape[:3], shared.shape[3])


def attend(query: Tensor, key: Tensor, value: Tensor, score: Score, mask: ResolvedMask | None, dropout: Dropout) -> Tensor:
    """Equation 1: ``softmax(q k^T / sqrt(d_head)) v``, without looking at it.

    Args:
        query: (B, H, T, K).
        key, value: (B, G, S, K).
        score: the match of queries and keys, dot product or additive.
        mask: what may be attended to, and the bias of the scores; ``None``: everything, as it is. A query that may attend to
            nothing gives zeros.
        dropout: on the weights.

    Returns:
        z, (B, H, T, K).
    """
    if _fused_is_faster(query, key, score, mask, dropout):
        causal = mask is not None and mask.causal_alone  # then keys that come later are not even multiplied
        hidden = None if mask is None or causal else mask.hidden
        z = F.scaled_dot_product_attention(query, key, value, hidden, is_causal=causal, scale=score.scale)  # (B, H, T, K)
    elif mask is not None and mask.causal_alone and _halves_are_faster(query):
        z = _attend_by_halves(query, key, value, score, mask, dropout)
    else:
        weights = _weights(query, key, score, None if mask is None else mask.hidden)  # (B, H, T, S)
        z = by_groups(dropout(weights), value)  # (B, H, T, K)
    return z if mask is None or mask.alive is None else z * mask.alive.to(z.dtype)


def _halves_are_faster(query: Tensor) -> bool:
    """On a CPU, from ``WIDE`` queries on; a compiler would make a graph for each half of a half."""
    return query.shape[2] >= WIDE and query.device.type == "cpu" and not torch.compiler.is_compiling()


def _attend_by_halves(query: Tensor, key: Tensor, value: Tensor, score: Score, mask: ResolvedMask, dropout: Dropout) -> Tensor:
    """Causal attention, where the first half of the queries sees nothing of the keys of the second: a quarter less work."""
    half = query.shape[2] // 2
    above, below = mask.corner(0, half), mask.corner(half, query.shape[2])
    first = attend(query[:, :, :half], key[:, :, :half], value[:, :, :half], score, above, dropout)
    return torch.cat([first, attend(query[:, :, half:], key, value, score, below, dropout)], dim=2)


def _weights(query: Tensor, key: Tensor, score: Score, hidden: Tensor | None) -> Tensor:
    """``softmax(scale * score(query, key) + hidden)``, (B, H, T, S)."""
    if hidden is None and isinstance(score, DotProduct) and query.shape[1] == key.shape[1] and _in_a_step(query):
        # Scaled as they are multiplied: a step computes so little that an operation less counts.
        keys = key.flatten(0, 1).transpose(1, 2)  # (B * H, K, S)
        scores = torch.baddbmm(query.new_empty(()), query.flatten(0, 1), keys, beta=0, alpha=score.scale)
        return torch.softmax(scores, dim=-1).view(*query.shape[:3], -1)
    return _softmax(score(query, key), score.scale, hidden)


def _in_a_step(query: Tensor) -> bool:
    """Whether these are the few queries of a step of decoding on a CPU."""
    on_cpu = query.device.type == "cpu"
    return query.shape[2] <= FEW and on_cpu and not (torch.is_grad_enabled() or torch.compiler.is_compiling())


def _softmax(scores: Tensor, scale: float, hidden: Tensor | None) -> Tensor:
    if torch.is_autocast_enabled(scores.device.type) and scores.dtype == torch.bfloat16:
        return _HalfSoftmax.apply(scores, scale, hidden)  # type: ignore[no-untyped-call]
    return torch.softmax(scores * scale if hidden is None else torch.add(hidden, scores, alpha=scale), dim=-1)


class _HalfSoftmax(torch.autograd.Function):
    """The softmax of scores in half precision, computed in float32, its results in half precision on both ways.

    Products read the weights in half precision anyway. Autocast would keep them in float32 as well, and spend as long on casts
    as on the softmax.
    """

    @staticmethod
    def forward(ctx: Any, scores: Tensor, scale: float, hidden: Tensor | None) -> Tensor:
        weights = torch.empty_like(scores)
        rows = max(1, IN_CACHE // max(1, scores[0].numel()))
        for first in range(0, len(scores), rows):
            some = slice(first, first + rows)
            added = hidden if hidden is None or len(hidden) == 1 else hidden[some]
            scaled = scores[some].float().mul_(scale) if added is None else torch.add(added, scores[some], alpha=scale)
            weights[some] = torch.softmax(scaled, dim=-1)
        ctx.save_for_backward(weights)
        ctx.scale, ctx.hidden = scale, None if hidden is None else (hidden.shape, hidden.dtype)
        return weights

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, Tensor | None]:
        [weights] = ctx.saved_tensors
        grad = torch.ops.aten._softmax_backward_data(grad, weights, -1, weights.dtype)
        of_hidden = None
        if ctx.needs_input_grad[2]:  # the bias of relative positions learns
            of_hidden = _added_up(grad, *ctx.hidden)
        return grad.mul_(ctx.scale), None, of_hidden


def _added_up(grad: Tensor, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """A gradient (B, H, T, S) added up over the axes that ``shape`` has once for all, in another type."""
    total = grad.new_zeros(shape, dtype=dtype)
    shared = [axis for axis in (1, 2, 3) if shape[axis] < grad.shape[axis]]
    for number, row in enumerate(torch.split(grad, 1)):  # one by one: all at once they would be copied in that type
        total[number if shape[0] > 1 else 0] += row.sum(shared, keepdim=True)[0] if shared else row[0]
    return total


def _fused_is_faster(query: Tensor, key: Tensor, score: Score, mask: ResolvedMask | None, dropout: Dropout) -> bool:
    """Whether torch's fused attention can do it, and sooner than three products of matrices one after the other.

    On a CPU it neither drops weights nor learns a bias; in bfloat16 it takes 1.4 times as long as plain products, in training 2
    to 5 times; below ``LONG`` keys it spends more on reading a mask than it saves; and for the few queries of a step it is up
    to twice as slow, but twice as fast where there are few heads, too.
    """
    if not isinstance(score, DotProduct) or query.shape[1] != key.shape[1] or query.dtype == torch.bfloat16:
        return False
    if query.shape[2] <= FEW and query.device.type == "cpu":
        return mask is None and _in_a_step(query) and query.shape[0] * query.shape[1] <= FEW_HEADS
    if query.device.type != "cpu" or (dropout.training and dropout.p > 0.0):
        return False
    return mask is None or (key.shape[2] >= LONG and not mask.hidden.requires_grad)


def attend_in_steps(
    query: Tensor, key: Tensor, value: Tensor, score: Score, mask: ResolvedMask | None, dropout: Dropout, tap: Tap
) -> Tensor:
    """The same as :func:`attend`, written as the definition, with every step shown to ``tap``."""
    scores = tap("scores", score(query, key))  # (B, H, T, S)
    scores = tap("scaled", scores * score.scale)
    if mask is not None and mask.bias is not None:
        scores = scores + tap("bias", mask.bias.expand_as(scores))
    if mask is not None and mask.allowed is not None:
        allowed = tap("mask", mask.allowed.expand_as(scores))
        scores = tap("masked", scores.masked_fill(~allowed, -math.inf))
        # A query without any key has no weights at all: zeros, where the softmax of nothing would be NaN.
        alive = allowed.any(-1, keepdim=True)
        weights = torch.softmax(scores.masked_fill(~alive, 0.0), dim=-1).masked_fill(~alive, 0.0)
    else:
        weights = torch.softmax(scores, dim=-1)
    weights = dropout(tap("weights", weights))
    return tap("z", by_groups(weights, value))  # (B, H, T, K)


class MultiHeadAttention(nn.Module):
    """Several heads attend side by side in projections of their own; W^O mixes what they found (section 3.2.2).

    Args:
        query, key, value: projections W^Q, W^K, W^V of all heads at once, D -> H * K, D -> G * K for keys and values.
        output: W^O, H * K -> D.
        score: the match of queries and keys.
        n_heads: H.
        n_kv_heads: G.
        dropout: on the attention weights.
    """

    def __init__(
        self,
        *,
        query: nn.Module,
        key: nn.Module,
        value: nn.Module,
        output: nn.Module,
        score: Score,
        n_heads: int,
        n_kv_heads: int,
        dropout: Dropout,
    ) -> None:
        super().__init__()
        self.query, self.key, self.value, self.output = query, key, value, output
        self.score, self.dropout = score, dropout
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads

    def forward(
        self,
        x: Tensor,
        key: Tensor,
        value: Tensor,
        mask: ResolvedMask | None,
        rotation: Rotation | None = None,
        tap: Tap | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """Queries from ``x`` (B, T, D), keys and values (B, G, S, K) from :meth:`project`. Returns (B, T, D).

        With ``packing``, ``x`` and what is returned hold the real positions alone, (N, D).
        """
        return self.read(self.ask(x, rotation, tap, packing), key, value, mask, tap, packing)

    def ask(
        self, x: Tensor, rotation: Rotation | None = None, tap: Tap | None = None, packing: Packing | None = None
    ) -> Tensor:
        """Queries (B, H, T, K) of those that attend, (B, T, D); with ``packing`` the real positions alone, (N, D)."""
        query = split_heads(self.query(x), self.n_heads, packing)
        if tap is not None:
            query = tap("q_projected", query)
        return query if rotation is None else rotate(query, rotation)

    def project(
        self, source: Tensor, rotation: Rotation | None = None, tap: Tap | None = None, packing: Packing | None = None
    ) -> tuple[Tensor, Tensor]:
        """Keys and values (B, G, S, K) of what is attended to, (B, S, D); with ``packing`` its real positions alone, (N, D)."""
        key = split_heads(self.key(source), self.n_kv_heads, packing)
        value = split_heads(self.value(source), self.n_kv_heads, packing)
        if tap is not None:
            key, value = tap("k_projected", key), tap("v_projected", value)
        return key if rotation is None else rotate(key, rotation), value

    def project_all(
        self, x: Tensor, rotation: Rotation | None = None, tap: Tap | None = None, packing: Packing | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of those that attend to each other: of self-attention."""
        key, value = self.project(x, rotation, tap, packing)
        return self.ask(x, rotation, tap, packing), key, value

    def read(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: ResolvedMask | None,
        tap: Tap | None = None,
        packing: Packing | None = None,
    ) -> Tensor:
        """What the queries (B, H, T, K) find among keys and values (B, G, S, K), mixed by W^O: (B, T, D), or packed (N, D)."""
        if tap is None:
            z = attend(query, key, value, self.score, mask, self.dropout)
        else:
            query, key, value = tap("q", query), tap("k", key), tap("v", value)
            z = attend_in_steps(query, key, value, self.score, mask, self.dropout, tap)
        concat = z.transpose(1, 2).flatten(2)  # (B, T, H * K)
        if packing is not None:
            concat = packing.pack(concat)  # (N, H * K)
        if tap is not None:
            concat = tap("concat", concat)
        out: Tensor = self.output(concat)  # (B, T, D)
        return out if tap is None else tap("out", out)


def in_type_of_products(x: Tensor) -> Tensor:
    """Under autocast, as products of matrices read it: cast once here, where several are about to cast it one by one."""
    device = x.device.type
    return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def split_heads(x: Tensor, n_heads: int, packing: Packing | None) -> Tensor:
    """(B, T, H * K), or (N, H * K) where it is packed, -> (B, H, T, K)."""
    padded = x if packing is None else packing.pad(x)
    return padded.view(*padded.shape[:-1], n_heads, -1).transpose(1, 2)
