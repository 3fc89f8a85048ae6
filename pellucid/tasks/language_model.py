"""The using side of language modelling: what ``pellucid.load`` returns for a model that goes on writing.

Shapes: T positions, V vocabulary.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import torch

from pellucid.base.config import DecodingConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.base.progress import say
from pellucid.decoding.hypothesis import Hypothesis
from pellucid.decoding.search import search
from pellucid.model.transformer import DecoderOnly
from pellucid.tasks.drawing import asked, one_each
from pellucid.tasks.framing import pad_of, unwritable
from pellucid.tasks.loaded import Loaded, Scores
from pellucid.tasks.pairs import pad
from pellucid.tasks.pixels import draws, open_texts
from pellucid.tasks.windows import around, beginning, end_of_text, mean_loss
from pellucid.text.imported import ImportedTokenizer

ROWS = 64  # prompts that are continued together


@dataclass(frozen=True)
class Continuation:
    """What a model writes after a prompt.

    Args:
        text: without the prompt.
        score: mean log probability of the new tokens, the end token included where there is one.
        reason: ``"end"``: the model ended it; ``"length"``: it has as many tokens as were asked for.
    """

    text: str
    score: float
    reason: str


@dataclass
class _Writing:
    """A text being written."""

    prompt: list[int]
    seed: int
    window: list[int]  # what the model reads: the prompt and the new tokens, or the last of them
    new: list[int] = field(default_factory=list)
    chosen: int = 0  # tokens, with the end token
    log_probability: float = 0.0
    reason: str = ""


class LanguageModel(Loaded[DecoderOnly]):
    """The using side: what ``pellucid.load`` returns for a language model."""

    @property
    def end(self) -> int | None:
        """The token that ends a text; ``None`` for a model of one running text."""
        return self.tokenizer.end if draws(self.config) else end_of_text(self.tokenizer, self.config.data)

    @property
    def context(self) -> int:
        """Tokens that the model was trained to read."""
        return self.config.model.max_length

    def generate(
        self,
        prompts: str | Sequence[str],
        *,
        tokens: int | None = None,
        beams: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | Sequence[int] = 0,
    ) -> list[str]:
        """Each prompt with what the model writes after it.

        An empty prompt begins a text: after a new line, or where the model learnt from documents, after the end of one. A
        prompt gives the same text alone and together with others.

        Args:
            prompts: texts to go on from.
            tokens: most new tokens; ``None``: 100, or of a model that draws, a whole picture.
            beams, temperature, top_k, top_p: ``None``: as the recipe says, see :func:`pellucid.tasks.drawing.asked`.
            seed: of what is drawn; one for all prompts or one for each.

        Raises:
            UsageError: a number is out of range.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        config = asked(self.config.decoding, beams=beams, temperature=temperature, top_k=top_k, top_p=top_p)
        if tokens is None:
            tokens = self.context if draws(self.config) else 100
        found = self.continuations(prompts, config, tokens=tokens, seed=seed)
        return [prompt + continuation.text for prompt, continuation in zip(prompts, found, strict=True)]

    def continuations(
        self, prompts: Sequence[str], config: DecodingConfig, *, tokens: int = 100, seed: int | Sequence[int] = 0
    ) -> list[Continuation]:
        """The same without the prompts, with scores and why each ended.

        Where positions have a table the model reads at most ``context`` tokens. A longer prompt loses its beginning, and when
        the table is full, writing goes on from the last half of what is there.

        Raises:
            UsageError: no tokens asked for, or not one seed for each prompt.
        """
        if tokens < 1:
            raise UsageError("there is nothing to write", where="tokens", expected="at least 1", found=tokens)
        seeds = one_each(seed, len(prompts), "prompt")
        texts = [self._begin(number, *both) for number, both in enumerate(zip(prompts, seeds, strict=True), start=1)]
        while open_texts := [text for text in texts if not text.reason]:
            for some in self._together(open_texts, tokens):
                self._write(some, config, tokens)
        return [Continuation(self._text(text), text.log_probability / text.chosen, text.reason) for text in texts]

    def _begin(self, number: int, prompt: str, seed: int) -> _Writing:
        tokenizer = self.tokenizer
        ids = tokenizer.encode(prompt)
        if unknown := tokenizer.unknowns(ids):
            say(f"warning: prompt {number} has {unknown} tokens that the vocabulary does not know")
        if not ids or (isinstance(tokenizer, ImportedTokenizer) and tokenizer.prefix):
            ids = [*beginning(tokenizer, self.end), *ids]
        if self._reach is not None and len(ids) > self._reach:
            say(f"warning: prompt {number} has {len(ids)} tokens, only the last {self._reach} are read (model.max_length)")
        return _Writing(ids, seed, ids if self._reach is None else ids[-self._reach :])

    @property
    def _reach(self) -> int | None:
        """Positions that there is a vector for; ``None``: no limit."""
        return self.model.decoder.positions.max_length

    def _limit(self, text: _Writing, tokens: int) -> int:
        """Tokens that can be written before the positions are used up; the last one is never read."""
        left = tokens - text.chosen
        return left if self._reach is None else min(left, self._reach - len(text.window) + 1)

    def _together(self, texts: list[_Writing], tokens: int) -> Iterator[list[_Writing]]:
        """Batches. A short text with far to go does not fit beside a long one: its padding takes positions as well."""
        batch: list[_Writing] = []
        for text in sorted(texts, key=lambda text: -len(text.window)):
            longest = max(self._limit(other, tokens) for other in [*batch, text])
            width = len(batch[0].window) + longest - 1 if batch else 0
            if len(batch) == ROWS or (self._reach is not None and width > self._reach):
                yield batch
                batch = []
            batch.append(text)
        yield batch

    def _write(self, texts: list[_Writing], config: DecodingConfig, tokens: int) -> None:
        """Go on with some texts until they end, are long enough or fill the positions."""
        source, mask = pad([text.window[:-1] for text in texts], pad_of(self.tokenizer))
        found = search(
            self.model.eval(),
            source.long().to(self.device),  # long: of prompts without tokens torch cannot tell the type
            mask.to(self.device),
            config,
            start=torch.tensor([text.window[-1] for text in texts], device=self.device),
            end=self.end,
            limits=torch.tensor([self._limit(text, tokens) for text in texts]),
            forbidden=self._never,
            seeds=[_seed(text.seed, text.chosen) for text in texts],
        )
        for text, [best] in zip(texts, found, strict=True):
            self._take(text, best, tokens)

    def _take(self, text: _Writing, found: Hypothesis, tokens: int) -> None:
        text.new += found.ids
        text.chosen += len(found.ids) + (found.reason == "end")
        text.log_probability += found.log_probability
        if found.reason == "end" or text.chosen >= tokens:
            text.reason = found.reason
        elif self._reach is not None:
            text.window = [*text.prompt, *text.new][-max(self._reach // 2, 1) :]

    @property
    def _never(self) -> tuple[int, ...]:
        """Tokens that are no text; of them a text may hold the one that ends it."""
        tokenizer = self.tokenizer
        if isinstance(tokenizer, ImportedTokenizer):
            return unwritable(tokenizer)
        return tuple(token for token in range(tokenizer.n_controls) if token != self.end)

    def _text(self, text: _Writing) -> str:
        """What comes after the prompt: taken from both together, since a first space is no part of a text's first word."""
        before, whole = self.tokenizer.decode(text.prompt), self.tokenizer.decode([*text.prompt, *text.new])
        return whole[len(before) :] if whole.startswith(before) else self.tokenizer.decode(text.new)

    @torch.inference_mode()
    def score(self, text: str) -> list[tuple[str, float]]:
        """Each token of a text, as it is read, and its log probability after those before it.

        The first is predicted from what an empty prompt begins with. In a text longer than the model's context a token has at
        least half a context before it.
        """
        before, ids = beginning(self.tokenizer, self.end), self.tokenizer.encode(text)
        whole = [*before, *ids]
        found: list[float] = []
        while len(found) < len(whole) - 1:
            first = max(0, len(found) - self.context // 2) if len(found) else 0
            part = torch.tensor(whole[first : first + self.context + 1])
            logits = self.logits(part[None, :-1])[0]  # (T, V)
            values = torch.log_softmax(logits, -1, dtype=torch.float32).gather(1, part[1:, None].to(self.device))
            found += values[len(found) - first :, 0].tolist()
        return list(zip(self.tokenizer.tokens(ids), found[len(before) - 1 :], strict=True))

    def evaluate_split(self, name: str) -> Scores:
        """Score the model on a split of the text that it was trained on."""
        split = open_texts(self.config, name)
        texts = [text for (text,) in split]
        return self._evaluate(self._tokens(texts) if split.documents else self.tokenizer.encode_batch(texts))

    def evaluate(self, texts: str | Sequence[str]) -> Scores:
        """Loss and perplexity per token; of models of characters or bytes also bits per character or byte.

        The text is cut into windows (the examples that are counted), see :func:`pellucid.tasks.windows.mean_loss`.

        Args:
            texts: one running text; or several, each a document, or for a model that knows no end of a text each a line.

        Raises:
            DataError: the texts have fewer than two tokens.
        """
        if isinstance(texts, str):
            return self._evaluate([self.tokenizer.encode(texts)])
        return self._evaluate(self._tokens(texts if self.end is not None else [f"{text}\n" for text in texts]))

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        before, after = around(self.tokenizer, self.end)
        return [[*before, *ids, *after] for ids in self.tokenizer.encode_batch(list(texts))]

    def _evaluate(self, rows: Sequence[Sequence[int]]) -> Scores:
        tokens = np.fromiter(chain.from_iterable(rows), dtype=np.int64)
        if len(tokens) < 2:
            raise DataError("there is nothing to score", expected="at least two tokens", found=len(tokens))
        loss = mean_loss(self.model.eval(), tokens, self.context)
        kind = {"character": "bits_per_character", "byte": "bits_per_byte"}.get(self.config.text.tokenizer)
        bits = {kind: loss / math.log(2)} if kind else {}
        return Scores(
            {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), **bits}, [], -(-(len(tokens) - 1) // self.context)
        )


def _seed(seed: int, written: int) -> int:
    """The seed of a text that goes on after so many tokens: its first is the caller's own."""
    return seed if written == 0 else int.from_bytes(hashlib.sha256(f"{seed}/{written}".encode()).digest()[:8])
