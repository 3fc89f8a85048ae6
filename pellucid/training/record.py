"""What a run leaves to read: ``metrics.jsonl``, ``metrics.csv``, ``samples.txt`` and ``curves.png``."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from pellucid.base.errors import ModelError
from pellucid.base.files import append, write_atomically
from pellucid.base.plots import have_matplotlib, plot_curves
from pellucid.base.progress import say


class Record:
    """The metrics of a run, one row an event; appended to while it trains.

    A run that goes on from step k first drops the rows after k: they belong to steps that are done again.

    Args:
        directory: of the run.
        step: where it stands.
        writes: whether this process is the one that writes the files.

    Raises:
        ModelError: a row of before is damaged.
    """

    def __init__(self, directory: Path, step: int, *, writes: bool = True) -> None:
        self.directory, self.writes = directory, writes
        self.path = directory / "metrics.jsonl"
        self.rows = [row for row in read_rows(self.path) if row["step"] <= step] if writes else []
        if not writes:
            return
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomically(self.path, text.encode())

    def add(self, row: dict[str, Any]) -> None:
        """Append one row, which has a ``step``."""
        if not self.writes:
            return
        self.rows.append(row)
        append(self.path, (json.dumps(row) + "\n").encode())

    def add_samples(self, step: int, samples: list[str]) -> None:
        """Append what the model makes of some examples."""
        if not self.writes:
            return
        text = f"--- step {step}\n" + "".join(f"{line}\n" for line in samples)
        append(self.directory / "samples.txt", text.encode())

    def write_tables(self) -> None:
        """Write ``metrics.csv`` and ``curves.png`` anew."""
        if not self.writes:
            return
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        table = io.StringIO()
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.directory / "metrics.csv", table.getvalue().encode())
        if have_matplotlib():
            plot_curves({self.directory.name: self.rows}, self.directory / "curves.png")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a ``metrics.jsonl``. A last line that was cut off by a crash is left out, with a warning.

    Raises:
        ModelError: another line is damaged.
    """
    if not path.exists():
        return []
    *lines, rest = path.read_bytes().split(b"\n")
    if rest:  # rows end with a line feed
        say(f"warning: {path}:{len(lines) + 1}: the last line was cut off and is left out")
    return [_row(line, f"{path}:{number}") for number, line in enumerate(lines, start=1)]


def _row(line: bytes, place: str) -> dict[str, Any]:
    try:
        row: Any = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict) or type(row.get("step")) is not int:
        raise ModelError(
            "the record of the run is damaged",
            where=place,
            expected="a JSON object with a step",
            found=repr(line[:60].decode("utf-8", "replace")),
            advice="delete the line; the run itself does not need it",
        )
    return row
