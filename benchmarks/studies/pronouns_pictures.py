"""Pictures of the study of pronouns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.studies import pictures
from benchmarks.studies.pronouns_page import LOOKED_AT, PAIRS, Found, right, told_apart


def draw(out: Path, found: Found) -> None:
    """All pictures."""
    curves = {
        title: {
            "right pronoun more probable": (one["steps"]["step"], [100 * some["right"] for some in one["steps"]["fresh"]]),
            "right pronoun written": (one["steps"]["step"], [100 * some["right"] for some in one["steps"]["written"]]),
        }
        for title, one in found.items()
    }
    first = next(iter(found.values()))
    levels = {f"rule: {name}": 100 * share for name, share in first["rules"]["fresh"].items()}
    pictures.lines(
        out / "pronouns-right.svg", curves, across="step of training", up="sentences, %", levels=levels, limits=(0, 102)
    )
    notes = {
        title: {
            name: (one["steps"]["step"], [100 * some[number] for some in one["steps"]["p(elle)"]])
            for number, name in enumerate(PAIRS)
        }
        for title, one in found.items()
    }
    styles = {
        name: {"color": f"C{number // 2}", "linestyle": "--" if right(name) == "il" else "-"}
        for number, name in enumerate(PAIRS)
    }
    up = "p(elle) / (p(elle) + p(il)), %"
    pictures.lines(out / "pronouns-notes.svg", notes, across="step of training", up=up, styles=styles, limits=(-2, 102))
    for name, sort in (("it", "encoder.self_attn"), ("row", "decoder.cross_attn")):
        panels: dict[str, Any] = {}
        for title, one in found.items():
            last = one["steps"]["looks"][-1]["rest"][sort]  # (4, L, H)
            panels |= {f"{title}: {what}": 100 * some for what, some in zip(LOOKED_AT, last, strict=True)}
        layers, heads = next(iter(panels.values())).shape
        pictures.maps(
            out / f"pronouns-{name}.svg",
            panels,
            [str(layer) for layer in range(layers)],
            [str(head) for head in range(heads)],
            label="mean share of the weight, %",
            high=100.0,
            across=4,
            sides=("layer", "head"),
        )
    apart: dict[str, Any] = {}
    columns = ["embedded", *(f"layer {layer}" for layer in range(layers))]
    for title, one in found.items():
        for name, moved in one["patched"].items():
            if told_apart(moved):
                apart[f"{title}: {name}"] = (moved["words"], 100 * moved["moved"])
    label = "moved to the other pronoun, %"
    for number, (title, (rows, matrix)) in enumerate(apart.items()):
        file = out / f"pronouns-patched-{number + 1}.svg"
        pictures.maps(file, {title: matrix}, rows, columns, label=label, high=100.0, cell=(0.7, 0.33), sides=("word", ""))
    moved = {title: 100 * one["patched animals"]["moved"] for title, one in found.items()}
    rows = first["patched animals"]["words"]
    file = out / "pronouns-patched-animals.svg"
    pictures.maps(file, moved, rows, columns, label=label, high=100.0, cell=(0.7, 0.33), sides=("word", ""))
