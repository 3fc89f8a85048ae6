"""The training loss: cross-entropy with label smoothing (section 5.4 of the paper).

Shapes: N target tokens, D width of the model, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Logits of this many tokens are alive at a time. With a vocabulary of 10,000 they take 10 MB, which stays in cache; those of
# a whole batch would take 160 MB, be written and read from memory several times, and decide how large a batch can be.
CHUNK = 256
GROUP = 1 << 24  # gradients of logits that are kept together, so that the one of the matrix is added up less often
FEW = 2_560_000  # logits that are made at once, where there are no more of them: with a vocabulary of characters, say


def group_size(vocabulary: int) -> int:
    """Tokens whose gradients of the logits are kept together: whole chunks."""
    return max(1, GROUP // vocabulary // CHUNK) * CHUNK


def smoothed_cross_entropy(
    x: Tensor, weight: Tensor, target: Tensor, smoothing: float = 0.0, bias: Tensor | None = None
) -> Tensor:
    """Cross-entropy of ``x weight^T + bias`` against a target softened over the whole vocabulary, summed over tokens.

    The definition is that of Szegedy et al. (2016), which the paper cites: the right token has probability
    ``1 - smoothing + smoothing / V``, every other one ``smoothing / V``. (fairseq spreads it over the V - 1 others.)

    Args:
        x: (N, D), one vector for each real token; padding must have been left out.
        weight: (V, D), the output matrix.
        target: (N,) token ids.
        smoothing: share of the probability that is spread evenly.
        bias: (V,) to add to the logits.

    Returns:
        The sum, a scalar in float32 (float64 for float64 vectors), in nats.
    """
    if len(x) * len(weight) <= FEW:
        logits = F.linear(x, weight, bias)
        logits = logits.to(torch.promote_types(x.dtype, torch.float32))
        return F.cross_entropy(logits, target, label_smoothing=smoothing, reduction="sum")
    return _ChunkedCrossEntropy.apply(x, weight, bias, target, smoothing)  # type: ignore[no-untyped-call]


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Logits, loss and gradients chunk by chunk, so that all the logits never exist at once.

    With p = softmax(logits) and q the smoothed target, the loss is ``-q . log p`` and its gradient in the logits ``p - q``:
    both come from one softmax, so the gradients are made on the way forward and only scaled on the way back.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, target: Tensor, smoothing: float) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        exact = torch.promote_types(x.dtype, torch.float32)  # of everything that is summed up
        matrix = weight.to(dtype)
        differentiated = any(ctx.needs_input_grad)
        total = torch.zeros((), dtype=exact, device=x.device)
        grad_x = torch.empty_like(x) if differentiated else None
        grad_weight = torch.zeros_like(weight, dtype=exact) if differentiated else None
        grad_bias = None if bias is None else torch.zeros_like(bias, dtype=exact)
        with torch.autocast(device, enabled=False):
            size = group_size(len(weight))
            for start in range(0, len(x), size):
                group, wanted = x[start : start + size].to(dtype), target[start : start + size, None]
                errors = torch.empty(len(group), len(weight), dtype=dtype, device=x.device) if differentiated else None
                for first in range(0, len(group), CHUNK):
                    rows = slice(first, first + CHUNK)
                    logits = (group[rows] @ matrix.T).to(exact)  # (chunk, V)
                    if bias is not None:
                        logits = logits + bias
                    labels = wanted[rows]
                    right, mean = logits.gather(1, labels), logits.mean(1, keepdim=True)  # (chunk, 1)
                    peak = logits.amax(1, keepdim=True)
                    powers = logits.sub_(peak).exp_()
                    norm = powers.sum(1, keepdim=True)
                    log_sum = peak + norm.log()
                    total += (log_sum - (1.0 - smoothing) * right - smoothing * mean).sum()
                    if errors is not None:
                        error = powers.div_(norm).sub_(smoothing / logits.shape[1])  # p - q, but for the right token
                        error.scatter_add_(1, labels, torch.full_like(right, smoothing - 1.0))
                        errors[rows] = error
                        if grad_bias is not None:
                            grad_bias += error.sum(0)
                if errors is not None and grad_x is not None and grad_weight is not None:
                    grad_x[start : start + size] = errors @ matrix
                    grad_weight += errors.T @ group
        ctx.save_for_backward(grad_x, grad_weight, grad_bias)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None, None, None]:
        grad_x, grad_weight, grad_bias = ctx.saved_tensors
        grad_bias = None if grad_bias is None else (grad_bias * grad).to(ctx.weight_dtype)
        return grad_x * grad, (grad_weight * grad).to(ctx.weight_dtype), grad_bias, None, None
