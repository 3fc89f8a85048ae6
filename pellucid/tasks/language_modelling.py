"""Language modelling: each token of a text is told from those before it (Radford et al., 2018, section 3.1). The training side;
:mod:`pellucid.tasks.language_model` is the using side.

Shapes: B windows, T positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.base.config import RunConfig
from pellucid.base.errors import UsageError
from pellucid.data import batches
from pellucid.model.transformer import DecoderOnly
from pellucid.tasks.framing import AnyTokenizer
from pellucid.tasks.language_model import LanguageModel
from pellucid.tasks.model_directory import run_tokenizer
from pellucid.tasks.pixels import open_texts
from pellucid.tasks.prepared import PreparedTexts, TextEncoder
from pellucid.tasks.request import Request
from pellucid.tasks.windows import around, mean_loss, window, window_loss
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.protocol import Plan, Stopped, Validation

N_SAMPLES = 3
PROMPT, WRITTEN = 32, 100  # tokens of a sample


@dataclass(frozen=True)
class WindowBatch:
    """Windows of a running text."""

    ids: Tensor  # (B, T)
    target: Tensor  # (B, T) the same, one token later

    def to(self, device: str | torch.device) -> Self:
        """The same on another device."""
        return replace(self, ids=self.ids.to(device), target=self.target.to(device))


class RunningTexts(TextEncoder):
    """Chunks of running text to tokens, nothing between them; or documents, each followed by the end token."""

    limited = False

    def __init__(self, tokenizer: AnyTokenizer, *, documents: bool) -> None:
        super().__init__(tokenizer)
        if documents and tokenizer.end is None:
            what = "documents need an end token, which the vocabulary of this model lacks"
            raise UsageError(what, where="start.model", advice="train on one running text, a file of another name than .jsonl")
        self.before, self.after = around(tokenizer, tokenizer.end if documents else None)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the tokens depend on."""
        return {"tokenizer": self.tokenizer.fingerprint, "around documents": [list(self.before), list(self.after)]}

    def encode(self, examples: Sequence[tuple[str, ...]]) -> list[tuple[list[int], ...]]:
        """The tokens of each chunk or document."""
        return [([*self.before, *ids, *self.after],) for ids in self.tokenizer.encode_batch([text for (text,) in examples])]


class LanguageModelling(PreparedTexts):
    """The training side: implements :class:`pellucid.training.protocol.Task`. An example is a place in the text.

    Args:
        config: of the run; sizes are filled in (``.config``).
        directory: of the run.

    Raises:
        DataError: the text is missing, damaged, or too short for a batch.
        UsageError: a batch is smaller than a window.
    """

    def __init__(self, config: RunConfig, directory: Path) -> None:
        self.context = config.model.max_length
        self.rows = config.training.batch_tokens // self.context
        if self.rows < 1:
            expected = f"at least model.max_length = {self.context:,}, one window"
            found = config.training.batch_tokens
            raise UsageError("a batch smaller than a window", where="training.batch_tokens", expected=expected, found=found)
        splits = {name: open_texts(config, name) for name in ("train", "dev")}
        tokenizer = run_tokenizer(config, directory / "data", (text for (text,) in splits["train"]))
        size = max(tokenizer.vocabulary_size, config.model.target_vocabulary)
        model = replace(config.model, source_vocabulary=size, target_vocabulary=size)
        encoder = RunningTexts(tokenizer, documents=splits["train"].documents)
        super().__init__(replace(config, model=model), splits, encoder, directory, tokenizer)

    def _make_plan(self, epoch: int) -> Plan:  # type: ignore[override]  # windows of a text, not rows of examples
        n_tokens = len(self.stores["train"].tokens)
        plan = batches.windows(n_tokens, context=self.context, rows=self.rows, seed=self.config.seed, epoch=epoch)
        # Documents that fill a window each, such as pictures, begin where it does: a position always means the same pixel.
        return replace(plan, offset=0) if (self.stores["train"].lengths == self.context).all() else plan

    def worst(self) -> np.ndarray[Any, Any]:
        """Any batch: they are all alike."""
        return self.plan(0)[0]

    def batch(self, examples: np.ndarray[Any, Any]) -> WindowBatch:
        """The windows that begin at these tokens."""
        return WindowBatch(*window(self.stores["train"].tokens, examples, self.context))

    def count(self, batch: WindowBatch) -> int:
        """Targets of a batch."""
        return batch.target.numel()

    def loss(self, model: nn.Module, batch: WindowBatch) -> Tensor:
        """Cross-entropy, summed over the targets."""
        return window_loss(model, batch.ids, batch.target, self.config.training.label_smoothing)

    @torch.inference_mode()
    def validate(self, model: nn.Module, stopped: Stopped, ranks: Ranks = ALONE) -> Validation:
        """Loss per token of the whole dev split, see :func:`pellucid.tasks.windows.mean_loss`, and texts to read."""
        self.dev_scores = {"loss": mean_loss(model, self.stores["dev"].tokens, self.context, stopped, ranks)}
        return Validation(self.dev_scores, [] if stopped() else self._samples(model))

    def _samples(self, model: nn.Module) -> list[str]:
        """Stretches of the dev split and what the model writes after them, always with the same random numbers."""
        assert isinstance(model, DecoderOnly)
        tokens, length = self.stores["dev"].tokens, min(PROMPT, self.context // 2)
        writer = LanguageModel(model, self.config, self.tokenizer)
        places = [number * len(tokens) // N_SAMPLES // self.context * self.context for number in range(N_SAMPLES)]
        prompts = [self.tokenizer.decode(tokens[place : place + length].tolist()) for place in places]
        drawn = Request(temperature=self.config.decoding.temperature or 1.0, tokens=WRITTEN)
        seeds = [self.config.seed + number for number in range(N_SAMPLES)]
        found = writer.continuations(prompts, drawn, seed=seeds)
        return [_on_one_line(f"{prompt} -> {text.text}") for prompt, text in zip(prompts, found, strict=True)]

    def describe(self, examples: Sequence[int]) -> list[str]:
        """Where windows begin, and their text."""
        tokens = self.stores["train"].tokens
        return [f"token {i}: {_on_one_line(self.tokenizer.decode(tokens[i : i + self.context].tolist()))}" for i in examples]


def _on_one_line(text: str) -> str:
    return text.replace("\r", "").replace("\n", "⏎")
