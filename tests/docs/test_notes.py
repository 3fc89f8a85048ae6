"""What the page on the notes shows, run as it stands there, one block after the other."""

from __future__ import annotations

import contextlib
import io
import math
import re
from pathlib import Path

import pytest
from shown import blocks_of

from pellucid.cli.main import main
from pellucid.compare.registry import LIST

PAGE = Path(__file__).parents[2] / "docs" / "notes.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = blocks_of(PAGE)
COMMANDS = {
    "jane": r"0\.4223 +0\.1554 +0\.4223",
    "thinking": r"1\.0000 +5\.2023 +1\.0786",
    "positions": r"element 0: sin\(6 / 10000\^\(0/8\)\) = .* = -0\.2794",
}
PYTHON = [name for name in BLOCKS if name not in COMMANDS]


def test_the_blocks_print_what_they_say() -> None:
    """What is printed stands behind the line, or in lines below it."""
    namespace: dict[str, object] = {}
    for name in PYTHON:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(BLOCKS[name], f"notes.md, {name}", "exec", dont_inherit=True), namespace)
        said = re.findall(r"(?m)(?:^|^ *print\(.*\)  )# (.*)$", BLOCKS[name])
        assert said
        assert printed.getvalue().splitlines() == said, name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_commands_show_what_the_page_says(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    program, *arguments = BLOCKS[name].split()
    assert program == "pellucid"
    with pytest.raises(SystemExit) as left:
        main([*arguments, "--plain"])
    assert left.value.code == 0
    assert re.search(COMMANDS[name], capsys.readouterr().out)


def test_numbers_in_the_text() -> None:
    assert "that is 6.28, positions" in TEXT
    assert f"{2 * math.pi:.2f}" == "6.28"
    assert "once in 60,611" in TEXT
    assert "60,611" in BLOCKS["base"]
    assert "710 apart, 113 whole turns" in TEXT
    assert abs(710 / (2 * math.pi) - 113) < 1e-4


def test_every_block_is_run() -> None:
    assert TEXT.count("```") // 2 == len(BLOCKS) == len(PYTHON) + len(COMMANDS)


def test_the_experiments_exist() -> None:
    named = set(re.findall(r"`pellucid compare (\w+)`", TEXT))
    assert named <= set(LIST)
    assert {"speed", "gradients", "scaling", "distance", "order"} <= named


def test_every_claim_has_a_verdict() -> None:
    """In the tables of the five notes; a row without one says where the answer is, or what is meant instead."""
    notes = re.findall(r"(?ms)^## Note \d.*?(?=^## )", TEXT)
    rows = [row for note in notes for row in re.findall(r"(?m)^\|.*\|$", note) if not row.startswith(("|---", "| it says"))]
    without = [row for row in rows if not re.search(r"\*\*(right|slips?|measured|open)\*\*", row)]
    assert len(notes) == 5
    assert len(rows) > 100
    assert [row.split("|")[1].strip() for row in without] == ["d is ??", "Why 10,000? To make it smaller?", "No *recursion*"]
