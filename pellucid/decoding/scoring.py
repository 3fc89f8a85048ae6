"""What a model thinks of outputs that are given, by one pass with them fed in (teacher forcing).

Legend: B sentences, S source length, T target length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from pellucid.decoding.contract import MemoryType, Model, StateType


@torch.inference_mode()
def token_log_probabilities(
    model: Model[MemoryType, StateType],
    source: Tensor,
    mask: Tensor,
    targets: Sequence[Sequence[int]],
    *,
    start: int | Tensor,
) -> list[list[float]]:
    """The natural log probability of each token of each given output.

    Args:
        source: (B, S) int64, padded; each sentence with its end token. Decoder-only model: each prompt without its last token.
        mask: (B, S) bool, True = a real token.
        targets: tokens of each output without the start token; with the end token where that is to count.
        start: id that every output begins with, or (B,) int64, the one of each sentence: the last token of its prompt.
    """
    width = max(map(len, targets), default=0)
    if not width:
        return [[] for _ in targets]
    padded = [[*target, *[0] * (width - len(target))] for target in targets]  # behind the target: never looked at
    wanted = torch.tensor(padded, dtype=torch.int64, device=source.device)  # (B, T)
    first = torch.as_tensor(start, dtype=torch.int64, device=source.device).expand(len(source))  # (B,)
    fed = torch.cat((first[:, None], wanted[:, :-1]), dim=1)  # (B, T)
    logits, _ = model.step(fed, model.start(model.encode(source, mask)))  # (B, T, V)
    values = torch.log_softmax(logits, dim=-1, dtype=torch.float32).gather(2, wanted[:, :, None]).squeeze(2)
    return [row[: len(target)] for row, target in zip(values.tolist(), targets, strict=True)]


def log_probabilities(
    model: Model[MemoryType, StateType],
    source: Tensor,
    mask: Tensor,
    targets: Sequence[Sequence[int]],
    *,
    start: int | Tensor,
) -> list[float]:
    """The log probability of each given output: the sum over its tokens, not divided by any length penalty.

    Args: as :func:`token_log_probabilities`.
    """
    return [sum(values) for values in token_log_probabilities(model, source, mask, targets, start=start)]
