"""What an evaluation of a translator finds, and the scores in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pellucid.base.config import RunConfig
from pellucid.text.metrics import Score, bleu, chrf


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
