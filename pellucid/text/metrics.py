"""Scores of whole corpora, computed by sacreBLEU and always given with its signature, so that they can be compared (Post 2018).

Hypotheses and references are plain text as a reader would see it: detokenised, no subword marks. sacreBLEU cuts both
sides itself; the signature says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pellucid.base.errors import DataError

BleuTokenize = Literal["13a", "intl", "char", "zh", "none"]

_SUBWORD_MARKS = ("@@", "\u2581")  # of subword-nmt, of SentencePiece


@dataclass(frozen=True)
class Score:
    """A score from 0 to 100 and the signature that says how it was computed."""

    score: float
    signature: str


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    lowercase: bool = False,
    tokenize: BleuTokenize = "13a",
) -> Score:
    """BLEU of a corpus with one reference a sentence (Papineni et al. 2002), up to 4-grams, exponential smoothing.

    Args:
        hypotheses: what the model wrote, a sentence each.
        references: what it should be, in the same order.
        lowercase: compare without case.
        tokenize: how sacreBLEU cuts both sides; ``"none"`` for text that is tokenised already.

    Raises:
        DataError: no sentences, or not as many references as hypotheses.
    """
    from sacrebleu.metrics.bleu import BLEU  # takes its time to import, and only scoring needs it

    _check_aligned(hypotheses, references)
    # force: no remarks on the log, where they would cut through a progress bar; `not_plain` makes them to the caller
    metric = BLEU(lowercase=lowercase, tokenize=tokenize, force=True)
    score = metric.corpus_score(hypotheses, [references]).score
    return Score(min(score, 100.0), str(metric.get_signature()))  # exp(log(...)) rounds up to 100.00000000000004


def chrf(hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool = False) -> Score:
    """chrF2 of a corpus with one reference a sentence (Popović 2015): character 6-grams, recall weighs twice.

    Raises:
        DataError: no sentences, or not as many references as hypotheses.
    """
    from sacrebleu.metrics.chrf import CHRF

    _check_aligned(hypotheses, references)
    metric = CHRF(lowercase=lowercase)
    score = metric.corpus_score(hypotheses, [references]).score
    return Score(score, str(metric.get_signature()))


def not_plain(hypotheses: Sequence[str]) -> str | None:
    """A warning when hypotheses hold subword marks or look tokenised, so that scores mislead; None when all is well."""
    for index, hypothesis in enumerate(hypotheses):
        for mark in _SUBWORD_MARKS:
            if mark in hypothesis:
                return f"hypothesis {index + 1} holds the subword mark {mark!r}: join subwords before scoring"
    tokenised = sum(hypothesis.endswith(" .") for hypothesis in hypotheses)
    if 2 * tokenised > len(hypotheses):
        return f"{tokenised} of {len(hypotheses)} hypotheses end in a space and a full stop: detokenise before scoring"
    return None


def _check_aligned(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if not hypotheses:
        raise DataError("there is nothing to score", expected="at least one sentence", found="no hypotheses")
    if len(hypotheses) != len(references):
        raise DataError(
            "hypotheses and references do not pair up",
            expected="a reference for each hypothesis",
            found=f"{len(hypotheses)} hypotheses, {len(references)} references",
            advice="give the reference file of the text that was translated, line by line",
        )
