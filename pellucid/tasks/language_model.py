"""The using side of language modelling: what ``pellucid.load`` returns for a model that goes on writing.

Shapes: T positions, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import DataError, UsageError
from pellucid.base.progress import say
from pellucid.decoding.hypothesis import Hypothesis
from pellucid.decoding.penalties import length_penalty
from pellucid.decoding.stream import Growing, stream, text_pieces
from pellucid.model.transformer import DecoderOnly
from pellucid.tasks.continuing import Writing, together
from pellucid.tasks.framing import pad_of, unwritable
from pellucid.tasks.loaded import Loaded, Scores
from pellucid.tasks.output import Option, Output
from pellucid.tasks.pairs import pad
from pellucid.tasks.pixels import draws, open_texts
from pellucid.tasks.request import Asked, Request, asked_of, each_asked, request_of
from pellucid.tasks.windows import around, beginning, begun, end_of_text, mean_loss
from pellucid.tasks.writing import Writer, agreeing
from pellucid.text.imported import ImportedTokenizer

WINDOW = 1000  # prompts read before the first is answered, so that those of like lengths stand together


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
        self, prompts: str | Asked | Sequence[str | Asked], request: Request | None = None, **options: Any
    ) -> list[str]:
        """Each prompt with what the model writes after it.

        An empty prompt begins a text: after a new line, or where the model learnt from documents, after the end of one. A
        prompt gives the same text alone and together with others.

        Args:
            prompts: texts to go on from.
            request, options: how, see :class:`pellucid.tasks.request.Request`: its fields by name, as ``top_p=0.9``. ``tokens``
                are the new ones; ``None``: 100, or of a model that draws, a whole picture. ``seed`` and ``prefix`` may be one
                for each prompt.

        Raises:
            UsageError: a number is out of range, or values contradict each other.
        """
        asked = each_asked(prompts, options)
        found = self.continuations(asked, request, **options)
        return [one.text + continuation.text for one, continuation in zip(asked, found, strict=True)]

    def continuations(self, prompts: Sequence[str | Asked], request: Request | None = None, **options: Any) -> list[Output]:
        """The same without the prompts, with scores and why each ended.

        Where positions have a table the model reads at most ``context`` tokens. A longer prompt loses its beginning, and when
        the table is full, writing goes on from the last half of what is there.

        Args, raises: as :meth:`generate`; several best ones besides where not all fit into the positions.
        """
        asked = each_asked(prompts, options)
        return [best for best, *_ in self._answers(asked, self._writer(request_of(request, options)))]

    def generate_lines(
        self, prompts: Iterable[str | Asked], request: Request | None = None, *, window: int = WINDOW, **options: Any
    ) -> Iterator[list[Output]]:
        """The whole texts, prompts included, for a stream of any length: of each prompt, in order, its ``n_best``.

        Args:
            prompts: texts, or texts with what is asked for each alone.
            window: prompts that are read and answered together.
            request, options: as for :meth:`generate`.
        """
        writer, stream, first = self._writer(request_of(request, options)), iter(prompts), 1
        while some := each_asked(islice(stream, window), {}):
            for one, outputs in zip(some, self._answers(some, writer, first), strict=True):
                yield [replace(output, text=one.text + output.text) for output in outputs]
            first += len(some)

    def stream(self, prompt: str | Asked, request: Request | None = None, **options: Any) -> Generator[str, None, Output]:
        """What is written after a prompt in pieces, each as soon as it is there; together they are the continuation.

        Args:
            prompt: text to go on from.
            request, options: as for :meth:`generate`, with one beam.

        Returns:
            An iterator over texts. A generator that says ``yield from`` gets the whole as well.

        Raises:
            UsageError: what is asked for is known only when the text is complete; raised before the first piece is asked for.
        """
        writer = self._writer(request_of(request, options).streamed())
        return self._pieces(self._begin(1, asked_of(prompt), writer), writer)

    def _pieces(self, text: Writing, writer: Writer) -> Generator[str, None, Output]:
        yield from text_pieces(self._growing(text, writer), self.tokenizer.decode, before=text.prompt)
        return self._output(text, writer)

    def _growing(self, text: Writing, writer: Writer) -> Iterator[int]:
        while not text.reason:
            source, mask, more = self._batch([text], writer)
            growing = Growing(stream(writer.steps(source, mask, text.wanted_now(), **more)))
            yield from growing
            text.take(growing.found, self._most(writer.request), self._reach(writer))

    def alternatives(self, prompt: str | Asked, n: int = 5, request: Request | None = None, **options: Any) -> list[Option]:
        """The ``n`` most probable different tokens after the prompt and ``prefix``, each with how the text goes on with it.

        Args:
            prompt: text to go on from.
            n: at least 1.
            request, options: as for :meth:`generate`; ``prefix`` is what stands between prompt and position.

        Raises:
            UsageError: nothing can come after the prefix, or what is asked for contradicts itself.
        """
        writer = self._writer(request_of(request, options))
        text = self._begin(1, asked_of(prompt), writer)
        source, mask, more = self._batch([text], writer)
        start, limit = int(more["start"]), int(more["limits"])
        found = writer.alternatives(source, mask, text.wanted, n, start=start, limit=limit)
        return [
            Option(
                self.tokenizer.tokens([one.token])[0],
                one.log_probability,
                Output(text.text_of(one.output.ids, self.tokenizer), one.output.score, one.output.reason),
            )
            for one in found
        ]

    def _writer(self, request: Request) -> Writer:
        request.refuse("align", by="a language model")
        return Writer(self, request, tokenizer=self.tokenizer, end=self.end, never=self.never)

    def _most(self, request: Request) -> int:
        """Most new tokens."""
        return request.tokens or (self.context if draws(self.config) else 100)

    def _answers(self, prompts: Sequence[Asked], writer: Writer, first: int = 1) -> list[list[Output]]:
        """The outputs of each prompt; the first has this number."""
        request = writer.request
        texts = [self._begin(number, asked, writer) for number, asked in enumerate(prompts, start=first)]
        texts = [text.again(n) for text in texts for n in range(max(request.samples, 1))]
        if request.n_best > 1:
            return self._several(texts, writer, first)
        tokens, reach = self._most(request), self._reach(writer)
        while unfinished := [text for text in texts if not text.reason]:
            for some in together(unfinished, tokens, reach, counting=writer.counts):
                source, mask, more = self._batch(some, writer)
                found = writer.write(source, mask, [text.wanted_now() for text in some], **more)
                values = self._values(source, mask, found, more["start"], writer)
                for text, [best], tokens_of_best in zip(some, found, values, strict=True):
                    text.values += tokens_of_best
                    text.take(best, tokens, reach)
        return agreeing([[self._output(text, writer)] for text in texts], request.samples, request.utility)

    def _values(
        self, source: Tensor, mask: Tensor, found: list[list[Hypothesis]], start: Tensor, writer: Writer
    ) -> list[list[float]]:
        """Log probabilities of the tokens of each output, if they are asked for."""
        if not writer.request.scores:
            return [[]] * len(found)
        return writer.log_probabilities(source, mask, [writer.written(best) for [best] in found], start=start)

    def _several(self, texts: list[Writing], writer: Writer, first: int) -> list[list[Output]]:
        """The ``n_best`` of each prompt, which must have room: outputs that go on elsewhere could not be compared."""
        tokens, reach = self._most(writer.request), self._reach(writer)
        for number, text in enumerate(texts, start=first):
            if (room := text.limit(tokens, reach)) < tokens:
                what, advice = "several outputs need room for a whole text", "ask for fewer tokens or for one output"
                where = f"prompt {number}"
                raise UsageError(what, where=where, expected=f"at most {room} tokens", found=tokens, advice=advice)
        found: dict[int, list[Output]] = {}
        for some in together(texts, tokens, reach, counting=False):
            source, mask, more = self._batch(some, writer)
            outputs = writer.write(source, mask, [text.wanted for text in some], **more)
            for row, (text, of_text) in enumerate(zip(some, outputs, strict=True)):
                one = slice(row, row + 1)
                finished = []
                for best in of_text:
                    copy = text.again(0)
                    copy.values += self._values(source[one], mask[one], [[best]], more["start"][one], writer)[0]
                    copy.take(best, tokens, reach)
                    finished.append(self._output(copy, writer))
                found[id(text)] = finished
        return [found[id(text)] for text in texts]

    def _output(self, text: Writing, writer: Writer) -> Output:
        penalty = length_penalty(writer.config.length_penalty, writer.config.alpha)
        written = [*text.new, *([writer.end] if text.reason == "end" and writer.end is not None else [])]
        tokens = writer.scored(written, text.values) if writer.request.scores else None
        score = text.log_probability / penalty(text.chosen)
        return Output(text.text_of(text.new, self.tokenizer), score, text.reason, tokens)

    def _begin(self, number: int, asked: Asked, writer: Writer) -> Writing:
        tokenizer, reach = self.tokenizer, self._reach(writer)
        ids = tokenizer.encode(asked.text)
        wanted = writer.wanted(asked, before=asked.text)
        if unknown := tokenizer.unknowns(ids):
            say(f"warning: prompt {number} has {unknown} tokens that the vocabulary does not know")
        ids = begun(tokenizer, ids, self.end)
        # What is forced must find room in the first stretch.
        read = reach if reach is None or not (wanted.prefix or wanted.required) else max(reach // 2, 1)
        if read is not None and len(ids) > read:
            say(f"warning: prompt {number} has {len(ids)} tokens, only the last {read} are read (model.max_length)")
        return Writing(ids, wanted, ids if read is None else ids[-read:])

    def _reach(self, writer: Writer) -> int | None:
        """Positions that all models have a vector for; ``None``: no limit."""
        models = [one.model for one in (self, *writer.others)]
        found = [model.decoder.positions.max_length for model in models]
        return min((length for length in found if length is not None), default=None)

    def _batch(self, texts: list[Writing], writer: Writer) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """Some texts as a search takes them: prompts, mask, and what else it is told."""
        source, mask = pad([text.window[:-1] for text in texts], pad_of(self.tokenizer))
        tokens, reach = self._most(writer.request), self._reach(writer)
        more = {
            "start": torch.tensor([text.window[-1] for text in texts], device=self.device),
            "limits": torch.tensor([text.limit(tokens, reach) for text in texts]),
            "before": [text.new for text in texts] if writer.counts else None,
        }
        return source.long(), mask, more  # long: of prompts without tokens torch cannot tell the type

    @property
    def never(self) -> tuple[int, ...]:
        """Tokens that are no text and so never written; but the one that ends it, if there is one."""
        tokenizer = self.tokenizer
        if isinstance(tokenizer, ImportedTokenizer):
            return unwritable(tokenizer)
        return tuple(token for token in range(tokenizer.n_controls) if token != self.end)

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
