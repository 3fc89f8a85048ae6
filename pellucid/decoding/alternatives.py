"""Alternatives at a position: what else the output could say there, and how it would go on.

Legend: S source length, P tokens of the prefix, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.base.config import DecodingConfig
from pellucid.base.errors import UsageError
from pellucid.decoding.constraints import restricting
from pellucid.decoding.contract import MemoryType, Model, StateType
from pellucid.decoding.hypothesis import Hypothesis
from pellucid.decoding.phrases import Phrase
from pellucid.decoding.rules import Restrictions, Rule, Written
from pellucid.decoding.search import longest, search


@dataclass(frozen=True)
class Alternative:
    """One token that could stand at the position.

    Attributes:
        token: its id; the end token: the output could end there.
        log_probability: of the token after the prefix.
        output: the whole output, prefix and token included, as the search completes it.
    """

    token: int
    log_probability: float
    output: Hypothesis


def alternatives(
    model: Model[MemoryType, StateType],
    source: Tensor,
    mask: Tensor,
    config: DecodingConfig,
    *,
    n: int,
    prefix: Sequence[int],
    start: int,
    end: int | None,
    limit: int | None = None,
    forbidden: Sequence[int] = (),
    seed: int = 0,
    rules: Sequence[Rule] = (),
    required: Sequence[Phrase] = (),
) -> list[Alternative]:
    """The ``n`` most probable different tokens after a prefix, each completed by the search; the most probable first.

    Args:
        source: (1, S) int64, one sentence; mask: (1, S) bool.
        n: at least 1; there are fewer alternatives where fewer tokens may come.
        prefix: what the output begins with, shorter than the limit.
        limit: most tokens of the output with its end token.
        seed: of what is drawn, where the configuration has a temperature; the same one for each.
        config, start, end, forbidden, rules, required: as for :func:`pellucid.decoding.search.search`, of this one sentence.

    Raises:
        UsageError: ``n`` is below 1, the prefix has no token after it, or what is asked for contradicts itself.
    """
    if n < 1:
        raise UsageError("there is at least one alternative", where="n", expected="at least 1", found=n)
    limits = longest(mask, config) if limit is None else torch.tensor([limit], device=source.device)
    if len(prefix) >= int(limits[0]) or end in prefix:
        what = "no token can come after the prefix"
        raise UsageError(what, where="prefix", expected=f"below {int(limits[0])} tokens, no end", found=list(prefix))
    one = replace(config, beams=1)
    restrictions, tracker = restricting(one, rules, [prefix], [required], limits=limits, end=end, forbidden=forbidden)
    if tracker is not None:
        for token in prefix:
            tracker.follow(None, torch.tensor([token]))
    next_ones = _after(model, source, mask, [start, *prefix], restrictions, limits)
    values, ids = next_ones.topk(min(n, len(next_ones)))
    tokens = ids[values > -torch.inf].tolist()
    n = len(tokens)
    outputs = search(
        model,
        source.repeat(n, 1),
        mask.repeat(n, 1),
        config,
        start=start,
        end=end,
        limits=limits.repeat(n),
        forbidden=forbidden,
        seeds=[seed] * n,
        rules=rules,
        prefixes=[[*prefix, token] for token in tokens],
        required=[required] * n,
    )
    found = zip(tokens, values[:n].tolist(), outputs, strict=True)
    return [Alternative(token, value, best) for token, value, (best, *_) in found]


@torch.inference_mode()
def _after(
    model: Model[MemoryType, StateType],
    source: Tensor,
    mask: Tensor,
    begun: Sequence[int],
    restrictions: Restrictions,
    limits: Tensor,
) -> Tensor:
    """Log probabilities (V,) of the token after the start token and the prefix, -inf where it may not come."""
    ids = torch.tensor([begun], dtype=torch.int64, device=source.device)  # (1, 1 + P)
    logits, _ = model.step(ids, model.start(model.encode(source, mask)))
    written = Written(ids[:, 1:], torch.zeros_like(limits), limits)
    return restrictions.log_probabilities(logits[:, -1], lambda: written)[0]
