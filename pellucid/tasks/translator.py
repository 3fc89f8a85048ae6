"""The using side of translation: what ``pellucid.load`` returns for a model that translates.

Shapes: B sentences, S source positions, T target positions, V target vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from pellucid.base.config import RunConfig
from pellucid.base.errors import DataError, ModelError
from pellucid.base.progress import say
from pellucid.data.readers import open_split
from pellucid.decoding.alignment import Head, Links
from pellucid.decoding.batching import WINDOW, in_batches
from pellucid.decoding.hypothesis import Hypothesis, NothingToChooseError
from pellucid.decoding.stream import Growing, stream, text_pieces
from pellucid.model.transformer import EncoderDecoder
from pellucid.tasks.attending import check_head, cross_attention, head_that_aligns_best, links, need_attention, plot
from pellucid.tasks.evaluation import Evaluation, evaluate
from pellucid.tasks.framing import AnyTokenizer, pad_of, start_of, unwritable
from pellucid.tasks.loaded import Loaded
from pellucid.tasks.model_directory import Tokenizers, check_vocabularies, load_model, load_tokenizers
from pellucid.tasks.output import EMPTY, Option, Output, PairScore, one_line
from pellucid.tasks.pairs import encode, pad
from pellucid.tasks.request import Asked, Request, asked_of, each_asked, request_of
from pellucid.tasks.writing import Wanted, Writer, agreeing, drawn_often
from pellucid.training.protocol import Stopped

STOPPED = Output("", 0.0, "stopped")


class Translator(Loaded[EncoderDecoder]):
    """The using side: what ``pellucid.load`` returns for a translation model.

    Args:
        model: with its weights.
        tokenizers: of source and target; ``None``: the model came without.
        config: of the run that made it.
    """

    searches = True

    def __init__(self, model: EncoderDecoder, tokenizers: Tokenizers | None, config: RunConfig) -> None:
        super().__init__(model, config, None if tokenizers is None else tokenizers[0])
        self._target_tokenizer = None if tokenizers is None else tokenizers[1]

    @classmethod
    def open(cls, directory: Path, config: RunConfig) -> Self:
        """From a model directory, see :meth:`Loaded.open`."""
        tokenizers = load_tokenizers(directory, config)
        if tokenizers is not None:
            check_vocabularies(directory, config, tokenizers)
        model: Any = load_model(directory, config)
        return cls(model, tokenizers, config)

    @property
    def source_tokenizer(self) -> AnyTokenizer:
        """The tokenizer of the source."""
        return self.tokenizer

    @property
    def target_tokenizer(self) -> AnyTokenizer:
        """The tokenizer of the target; the same one where the vocabulary is joint."""
        return self._target_tokenizer or self.tokenizer

    @property
    def tokenizers(self) -> tuple[AnyTokenizer, ...]:
        """Of source and target."""
        return self.source_tokenizer, self.target_tokenizer

    def translate(
        self, texts: str | Asked | Sequence[str | Asked], request: Request | None = None, **options: Any
    ) -> list[str]:
        """Translate texts; what is not given is as the recipe says. An empty text gives an empty translation.

        Args:
            texts: one or several.
            request, options: how, see :class:`pellucid.tasks.request.Request`: its fields by name, as ``beams=5``. ``seed`` and
                ``prefix`` may be one for each text.

        Raises:
            UsageError: no such search: a value is out of range, or values contradict each other.
        """
        asked = each_asked(texts, options)
        return [output[0].text for output in self.translate_lines(asked, request, **options)]

    def translate_lines(
        self,
        lines: Iterable[str | Asked],
        request: Request | None = None,
        *,
        window: int = WINDOW,
        batch_items: int = 256,
        stopped: Stopped = lambda: False,
        done: Callable[[int], object] = lambda lines: None,
        **options: Any,
    ) -> Iterator[list[Output]]:
        """Translate a stream of any length in constant memory: for each line, in order, its ``n_best`` translations.

        Args:
            lines: texts, or texts with what is asked for each alone; one of white space gives one empty translation.
            request, options: how, see :class:`pellucid.tasks.request.Request`. A line gets the same alone and among others.
            window: lines that are read, sorted by length and translated together.
            batch_items: most lines in a batch.
            stopped: asked before each batch; what is left is then not translated, which its ``reason`` tells.
            done: told after each batch how many more lines are translated, long before the first of a window is given out.

        Raises:
            UsageError: what is asked for contradicts itself or the model; what is asked for all lines is checked at once.
        """
        writer = self._writer(request_of(request, options))
        asks = writer.request

        def encoded() -> Iterator[tuple[list[int], Wanted]]:
            for number, line in enumerate(lines, start=1):
                asked = asked_of(line)
                ids = self._encode(number, asked.text, writer)
                if not ids:
                    done(1)
                yield ids, writer.wanted(asked) if ids else Wanted(0)

        def work(items: list[tuple[list[int], Wanted]]) -> list[list[Output]]:
            if stopped():
                return [[STOPPED]] * len(items)
            found = self._search(drawn_often(items, asks.samples), writer)
            done(len(items))
            return agreeing(found, asks.samples, asks.utility)

        return in_batches(
            encoded(),
            work,
            length=lambda item: len(item[0]),
            empty=[writer.empty],
            batch_tokens=max(writer.config.batch_tokens // writer.rows, 1),
            batch_items=batch_items,
            window=window,
        )

    def stream(self, text: str | Asked, request: Request | None = None, **options: Any) -> Generator[str, None, Output]:
        """The translation of one text in pieces, each as soon as it is written; together they are the text.

        Args:
            text, request, options: as :meth:`translate_lines` has them, with one beam.

        Returns:
            An iterator over texts. A generator that says ``yield from`` gets the whole as well.

        Raises:
            UsageError: what is asked for is known only when the text is complete; raised before the first piece is asked for.
        """
        asked = asked_of(text)
        writer = self._writer(request_of(request, options).streamed())
        ids = self._encode(1, asked.text, writer)
        return self._pieces(ids, writer.wanted(asked), writer) if ids else _nothing()

    def _pieces(self, ids: list[int], wanted: Wanted, writer: Writer) -> Generator[str, None, Output]:
        source, mask, limits = self._padded([ids], writer)
        growing = Growing(stream(writer.steps(source, mask, wanted, start=start_of(self.target_tokenizer), limits=limits)))
        for piece in text_pieces(growing, self.target_tokenizer.decode):
            yield one_line(piece)
        return self._output(growing.found)

    def score(self, source: str, target: str) -> PairScore:
        """The log probability that the model gives a translation, token by token; the end token counts.

        Raises:
            DataError: the source is empty.
        """
        writer = self._writer(Request())
        ids = self._encode(1, source, writer)
        if not ids:
            raise DataError("an empty text has no translation", advice="give a sentence")
        wanted = encode(self.target_tokenizer, target, self.config.model.max_length, "target")
        source_ids, mask, _ = self._padded([ids], writer)
        [values] = writer.log_probabilities(source_ids, mask, [wanted], start=start_of(self.target_tokenizer))
        return PairScore(writer.scored(wanted, values), sum(values))

    def alternatives(self, source: str | Asked, n: int = 5, request: Request | None = None, **options: Any) -> list[Option]:
        """The ``n`` most probable different tokens after ``prefix``, each with the translation that begins with both.

        Args:
            source: text to be translated.
            n: at least 1.
            request, options: as :meth:`translate_lines` has them; ``prefix`` is what stands before the position.

        Raises:
            UsageError: nothing can come after the prefix, or what is asked for contradicts itself.
            DataError: the source is empty.
        """
        asked = asked_of(source)
        writer = self._writer(request_of(request, options))
        ids = self._encode(1, asked.text, writer)
        if not ids:
            raise DataError("an empty text has no translation", advice="give a sentence")
        source_ids, mask, limits = self._padded([ids], writer)
        found = writer.alternatives(
            source_ids, mask, writer.wanted(asked), n, start=start_of(self.target_tokenizer), limit=int(limits[0])
        )
        return [
            Option(self.target_tokenizer.tokens([one.token])[0], one.log_probability, self._output(one.output)) for one in found
        ]

    def align(self, source: str, target: str, head: tuple[int, int]) -> Links:
        """The words of a given translation aligned with those of its source by a head: pairs of places, from 0.

        Raises:
            UsageError: no such layer or head.
        """
        check_head(self.config, head)
        longest = self.config.model.max_length
        pair = (
            encode(self.source_tokenizer, source, longest, "source"),
            encode(self.target_tokenizer, target, longest, "target"),
        )
        return links(self, [pair[0]], [pair[1]], head)[0]

    def best_head(self, pairs: Sequence[tuple[str, str]], alignments: Sequence[str]) -> Head:
        """The head that aligns best, see :func:`pellucid.tasks.attending.head_that_aligns_best`."""
        return head_that_aligns_best(self, pairs, alignments)

    def _writer(self, request: Request) -> Writer:
        if request.align is not None:
            check_head(self.config, request.align)
        target = self.target_tokenizer
        return Writer(self, request, tokenizer=target, end=target.end, never=unwritable(target))

    def _encode(self, number: int, line: str, writer: Writer) -> list[int]:
        """Source tokens with the end token; nothing for a line of white space."""
        longest = writer.longest(self.config.model.max_length)
        return encode(self.source_tokenizer, line, longest, f"line {number}") if line.strip() else []

    def _padded(self, rows: list[list[int]], writer: Writer) -> tuple[Tensor, Tensor, Tensor]:
        """Source, its mask, and the most tokens of each output."""
        source, mask = pad(rows, pad_of(self.source_tokenizer))
        tokens = writer.request.tokens
        limits = mask.sum(1) + writer.config.max_extra if tokens is None else torch.full((len(rows),), tokens)
        return source, mask, limits.clamp(max=writer.longest(self.config.model.max_length))

    def _search(self, items: list[tuple[list[int], Wanted]], writer: Writer) -> list[list[Output]]:
        rows, start = [ids for ids, _ in items], start_of(self.target_tokenizer)
        source, mask, limits = self._padded(rows, writer)
        try:
            found = writer.write(source, mask, [wanted for _, wanted in items], start=start, limits=limits)
        except NothingToChooseError as error:  # it knows the sentence's place in the batch, the user its text
            text = self.source_tokenizer.decode(rows[error.sentence])
            raise ModelError(error.what, where=repr(text), found=error.found, advice=error.advice) from error
        outputs = [[self._output(hypothesis) for hypothesis in hypotheses] for hypotheses in found]
        return self._detailed(rows, found, outputs, writer)

    def _detailed(
        self, rows: list[list[int]], found: list[list[Hypothesis]], outputs: list[list[Output]], writer: Writer
    ) -> list[list[Output]]:
        """The outputs with the scores of their tokens and with their alignments, where these are asked for."""
        request = writer.request
        if not request.scores and request.align is None:
            return outputs
        counts = [len(some) for some in outputs]
        sources = [row for row, count in zip(rows, counts, strict=True) for _ in range(count)]
        written = [writer.written(one) for some in found for one in some]
        flat = list(chain.from_iterable(outputs))
        if request.scores:
            source, mask, _ = self._padded(sources, writer)
            values = writer.log_probabilities(source, mask, written, start=start_of(self.target_tokenizer))
            tokens = map(writer.scored, written, values)
            flat = [replace(one, tokens=of_one) for one, of_one in zip(flat, tokens, strict=True)]
        if request.align is not None:
            aligned = links(self, sources, written, request.align)
            flat = [replace(one, alignment=of_one) for one, of_one in zip(flat, aligned, strict=True)]
        remaining = iter(flat)
        return [list(islice(remaining, count)) for count in counts]

    def _output(self, hypothesis: Hypothesis) -> Output:
        return Output(one_line(self.target_tokenizer.decode(hypothesis.ids)), hypothesis.score, hypothesis.reason)

    def ids(self, text: str) -> Tensor:
        """Source ids of one text, the end token last, (1, S): what ``model.encode`` reads."""
        return torch.tensor([[*self.source_tokenizer.encode(text), self.source_tokenizer.end]], device=self.device)

    def attention(self, text: str) -> tuple[list[str], list[str], Tensor]:
        """Translate ``text`` and return source tokens, target tokens and the cross-attention between them.

        Returns:
            S and T readable tokens (the end token included) and the weights, (layers, heads, T, S): row t is what the decoder
            looked at when it wrote token t.

        Raises:
            DataError: the text is empty.
            UsageError: the model has no attention.
        """
        need_attention(self.config)
        writer = self._writer(Request())
        source = self._encode(1, text, writer)
        if not source:
            raise DataError("an empty text has no attention", advice="give a sentence")
        rows, mask, limits = self._padded([source], writer)
        [[best]] = writer.write(rows, mask, [Wanted(0)], start=start_of(self.target_tokenizer), limits=limits)
        written = writer.written(best)
        [maps] = cross_attention(self, [source], [written])
        return self.source_tokenizer.tokens(source), self.target_tokenizer.tokens(written), torch.stack(maps)

    def plot_attention(self, text: str, path: Path, *, layer: int = -1, head: int | None = None) -> None:
        """Draw the cross-attention of a translation: of one layer, one head or the mean of all heads.

        Raises:
            UsageError: no such layer or head, no attention at all, or matplotlib is not installed.
        """
        plot(*self.attention(text), path, layer=layer, head=head)

    def evaluate_split(self, name: str, *, beams: int | None = None) -> Evaluation:
        """Score the model on a split of the corpus that it was trained on."""
        split = open_split(self.config.data, name)
        pairs = list(split)
        for line in split.report.lines():  # which pairs were left out, if any
            say(f"{name}: {line}")
        return self.evaluate(pairs, beams=beams)

    def evaluate(self, pairs: Sequence[tuple[str, ...]], *, beams: int | None = None) -> Evaluation:
        """Translate the first sides and score them against the second.

        Raises:
            DataError: no pairs.
        """
        return evaluate(self, pairs, beams=beams)


def _nothing() -> Generator[str, None, Output]:
    yield from ()
    return EMPTY
