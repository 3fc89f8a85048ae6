"""The reports in docs/experiments and their page, which ``python -m tests.docs.test_experiment_reports --write`` makes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from pellucid.compare.registry import LIST, experiment
from pellucid.compare.spread import shown

EXPERIMENTS = Path(__file__).parents[2] / "docs" / "experiments"
SUMMARY = EXPERIMENTS / "README.md"
REPORTS = sorted(page for page in EXPERIMENTS.glob("*.md") if page != SUMMARY)

ABOVE = """\
# Claims put to the test

What is said of attention, and of the recurrent networks that it replaced, as experiments that anyone can repeat:

```
pellucid compare                                # the list, with the time that each takes
pellucid compare distance --quick --out reports # run one: a page, and the same as Markdown with its picture
```

Each has a rule, with thresholds, that stands in the code before the run (`pellucid/compare/experiments/`) and is printed in its
report. "Not confirmed here" is a result, too: of these sizes, on this processor. Quick runs take minutes each; full ones have
larger networks and more seeds, and take up to an hour.

| experiment | claim | run | verdict |
| --- | --- | --- | --- |
"""
BELOW = "\nMade from the reports by `python -m tests.docs.test_experiment_reports --write`; changes by hand are lost.\n"


def part(report: Path, heading: str) -> str:
    """What stands under a heading."""
    found = re.search(rf"\n## {heading}\n\n(.*?)\n(?=\n## |\Z)", report.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found.group(1)


def summary() -> str:
    """The page as the reports want it, in the order of the list."""
    ordered = sorted(REPORTS, key=lambda page: list(LIST).index(page.stem))
    rows = [
        f"| [{page.stem}]({page.name}) | {part(page, 'Claim')} | {'quick' if '--quick' in part(page, 'Again') else 'full'} | "
        f"{part(page, 'Verdict').splitlines()[0].strip('*.').lower()} |"
        for page in ordered
    ]
    return ABOVE + "\n".join(rows) + "\n" + BELOW


def test_the_summary_is_that_of_the_reports() -> None:
    assert REPORTS
    assert SUMMARY.read_text(encoding="utf-8") == summary()


@pytest.mark.parametrize("page", REPORTS, ids=lambda page: page.stem)
def test_a_report_is_of_the_experiment_as_it_is(page: Path) -> None:
    """Claim and thresholds are those in the code, the picture is there, and it says how to repeat the run."""
    found = experiment(page.stem)
    assert part(page, "Claim") == found.claim
    verdict = part(page, "Verdict")
    needed = {True: " (*needed*)", False: ""}
    rules = [f"| {line.measured}{needed[line.needed]} | {line.side} {shown(line.threshold)} |" for line in found.rule.lines]
    assert re.findall(r"(?m)^\| [^|]+ \| at (?:least|most) [^|]+ \|", verdict) == rules
    assert page.with_suffix(".svg").exists()
    assert re.search(rf"`pellucid compare {page.stem}( --quick)?`", part(page, "Again"))
    assert "Measured on: " in part(page, "Again")


if __name__ == "__main__" and sys.argv[1:] == ["--write"]:
    SUMMARY.write_text(summary(), encoding="utf-8")
