"""What happens to quality as heads are removed, one by one: ``python -m benchmarks.studies.pruning``.

Every head alone, then more and more of them, in several orders. Orders come from the dev split, BLEU from the test split.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import pellucid
from benchmarks.studies import pictures, pruning_page, report, runs
from benchmarks.studies.heads import Head, greedy_order, heads, kind, loss_without, normed_by_layer, sensitivity, without
from benchmarks.studies.pruning_page import ASKED, KINDS, MAX_EXTRA, ORDERS, RANDOM_ORDERS, STEP
from pellucid.base.progress import say
from pellucid.data.corpus import pairs
from pellucid.tasks.evaluation import score
from pellucid.tasks.pairs import PairBatch, from_texts

Texts = list[tuple[str, str]]


@dataclass
class Subject:
    """A translator with what it is asked.

    Args:
        translator: changed and restored.
        test: pairs of texts.
        dev: the pairs that orders come from, in batches.
        single: the same, a pair each.
    """

    translator: Any
    test: Texts
    dev: list[PairBatch]
    single: list[PairBatch]

    @property
    def model(self) -> Any:
        return self.translator.model

    def bleu(self, removed: Sequence[Head]) -> float:
        """BLEU of greedy search on test without some heads."""
        with without(self.model, removed):
            found = [best.text for [best] in self.translator.translate_lines((source for source, _ in self.test), beams=1)]
        return score(found, [target for _, target in self.test], self.translator.config)["bleu"].score


def subject(translator: Any) -> Subject:
    """A translator with the pairs of its direction."""
    config = translator.config
    translator.config = replace(config, decoding=replace(config.decoding, max_extra=MAX_EXTRA))

    def texts(split: str) -> Texts:
        some = [(pair.french, pair.english) for pair in pairs(split)]
        return some if config.data.source == "fr" else [(english, french) for french, english in some]

    dev, sides = texts("dev")[:ASKED], (translator.source_tokenizer, translator.target_tokenizer)
    single = list(from_texts(dev, sides, config.model.max_length, rows=1))
    return Subject(translator, texts("test"), list(from_texts(dev, sides, config.model.max_length)), single)


def study(one: Subject, name: str) -> dict[str, Any]:
    """All figures of a run."""
    every = heads(one.model)
    whole, base = one.bleu([]), loss_without(one.model, [], one.dev)
    say(f"{name}: BLEU {whole:.2f} whole; each of {len(every)} heads alone")
    alone = {head: loss_without(one.model, [head], one.dev) - base for head in every}
    bleu_alone = {head: one.bleu([head]) for head in every}
    gradient = sensitivity(one.model, one.single)
    normed = normed_by_layer(gradient)
    say(f"{name}: the greedy order")
    greedy = [head for head, _ in greedy_order(one.model, one.dev)]
    by_alone = sorted(every, key=lambda head: alone[head])
    orders = {"greedy": greedy, "each alone": by_alone, "gradient": sorted(every, key=gradient.__getitem__)}
    orders["gradient, normed"] = sorted(every, key=normed.__getitem__)
    orders["most important first"] = by_alone[::-1]
    for number in range(RANDOM_ORDERS):
        orders[f"random {number + 1}"] = random.Random(number).sample(every, len(every))
    counts = list(range(0, len(every) + 1, STEP))
    curves = {}
    for order, some in orders.items():
        say(f"{name}: removed in the order {order!r}")
        curves[order] = [one.bleu(some[:count]) for count in counts]
    by_kind = {}
    for sort in KINDS:
        own = [head for head in by_alone if kind(head) == sort]
        removed = list(range(0, len(own) + 1, 2))
        by_kind[sort] = {"removed": removed, "bleu": [one.bleu(own[:count]) for count in removed]}
    best_of_each: dict[str, Head] = {}
    for head in by_alone:
        best_of_each[head.attention] = head  # the last one that stays is the most important
    kept = set(best_of_each.values())
    return {
        "sentences": len(one.test),
        "bleu": whole,
        "loss": base,
        "alone: loss": {str(head): more for head, more in alone.items()},
        "alone: bleu": {str(head): value for head, value in bleu_alone.items()},
        "gradient": {str(head): value for head, value in gradient.items()},
        "orders": {order: list(map(str, some)) for order, some in orders.items()},
        "removed": counts,
        "curves": curves,
        "by kind": by_kind,
        "one head in each attention": one.bleu([head for head in every if head not in kept]),
        "no head but one random in each": one.bleu(_all_but_random(every)),
        "rank correlation of gradient and loss": rank_correlation(*([some[h] for h in every] for some in (gradient, alone))),
        "rank correlation of gradient, normed, and loss": rank_correlation(
            *([some[h] for h in every] for some in (normed, alone))
        ),
    }


def _all_but_random(every: Sequence[Head]) -> list[Head]:
    chooser = random.Random(0)
    names = sorted({head.attention for head in every})
    kept = {chooser.choice([head for head in every if head.attention == name]) for name in names}
    return [head for head in every if head not in kept]


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's, of numbers without ties."""
    ranks = [np.argsort(np.argsort(some)) for some in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def main() -> None:
    given = runs.arguments("pruning", __doc__, "demo", (1, 2, 3))
    translators = {run: pellucid.load(run) for run in given.runs}
    titles = runs.titles(translators)
    found = {titles[run]: study(subject(one), titles[run]) for run, one in translators.items()}
    models = {titles[run]: runs.about(one) for run, one in translators.items()}
    pictures_of(given.out, found)
    report.write(given.out, "pruning", pruning_page.values(found), {"models": models, "runs": found})


def pictures_of(out: Path, found: dict[str, dict[str, Any]]) -> None:
    """Each head alone, and the curves."""
    panels, columns = {}, []
    for title, one in found.items():
        losses = one["alone: loss"]
        rows = [
            [1000 * value for head, value in losses.items() if head.startswith(f"{sort} {layer}.")]
            for sort, layer in _rows(one)
        ]
        panels[title], columns = np.array(rows), [str(head) for head in range(len(rows[0]))]
    names = [f"{sort} {layer}" for sort, layer in _rows(next(iter(found.values())))]
    label = "rise of the loss on dev, thousandths of a nat a token"
    high = float(np.quantile(np.concatenate([one.ravel() for one in panels.values()]), 0.95))
    pictures.maps(
        out / "pruning-alone.svg",
        panels,
        names,
        columns,
        label=label,
        high=high,
        form="{:.0f}",
        colours="Reds",
        sides=("", "head"),
    )
    curves = {}
    for title, one in found.items():
        removed = one["removed"]
        some = {order: (removed, one["curves"][order]) for order in ORDERS}
        mean = [statistics.mean(values) for values in zip(*_random(one), strict=True)]
        curves[title] = {**some, f"random, mean of {RANDOM_ORDERS}": (removed, mean)}
    pictures.lines(out / "pruning-curves.svg", curves, across="heads removed", up="BLEU on test", limits=(-3, 103))
    kinds = {
        title: {sort: (one["by kind"][sort]["removed"], one["by kind"][sort]["bleu"]) for sort in KINDS}
        for title, one in found.items()
    }
    pictures.lines(out / "pruning-kinds.svg", kinds, across="heads of this kind removed", up="BLEU on test", limits=(-3, 103))


def _rows(one: dict[str, Any]) -> list[tuple[str, str]]:
    """Kind and layer of each attention, in order."""
    names = [head.rpartition(".")[0].rpartition(" ") for head in one["alone: loss"]]
    return list(dict.fromkeys((sort, layer) for sort, _, layer in names))


def _random(one: dict[str, Any]) -> list[list[float]]:
    return [curve for order, curve in one["curves"].items() if order.startswith("random")]


if __name__ == "__main__":
    main()
