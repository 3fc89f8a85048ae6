"""The search for an output: one loop over the model's step.

The loop feeds tokens and gets logits; a strategy (greedy, beam, sample) chooses, keeps the finished and says which rows go on.

Legend: B sentences, S source length, K beams, R rows (K a sentence still searched), T target length, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from pellucid.base.config import DecodingConfig
from pellucid.base.errors import UsageError
from pellucid.decoding.beam import Beam
from pellucid.decoding.contract import MemoryType, Model, StateType
from pellucid.decoding.greedy import Greedy
from pellucid.decoding.hypothesis import Hypothesis
from pellucid.decoding.penalties import length_penalty
from pellucid.decoding.sampling import Sample


class Strategy(Protocol):
    """What the loop asks at every step."""

    live: list[int]  # sentences still searched
    hypotheses: list[list[Hypothesis]]  # of every sentence, best first

    def choose(self, log_probabilities: Tensor) -> tuple[Tensor | None, Tensor]:
        """From the next token's log probabilities (R, V): rows that go on (None: all in place), and their tokens."""
        ...


def search(
    model: Model[MemoryType, StateType],
    source: Tensor,
    mask: Tensor,
    config: DecodingConfig,
    *,
    start: int | Tensor,
    end: int | None,
    limits: Tensor | None = None,
    n_best: int = 1,
    forbidden: Sequence[int] = (),
    seeds: Sequence[int] | Tensor | None = None,
) -> list[list[Hypothesis]]:
    """The outputs of each source sentence.

    With a temperature they are drawn, by :class:`Sample`; else they are the best, found by :class:`Greedy` with one beam and by
    the rules of :class:`Beam` with more. The model is used as it is: put it into evaluation mode first.

    Args:
        source: (B, S) int64, padded; each sentence with its end token. Decoder-only model: each prompt without its last token.
        mask: (B, S) bool, True = a real token; a row without any is the prompt of one token.
        config: beams, length penalty and ``max_extra``; ``temperature``, ``top_k`` and ``top_p``.
        start: id that every output begins with, or (B,) int64, the one of each sentence: the last token of its prompt.
        end: id that closes an output; None: nothing but its limit does.
        limits: (B,) int64, most tokens of each output with its end token, at least 1. Default: the tokens of its source
            plus ``max_extra`` (the paper's input length + 50, section 6.1).
        n_best: outputs a sentence, at most ``config.beams``.
        forbidden: ids that are never chosen (padding, start, unknown). In scores the others keep their probabilities.
        seeds: with a temperature, (B,) one for each sentence, which gets the same text from the same seed in whatever batch it
            stands. Default: its place in this batch, from 0.

    Returns:
        For each sentence 1 to ``n_best`` hypotheses, all different, best score first; fewer if there are no more.

    Raises:
        UsageError: ``n_best`` is not between 1 and the number of beams; a seed is missing.
        NothingToChooseError: the logits are NaN or infinite, or all permitted tokens have probability zero.
    """
    _check(config, n_best)
    with torch.inference_mode():
        if limits is None:
            limits = mask.sum(dim=1) + config.max_extra
        strategy = _strategy(config, limits.to(source.device), n_best, end, seeds)
        state = model.start(model.encode(source, mask), beams=config.beams)
        never = torch.tensor(forbidden, dtype=torch.int64, device=source.device)
        ids = _first_tokens(start, source).repeat_interleave(config.beams)  # (R,)
        while strategy.live:
            logits, state = model.step(ids[:, None], state)  # (R, 1, V)
            values = torch.log_softmax(logits[:, -1], dim=-1, dtype=torch.float32)  # (R, V)
            rows, ids = strategy.choose(values.index_fill_(1, never, -torch.inf))
            if rows is not None and strategy.live:
                state.select(rows)
        return strategy.hypotheses


def _check(config: DecodingConfig, n_best: int) -> None:
    if not 1 <= n_best <= config.beams:
        what = "a search gives at least one output a sentence, and at most as many as it has beams"
        advice = "ask for fewer outputs or for more beams"
        raise UsageError(what, expected=f"1 to {config.beams}", found=n_best, advice=advice)


def _strategy(
    config: DecodingConfig, limits: Tensor, n_best: int, end: int | None, seeds: Sequence[int] | Tensor | None
) -> Strategy:
    penalty = length_penalty(config.length_penalty, config.alpha)
    if config.temperature > 0.0:
        return Sample(limits, end=end, penalty=penalty, config=config, seeds=_seeds(seeds, len(limits)))
    if config.beams == 1:
        return Greedy(limits, end=end, penalty=penalty)
    return Beam(limits, beams=config.beams, n_best=n_best, end=end, penalty=penalty)


def _seeds(seeds: Sequence[int] | Tensor | None, n_sentences: int) -> Sequence[int]:
    if seeds is None:
        return range(n_sentences)
    if len(seeds) != n_sentences:
        raise UsageError("every sentence needs one seed", expected=n_sentences, found=len(seeds), advice="give as many seeds")
    return seeds.tolist() if isinstance(seeds, Tensor) else seeds


def _first_tokens(start: int | Tensor, source: Tensor) -> Tensor:
    """The first token fed for each sentence: (B,)."""
    return torch.as_tensor(start, dtype=torch.int64, device=source.device).expand(len(source))


def log_probabilities(
    model: Model[MemoryType, StateType],
    source: Tensor,
    mask: Tensor,
    targets: Sequence[Sequence[int]],
    *,
    start: int | Tensor,
) -> list[float]:
    """The log probability of each given output, by one pass with the output fed in (teacher forcing).

    Args:
        source: (B, S) int64, padded; each sentence with its end token. Decoder-only model: each prompt without its last token.
        mask: (B, S) bool, True = a real token.
        targets: tokens of each output without the start token; with the end token where that is to count.
        start: id that every output begins with, or (B,) int64, the one of each sentence: the last token of its prompt.

    Returns:
        Natural log probabilities, summed over the tokens of each output, not divided by any length penalty.
    """
    longest = max(map(len, targets))
    padded = [[*target, *[0] * (longest - len(target))] for target in targets]  # behind the target: never looked at
    wanted = torch.tensor(padded, dtype=torch.int64, device=source.device)  # (B, T)
    lengths = torch.tensor([len(target) for target in targets], device=source.device)
    real = torch.arange(longest, device=source.device) < lengths[:, None]  # (B, T)
    with torch.inference_mode():
        fed = torch.cat((_first_tokens(start, source)[:, None], wanted[:, :-1]), dim=1)  # (B, T)
        logits, _ = model.step(fed, model.start(model.encode(source, mask)))  # (B, T, V)
        values = torch.log_softmax(logits, dim=-1, dtype=torch.float32).gather(2, wanted[:, :, None]).squeeze(2)
        sums: list[float] = values.double().masked_fill(~real, 0.0).sum(dim=1).tolist()
    return sums
