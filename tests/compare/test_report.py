"""Reports: every part is there, in both forms, and the same figures make the same files."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Series
from pellucid.compare.report import Report, as_html, as_markdown, write
from pellucid.compare.rule import HOW, NEEDED, Line, Rule

FIGURES = Figures(
    setup=("Two sides.", "Matched: parameters: 7 and 7."),
    panels=(
        Panel(
            "Lines",
            "steps",
            "share",
            (Series("left", {8: [0.25, 0.75], 512: [1.0, 1.0]}), Series("right", {8: [0.5, 0.5]})),
            True,
        ),
        Panel("Bars", "kind", "nats", (Series("loss", {"a < b": [2.0], "c": [3.0]}),)),
    ),
    judged={"gain": [0.5, 0.6, 0.7], "learnt": [1.0]},
    remarks=("A remark with `code`.",),
)


def _run(effort: Effort, seed: int) -> Figures:
    return FIGURES


EXPERIMENT = Experiment(
    "made-up",
    "Left is better than right.",
    Rule((Line("gain", "at least", 0.1), Line("learnt", "at least", 0.9, needed=True))),
    _run,
    clocked=True,
    reading=("What it does not say.",),
)
REPORT = Report(EXPERIMENT, FIGURES, "quick", 3, "a processor, 1 thread")

SAID = [
    "Claim",
    "Left is better than right.",
    "Verdict",
    "Confirmed.",
    "What it does not say.",
    "Rule",
    "Set-up",
    "Two sides.",
    "Matched: parameters: 7 and 7.",
    "Figures",
    "A remark with",
    "Again",
    "pellucid compare made-up --quick --seed 3",
    "a processor, 1 thread",
    "Times and memory differ",
    "at least 0.100",
    "holds",
    "1.00 ± 0.000",
    "0.500 ± 3.18",
]


def test_markdown_has_all_parts() -> None:
    text = as_markdown(REPORT)
    assert [part for part in [*SAID, HOW, NEEDED] if part not in text] == []
    assert "| 512 | 1.00 ± 0.000 |  |" in text  # what was not measured stays empty
    assert "![The figures below, drawn](made-up.svg)" in text


def test_html_has_all_parts_and_fetches_nothing() -> None:
    text = as_html(REPORT)
    seen = re.sub(r"<[^>]+>", "", text).replace("&#x27;", "'")
    assert [part for part in [*SAID, HOW] if part not in seen] == []
    assert re.findall(r"(?:src|href)=\"(?!#)[^\"]*\"|url\((?!#)[^)]*\)|@import", text) == []
    assert text.count("<svg") == 1
    assert "a &lt; b" in text


def test_the_picture_is_well_formed_and_names_its_lines(tmp_path: Path) -> None:
    paths = write(REPORT, tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["made-up.html", "made-up.md", "made-up.svg"]
    words = {each.text for each in ElementTree.parse(paths[2]).iter("{http://www.w3.org/2000/svg}text")}
    assert {"Lines", "left", "right", "steps", "share", "512", "Bars", "a < b"} <= words


def test_the_same_figures_make_the_same_files(tmp_path: Path) -> None:
    first, second = write(REPORT, tmp_path / "first"), write(REPORT, tmp_path / "second")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
