"""The using side of translation: what ``pellucid.load`` returns for a model that translates.

Shapes: B sentences, S source positions, T target positions, V target vocabulary.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, get_args

import torch
from torch import Tensor

from pellucid.base.config import ConfigProblems, DecodingConfig, Penalty, RunConfig
from pellucid.base.errors import DataError, ModelError, UsageError
from pellucid.base.plots import plot_attention
from pellucid.base.progress import Progress, say
from pellucid.data.readers import open_split
from pellucid.decoding.batching import WINDOW, in_batches
from pellucid.decoding.hypothesis import Hypothesis, NothingToChooseError
from pellucid.decoding.search import search
from pellucid.model.transformer import EncoderDecoder
from pellucid.tasks.drawing import asked
from pellucid.tasks.evaluation import Evaluation, score
from pellucid.tasks.framing import AnyTokenizer, pad_of, start_of, unwritable
from pellucid.tasks.loaded import Loaded
from pellucid.tasks.model_directory import Tokenizers, check_vocabularies, load_model, load_tokenizers
from pellucid.tasks.pairs import PairBatch, encode, from_texts, mean_loss, pad
from pellucid.text.metrics import not_plain
from pellucid.training.protocol import Stopped


@dataclass(frozen=True)
class Output:
    """One translation.

    Args:
        text: detokenised.
        score: log probability over length penalty; larger is better.
        reason: ``"end"``: ended by itself, ``"length"``: cut at the limit, ``"empty"``: nothing to translate, ``"stopped"``:
            not translated, since a stop was asked for.
    """

    text: str
    score: float
    reason: str


EMPTY = [Output("", 0.0, "empty")]
STOPPED = [Output("", 0.0, "stopped")]


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

    def translate(
        self,
        texts: str | Sequence[str],
        *,
        beams: int | None = None,
        length_penalty: Penalty | None = None,
        alpha: float | None = None,
        seed: int = 0,
    ) -> list[str]:
        """Translate texts; what is not given is as the recipe says. An empty text gives an empty translation.

        Args:
            texts: one or several.
            beams, length_penalty, alpha, seed: see :meth:`translate_lines`.

        Raises:
            UsageError: no such search: beams, penalty or alpha out of range.
        """
        texts = [texts] if isinstance(texts, str) else texts
        outputs = self.translate_lines(texts, beams=beams, length_penalty=length_penalty, alpha=alpha, seed=seed)
        return [output[0].text for output in outputs]

    def translate_lines(
        self,
        lines: Iterable[str],
        *,
        beams: int | None = None,
        length_penalty: Penalty | None = None,
        alpha: float | None = None,
        temperature: float | None = None,
        seed: int = 0,
        n_best: int = 1,
        window: int = WINDOW,
        batch_items: int = 256,
        stopped: Stopped = lambda: False,
        done: Callable[[int], object] = lambda lines: None,
    ) -> Iterator[list[Output]]:
        """Translate a stream of any length in constant memory: for each line, in order, its ``n_best`` translations.

        Args:
            lines: texts; one of white space gives one empty translation.
            beams, length_penalty, alpha, temperature: ``None``: as the recipe says, see :func:`pellucid.tasks.drawing.asked`.
            seed: of what is drawn where there is a temperature. A line gets the same text alone and among others.
            n_best: translations a line, at most ``beams``.
            window: lines that are read, sorted by length and translated together.
            batch_items: most lines in a batch.
            stopped: asked before each batch; what is left is then not translated, which its ``reason`` tells.
            done: told after each batch how many more lines are translated, long before the first of a window is given out.

        Raises:
            UsageError: no such search: beams, penalty, alpha or n_best out of range.
        """
        config = self._decoding(beams, length_penalty, alpha, temperature)

        def encoded() -> Iterator[list[int]]:
            for number, line in enumerate(lines, start=1):
                ids = self._encode(number, line)
                if not ids:
                    done(1)
                yield ids

        def work(items: list[list[int]]) -> list[list[Output]]:
            if stopped():
                return [STOPPED] * len(items)
            found = self._search(items, config, n_best, seed)
            done(len(items))
            return [[self._output(hypothesis) for hypothesis in hypotheses] for hypotheses in found]

        return in_batches(
            encoded(),
            work,
            length=len,
            empty=EMPTY,
            batch_tokens=max(config.batch_tokens // config.beams, 1),
            batch_items=batch_items,
            window=window,
        )

    def _decoding(
        self, beams: int | None, length_penalty: Penalty | None, alpha: float | None, temperature: float | None
    ) -> DecodingConfig:
        """What the recipe says, with what is given in its place."""
        config = asked(self.config.decoding, beams=beams, temperature=temperature)
        given = {"length_penalty": length_penalty, "alpha": alpha}
        known = get_args(Penalty)
        if length_penalty not in (None, *known):
            raise UsageError("no such length penalty", expected=", ".join(known), found=length_penalty)
        try:
            # mypy can't see which value goes to which field
            return replace(config, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        except ConfigProblems as error:
            raise UsageError(str(error)) from None

    def _encode(self, number: int, line: str) -> list[int]:
        """Source tokens with the end token; nothing for a line of white space."""
        return encode(self.source_tokenizer, line, self.config.model.max_length, f"line {number}") if line.strip() else []

    def _search(self, items: list[list[int]], config: DecodingConfig, n_best: int, seed: int = 0) -> list[list[Hypothesis]]:
        target = self.target_tokenizer
        source, mask = pad(items, pad_of(self.source_tokenizer))
        limits = (mask.sum(1) + config.max_extra).clamp(max=self.config.model.max_length)
        try:
            return search(
                self.model.eval(),
                source.to(self.device),
                mask.to(self.device),
                config,
                start=start_of(target),
                end=target.end,
                limits=limits,
                n_best=n_best,
                forbidden=unwritable(target),
                seeds=[seed] * len(items),
            )
        except NothingToChooseError as error:  # it knows the sentence's place in the batch, the user its text
            text = self.source_tokenizer.decode(items[error.sentence])
            raise ModelError(error.what, where=repr(text), found=error.found, advice=error.advice) from error

    def _output(self, hypothesis: Hypothesis) -> Output:
        # A model of bytes can write a line feed; N lines in must stay N lines out.
        text = self.target_tokenizer.decode(hypothesis.ids).replace("\n", " ")
        return Output(text, hypothesis.score, hypothesis.reason)

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
        """
        source = self._encode(1, text)
        if not source:
            raise DataError("an empty text has no attention", advice="give a sentence")
        [[best]] = self._search([source], self.config.decoding, n_best=1)
        end = [token for token in [self.target_tokenizer.end] if token is not None and best.reason == "end"]
        written = [*best.ids, *end]
        maps: list[Tensor] = []

        def tap(name: str, tensor: Tensor) -> Tensor:
            if name.endswith("cross_attn.weights"):
                maps.append(tensor[0])
            return tensor

        with torch.inference_mode():
            ids = torch.tensor([source], device=self.device)
            target = torch.tensor([[start_of(self.target_tokenizer), *written[:-1]]], device=self.device)
            self.model.eval()(ids, target, tap=tap)
        return self.source_tokenizer.tokens(source), self.target_tokenizer.tokens(written), torch.stack(maps).float().cpu()

    def plot_attention(self, text: str, path: Path, *, layer: int = -1, head: int | None = None) -> None:
        """Draw the cross-attention of a translation: of one layer, one head or the mean of all heads.

        Raises:
            UsageError: no such layer or head, or matplotlib is not installed.
        """
        source, target, weights = self.attention(text)
        n_layers, n_heads = weights.shape[:2]
        if not -n_layers <= layer < n_layers or (head is not None and not 0 <= head < n_heads):
            expected = f"layer -{n_layers} to {n_layers - 1}, head 0 to {n_heads - 1}"
            raise UsageError("no such layer or head", expected=expected, found=f"layer {layer}, head {head}")
        chosen = weights[layer].mean(0) if head is None else weights[layer, head]  # (T, S)
        name = "mean of all heads" if head is None else f"head {head}"
        title = f"cross-attention, layer {layer % n_layers}, {name}"
        plot_attention(chosen.numpy(), source, target, title, path)

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
        if not pairs:
            raise DataError("there is nothing to score", expected="at least one pair", found="none")
        began = time.perf_counter()
        with Progress(len(pairs), "sentences", "translating") as bar:
            found = [best for [best] in self.translate_lines((source for source, _ in pairs), beams=beams, done=bar.update)]
        seconds = time.perf_counter() - began
        outputs = [output.text for output in found]
        if warning := not_plain(outputs):
            say(f"warning: {warning}")
        return Evaluation(
            outputs=outputs,
            scores=score(outputs, [reference for _, reference in pairs], self.config),
            loss=self._loss(pairs),
            cut=sum(output.reason == "length" for output in found),
            sentences_per_second=len(pairs) / seconds,
        )

    def _loss(self, pairs: Sequence[tuple[str, ...]]) -> float:
        """Loss per target token of the pairs; of an empty text the model is never asked, so that it has no part in it."""
        full = [pair for pair in pairs if all(text.strip() for text in pair)]
        tokenizers = (self.source_tokenizer, self.target_tokenizer)

        def counted() -> Iterator[PairBatch]:
            with Progress(len(full), "sentences", "computing the loss") as bar:
                for batch in from_texts(full, tokenizers, self.config.model.max_length):
                    yield batch
                    bar.update(len(batch.source))

        return mean_loss(self.model.eval(), counted())
