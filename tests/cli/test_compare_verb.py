"""``compare``: the list, refusals in words, and a run through to the files of its report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pellucid.base import plots
from pellucid.compare import registry
from pellucid.compare.experiments import scaling

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]


def test_without_a_name_it_lists_all_with_a_line_and_the_time(pellucid: Run, capsys: Capture) -> None:
    assert pellucid("compare") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(registry.LIST)
    assert all("minute" in line and "--quick" in line for line in lines)


def test_no_experiment_takes_more_than_an_hour() -> None:
    assert [name for name, listed in registry.LIST.items() if not 0 < listed.quick <= listed.full <= 60] == []


def test_an_unknown_name_is_refused(pellucid: Run, capsys: Capture, tmp_path: Path) -> None:
    assert pellucid("compare", "distence", "--quick", "--out", str(tmp_path)) == 2
    assert "did you mean distance?" in capsys.readouterr().err


def test_a_report_needs_a_folder(pellucid: Run, capsys: Capture, tmp_path: Path) -> None:
    assert pellucid("compare", "scaling", "--quick") == 2
    assert "--out" in capsys.readouterr().err
    (tmp_path / "file").write_text("x", encoding="utf-8")
    assert pellucid("compare", "scaling", "--quick", "--out", str(tmp_path / "file")) == 2
    assert "a report needs a folder" in capsys.readouterr().err


def test_without_matplotlib_it_is_refused_before_the_run(
    pellucid: Run, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "have_matplotlib", lambda: False)
    assert pellucid("compare", "scaling", "--quick", "--out", str(tmp_path)) == 2
    assert 'pip install "pellucid[plots]"' in capsys.readouterr().err


@pytest.mark.parametrize("quick", [True, False])
def test_a_run_writes_its_report(
    pellucid: Run, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    monkeypatch.setitem(scaling.SIZES, "quick", scaling.SIZES["smallest"])
    monkeypatch.setitem(scaling.SIZES, "full", scaling.SIZES["smallest"])
    out = tmp_path / "new" / "folder"
    assert pellucid("compare", "scaling", "--out", str(out), "--threads", "1", *(["--quick"] if quick else [])) == 0
    said = capsys.readouterr()
    assert said.out == "scaling: confirmed\n"
    assert ("scaling takes about" in said.err) is not quick
    assert sorted(path.name for path in out.iterdir()) == ["scaling.html", "scaling.md", "scaling.svg"]
    command = "pellucid compare scaling" + (" --quick" if quick else "")
    assert f"`{command}`" in (out / "scaling.md").read_text(encoding="utf-8")
