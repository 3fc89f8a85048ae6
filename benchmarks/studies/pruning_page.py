"""What the page of the study of pruning says of its figures."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.studies import report

RANDOM_ORDERS = 5
STEP = 4  # heads between two points of a curve
ASKED = 128  # pairs of dev from which orders come
MAX_EXTRA = 10  # tokens that a translation may have beyond its source; a model with few heads left does not stop by itself
KINDS = ("encoder self", "decoder self", "cross")
ORDERS = ("greedy", "each alone", "gradient", "gradient, normed", "most important first")
RANDOM = [f"random {number + 1}" for number in range(RANDOM_ORDERS)]
Found = dict[str, dict[str, Any]]


def removable(found: dict[str, Any], order: str, lost: float) -> int:
    """The most heads, along an order and of the points measured, up to which BLEU never fell by more than ``lost``."""
    count = 0
    for removed, bleu in zip(found["removed"], found["curves"][order], strict=True):
        if found["bleu"] - bleu > lost:
            break
        count = removed
    return count


def values(found: Found) -> dict[str, object]:
    """For the names in the page."""
    some = list(found.values())
    last = {title: one["orders"]["greedy"][-12:] for title, one in found.items()}
    survivors = {title: [sum(name.startswith(sort) for name in names) for sort in KINDS] for title, names in last.items()}
    return {
        "heads": len(some[0]["alone: loss"]),
        "sentences": some[0]["sentences"],
        "extra": MAX_EXTRA,
        "asked": ASKED,
        "step": STEP,
        "alone": _alone(found),
        "rises": _rises(found),
        "by_one": _removable(found, 1.0),
        "by_ten": _removable(found, 10.0),
        "kinds": _kinds(found),
        "survivors": report.table(["heads", *KINDS], [[title, *counts] for title, counts in survivors.items()]),
        "verdict": verdict(found),
    }


def _alone(found: Found) -> str:
    some = list(found.values())
    n_heads = len(some[0]["alone: loss"])
    harmless = [sum(one["bleu"] - bleu <= 0.5 for bleu in one["alone: bleu"].values()) for one in some]
    better = [sum(bleu > one["bleu"] for bleu in one["alone: bleu"].values()) for one in some]
    worst = {title: min(one["alone: bleu"].items(), key=lambda item: item[1]) for title, one in found.items()}
    said = "; ".join(f"{title}: {head}, {found[title]['bleu']:.1f} to {bleu:.1f}" for title, (head, bleu) in worst.items())
    return (
        f"Without one head BLEU stays within 0.5 of the whole model's for {report.spread(harmless, '{:.0f}')} of"
        f" {n_heads} heads, and is higher"
        f"\nthan the whole model's for {report.spread(better, '{:.0f}')}. The head that costs most: {said}."
    )


def _rises(found: Found) -> list[str]:
    head = ["mean rise of the loss, nats a token", "BLEU whole", *KINDS, "rank correlation with the gradient", "with it normed"]
    rows = []
    for title, one in found.items():
        losses = one["alone: loss"].items()
        means = [statistics.mean(value for name, value in losses if name.startswith(sort)) for sort in KINDS]
        agree = [one[f"rank correlation of {name} loss"] for name in ("gradient and", "gradient, normed, and")]
        rows.append([title, f"{one['bleu']:.2f}", *(f"{mean:.3f}" for mean in means), *(f"{rank:.2f}" for rank in agree)])
    return report.table(head, rows)


def _removable(found: Found, lost: float) -> list[str]:
    rows = []
    for title, one in found.items():
        counts = [removable(one, order, lost) for order in RANDOM]
        rows.append([title, *(removable(one, order, lost) for order in ORDERS), report.spread(counts, "{:.0f}")])
    return report.table(["run", *ORDERS, "random"], rows)


def _kinds(found: Found) -> list[str]:
    rows = []
    for title, one in found.items():
        left = [one["bleu"], *(one["by kind"][sort]["bleu"][-1] for sort in KINDS)]
        left += [one["one head in each attention"], one["no head but one random in each"]]
        rows.append([title, *(f"{bleu:.1f}" for bleu in left)])
    gone = [f"no {sort} head" for sort in KINDS]
    return report.table(["BLEU", "whole", *gone, "the most important head of each attention", "a random head of each"], rows)


def verdict(found: Found) -> list[str]:
    """Sentences that the figures decide."""
    some = list(found.values())
    n_heads, n_runs = len(some[0]["alone: loss"]), len(some)
    greedy, *gradient = ([removable(one, order, 1.0) for one in some] for order in ("greedy", "gradient", "gradient, normed"))
    chance = [statistics.mean(removable(one, order, 1.0) for order in RANDOM) for one in some]
    single = [one["one head in each attention"] for one in some]
    lost = [{sort: one["bleu"] - one["by kind"][sort]["bleu"][-1] for sort in KINDS} for one in some]
    dearest, cheapest = ([choose(one, key=one.__getitem__) for one in lost] for choose in (max, min))
    enough = sum(one["bleu"] - value <= 10 for one, value in zip(some, single, strict=True))
    return [
        f"- {report.spread(greedy, '{:.0f}')} of {n_heads} heads can go for at most 1 BLEU in a good order,"
        f" {report.spread(chance)} in a random"
        f" one, {report.spread(gradient[0], '{:.0f}')} in that of the gradient,"
        f" {report.spread(gradient[1], '{:.0f}')} when that is normed by layer.",
        f"- One head in each attention, without training anew, is within 10 BLEU of the whole in {enough} of"
        f" {n_runs} runs: BLEU"
        f" {report.spread(single)}.",
        f"- The kind that is missed most when all of it is gone, run by run: {', '.join(dearest)}; least:"
        f" {', '.join(cheapest)}.",
    ]
