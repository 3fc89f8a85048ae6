"""Every experiment in its smallest form, through to the report; and the list of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pellucid.base.errors import UsageError
from pellucid.compare import experiments
from pellucid.compare.registry import LIST, experiment
from pellucid.compare.report import Report, as_html, as_markdown


@pytest.mark.parametrize("name", LIST)
def test_the_smallest_run_ends_in_a_report(name: str) -> None:
    found = experiment(name)
    assert found.name == name
    figures = found.run("smallest", 1)
    assert set(figures.judged) >= {line.measured for line in found.rule.lines}
    assert all(len(numbers) > 0 for numbers in figures.judged.values())
    assert any("atched: " in sentence for sentence in figures.setup)
    report = Report(found, figures, "smallest", 1, "a processor")
    assert report.judged()[0] in ("confirmed", "not confirmed here", "undecided")
    assert found.claim in as_markdown(report)
    assert as_html(report).count("<svg") == 1
    if not found.clocked:
        assert found.run("smallest", 1) == figures
        if any(len(numbers) > 1 for numbers in figures.judged.values()):  # else nothing is drawn at random
            assert found.run("smallest", 2) != figures


def test_the_list_has_every_experiment() -> None:
    files = {path.stem for path in Path(experiments.__path__[0]).glob("*.py")} - {"__init__"}
    assert set(LIST) == files


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean gradients"):
        experiment("gradient")
