"""The report of an experiment: the same parts as one HTML file that needs nothing else, and as Markdown with its picture."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from pathlib import Path

from pellucid.compare.drawing import draw, write_svg
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel
from pellucid.compare.rule import HOW, NEEDED, Judged, Verdict
from pellucid.compare.spread import shown, spread


@dataclass(frozen=True)
class Report:
    """All that a report says.

    Args:
        experiment: that was run.
        figures: what it found.
        effort: how much was done.
        seed: the first one.
        machine: what it ran on, in a line.
    """

    experiment: Experiment
    figures: Figures
    effort: Effort
    seed: int
    machine: str

    @property
    def command(self) -> str:
        """What repeats the run."""
        parts = ["pellucid compare", self.experiment.name]
        parts += ["--quick"] if self.effort == "quick" else []
        parts += [f"--seed {self.seed}"] if self.seed else []
        return " ".join(parts)

    def judged(self) -> tuple[Verdict, list[Judged]]:
        """The verdict, and how each line of the rule came out."""
        return self.experiment.rule.judge(self.figures.judged)


@dataclass(frozen=True)
class _Table:
    title: str
    columns: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class _Picture:
    title: str


# A part: (heading, paragraphs) in the order of the page; tables and the picture stand among the paragraphs.
_Part = tuple[str, list["str | list[str] | _Table | _Picture"]]


def write(report: Report, directory: Path) -> list[Path]:
    """Write ``NAME.html``, ``NAME.md`` and ``NAME.svg`` into a directory, which is made if it is not there.

    Raises:
        UsageError: matplotlib is not installed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    html, markdown, picture = (directory / f"{report.experiment.name}.{ending}" for ending in ("html", "md", "svg"))
    write_svg(report.figures.panels, picture)
    html.write_text(as_html(report), encoding="utf-8")
    markdown.write_text(as_markdown(report), encoding="utf-8")
    return [html, markdown, picture]


def _parts(report: Report) -> list[_Part]:
    experiment, figures = report.experiment, report.figures
    verdict, judged = report.judged()
    needed = [NEEDED] if any(line.needed for line in experiment.rule.lines) else []
    timed = ["Times and memory differ from run to run."] if experiment.clocked else []
    return [
        ("Claim", [experiment.claim]),
        ("Verdict", [f"**{verdict[0].upper()}{verdict[1:]}.**", _judged_table(judged), *experiment.reading]),
        ("Rule", ["It stood in the code before the run.", f"{HOW} {' '.join(needed)}".strip()]),
        ("Set-up", [list(figures.setup)]),
        ("Figures", [_Picture(experiment.name), *(_panel_table(panel) for panel in figures.panels), *figures.remarks]),
        ("Again", [f"`{report.command}`", " ".join([f"Measured on: {report.machine}.", *timed])]),
    ]


def _judged_table(judged: list[Judged]) -> _Table:
    words = {True: "holds", False: "fails", None: "open"}
    rows = [
        [
            each.line.measured + (" (*needed*)" if each.line.needed else ""),
            f"{each.line.side} {shown(each.line.threshold)}",
            str(each.found),
            words[each.holds],
        ]
        for each in judged
    ]
    return _Table("", ["measured", "rule", "found", ""], rows)


def _panel_table(panel: Panel) -> _Table:
    rows = []
    for place in panel.places():
        cells = [str(spread(series.points[place])) if place in series.points else "" for series in panel.series]
        rows.append([place if isinstance(place, str) else f"{place:,g}", *cells])
    return _Table(f"{panel.title}: {panel.y}", [panel.x, *(series.name for series in panel.series)], rows)


def as_markdown(report: Report) -> str:
    """The report as Markdown; its picture is the file ``NAME.svg`` beside it."""
    lines = [f"# {report.experiment.name}"]
    for heading, contents in _parts(report):
        lines += ["", f"## {heading}"]
        for content in contents:
            lines += ["", *_markdown(content)]
    return "\n".join(lines) + "\n"


def _markdown(content: str | list[str] | _Table | _Picture) -> list[str]:
    if isinstance(content, list):
        return [f"- {line}" for line in content]
    if isinstance(content, _Picture):
        return [f"![The figures below, drawn]({content.title}.svg)"]
    if isinstance(content, _Table):
        title = [content.title, ""] if content.title else []
        ruler = ["---", *["--:"] * (len(content.columns) - 1)]
        return title + ["| " + " | ".join(row) + " |" for row in [content.columns, ruler, *content.rows]]
    return [content]


_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:50em;margin:2em auto;padding:0 1em;color:#222;background:#fff}"
    "table{border-collapse:collapse;margin:1em 0}caption{text-align:left;font-weight:bold;padding:.3em 0}"
    "th,td{border:1px solid #bbb;padding:.25em .6em;text-align:right}th:first-child,td:first-child{text-align:left}"
    "svg{max-width:100%;height:auto}code{background:#eee;padding:.1em .3em}"
)


def as_html(report: Report) -> str:
    """The report as one page, its picture inside; nothing is fetched."""
    name = escape(report.experiment.name)
    lines = [
        "<!DOCTYPE html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{name}: {escape(report.judged()[0])}</title>',
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>',
        f"<h1>{name}</h1>",
    ]
    for heading, contents in _parts(report):
        lines.append(f"<h2>{escape(heading)}</h2>")
        lines += [_html(content, report) for content in contents]
    return "\n".join([*lines, "</body></html>"]) + "\n"


def _html(content: str | list[str] | _Table | _Picture, report: Report) -> str:
    if isinstance(content, list):
        return "<ul>" + "".join(f"<li>{_inline(line)}</li>" for line in content) + "</ul>"
    if isinstance(content, _Picture):
        svg = draw(report.figures.panels, report.experiment.name)
        return svg.replace("<svg", '<svg role="img" aria-label="The figures below, drawn"', 1)
    if isinstance(content, _Table):
        caption = f"<caption>{_inline(content.title)}</caption>" if content.title else ""
        head = "".join(f'<th scope="col">{_inline(column)}</th>' for column in content.columns)
        body = "".join("<tr>" + "".join(f"<td>{_inline(cell)}</td>" for cell in row) + "</tr>" for row in content.rows)
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<p>{_inline(content)}</p>"


def _inline(text: str) -> str:
    """Text with ``**strong**``, ``*emphasis*`` and code in back quotes, as in the Markdown."""
    import re

    shown = escape(text)
    for mark, tag in ((r"\*\*", "strong"), (r"\*", "em"), ("`", "code")):
        shown = re.sub(rf"{mark}([^*`]+){mark}", rf"<{tag}>\1</{tag}>", shown)
    return shown
