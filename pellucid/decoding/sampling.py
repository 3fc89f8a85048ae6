"""Sampling: every token drawn at random, by the probabilities that the model gives and the filters leave.

Legend: N sentences of the batch, R of them (rows) still being written, V vocabulary, T tokens so far.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pellucid.base.config import DecodingConfig
from pellucid.base.errors import UsageError
from pellucid.decoding.filters import filtered
from pellucid.decoding.greedy import Greedy


class Sample(Greedy):
    """As greedy search, but the next token is drawn; the score is that of the model, before temperature and filters.

    Args:
        limits: (N,) int64, most tokens of each output, the end token included.
        end: id of the end token; None: only the limit closes an output.
        penalty: the length penalty as a function of the number of tokens; it changes the score, never the choice.
        config: what :func:`pellucid.decoding.filters.filtered` reads.
        seeds: of each sentence.
    """

    def __init__(
        self,
        limits: Tensor,
        *,
        end: int | None,
        penalty: Callable[[int], float],
        config: DecodingConfig,
        seeds: Sequence[int],
    ) -> None:
        super().__init__(limits, end=end, penalty=penalty)
        self.config, self.seeds = config, seeds

    def pick(self, log_probabilities: Tensor) -> tuple[Tensor, Tensor]:
        """Takes (R, V), gives log probability and id of the token drawn for each row: (R,) each."""
        position = self.tokens.shape[1]
        uniforms = [uniform(self.seeds[sentence], position) for sentence in self.live]
        logits = filtered(log_probabilities, self.config)
        ids = draw(logits, torch.tensor(uniforms, dtype=torch.float64, device=logits.device))
        return log_probabilities.gather(1, ids[:, None]).squeeze(1), ids


def seeds_of(seeds: Sequence[int] | Tensor | None, n_sentences: int) -> Sequence[int]:
    """One for each sentence: those given, or the places in the batch, from 0.

    Raises:
        UsageError: they are not as many as the sentences.
    """
    if seeds is None:
        return range(n_sentences)
    if len(seeds) != n_sentences:
        raise UsageError("every sentence needs one seed", expected=n_sentences, found=len(seeds), advice="give as many seeds")
    return seeds.tolist() if isinstance(seeds, Tensor) else seeds


def uniform(seed: int, position: int) -> float:
    """A number from 0 to below 1 that depends on nothing but the seed and the position in the output (from 0).

    There is no state that others in the batch could advance. A hash costs about a microsecond, less than seeding a generator.
    """
    digest = hashlib.sha256(f"{seed}/{position}".encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) * 2.0**-53  # as many bits as a float64 holds


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """The token of each row at which the sum of the probabilities, in the order of the ids, passes the uniform number.

    Args:
        logits: (R, V) float64; a token with -inf is never drawn.
        uniforms: (R,) float64, from 0 to below 1.

    Returns:
        ids: (R,) int64; 0 where the logits hold NaN.
    """
    shares = logits.softmax(dim=1)
    # A sum made in parallel, on a GPU, can rise by its last digit where there is no share: such a token passes nothing.
    sums = shares.cumsum(dim=1).masked_fill(shares == 0.0, 0.0)  # (R, V)
    passed = sums > uniforms[:, None] * sums.amax(dim=1, keepdim=True)
    return passed.to(torch.uint8).argmax(dim=1)  # the first
