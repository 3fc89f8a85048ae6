"""What an evaluation of a translator finds, and the scores in it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pellucid.base.config import RunConfig
from pellucid.base.errors import DataError
from pellucid.base.progress import Progress, say
from pellucid.tasks.pairs import PairBatch, from_texts, mean_loss
from pellucid.text.metrics import Score, bleu, chrf, not_plain

if TYPE_CHECKING:
    from pellucid.tasks.translator import Translator


@dataclass(frozen=True)
class Evaluation:
    """What :meth:`pellucid.tasks.translator.Translator.evaluate` found.

    Args:
        outputs: the translations, in the order of the pairs.
        scores: BLEU and chrF with their signatures.
        loss: per target token of the references, end tokens included, in nats; without the pairs that have an empty side.
        cut: translations that the model did not end before their limit.
        sentences_per_second: of the search.
    """

    outputs: list[str]
    scores: dict[str, Score]
    loss: float
    cut: int
    sentences_per_second: float

    def to_dict(self) -> dict[str, Any]:
        """Everything but the texts, for JSON: ``bleu.score``, ``bleu.signature``, ``chrf``, ``loss``, ``perplexity``, speed."""
        return {
            **{name: asdict(score) for name, score in self.scores.items()},
            "loss": self.loss,
            "perplexity": self.perplexity if math.isfinite(self.perplexity) else None,  # JSON knows no infinity
            "sentences": len(self.outputs),
            "cut": self.cut,
            "sentences_per_second": self.sentences_per_second,
        }

    def shown(self) -> list[tuple[str, str]]:
        """Name and value of each score, to be printed."""
        scores = [("BLEU", self.scores["bleu"]), ("chrF", self.scores["chrf"])]
        return [
            *((title, f"{score.score:.2f}   {score.signature}") for title, score in scores),
            ("loss", f"{self.loss:.4f} nats per target token, perplexity {self.perplexity:.3f}"),
            ("speed", f"{self.sentences_per_second:.1f} sentences a second ({len(self.outputs)} sentences)"),
        ]

    @property
    def perplexity(self) -> float:
        """``e^loss``; infinite where it would overflow."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


def score(outputs: Sequence[str], references: Sequence[str], config: RunConfig) -> dict[str, Score]:
    """BLEU and chrF; case is ignored where the model folds it (the signatures say so)."""
    folded = config.text.lowercase
    return {"bleu": bleu(outputs, references, lowercase=folded), "chrf": chrf(outputs, references, lowercase=folded)}


def evaluate(translator: Translator, pairs: Sequence[tuple[str, ...]], *, beams: int | None = None) -> Evaluation:
    """Translate the first sides and score them against the second.

    Raises:
        DataError: no pairs.
    """
    if not pairs:
        raise DataError("there is nothing to score", expected="at least one pair", found="none")
    began = time.perf_counter()
    with Progress(len(pairs), "sentences", "translating") as bar:
        sources = (source for source, _ in pairs)
        found = [best for [best] in translator.translate_lines(sources, beams=beams, done=bar.update)]
    seconds = time.perf_counter() - began
    outputs = [output.text for output in found]
    if warning := not_plain(outputs):
        say(f"warning: {warning}")
    return Evaluation(
        outputs=outputs,
        scores=score(outputs, [reference for _, reference in pairs], translator.config),
        loss=_loss(translator, pairs),
        cut=sum(output.reason == "length" for output in found),
        sentences_per_second=len(pairs) / seconds,
    )


def _loss(translator: Translator, pairs: Sequence[tuple[str, ...]]) -> float:
    """Loss per target token of the pairs; of an empty text the model is never asked, so that it has no part in it."""
    full = [pair for pair in pairs if all(text.strip() for text in pair)]
    tokenizers = (translator.source_tokenizer, translator.target_tokenizer)

    def counted() -> Iterator[PairBatch]:
        with Progress(len(full), "sentences", "computing the loss") as bar:
            for batch in from_texts(full, tokenizers, translator.config.model.max_length):
                yield batch
                bar.update(len(batch.source))

    return mean_loss(translator.model.eval(), counted())
