"""Whether whole answers are right, where an answer has several tokens.

Every token is predicted after the right ones before it. A whole answer that is right so is what greedy decoding writes, and the
other way round.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pellucid.compare.learner import Batch


@torch.no_grad()
def right_rows(model: nn.Module, batch: Batch) -> Tensor:
    """(B,) True where all wanted answers of a row are right."""
    model.eval()
    right = model(batch.ids, wanted=batch.wanted).argmax(-1) == batch.answers  # (N,)
    rows = torch.ones(len(batch.ids), dtype=torch.bool)
    rows[batch.wanted.nonzero()[:, 0][~right]] = False
    return rows


def share_right(model: nn.Module, batch: Batch) -> float:
    """Share of rows whose whole answer is right."""
    return float(right_rows(model, batch).double().mean())
