"""The tutorial runs from top to bottom, its own assertions included, and checks every section of the paper that it names."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
import torch

ROOT = Path(__file__).parents[2]
TUTORIAL = ROOT / "docs" / "tutorial" / "from_the_paper_to_the_code.py"
SECTIONS = ["1", "2", "3", "3.1", "3.2.1", "3.2.2", "3.2.3", "3.3", "3.4", "3.5", "4", "5.1", "5.3", "5.4", "6.1", "6.2"]


class Cell(NamedTuple):
    """One cell of the notebook."""

    line: int  # of its first line, from 1
    markdown: bool
    text: str


def cells() -> list[Cell]:
    """The cells of the percent format: a line ``# %%`` begins one."""
    lines = TUTORIAL.read_text(encoding="utf-8").split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith("# %%")]
    assert starts[0] == 0, "text before the first cell"
    return [
        Cell(start + 2, lines[start] == "# %% [markdown]", "\n".join(lines[start + 1 : end]))
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)
    ]


def run(cell: Cell, namespace: dict[str, Any]) -> None:
    """Execute a code cell; line numbers in a traceback are those of the file."""
    code = compile("\n" * (cell.line - 1) + cell.text, str(TUTORIAL), "exec", dont_inherit=True)
    exec(code, namespace)


@pytest.fixture
def torch_as_it_was() -> Iterator[None]:
    threads = torch.get_num_threads()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("torch_as_it_was")
def test_runs_cell_by_cell_without_network_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_network(*arguments: object) -> NoReturn:
        raise AssertionError("the tutorial wants the network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells():
        if not cell.markdown:
            run(cell, namespace)
    assert "badge -> egdab" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_every_section_is_named_and_checked() -> None:
    """Between the heading of a section and the next one stands at least one assertion."""
    checked: dict[str, bool] = {}
    current: list[str] = []
    for cell in cells():
        for heading in re.findall(r"(?m)^# ## (.*)$", cell.text) if cell.markdown else []:
            title, _, _ = heading.partition(". ")  # "Section 3.1" or "Sections 1 and 2"
            current = re.findall(r"[\d.]+", title) if title.startswith("Section") else []
            checked |= dict.fromkeys(current, False)
        if not cell.markdown and re.search(r"(?m)^ *assert ", cell.text):
            checked |= dict.fromkeys(current, True)
    assert list(checked) == SECTIONS
    assert all(checked.values()), checked


def test_files_it_names_exist_and_every_box_of_figure_1_is_among_them() -> None:
    named = set(re.findall(r"`((?:pellucid|docs)/[\w./-]+)`", TUTORIAL.read_text(encoding="utf-8")))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    boxes = {path.name for path in (ROOT / "pellucid" / "model").glob("*.py")} - {"__init__.py"}
    assert boxes == {Path(name).name for name in named if name.startswith("pellucid/model/") and name.endswith(".py")}
