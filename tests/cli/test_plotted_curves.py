"""``pellucid plot A B``: what is drawn, read from the picture's own axes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pellucid.base import plots
from pellucid.cli.plot import names_of

Run = Callable[..., int]

TRANSLATION = [
    {"step": 10, "train_loss": 3.0, "seconds": 4.0},
    {"step": 20, "train_loss": 2.0, "seconds": 6.0},
    {"step": 20, "dev_loss": 2.5, "dev_bleu": 11.0},
    {"step": 30, "train_loss": 1.5, "seconds": 12.0},
    {"step": 25, "dev_loss": 2.25, "dev_bleu": 17.0},
    {"step": 30, "averaged": 2, "dev_loss": 2.0, "dev_bleu": 19.0},
]
CLASSES = [{"step": 5, "train_loss": 0.7, "seconds": 1.0}, {"step": 5, "dev_loss": 0.6, "dev_accuracy": 80.5}]


def write(run: Path, rows: list[dict[str, Any]]) -> Path:
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return run


@pytest.fixture
def panels(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The axes of what is drawn, kept when the picture is closed."""
    kept: list[Any] = []
    pyplot = plots.pyplot_without_screen()
    monkeypatch.setattr(pyplot, "close", lambda figure: kept.extend(figure.axes))
    yield kept
    monkeypatch.undo()
    pyplot.close("all")


def lines_of(axis: Any) -> dict[str, tuple[list[float], list[float]]]:
    """Label to points; stars, which have none, by their marker."""
    return {
        "*" if line.get_marker() == "*" else line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in axis.get_lines()
    }


def test_each_metric_has_a_panel(pellucid: Run, tmp_path: Path, panels: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    runs = write(tmp_path / "runs" / "mt", TRANSLATION), write(tmp_path / "runs" / "sst", CLASSES)
    assert pellucid("plot", *runs, "--out", tmp_path / "both.svg") == 0
    assert [axis.get_title() for axis in panels] == ["Loss", "bleu on the dev split", "accuracy on the dev split"]
    assert lines_of(panels[0]) == {
        "mt: training (smoothed)": ([10, 20, 30], [3.0, 2.0, 1.5]),
        "mt: dev": ([20, 25], [2.5, 2.25]),
        "*": ([30], [2.0]),
        "sst: training (smoothed)": ([5], [0.7]),
        "sst: dev": ([5], [0.6]),
    }
    assert lines_of(panels[1]) == {"mt": ([20, 25], [11.0, 17.0]), "*": ([30], [19.0])}
    assert lines_of(panels[2]) == {"sst": ([5], [80.5])}
    assert {axis.get_xlabel() for axis in panels} == {"step"}
    err = capsys.readouterr().err
    assert "warning: mt has no dev_accuracy: not drawn there" in err
    assert "warning: sst has no dev_bleu: not drawn there" in err
    assert (tmp_path / "both.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_along_seconds(pellucid: Run, tmp_path: Path, panels: list[Any]) -> None:
    """Step 25 lies half way between 6 and 12 seconds."""
    run = write(tmp_path / "run", TRANSLATION)
    assert pellucid("plot", run, "--x", "seconds", "--out", tmp_path / "run.png") == 0
    assert lines_of(panels[0])["run: training (smoothed)"] == ([4.0, 6.0, 12.0], [3.0, 2.0, 1.5])
    assert lines_of(panels[1]) == {"run": ([6.0, 9.0], [11.0, 17.0]), "*": ([12.0], [19.0])}
    assert {axis.get_xlabel() for axis in panels} == {"seconds in steps"}
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")


def test_losses_alone(pellucid: Run, tmp_path: Path, panels: list[Any]) -> None:
    run = write(tmp_path / "run", [{"step": 3, "train_loss": 1.0, "seconds": 1.0}, {"step": 3, "dev_loss": 1.5}])
    assert pellucid("plot", run, "--out", tmp_path / "run.pdf") == 0
    assert [axis.get_title() for axis in panels] == ["Loss"]
    assert (tmp_path / "run.pdf").read_bytes().startswith(b"%PDF")


def test_names_are_as_short_as_they_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def names(*runs: str) -> list[str]:
        return list(names_of([tmp_path / run for run in runs]))

    assert names("runs/a", "runs/b") == ["a", "b"]
    assert names("one/run", "two/run", "other") == ["one/run", "two/run", "other"]
    assert names("one/x/run", "two/x/run") == ["one/x/run", "two/x/run"]
    assert names("runs/a", "runs/../runs/a") == ["a"]
    monkeypatch.chdir(tmp_path)
    assert list(names_of([Path()])) == [tmp_path.name]
