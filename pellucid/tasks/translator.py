"""The using side of translation: what ``pellucid.load`` returns for a model that translates.

Shapes: B sentences, S source positions, T target positions, V target vocabulary.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.config import DecodingConfig, Penalty, RunConfig
from pellucid.base.errors import DataError, ModelError, UsageError
from pellucid.base.plots import plot_attention
from pellucid.base.progress import Progress, say
from pellucid.decoding.batching import WINDOW, in_batches
from pellucid.decoding.hypothesis import Hypothesis, NothingToChooseError
from pellucid.decoding.search import search
from pellucid.model.transformer import EncoderDecoder
from pellucid.tasks.model_directory import Tokenizers
from pellucid.tasks.pairs import from_texts, mean_loss, pad
from pellucid.text.metrics import Score, bleu, chrf
from pellucid.text.tokenizer import Tokenizer
from pellucid.training.protocol import Stopped


@dataclass(frozen=True)
class Output:
    """One translation.

    Args:
        text: detokenised.
        score: log probability over length penalty; larger is better.
        reason: ``"end"``: ended by itself, ``"length"``: cut at the limit, ``"empty"``: nothing to translate.
    """

    text: str
    score: float
    reason: str


EMPTY = [Output("", 0.0, "empty")]


class Translator:
    """The using side: what ``pellucid.load`` returns for a translation model.

    Args:
        model: with its weights.
        tokenizers: of source and target.
        config: of the run that made it.
        precision: ``"float32"`` or ``"bfloat16"``, of the weights while translating.
    """

    def __init__(self, model: EncoderDecoder, tokenizers: Tokenizers, config: RunConfig, precision: str = "float32") -> None:
        self.model = model if precision == "float32" else model.to(torch.bfloat16)
        self.source_tokenizer, self.target_tokenizer = tokenizers
        self.config = config

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the source, and of the target too where the vocabulary is joint."""
        return self.source_tokenizer

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.model.weight("source").device

    def translate(
        self,
        texts: str | Sequence[str],
        *,
        beams: int | None = None,
        length_penalty: Penalty | None = None,
        alpha: float | None = None,
    ) -> list[str]:
        """Translate texts; what is not given is as the recipe says. An empty text gives an empty translation."""
        texts = [texts] if isinstance(texts, str) else texts
        outputs = self.translate_lines(texts, beams=beams, length_penalty=length_penalty, alpha=alpha)
        return [output[0].text for output in outputs]

    def translate_lines(
        self,
        lines: Iterable[str],
        *,
        beams: int | None = None,
        length_penalty: Penalty | None = None,
        alpha: float | None = None,
        n_best: int = 1,
        window: int = WINDOW,
        batch_items: int = 256,
        stopped: Stopped = lambda: False,
    ) -> Iterator[list[Output]]:
        """Translate a stream of any length in constant memory: for each line, in order, its ``n_best`` translations.

        Args:
            lines: texts; one without any token gives one empty translation.
            beams, length_penalty, alpha: ``None``: as the recipe says.
            n_best: translations a line, at most ``beams``.
            window: lines that are read, sorted by length and translated together.
            batch_items: most lines in a batch.
            stopped: asked before each batch; the rest then becomes empty.
        """
        usual = self.config.decoding
        config = replace(
            usual,
            beams=usual.beams if beams is None else beams,
            length_penalty=length_penalty or usual.length_penalty,
            alpha=usual.alpha if alpha is None else alpha,
        )

        def work(items: list[list[int]]) -> list[list[Output]]:
            if stopped():
                return [EMPTY] * len(items)
            found = self._search(items, config, n_best)
            return [[self._output(hypothesis) for hypothesis in hypotheses] for hypotheses in found]

        return in_batches(
            (self._encode(number, line) for number, line in enumerate(lines, start=1)),
            work,
            length=len,
            empty=EMPTY,
            batch_tokens=max(config.batch_tokens // config.beams, 1),
            batch_items=batch_items,
            window=window,
        )

    def _encode(self, number: int, line: str) -> list[int]:
        """Source tokens with the end token; nothing for a line of white space. A line that is too long is cut, and named."""
        if not line.strip():
            return []
        ids = self.source_tokenizer.encode(line)
        longest = self.config.model.max_length - 1
        if len(ids) > longest:
            say(f"warning: line {number} has {len(ids)} tokens, only the first {longest} are translated (model.max_length)")
        return [*ids[:longest], self.source_tokenizer.end]

    def _search(self, items: list[list[int]], config: DecodingConfig, n_best: int) -> list[list[Hypothesis]]:
        target = self.target_tokenizer
        source, mask = pad(items, self.source_tokenizer.pad)
        limits = (mask.sum(1) + config.max_extra).clamp(max=self.config.model.max_length)
        try:
            return search(
                self.model.eval(),
                source.to(self.device),
                mask.to(self.device),
                config,
                start=target.start,
                end=target.end,
                limits=limits,
                n_best=n_best,
                forbidden=(target.pad, target.start, target.unknown),
            )
        except NothingToChooseError as error:  # it knows the sentence's place in the batch, the user its text
            text = self.source_tokenizer.decode(items[error.sentence])
            raise ModelError(error.what, where=repr(text), found=error.found, advice=error.advice) from error

    def _output(self, hypothesis: Hypothesis) -> Output:
        # A model of bytes can write a line feed; N lines in must stay N lines out.
        text = self.target_tokenizer.decode(hypothesis.ids).replace("\n", " ")
        return Output(text, hypothesis.score, hypothesis.reason)

    @torch.inference_mode()
    def logits(self, ids: Tensor, *, mask: Tensor | None = None, target_ids: Tensor) -> Tensor:
        """Logits (B, T, V) after each position of ``target_ids`` (B, T), given source ``ids`` (B, S) and their ``mask``.

        Sources end with the end token, targets begin with the start token.
        """
        return self.model.eval()(ids, target_ids, source_mask=mask)

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
        written = [*best.ids, self.target_tokenizer.end] if best.reason == "end" else list(best.ids)
        maps: list[Tensor] = []

        def tap(name: str, tensor: Tensor) -> Tensor:
            if name.endswith("cross_attn.weights"):
                maps.append(tensor[0])
            return tensor

        with torch.inference_mode():
            ids = torch.tensor([source], device=self.device)
            target = torch.tensor([[self.target_tokenizer.start, *written[:-1]]], device=self.device)
            self.model.eval()(ids, target, tap=tap)
        return self.source_tokenizer.tokens(source), self.target_tokenizer.tokens(written), torch.stack(maps).float()

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

    def evaluate(self, pairs: Sequence[tuple[str, ...]], *, beams: int | None = None) -> Evaluation:
        """Translate the first sides and score them against the second."""
        sources, references = zip(*pairs, strict=True)
        began = time.perf_counter()
        outputs = []
        with Progress(len(pairs), "sentences", "translating") as bar:
            for output in self.translate_lines(sources, beams=beams):
                outputs.append(output[0].text)
                bar.update(1)
        seconds = time.perf_counter() - began
        loss = mean_loss(self.model.eval(), from_texts(pairs, (self.source_tokenizer, self.target_tokenizer)))
        return Evaluation(outputs, score(outputs, list(references), self.config), loss, len(pairs) / seconds)


@dataclass(frozen=True)
class Evaluation:
    """What :meth:`Translator.evaluate` found.

    Args:
        outputs: the translations, in the order of the pairs.
        scores: BLEU and chrF with their signatures.
        loss: per target token of the references, end tokens included, in nats.
        sentences_per_second: of the search.
    """

    outputs: list[str]
    scores: dict[str, Score]
    loss: float
    sentences_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """Everything but the texts, for JSON: ``bleu.score``, ``bleu.signature``, ``chrf``, ``loss``, ``perplexity``, speed."""
        return {
            **{name: asdict(score) for name, score in self.scores.items()},
            "loss": self.loss,
            "perplexity": self.perplexity,
            "sentences": len(self.outputs),
            "sentences_per_second": self.sentences_per_second,
        }

    @property
    def perplexity(self) -> float:
        """``e^loss``; infinite where it would overflow."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


def score(outputs: Sequence[str], references: Sequence[str], config: RunConfig) -> dict[str, Score]:
    """BLEU and chrF; case is ignored where the model folds it (the signatures say so)."""
    folded = config.text.lowercase
    return {"bleu": bleu(outputs, references, lowercase=folded), "chrf": chrf(outputs, references, lowercase=folded)}
