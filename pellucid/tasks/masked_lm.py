"""Masked language modelling (Devlin et al., "BERT", 2019, section 3.1): hidden tokens are told from what is around them.

Shapes: B texts, S positions, N hidden tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.base.config import RunConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.data.readers import open_split
from pellucid.model.transformer import EncoderOnly
from pellucid.tasks.framing import AnyTokenizer, frame, pad_of
from pellucid.tasks.loaded import Loaded, Scores
from pellucid.tasks.model_directory import run_tokenizer
from pellucid.tasks.on_encoder import EncoderBatch, FramedTexts, OnEncoder, in_rows, score
from pellucid.tasks.prepared import padded, seeded
from pellucid.text.imported import ImportedTokenizer
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.protocol import Stopped, Validation

GAP = "[MASK]"  # how a text writes a gap
N_SAMPLES = 4

# What becomes of a chosen token (BERT, appendix A.1): mostly the mask; but texts to be used on have none, so that the rest are
# replaced at random or left, and every token must be doubted.
MASKED, RANDOM = 0.8, 0.1


class MaskedLanguageModelling(OnEncoder):
    """The training side: implements :class:`pellucid.training.protocol.Task`.

    Args:
        config: of the run; sizes are filled in (``.config``).
        directory: of the run.

    Raises:
        DataError: a corpus is missing, damaged or empty.
        UsageError: the vocabulary has no mask.
    """

    def __init__(self, config: RunConfig, directory: Path) -> None:
        splits = {name: open_split(config.data, name, columns=1) for name in ("train", "dev")}
        tokenizer = run_tokenizer(config, directory / "data", (text for (text,) in splits["train"]))
        mask_of(tokenizer)
        size = max(tokenizer.vocabulary_size, config.model.target_vocabulary)
        model = replace(config.model, source_vocabulary=size, target_vocabulary=size)
        super().__init__(replace(config, model=model), splits, FramedTexts(tokenizer, model.max_length), directory, tokenizer)
        self.controls = controls_of(tokenizer, size)

    def batch(self, examples: np.ndarray[Any, Any], split: str = "train", noise: torch.Generator | None = None) -> EncoderBatch:
        """The tensors of some texts, other tokens hidden every time."""
        source, mask = padded([self.stores[split].column(int(i), 0) for i in examples], pad_of(self.tokenizer))
        hidden, wanted = hide(source, self.controls, mask_of(self.tokenizer), self.config.corruption.share, noise)
        return EncoderBatch(hidden, mask, source[wanted], wanted)

    @torch.inference_mode()
    def validate(self, model: nn.Module, stopped: Stopped, ranks: Ranks = ALONE) -> Validation:
        """Loss and accuracy of hidden tokens of the dev split, always the same ones, and a few texts to read."""
        some = self.in_order("dev")
        batches = (self.batch(examples, "dev", seeded(self.config.seed, i)) for i, examples in enumerate(some))
        self.dev_scores = score(model, (batch for batch in batches if len(batch.target)), stopped, ranks)
        return Validation(self.dev_scores, self._samples(model))

    def _samples(self, model: nn.Module) -> list[str]:
        """Dev texts with their middle word replaced by a gap, and what fills it."""
        assert isinstance(model, EncoderOnly)
        store, filler = self.stores["dev"], MaskedLanguageModel(model, self.config, self.tokenizer)
        lines = []
        for i in range(min(N_SAMPLES, len(store))):
            words = self.tokenizer.decode(store.column(i, 0).tolist()).split(" ")
            place = len(words) // 2
            text = " ".join([*words[:place], GAP, *words[place + 1 :]])
            [best] = filler.fill(text, n=1)[0]
            lines.append(f"{text} -> {best.token} {best.probability:.2f}  (was: {words[place]})")
        return lines


def mask_of(tokenizer: AnyTokenizer) -> int:
    """The mask token.

    Raises:
        UsageError: the vocabulary has none.
    """
    if tokenizer.mask is None:
        raise UsageError("the vocabulary has no mask token", where="text.mask", expected="true", found="false")
    return tokenizer.mask


def with_masks(tokenizer: AnyTokenizer, text: str) -> list[int]:
    """Tokens of a text with one that hides in place of each gap, which takes the space before it along."""
    first, *others = text.split(GAP)
    ids = tokenizer.encode(first.rstrip() if others else first)
    for part in others:
        ids += [mask_of(tokenizer), *tokenizer.encode(part)]
    return ids


def controls_of(tokenizer: AnyTokenizer, size: int) -> Tensor:
    """(V,) True for the tokens that are no text: they are neither hidden nor put in another's place."""
    found = torch.zeros(size, dtype=torch.bool)
    if isinstance(tokenizer, ImportedTokenizer):
        found[sorted(tokenizer.controls.ids())] = True
    else:
        found[: tokenizer.n_controls] = True
    return found


def hide(
    source: Tensor, controls: Tensor, mask: int, share: float, noise: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Hide a share of the tokens.

    Args:
        source: (B, S) framed tokens.
        controls: (V,) True for control tokens.
        mask: the token that hides.
        share: of the tokens that are chosen.
        noise: where the random numbers come from; ``None``: torch's own generator.

    Returns:
        (B, S) the texts with gaps, and (B, S) True where a token was chosen.
    """
    chosen = (torch.rand(source.shape, generator=noise) < share) & ~controls[source]
    fate = torch.rand(source.shape, generator=noise)
    words = (~controls).nonzero().flatten()
    others = words[torch.randint(len(words), source.shape, generator=noise)]
    hidden = source.masked_fill(chosen & (fate < MASKED), mask)
    return torch.where(chosen & (fate >= MASKED) & (fate < MASKED + RANDOM), others, hidden), chosen


@dataclass(frozen=True)
class Filling:
    """What may stand in a gap: a token as it is read (a space in front is part of it) and its probability."""

    token: str
    probability: float


class MaskedLanguageModel(Loaded[EncoderOnly]):
    """The using side: what ``pellucid.load`` returns for a masked language model."""

    @torch.inference_mode()
    def fill(self, text: str, n: int = 5) -> list[list[Filling]]:
        """The ``n`` most probable tokens for each ``[MASK]`` of a text, best first.

        Raises:
            DataError: there is no gap in the text, or it lies beyond the model's positions.
        """
        if GAP not in text:
            raise DataError("there is no gap to fill", expected=f"a text with {GAP} in it", found=repr(text))
        mask = mask_of(self.tokenizer)
        ids = with_masks(self.tokenizer, text)
        source = torch.tensor([frame(self.tokenizer, ids, self.config.model.max_length, "the text")])
        if int((source == mask).sum()) < text.count(GAP):
            raise DataError(
                "a gap lies beyond the model's positions", expected=f"at most {self.config.model.max_length} tokens"
            )
        logits = self.logits(source)[0, source[0] == mask].float()  # (N, V)
        logits[:, controls_of(self.tokenizer, logits.shape[1])] = -torch.inf
        best = torch.softmax(logits, -1).topk(min(n, logits.shape[1]))
        return [
            [Filling(self.tokenizer.tokens([token])[0].removeprefix("▁"), share) for token, share in zip(*row, strict=True)]
            for row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def evaluate_split(self, name: str) -> Scores:
        """Score the model on a split of the corpus that it was trained on."""
        return self.evaluate([text for (text,) in open_split(self.config.data, name, columns=1)])

    def evaluate(self, texts: Sequence[str]) -> Scores:
        """Loss per hidden token, perplexity and accuracy; the same tokens are hidden every time.

        Raises:
            DataError: there are no texts.
        """
        if not texts:
            raise DataError("there is nothing to score", expected="at least one text", found="none")
        controls = controls_of(self.tokenizer, self.config.model.source_vocabulary)
        batches = []
        for number, (_, rows) in enumerate(in_rows(self.tokenizer, texts, self.config.model.max_length)):
            source, mask = padded([np.array(row) for row in rows], pad_of(self.tokenizer))
            share, noise = self.config.corruption.share, seeded(self.config.seed, number)
            hidden, wanted = hide(source, controls, mask_of(self.tokenizer), share, noise)
            if wanted.any():
                batches.append(EncoderBatch(hidden, mask, source[wanted], wanted))
        found = score(self.model.eval(), batches)
        return Scores({**found, "perplexity": float(np.exp(found["loss"]))}, [], len(texts))
