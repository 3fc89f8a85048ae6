"""What the page of the study of alignments says of its figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.studies import report
from benchmarks.studies.roles import ROLES

EXAMPLE = "La voiture bleue est devant la vieille maison."
SIDES = {"encoder.self_attn": "source", "decoder.self_attn": "target"}
LIMIT = 1.1  # how much more often than the commonest distance a head must be right to take a role (Voita et al. 2019)
PREFERS = 2  # how many times as much as by distance alone, and as with equal weights, a head must give to prefer a role
HEADS = ("head", "dev", "test", "next best head on test", "median head on test", "best mean of a layer", "mean of all heads")


def values(figures: dict[str, Any]) -> dict[str, object]:
    """For the names in the page."""
    languages: Sequence[str] = figures["languages"]
    found: dict[str, dict[str, Any]] = figures["alignment error rate"]
    some = list(found.values())
    shifted = [one["test, row that reads the word"] for one in some]
    later = sum(one < other["test"] for one, other in zip(shifted, some, strict=True))
    compared = [
        ["one link for each target word, all chosen by the known alignment", report.percent(some[0]["best possible"])],
        ["the diagonal", report.percent(some[0]["diagonal"])],
        ["the best head of the same model before training", report.percent(figures["untrained"]["test"])],
        ["the best head by the row that *read* the word rather than wrote it", report.spread([100 * one for one in shifted])],
    ]
    rows = [[title, one["head"], *(report.percent(one[key]) for key in HEADS[1:])] for title, one in found.items()]
    stacks = {kind: _roles(figures["roles"][kind], figures["roles untrained"][kind], len(some)) for kind in SIDES}
    return {
        "source": languages[0],
        "target": languages[1],
        "first": next(iter(found)),
        "example": EXAMPLE,
        "limit": LIMIT,
        "prefers": PREFERS,
        "found": _found(found),
        "heads": report.table(["error rate, %", *HEADS], rows, text_columns=2),
        "compared": report.table(["compared with, on test", "error rate, %"], compared),
        "later": f"{later} of {len(some)} runs",
        "rules": [f"- *{role}*: {rule}." for role, rule in ROLES.items()],
        "encoder": stacks["encoder.self_attn"],
        "decoder": stacks["decoder.self_attn"],
        "verdict": verdict(figures),
    }


def _found(found: dict[str, dict[str, Any]]) -> str:
    some = list(found.values())
    layers = {one["head"].split(".")[0] for one in some}
    where = f"in layer {layers.pop()} every time" if len(layers) == 1 else "not in the same layer every time"
    agree = sum(one["head"] == one["best on test"] for one in some)
    alone = all(one["test"] < one["next best head on test"] - 0.05 for one in some)
    names = report.listed([f"{one['head']} ({title})" for title, one in found.items()])
    rates, means = ([100 * one[key] for one in some] for key in ("test", "mean of all heads"))
    return (
        f"The head chosen on dev is {names}, {where}; it is the best on test too in {agree} of {len(some)} runs.\n"
        f"Its error rate on test is {report.spread(rates)} %. "
        + (
            "The next best head is at least 5 points worse in every run."
            if alone
            else "Another head comes within 5 points in some run."
        )
        + f"\nThe mean of all heads has {report.spread(means)} %."
    )


def _roles(found: dict[str, Any], untrained: dict[str, Any], n_runs: int) -> list[str]:
    head = ["role, in %", "best heads", "pairs", "right", "one distance", "untrained", "share", "by distance", "equal weights"]
    rows = [
        [
            role,
            ", ".join(one["heads"]),
            one["pairs"],
            report.spread([100 * right for right in one["right"]]),
            f"{report.percent(one['at the distance'])} ({one['distance']:+d})",
            report.percent(untrained[role]["right"][0]),
            report.spread([100 * share for share in one["share"]]),
            report.spread([100 * share for share in one["by distance"]]),
            report.percent(one["uniform"]),
            f"{one['takes the role']} of {n_runs}",
            f"{one['prefers it']} of {n_runs}",
        ]
        for role, one in found.items()
        if role in ROLES
    ]
    keep = found["distance"]
    counts = ", ".join(map(str, keep["heads at one distance in 90 % of words"]))
    which = "; ".join(report.listed(some) if some else "none" for some in keep["which"])
    plain = f"Heads whose largest weight is at one distance for nine words in ten, run by run: {counts} ({which})."
    return [*report.table([*head, "takes the role", "prefers it"], rows, text_columns=2), plain, ""]


def verdict(figures: dict[str, Any]) -> list[str]:
    """Sentences that the figures decide."""
    found = list(figures["alignment error rate"].values())
    n_runs = len(found)
    nearer = sum(one["test"] < one["diagonal"] for one in found)
    means = sum(one["mean of all heads"] < one["test"] for one in found)
    names = {one["head"] for one in found}
    changes = " Which one it is changes with the seed." if len(names) == n_runs > 1 else ""
    spread_out = "the alignment is spread over the heads." if means == n_runs else "not everywhere is it spread over them."
    lines = [
        "- Heads of cross-attention align words, untaught: the best one is nearer to the known alignment than the"
        f" diagonal in {nearer} of"
        f" {n_runs} runs.{changes}",
        f"- The mean of all heads aligns better than the best single head in {means} of {n_runs} runs: {spread_out}",
    ]
    for stack, name in (("encoder.self_attn", "Encoder"), ("decoder.self_attn", "Decoder")):
        some = {role: one for role, one in figures["roles"][stack].items() if role in ROLES}
        taken, preferred = (_runs_by_role(some, key, n_runs) for key in ("takes the role", "prefers it"))
        lines.append(
            f"- {name}, right more often than a count of words, as Voita et al. ask: {taken}. Preferred beyond"
            f" distance: {preferred}."
        )
    return lines


def _runs_by_role(some: dict[str, Any], key: str, n_runs: int) -> str:
    """In which roles that is so, in every run and in some."""
    always = [role for role, one in some.items() if one[key] == n_runs]
    mixed = [role for role, one in some.items() if 0 < one[key] < n_runs]
    said = [f"in every run {report.listed(always)}"] if always else []
    said += [f"in some runs {report.listed(mixed)}"] if mixed else []
    return "; ".join(said) or f"in no run, for none of the {len(some)} roles"
