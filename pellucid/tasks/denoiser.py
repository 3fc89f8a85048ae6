"""The using side of denoising: what ``pellucid.load`` returns for a model that restores texts, and for imported T5 and BART.

Shapes: B texts, S source positions, T target positions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import torch

from pellucid.base.config import DecodingConfig, RunConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.base.progress import say
from pellucid.data.readers import open_split
from pellucid.decoding.batching import in_batches
from pellucid.decoding.search import search
from pellucid.tasks.corruption import infilling, spans
from pellucid.tasks.drawing import asked, one_each
from pellucid.tasks.framing import AnyTokenizer, pad_of, start_of, unwritable
from pellucid.tasks.loaded import Scores
from pellucid.tasks.masked_lm import GAP, mask_of
from pellucid.tasks.pairs import PairBatch, mean_loss, pad
from pellucid.tasks.prepared import seeded
from pellucid.tasks.translator import EMPTY, Output, Translator
from pellucid.text.imported import ImportedTokenizer

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


def around(tokenizer: AnyTokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Control tokens before and after a text, on either side: the end token, or what an imported model was trained with."""
    if isinstance(tokenizer, ImportedTokenizer):
        return tokenizer.prefix, tokenizer.suffix
    return (), (tokenizer.end,)


def framed(tokenizer: AnyTokenizer, ids: Sequence[int], longest: int) -> list[int]:
    """Tokens with :func:`around` around them; what is too long loses its end."""
    before, after = around(tokenizer)
    return [*before, *ids[: longest - len(before) - len(after)], *after]


def corrupted(
    rows: Iterable[Sequence[int]], tokenizer: AnyTokenizer, corrupt: Corrupt, longest: int, noise: torch.Generator | None
) -> PairBatch:
    """Texts with parts hidden as the source, what is to be written as the target; both at most ``longest`` tokens."""
    before, after = around(tokenizer)
    room = longest - len(before) - len(after)
    pairs = [corrupt(row[:room], noise) for row in rows]
    source, source_mask = pad([framed(tokenizer, source, longest) for source, _ in pairs], pad_of(tokenizer))
    target, wanted = pad([framed(tokenizer, target, longest) for _, target in pairs], pad_of(tokenizer))
    start = target.new_full((len(target), 1), start_of(tokenizer))
    fed = torch.cat((start, target[:, :-1]), dim=1)  # (B, T)
    return PairBatch(source, None if source_mask.all() else source_mask, fed, target[wanted], wanted)


class Denoiser(Translator):
    """The using side of denoising. Any text can be given to it as to a :class:`Translator`, which T5 makes use of."""

    searches = False  # the splits have no outputs to be compared with

    @property
    def objective(self) -> str:
        """``"spans"`` or ``"infilling"``."""
        return objective_of(self.config, self.tokenizer)

    def generate(
        self,
        texts: str | Sequence[str],
        *,
        tokens: int | None = None,
        beams: int | None = None,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | Sequence[int] = 0,
    ) -> list[str]:
        """Each text with its gaps, written ``[MASK]``, filled in. A gap takes the space before it along.

        A text without gaps gives what the decoder writes, and so does any text where the model is one of infilling, which
        writes the whole text. A text gives the same alone and together with others.

        Args:
            texts: one a line; white space gives an empty text.
            tokens: most tokens that the decoder writes; ``None``: as for a translation.
            beams, temperature, top_k, top_p: ``None``: as the recipe says, see :func:`pellucid.tasks.drawing.asked`.
            seed: of what is drawn; one for all texts or one for each.

        Raises:
            UsageError: a number is out of range, or a text has more gaps than there are sentinels.
        """
        texts = [texts] if isinstance(texts, str) else list(texts)
        config = asked(self.config.decoding, beams=beams, temperature=temperature, top_k=top_k, top_p=top_p)
        return [output.text for output in self.restored(texts, config, tokens=tokens, seed=seed)]

    def restored(
        self, texts: Sequence[str], config: DecodingConfig, *, tokens: int | None = None, seed: int | Sequence[int] = 0
    ) -> list[Output]:
        """The same with scores and why each ended. Raises as :meth:`generate`."""
        seeds = one_each(seed, len(texts), "text")
        if tokens is not None and tokens < 1:
            raise UsageError("there is nothing to write", where="tokens", expected="at least 1", found=tokens)
        # A text of white space is never asked of the model.
        items = [(self._parts(text) if text.strip() else [], one) for text, one in zip(texts, seeds, strict=True)]
        self._warn_of_long([_length(parts) for parts, _ in items])

        def work(some: list[tuple[list[list[int]], int]]) -> list[Output]:
            return self._restore([parts for parts, _ in some], [one for _, one in some], config, tokens)

        batch_tokens = max(config.batch_tokens // config.beams, 1)
        found = in_batches(items, work, length=lambda item: _length(item[0]), empty=EMPTY[0], batch_tokens=batch_tokens)
        return list(found)

    def _warn_of_long(self, lengths: Sequence[int]) -> None:
        """Name the texts of which the model reads only the beginning."""
        room = self.config.model.max_length - sum(map(len, around(self.tokenizer)))
        for number, length in enumerate(lengths, start=1):
            if length > room:
                say(f"warning: text {number} has {length} tokens, only the first {room} are read (model.max_length)")

    def _parts(self, text: str) -> list[list[int]]:
        """Tokens of what stands before, between and after the gaps."""
        first, *others = text.split(GAP)
        parts = [self.tokenizer.encode(first.rstrip(" ") if others else first)]
        for number, part in enumerate(others, start=1):
            parts.append(_inside(self.tokenizer, part.rstrip(" ") if number < len(others) else part))
        return parts

    def _restore(
        self, texts: list[list[list[int]]], seeds: list[int], config: DecodingConfig, tokens: int | None
    ) -> list[Output]:
        tokenizer, longest = self.tokenizer, self.config.model.max_length
        rows = [framed(tokenizer, self._with_marks(parts), longest) for parts in texts]
        source, mask = pad(rows, pad_of(tokenizer))
        limits = mask.sum(1) + config.max_extra if tokens is None else torch.full((len(rows),), tokens)
        found = search(
            self.model.eval(),
            source.to(self.device),
            mask.to(self.device),
            config,
            start=start_of(tokenizer),
            end=tokenizer.end,
            limits=limits.clamp(max=longest),
            forbidden=unwritable(tokenizer),
            seeds=seeds,
        )
        return [
            Output(self._text(parts, best.ids), best.score, best.reason) for parts, [best] in zip(texts, found, strict=True)
        ]

    def _with_marks(self, parts: list[list[int]]) -> list[int]:
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

    def _text(self, parts: list[list[int]], written: Sequence[int]) -> str:
        """What the decoder wrote; where that is only what belongs into the gaps, the text with it."""
        ids = list(written)
        if len(parts) > 1 and self.objective == "spans":
            filled = _by_sentinel(written, self.tokenizer.sentinels)
            ids = list(parts[0])
            for sentinel, part in zip(self.tokenizer.sentinels, parts[1:], strict=False):
                ids += [*filled.get(sentinel, []), *part]
        return self.tokenizer.decode(ids).replace("\n", " ")  # one line, as the text

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


def _inside(tokenizer: AnyTokenizer, text: str) -> list[int]:
    """Tokens of a text that stands inside another one, where its first word need not begin with a space.

    It is encoded after something that it does not merge with: a letter, or where it goes on with letters, a full stop.
    """
    for before in ("a", "."):
        known, whole = tokenizer.encode(before), tokenizer.encode(before + text)
        if whole[: len(known)] == known:
            return whole[len(known) :]
    return tokenizer.encode(text)


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
