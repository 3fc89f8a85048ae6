"""What the page of the study of pronouns says of its figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.studies import report
from benchmarks.studies.pruning_page import KINDS

LOOKED_AT = ("antecedent", "other noun", "adjective", "itself")
BOOK = ("The teacher taught the student with the book.", "Le professeur a enseigné à l'élève avec le livre.")
BOOK_TURNED = ("The student taught the teacher with the book.", "L'élève a enseigné au professeur avec le livre.")
PAIRS = (
    "the pizza, tasty",
    "the oven, hot inside",
    "the animal, tired",
    "the street, wide",
    "the book, big",
    "the suitcase, small",
)
TOLD_APART = 2.0  # by how much the logits of both sentences must differ before one asks what moves one to the other
PEOPLE = ("teacher", "taught", "student")
Found = dict[str, dict[str, Any]]


def plain(value: Any) -> Any:
    """The same with lists for arrays and rounded numbers, for JSON."""
    if isinstance(value, dict):
        return {key: plain(some) for key, some in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(some) for some in value]
    return round(value, 4) if isinstance(value, float) else value


def right(name: str) -> str:
    """The pronoun of a sentence of the notes."""
    return "elle" if name.split(",")[0] in ("the pizza", "the street", "the suitcase") else "il"


def told_apart(moved: dict[str, Any]) -> bool:
    """Whether the model chooses differently in the two sentences of a pair, so that one can ask where."""
    return bool(abs(moved["in the other"] - moved["il to elle before"]) >= TOLD_APART)


def values(found: Found) -> dict[str, object]:
    """For the names in the page."""
    one = next(iter(found.values()))
    rules = one["rules"]["fresh"].items()
    families = one["steps"]["by pattern"][-1]
    rows = [[name, *(report.percent(some["steps"]["by pattern"][-1][name]) for some in found.values())] for name in families]
    return {
        "steps": len(one["steps"]["step"]),
        **{split: one["sentences"][split] for split in ("teaching", "test", "fresh")},
        "right": _right(found),
        "rules": ", ".join(f"{name} {report.percent(share)} %" for name, share in rules),
        "families": report.table(["right, %", *found], rows),
        "it": _looks(found, "encoder.self_attn"),
        "row": _looks(found, "decoder.cross_attn"),
        "patched": _patched(found),
        "animals": one["two sources"]["animals"],
        "sources": _sources(found),
        "pairs": one["patched animals"]["pairs"],
        "dearest": _dearest(found),
        "book": BOOK[0],
        "turned": BOOK_TURNED[0],
        "taught": one["with the book"]["sentences"],
        "looks": _book(found),
        "verdict": verdict(found),
    }


def _right(found: Found) -> list[str]:
    head = [
        "run",
        "step",
        "teaching: right, %",
        "test: right, %",
        "fresh: right, %",
        "p(right)",
        "p(other)",
        "written right, %",
    ]
    rows = []
    for title, one in found.items():
        steps = one["steps"]
        for at in sorted({0, len(steps["step"]) // 2 - 1, len(steps["step"]) - 1}):
            shares = [report.percent(steps[split][at]["right"]) for split in ("teaching", "test", "fresh")]
            fresh = [f"{steps['fresh'][at][key]:.2f}" for key in ("p(right)", "p(other)")]
            rows.append([title, steps["step"][at], *shares, *fresh, report.percent(steps["written"][at]["right"])])
    return report.table(head, rows)


def difference(one: dict[str, Any], sort: str) -> dict[str, Any]:
    """The head that prefers the noun that is meant most, found on one half of the fresh sentences; its figures on the rest."""
    last = one["steps"]["looks"][-1]
    half, rest = last["half"][sort], last["rest"][sort]
    gap = half[0] - half[1]
    at = np.unravel_index(int(gap.argmax()), gap.shape)
    over = [float(some["rest"][sort][0][at] - some["rest"][sort][1][at]) for some in one["steps"]["looks"]]
    means = [float(some.mean()) for some in rest]
    return {
        "head": f"{at[0]}.{at[1]}",
        "noun": float(rest[0][at]),
        "other": float(rest[1][at]),
        "over steps": over,
        "means": means,
    }


def _looks(found: Found, sort: str) -> list[str]:
    rows = []
    for title, one in found.items():
        best = difference(one, sort)
        shares = [*best["means"], best["noun"], best["other"]]
        cells = [report.percent(share) for share in shares]
        rows.append([title, *cells[:-2], best["head"], *cells[-2:]])
    return report.table(["in %", *LOOKED_AT, "head", "its share on the noun that is meant", "on the other noun"], rows)


def _patched(found: Found) -> list[str]:
    lines, number = [], 0
    for title, one in found.items():
        for name, moved in one["patched"].items():
            if told_apart(moved):
                number += 1
                lines += [
                    f"![{title}: vectors of the sentence with the other adjective, {name}](pronouns-patched-{number}.svg)",
                    "",
                ]
            else:
                apart = abs(moved["in the other"] - moved["il to elle before"])
                lines += [
                    f"{title}, {name}: the model hardly tells the two apart (the logits' difference changes by {apart:.1f}).",
                    "",
                ]
    return lines


def _sources(found: Found) -> list[str]:
    rows = []
    for title, one in found.items():
        shares = one["two sources"]["share of elle"]
        rows.append([title, *(report.percent(shares[key]) for key in ("ff", "fm", "mf", "mm"))])
    head = ["share of *elle*, %", "both feminine", "only the English feminine", "only the French feminine", "both masculine"]
    return report.table(head, rows)


def _dearest(found: Found) -> list[str]:
    rows = []
    for title, one in found.items():
        worst = sorted(one["right lost without the head"].items(), key=lambda item: -item[1])[:4]
        rows.append([title, ", ".join(f"{name} ({100 * lost:.1f})" for name, lost in worst)])
    return report.table(["run", "heads"], rows, text_columns=2)


def book_layer(one: dict[str, Any], number: int) -> int:
    """The layer in which "with" (0) or its noun (1) looks at teacher, verb and pupil most."""
    return int(one["with the book"]["mean"][:, :, number].mean(1).sum(1).argmax())


def _book(found: Found) -> list[str]:
    rows = []
    for title, one in found.items():
        for number, word in enumerate(("with", "book")):
            layer = book_layer(one, number)
            for name, key in (("the sentence", "sentence"), ("turned round", "turned"), ("fresh", "mean")):
                shares = one["with the book"][key][layer, :, number].mean(0)
                rows.append([title, f'"{word}", layer {layer}', name, *map(report.percent, shares)])
    return report.table(["in %", "looks", "in", *PEOPLE], rows, text_columns=3)


def verdict(found: Found) -> list[str]:
    """Sentences that the figures decide."""
    some = list(found.values())
    n_runs = len(some)
    last = [100 * one["steps"]["fresh"][-1]["right"] for one in some]
    rule = 100 * max(some[0]["rules"]["fresh"].values())
    notes, pizza = ([_right_notes(one, count) for one in some] for count in (len(PAIRS), 2))
    gaps = [difference(one, "encoder.self_attn") for one in some]
    prefers = sum(one["noun"] - one["other"] > 0.1 for one in gaps)
    adjective = sum(one["means"][2] > one["means"][0] for one in gaps)
    dearest = [max(KINDS, key=lambda sort: max(one["kinds"][sort])) for one in some]
    return [
        f"- The right pronoun is the more probable one in {report.spread(last)} % of fresh sentences at the last"
        " step; the best rule has"
        f" {rule:.1f} %. Run by run, the model first leads it by 5 points at step {_leads(some, rule)}.",
        f"- Of the six sentences of the notes {report.listed(notes)} come out right; of the two with the pizza"
        f" {report.listed(pizza)}.",
        f"- A head in which *it* prefers the noun that is meant by more than 10 points is there in {prefers} of"
        f" {n_runs} runs. On the mean of"
        f" heads *it* gives more to the adjective than to its noun in {adjective} of {n_runs}.",
        *_decided(some),
        *_gender(found),
        *_follows(some),
        f"- The head whose removal costs most right pronouns is of the kind: {', '.join(dearest)} (run by run).",
    ]


def _right_notes(one: dict[str, Any], count: int) -> str:
    shares = one["steps"]["p(elle)"][-1][:count]
    return str(sum((share > 0.5) == (right(name) == "elle") for name, share in zip(PAIRS, shares, strict=False)))


def _leads(some: Sequence[dict[str, Any]], rule: float) -> str:
    """The first step at which each run is better than a rule by 5 points."""
    steps = [list(zip(one["steps"]["step"], one["steps"]["fresh"], strict=True)) for one in some]
    first = [next((step for step, got in of_run if 100 * got["right"] > rule + 5), "never") for of_run in steps]
    return report.listed(list(map(str, first)))


def _decided(some: Sequence[dict[str, Any]]) -> list[str]:
    pairs = [moved for one in some for moved in one["patched"].values() if told_apart(moved)]
    if not pairs:
        return ["- No pair of the notes is told apart, so that nothing can be said of what decides."]
    of_it = [100 * float(moved["moved"][moved["it"]].max()) for moved in pairs]
    changed = [next(row for row, word in enumerate(moved["words"]) if " / " in word) for moved in pairs]
    of_adjective = [100 * float(moved["moved"][row, -1]) for moved, row in zip(pairs, changed, strict=True)]
    clear = max(of_it) < min(of_adjective)
    said = (
        "The choice is read off the adjective, not off the pronoun."
        if clear
        else "Where it is read off differs from pair to pair."
    )
    return [
        f"- In the {len(pairs)} pairs that a model tells apart, the vector of *it* moves the choice by at most"
        f" {report.spread(of_it, '{:.0f}')} %,"
        " whichever layer it is taken from; that of the adjective after the last layer by"
        f" {report.spread(of_adjective, '{:.0f}')} %. {said}"
    ]


def _gender(found: Found) -> list[str]:
    shares = [one["two sources"]["share of elle"] for one in found.values()]
    english, french = ([100 * (share[key] - share["mm"]) for share in shares] for key in ("fm", "mf"))
    lines = [
        "- The gender: another English animal alone changes the share of *elle* by"
        f" {report.spread(english, '{:.0f}')} points, another French"
        f" one alone by {report.spread(french, '{:.0f}')}."
    ]
    for title, one in found.items():
        moved = one["patched animals"]
        last = sorted(zip(100 * moved["moved"][:, -1], moved["words"], strict=True), reverse=True)[:2]
        said = report.listed([f'"{word}" ({share:.0f} %)' for share, word in last])
        lines.append(
            f"- {title}: after the encoder's last layer that gender is read off {said} most; off *it*"
            f" {100 * moved['moved'][moved['it'], -1]:.0f} %."
        )
    return lines


def _follows(some: Sequence[dict[str, Any]]) -> list[str]:
    """Whether "book" looks at the same person or at the same place when the people change places."""
    count = 0
    for one in some:
        layer = book_layer(one, 1)
        straight, turned = (one["with the book"][key][layer, :, 1].mean(0) for key in ("sentence", "turned"))
        count += bool((straight[2] > straight[0]) == (turned[0] > turned[2]))
    return [
        f'- When teacher and student change places, "book" looks more at whoever stands in the same place as before in {count}'
        f" of {len(some)}"
        " runs, and at the same person in the others. That shows where it looks, not who has the book."
    ]
