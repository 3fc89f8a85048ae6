"""The using side of denoising: what ``pellucid.load`` returns for a model that restores texts, and for imported T5 and BART.

Shapes: B texts, S source positions, T target positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import torch

from pellucid.base.config import RunConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.base.progress import say
from pellucid.data.readers import open_split
from pellucid.decoding.batching import WINDOW, in_batches
from pellucid.tasks.corruption import infilling, spans
from pellucid.tasks.framing import AnyTokenizer, around_side, pad_of, start_of
from pellucid.tasks.loaded import Scores
from pellucid.tasks.masked_lm import GAP, mask_of
from pellucid.tasks.output import EMPTY, Output, one_line
from pellucid.tasks.pairs import PairBatch, mean_loss, pad, with_targets
from pellucid.tasks.prepared import seeded
from pellucid.tasks.request import Asked, Request, asked_of, each_asked, request_of
from pellucid.tasks.spelling import inside
from pellucid.tasks.translator import Translator
from pellucid.tasks.writing import Wanted, Writer, agreeing, drawn_often
from pellucid.text.imported import ImportedTokenizer

Parts = list[list[int]]  # tokens of what stands before, between and after the gaps of a text
Corrupt = Callable[[Sequence[int], torch.Generator | None], tuple[list[int], list[int]]]


def objective_of(config: RunConfig, tokenizer: AnyTokenizer) -> str:
    """``"spans"`` or ``"infilling"``: as the recipe says; of an imported model as its vocabulary shows.

    Raises:
        UsageError: the recipe names another one, or the vocabulary has no tokens that could stand for what is hidden.
    """
    objective: str = config.corruption.objective
    if objective == "mask" and isinstance(tokenizer, ImportedTokenizer):
        objective = "spans" if tokenizer.sentinels else "infilling"
    _check_objective(objective)
    if objective == "infilling":
        mask_of(tokenizer)
    else:
        _check_sentinels(len(tokenizer.sentinels))
    return objective


def check_recipe(config: RunConfig) -> None:
    """The same before there is a vocabulary, so that a run is not begun with one that does not serve. Raises as above."""
    if config.start.model is None:
        _check_objective(config.corruption.objective)
        if config.corruption.objective == "spans":
            _check_sentinels(config.text.sentinels)
        elif not config.text.mask:
            raise UsageError("the vocabulary has no mask token", where="text.mask", expected="true", found="false")


def _check_objective(objective: str) -> None:
    if objective == "mask":
        what = "denoising hides whole spans"
        raise UsageError(what, where="corruption.objective", expected="spans or infilling", found=objective)


def _check_sentinels(count: int) -> None:
    if count < 2:
        what = "the vocabulary has too few sentinels: one for each hidden span and one more"
        raise UsageError(what, where="text.sentinels", expected="at least 2; 100 serve any text of a usual length", found=count)


def corrupting(config: RunConfig, tokenizer: AnyTokenizer) -> Corrupt:
    """What hides parts of a text, as the recipe says; raises as :func:`objective_of`."""
    share, mean_span = config.corruption.share, config.corruption.mean_span
    if objective_of(config, tokenizer) == "spans":
        return lambda ids, noise: spans(ids, tokenizer.sentinels, share, mean_span, noise)
    mask = mask_of(tokenizer)
    return lambda ids, noise: infilling(ids, mask, share, mean_span, noise)


def framed(tokenizer: AnyTokenizer, ids: Sequence[int], longest: int) -> list[int]:
    """Tokens with what stands around them; what is too long loses its end."""
    before, after = around_side(tokenizer)
    return [*before, *ids[: longest - len(before) - len(after)], *after]


def corrupted(
    rows: Iterable[Sequence[int]], tokenizer: AnyTokenizer, corrupt: Corrupt, longest: int, noise: torch.Generator | None
) -> PairBatch:
    """Texts with parts hidden as the source, what is to be written as the target; both at most ``longest`` tokens."""
    before, after = around_side(tokenizer)
    room = longest - len(before) - len(after)
    pairs = [corrupt(row[:room], noise) for row in rows]
    source, source_mask = pad([framed(tokenizer, source, longest) for source, _ in pairs], pad_of(tokenizer))
    targets = [framed(tokenizer, target, longest) for _, target in pairs]
    return with_targets(source, None if source_mask.all() else source_mask, targets, tokenizer)


class Denoiser(Translator):
    """The using side of denoising. Any text can be given to it as to a :class:`Translator`, which T5 makes use of."""

    searches = False  # the splits have no outputs to be compared with

    @property
    def objective(self) -> str:
        """``"spans"`` or ``"infilling"``."""
        return objective_of(self.config, self.tokenizer)

    def generate(self, texts: str | Asked | Sequence[str | Asked], request: Request | None = None, **options: Any) -> list[str]:
        """Each text with its gaps, written ``[MASK]``, filled in. A gap takes the space before it along.

        A text without gaps gives what the decoder writes, and so does any text where the model is one of infilling, which
        writes the whole text. A text gives the same alone and together with others.

        Args:
            texts: one a line; white space gives an empty text.
            request, options: how, see :class:`pellucid.tasks.request.Request`; ``tokens`` are those that the decoder writes.
                ``seed`` and ``prefix`` may be one for each text.

        Raises:
            UsageError: a number is out of range, or a text has more gaps than there are sentinels.
        """
        asked = each_asked(texts, options)
        return [output[0].text for output in self.generate_lines(asked, request, **options)]

    def generate_lines(
        self, texts: Iterable[str | Asked], request: Request | None = None, *, window: int = WINDOW, **options: Any
    ) -> Iterator[list[Output]]:
        """The same for a stream of any length: of each text, in order, its ``n_best`` results. Raises as :meth:`generate`.

        Args:
            texts: texts, or texts with what is asked for each alone.
            window: texts that are read, sorted by length and answered together.
            request, options: as for :meth:`generate`.
        """
        writer = self._writer(request_of(request, options))
        asks = writer.request
        asks.refuse("align", "scores", by="a model that restores texts")

        def items() -> Iterator[tuple[Parts, Wanted]]:
            for number, text in enumerate(texts, start=1):
                asked = asked_of(text)
                # A text of white space is never asked of the model.
                parts = self._parts(asked.text) if asked.text.strip() else []
                self._warn_of_long(number, _length(parts))
                wanted = writer.wanted(asked) if parts else Wanted(0)
                if (wanted.prefix or wanted.required) and self._fills(parts):
                    what = "what is filled into gaps has no prefix and no glossary"
                    raise UsageError(what, where=f"text {number}", found=repr(asked.text))
                yield parts, wanted

        def work(some: list[tuple[Parts, Wanted]]) -> list[list[Output]]:
            found = self._restore(drawn_often(some, asks.samples), writer)
            return agreeing(found, asks.samples, asks.utility)

        batch_tokens = max(writer.config.batch_tokens // writer.rows, 1)
        return in_batches(
            items(), work, length=lambda item: _length(item[0]), empty=[EMPTY], batch_tokens=batch_tokens, window=window
        )

    def stream(self, text: str | Asked, request: Request | None = None, **options: Any) -> Generator[str, None, Output]:
        """Refused: where a gap ends is known only when all are filled."""
        raise UsageError("this model fills gaps, which are known only together", found="a stream", advice="ask without stream")

    def _warn_of_long(self, number: int, length: int) -> None:
        """Name a text of which the model reads only the beginning."""
        room = self.config.model.max_length - sum(map(len, around_side(self.tokenizer)))
        if length > room:
            say(f"warning: text {number} has {length} tokens, only the first {room} are read (model.max_length)")

    def source_of(self, text: str) -> list[int]:
        """Tokens of a text as the encoder reads it, its gaps marked."""
        return framed(self.tokenizer, self._with_marks(self._parts(text)), self.config.model.max_length)

    def _parts(self, text: str) -> Parts:
        """Tokens of what stands before, between and after the gaps."""
        first, *others = text.split(GAP)
        parts = [self.tokenizer.encode(first.rstrip(" ") if others else first)]
        for number, part in enumerate(others, start=1):
            parts.append(inside(self.tokenizer, part.rstrip(" ") if number < len(others) else part))
        return parts

    def _fills(self, parts: Parts) -> bool:
        """Whether the decoder writes what belongs into gaps, and not a whole text."""
        return len(parts) > 1 and self.objective == "spans"

    def _restore(self, items: list[tuple[Parts, Wanted]], writer: Writer) -> list[list[Output]]:
        longest = writer.longest(self.config.model.max_length)
        rows = [framed(self.tokenizer, self._with_marks(parts), longest) for parts, _ in items]
        source, mask, limits = self._padded(rows, writer)
        start = start_of(self.tokenizer)
        found = writer.write(source, mask, [wanted for _, wanted in items], start=start, limits=limits)
        return [
            [Output(self._text(parts, one.ids), one.score, one.reason) for one in some]
            for (parts, _), some in zip(items, found, strict=True)
        ]

    def _with_marks(self, parts: Parts) -> list[int]:
        """Source tokens: the parts with sentinels or masks between them."""
        gaps = len(parts) - 1
        if not gaps:
            return parts[0]
        spanned = self.objective == "spans"
        if spanned and gaps > len(self.tokenizer.sentinels):
            n = len(self.tokenizer.sentinels)
            raise UsageError("a text has more gaps than the vocabulary has sentinels", expected=f"at most {n}", found=gaps)
        marks = self.tokenizer.sentinels if spanned else (mask_of(self.tokenizer),) * gaps
        found = list(parts[0])
        for mark, part in zip(marks, parts[1:], strict=False):
            found += [mark, *part]
        return found

    def _text(self, parts: Parts, written: Sequence[int]) -> str:
        """What the decoder wrote; where that is only what belongs into the gaps, the text with it."""
        ids = list(written)
        if self._fills(parts):
            filled = _by_sentinel(written, self.tokenizer.sentinels)
            ids = list(parts[0])
            for sentinel, part in zip(self.tokenizer.sentinels, parts[1:], strict=False):
                ids += [*filled.get(sentinel, []), *part]
        return one_line(self.tokenizer.decode(ids))

    def evaluate_split(self, name: str) -> Scores:  # type: ignore[override]  # texts, not pairs, and no search
        """Score the model on a split of the texts that it was trained on, see :meth:`evaluate_texts`."""
        return self.evaluate_texts([text for (text,) in open_split(self.config.data, name, columns=1)])

    def evaluate_texts(self, texts: Sequence[str]) -> Scores:
        """Loss and perplexity per token of what is to be written; the same tokens are hidden every time. :meth:`evaluate`
        scores what is written for pairs of texts, as a translator does.

        Raises:
            DataError: there are no texts.
        """
        if not any(texts):
            raise DataError("there is nothing to score", expected="at least one text", found="none")
        loss = mean_loss(self.model.eval(), self._batches(texts))
        return Scores({"loss": loss, "perplexity": math.exp(min(loss, 700.0))}, [], len(texts))

    def _batches(self, texts: Sequence[str], rows: int = 32) -> Iterator[PairBatch]:
        corrupt = corrupting(self.config, self.tokenizer)
        stream = (ids for ids in self.tokenizer.encode_batch(list(texts)) if ids)
        number = 0
        while some := list(islice(stream, rows)):
            noise = seeded(self.config.seed, number)
            yield corrupted(some, self.tokenizer, corrupt, self.config.model.max_length, noise)
            number += 1


def _length(parts: Sequence[Sequence[int]]) -> int:
    """Tokens of a text with one for each gap; 0 only of a text that is not read."""
    return max(sum(map(len, parts)) + len(parts) - 1, len(parts[:1]))


def _by_sentinel(ids: Sequence[int], sentinels: Sequence[int]) -> dict[int, list[int]]:
    """What was written after each sentinel, up to the next."""
    found: dict[int, list[int]] = {}
    here: list[int] = []
    for token in ids:
        if token in sentinels:
            here = found.setdefault(token, [])
        else:
            here.append(token)
    return found
