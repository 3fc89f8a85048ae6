"""The tutorials run from top to bottom, their own assertions included, and check every section or algorithm of their papers."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
import torch

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs" / "tutorial").glob("*.py"))
PAPER = ROOT / "docs" / "tutorial" / "from_the_paper_to_the_code.py"
ALGORITHMS = ROOT / "docs" / "tutorial" / "formal_algorithms.py"
SECTIONS = ["1", "2", "3", "3.1", "3.2.1", "3.2.2", "3.2.3", "3.3", "3.4", "3.5", "4", "5.1", "5.3", "5.4", "6.1", "6.2"]


class Cell(NamedTuple):
    """One cell of a notebook."""

    line: int  # of its first line, from 1
    markdown: bool
    text: str


def cells(page: Path, text: str | None = None) -> list[Cell]:
    """The cells of the percent format: a line ``# %%`` begins one."""
    lines = (page.read_text(encoding="utf-8") if text is None else text).split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith("# %%")]
    assert starts[0] == 0, "text before the first cell"
    return [
        Cell(start + 2, lines[start] == "# %% [markdown]", "\n".join(lines[start + 1 : end]))
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True)
    ]


def run(page: Path, cell: Cell, namespace: dict[str, Any]) -> None:
    """Execute a code cell; line numbers in a traceback are those of the file."""
    code = compile("\n" * (cell.line - 1) + cell.text, str(page), "exec", dont_inherit=True)
    exec(code, namespace)


def headings(cell: Cell) -> list[str]:
    """Of second order."""
    return re.findall(r"(?m)^# ## (.*)$", cell.text) if cell.markdown else []


def numbers(heading: str, word: str) -> list[str]:
    """``Section 3.1. Stacks`` or ``Sections 1 and 2. Why``: the numbers."""
    title, _, _ = heading.partition(". ")
    return re.findall(r"[\d.]+", title) if title.startswith(word) else []


def code_by_number(page: Path, word: str) -> dict[str, str]:
    """The code between the heading of each section (or algorithm) and the next one."""
    found: dict[str, str] = {}
    current: list[str] = []
    for cell in cells(page):
        for heading in headings(cell):
            current = numbers(heading, word)
            found |= dict.fromkeys(current, "")
        if not cell.markdown:
            found |= {number: found[number] + cell.text for number in current}
    return found


@pytest.fixture
def torch_as_it_was() -> Iterator[None]:
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    with torch.random.fork_rng():
        yield
    torch.set_num_threads(threads)
    torch.set_grad_enabled(grad)


@pytest.mark.usefixtures("torch_as_it_was")
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_runs_cell_by_cell_without_network_and_leaves_nothing_behind(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_network(*arguments: object) -> NoReturn:
        raise AssertionError("the tutorial wants the network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in cells(page):
        if not cell.markdown:
            run(page, cell, namespace)
    last = {PAPER: "badge -> egdab", ALGORITHMS: "temperature 3.0, seed 3: 9"}[page]
    assert last in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("page", "word", "expected"),
    [(PAPER, "Section", SECTIONS), (ALGORITHMS, "Algorithm", [str(number) for number in range(1, 16)])],
    ids=["sections", "algorithms"],
)
def test_each_is_named_and_checked(page: Path, word: str, expected: list[str]) -> None:
    """Between the heading of a section and the next one stands at least one assertion."""
    found = code_by_number(page, word)
    assert list(found) == expected
    assert [number for number, code in found.items() if not re.search(r"(?m)^ *assert ", code)] == []


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_files_it_names_exist(page: Path) -> None:
    named = re.findall(r"`((?:pellucid|docs)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    assert len(named) >= 10
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_box_of_figure_1_is_named() -> None:
    named = set(re.findall(r"`pellucid/model/(\w+\.py)`", PAPER.read_text(encoding="utf-8")))
    assert named == {path.name for path in (ROOT / "pellucid" / "model").glob("*.py")} - {"__init__.py"}


def test_what_the_table_of_algorithms_names_is_defined_there_and_used_in_its_place() -> None:
    used = code_by_number(ALGORITHMS, "Algorithm")
    rows = re.findall(r"(?m)^# \| (\d+) \| [^|]+ \| (.*) \|$", ALGORITHMS.read_text(encoding="utf-8"))
    assert [number for number, _ in rows] == list(used)
    for number, ours in rows:
        for names, file in re.findall(r"((?:`\w+`(?:, )?)+) in `([\w/.]+)`", ours):
            source = (ROOT / file).read_text(encoding="utf-8")
            for name in re.findall(r"\w+", names):
                assert re.search(rf"(?m)^(?:def|class) {name}\b", source), f"{name} in {file}"
                assert re.search(rf"(?m)^(?!from ).*\b{name}\b", used[number]), f"{name} in algorithm {number}"


@pytest.mark.usefixtures("torch_as_it_was")
@pytest.mark.parametrize(
    ("number", "right", "wrong"),
    [
        ("2", "for i in range(1, 8 // 2 + 1)", "for i in range(8 // 2)"),
        ("4", "t_z <= t_x", "t_z < t_x"),
        ("5", "torch.cat(heads)", "torch.cat(heads[::-1])"),
        ("6", "eps=1e-30", "eps=1e-10"),
        ("11", "P[x[t + 1], t]) for t in range(len(x) - 1))", "P[x[t], t]) for t in range(len(x) - 1))"),
    ],
)
def test_a_slip_in_an_algorithm_is_found_in_its_place(number: str, right: str, wrong: str) -> None:
    text = ALGORITHMS.read_text(encoding="utf-8")
    assert right in text
    visited: list[str] = []
    with pytest.raises(AssertionError):
        run_all(cells(ALGORITHMS, text.replace(right, wrong)), visited)
    assert visited[-1].startswith(f"Algorithm {number}. ")


def run_all(some: list[Cell], visited: list[str]) -> None:
    """Execute the code cells; the headings that were reached are added to ``visited``."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for cell in some:
        visited += headings(cell)
        if not cell.markdown:
            run(ALGORITHMS, cell, namespace)
