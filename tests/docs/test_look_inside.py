"""Everything that the pages on looking inside show, run as it stands there, and every number of Jane's."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from shown import blocks_of, run, served

from pellucid.explain.example import compute
from pellucid.explain.example_file import read

DOCS = Path(__file__).parents[2] / "docs"
PAGE, JANE = DOCS / "how-to" / "look-inside.md", DOCS / "tutorial" / "jane_by_hand.md"
BLOCKS = blocks_of(PAGE)
HOLDS = {
    "all": "encoder.layers.0.self_attn.weights  A = softmax(S')",
    "one": "decoder.layers.1.cross_attn.weights",
    "watch": "taps computed anew in float64",
    "html": "",
    "python": "('head', 'query', 'key')",
    "edit": "head 1 of encoder.layers.0.self_attn set to zero",
    "training": "gradient at encoder.layers.0.self_attn.weights",
    "example": "0.6700  right",
}


@pytest.fixture(scope="module")
def directory(learnt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the run and the files that the page speaks of."""
    directory = tmp_path_factory.mktemp("reader")
    (directory / "runs").mkdir()
    os.symlink(learnt, directory / "runs" / "demo")
    (directory / "mine.yaml").write_text(BLOCKS["mine.yaml"], encoding="utf-8")
    return directory


@pytest.mark.parametrize("name", HOLDS)
def test_what_the_page_shows(name: str, directory: Path) -> None:
    code = BLOCKS[name]
    if code.startswith("import"):
        (directory / f"{name}.py").write_text(code, encoding="utf-8")
        code = f"python {name}.py"
    assert HOLDS[name] in run(code, directory)
    if name == "python":
        assert {"trace.npz", "trace.html", "map.svg"} <= {path.name for path in directory.iterdir()}
    if name == "html":
        assert '"text": "the pizza was hot"' in (directory / "pizza.html").read_text(encoding="utf-8")


def test_the_page_is_served_until_it_is_stopped(directory: Path) -> None:
    assert 'data-text="the pizza was hot"' in served(BLOCKS["look"], directory)


def test_every_block_is_run() -> None:
    assert set(BLOCKS) == {*HOLDS, "look", "mine.yaml"}
    assert PAGE.read_text(encoding="utf-8").count("```") // 2 == len(BLOCKS)
    assert set(blocks_of(JANE)) == {"jane"}


def numbers(cell: str) -> list[float]:
    return [float(number) for number in cell.strip("() ").split(",")]


def test_jane_has_the_numbers_of_the_page() -> None:
    rows = re.findall(r"(?m)^\| `([\w.]+)` \| (\([^|]*\)) \| (\([^|]*\)) \| ([^|]*) \|$", JANE.read_text(encoding="utf-8"))
    assert len(rows) == 12
    example = read(Path("jane"))
    trace, mine = compute(example), {one.tap: one.values for one in example.mine if one.row == "Jane"}
    assert [tap for tap, *_ in rows] == list(mine)
    for tap, right, printed, what in rows:
        array = trace[f"encoder.{tap}"].array
        row = array[0, 0] if array.ndim == 3 else array[0]
        assert numbers(right) == np.round(row, 4).tolist(), tap
        assert numbers(printed) == list(mine[tap]), tap
        assert (what == "right") == bool(np.allclose(row, mine[tap], atol=example.tolerance)), tap


def test_what_the_page_says_of_the_notes_own_numbers() -> None:
    weights = np.exp([2.4625, 0.855, 2.58]) / np.exp([2.4625, 0.855, 2.58]).sum()
    assert np.round(weights, 3).tolist() == [0.430, 0.086, 0.484]
    assert np.round(0.45 * np.array([1.35, 0.8]) + 0.1 * np.array([0.1, 0.9]) + 0.45 * np.array([1.2, 1.2]), 4).tolist() == [
        1.1575,
        0.99,
    ]
    assert np.round(0.8 * np.array([2.35, 0.85]) - 0.1, 4).tolist() == [1.78, 0.58]
    out = compute(read(Path("jane")))["encoder.out"].array
    assert 0.005 < np.ptp(out, axis=0).max() < 0.05
