"""The page of a study, written from its figures, and the figures beside it."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from benchmarks import machine

PAGES = Path(__file__).parent / "pages"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]], *, text_columns: int = 1) -> list[str]:
    """Lines of a Markdown table; the first columns hold text, the others numbers."""
    rules = ["---"] * text_columns + ["--:"] * (len(head) - text_columns)
    return [_row(head), f"|{'|'.join(rules)}|", *map(_row, rows), ""]


def _row(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def percent(share: float) -> str:
    """A share, in hundredths with one decimal."""
    return f"{100 * share:.1f}"


def spread(values: Sequence[float], form: str = "{:.1f}") -> str:
    """The mean, and the smallest and largest of several."""
    if len(values) == 1:
        return form.format(values[0])
    return f"{form.format(statistics.mean(values))} ({form.format(min(values))} to {form.format(max(values))})"


def code(token: object) -> str:
    """A token in a table: a pipe would end the cell, and a space would not be seen."""
    text = str(token).replace("|", "\\|").replace("\n", "\\n")
    return f"`{text}`"


def listed(words: Sequence[str]) -> str:
    """one; one and two; one, two and three."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def write(out: Path, name: str, values: Mapping[str, object], figures: dict[str, Any]) -> None:
    """``NAME.md``, the page of that name in pages/ with values for its $names, and the figures as ``NAME.json``."""
    about = machine.describe()
    about.pop("load before")
    record = {**figures, "machine": about, "versions": machine.versions(("torch", "pellucid"))}
    text = json.dumps(record, indent=1, ensure_ascii=False)
    # A list of numbers is one line.
    text = re.sub(r"\[\s+([^\[\]{}]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    (out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    (out / f"{name}.md").write_text(page(name, values, record), encoding="utf-8")
    print(out / f"{name}.md")


def page(name: str, values: Mapping[str, object], record: Mapping[str, Any]) -> str:
    """The page of that name, filled; it ends with what the figures were computed on."""
    template = Template((PAGES / f"{name}.md").read_text(encoding="utf-8"))
    text = template.substitute({key: "\n".join(value) if isinstance(value, list) else value for key, value in values.items()})
    end = (
        f"The figures of every table and picture are in [{name}.json]({name}.json). The command above wrote this page, on"
        f" {record['machine']['processor']}, torch {record['versions']['torch']}; another processor rounds differently in"
        " training, and its models differ."
    )
    return f"{text.rstrip()}\n\n{end}\n"
