"""Minimum Bayes risk: of several outputs the one that agrees best with all the others, not the most probable one.

The most probable output of a model is often a poor one; most of what a model draws is not. What is drawn often, in nearly the
same words, is where the model puts its probability (Eikema & Aziz 2020; Freitag et al. 2022).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from pellucid.base.errors import UsageError

Utility = Callable[[str, str], float]  # how good the first text is if the second is right; larger is better
UtilityName = Literal["chrf", "bleu"]


def least_risk(candidates: Sequence[str], utility: UtilityName | Utility = "chrf") -> int:
    """The place of the candidate with the highest mean utility against the others; of equally good ones the first.

    Args:
        candidates: outputs for one source, drawn (at temperature 1 they stand for the model's distribution) or the n best.
        utility: see :func:`mean_utilities`.

    Raises:
        UsageError: there are no candidates, or no utility of that name.
    """
    if not candidates:
        raise UsageError("there is nothing to choose from", expected="at least one candidate", found="none")
    means = mean_utilities(candidates, utility)
    return means.index(max(means))


def mean_utilities(candidates: Sequence[str], utility: UtilityName | Utility = "chrf") -> list[float]:
    """Each candidate's mean utility, with every other candidate in turn as the reference; 0 for one that stands alone.

    Equal candidates count as often as they come, also for each other, but each two different texts are compared only once in
    each direction: N (N - 1) comparisons for N different texts. **A utility need not be symmetrical**: in chrF recall weighs
    twice. The candidate is always the hypothesis and the other one the reference.

    Args:
        candidates: outputs for one source.
        utility: ``chrf``: chrF2 of the two sentences (Popović 2015); ``bleu``: their BLEU up to 4-grams, or up to the longest
            that the hypothesis has; both from sacreBLEU, 0 to 100. Or a function of hypothesis and reference.

    Raises:
        UsageError: no utility of that name.
    """
    measure = named(utility) if isinstance(utility, str) else utility
    counts = Counter(candidates)
    n_others = max(len(candidates) - 1, 1)
    means = {}
    for text, count in counts.items():
        others = {**counts, text: count - 1}
        means[text] = sum(n * measure(text, other) for other, n in others.items() if n) / n_others
    return [means[text] for text in candidates]


def named(utility: UtilityName) -> Utility:
    """The utility of that name.

    Raises:
        UsageError: there is none.
    """
    # sacreBLEU takes its time to import, and only who compares needs it
    if utility == "chrf":
        from sacrebleu.metrics.chrf import CHRF

        chrf = CHRF()
        return lambda hypothesis, reference: chrf.sentence_score(hypothesis, [reference]).score
    if utility == "bleu":
        from sacrebleu.metrics.bleu import BLEU

        bleu = BLEU(effective_order=True)  # a sentence of three words is as right as it can be without 4-grams
        return lambda hypothesis, reference: min(bleu.sentence_score(hypothesis, [reference]).score, 100.0)
    raise UsageError("no such utility", expected="chrf, bleu", found=utility)
