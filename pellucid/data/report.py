"""What was read of a split and what became of it: every example that is skipped or changed is counted here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Note:
    """How often something happened, and the first place where it did."""

    count: int
    first: str


@dataclass
class Report:
    """Counts of one pass over a split."""

    read: int = 0  # examples in the input
    kept: int = 0  # examples passed on
    notes: dict[str, Note] = field(default_factory=dict)
    unit: str = "pair"  # what an example is called

    def note(self, what: str, place: str) -> None:
        """Counts ``what``, which happened to the example at ``place``."""
        self.notes.setdefault(what, Note(0, place)).count += 1

    def lines(self) -> list[str]:
        """For the log: first the totals, then one line for each kind of event."""
        unit = self.unit if self.read == 1 else f"{self.unit}s"
        total = f"{self.kept:,} {unit}" if self.kept == self.read else f"{self.kept:,} of {self.read:,} {unit} kept"
        return [total, *(f"{note.count:,} x {what} (first: {note.first})" for what, note in self.notes.items())]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Report:
        """What :meth:`to_dict` gave; of a damaged file any of the errors that Python has for values of another kind."""
        notes = {what: Note(int(note["count"]), str(note["first"])) for what, note in values["notes"].items()}
        return cls(int(values["read"]), int(values["kept"]), notes, str(values["unit"]))
