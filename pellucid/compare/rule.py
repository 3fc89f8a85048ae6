"""The rule of a verdict. It is part of an experiment's code and so stands before any run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pellucid.compare.spread import Spread, shown, spread

Verdict = Literal["confirmed", "not confirmed here", "undecided"]

HOW = (
    "A line holds when the 95 % interval of Student's t over the seeds (of times: over the rounds) lies wholly on its side of "
    "the threshold, fails when it lies wholly on the other, and is open else (a single number is its own interval). The claim "
    "is confirmed when every line holds, not confirmed here when one fails, else undecided."
)
NEEDED = "A line marked *needed* says whether the run could show anything: unless it holds, the claim is undecided."


@dataclass(frozen=True)
class Line:
    """One line of a rule.

    Args:
        measured: the name of what is judged, as in ``Figures.judged``.
        side: where its interval has to lie.
        threshold: of what.
        needed: whether this is a condition of the run and not part of the claim.
    """

    measured: str
    side: Literal["at least", "at most"]
    threshold: float
    needed: bool = False

    def __str__(self) -> str:
        return f"{self.measured}: {self.side} {shown(self.threshold)}"

    def holds(self, numbers: Sequence[float]) -> bool | None:
        """Whether it does; ``None``: open."""
        found = spread(numbers)
        inside, outside = found.low >= self.threshold, found.high < self.threshold
        if self.side == "at most":
            inside, outside = found.high <= self.threshold, found.low > self.threshold
        return True if inside else False if outside else None


@dataclass(frozen=True)
class Judged:
    """What became of one line."""

    line: Line
    found: Spread
    holds: bool | None


@dataclass(frozen=True)
class Rule:
    """All lines that decide about a claim."""

    lines: tuple[Line, ...]

    def judge(self, numbers: Mapping[str, Sequence[float]]) -> tuple[Verdict, list[Judged]]:
        """The verdict on figures, and how each line came out.

        Args:
            numbers: by the name of what is judged, one a seed.

        Raises:
            KeyError: a line asks for what was not measured.
        """
        judged = [Judged(line, spread(numbers[line.measured]), line.holds(numbers[line.measured])) for line in self.lines]
        if any(each.line.needed and each.holds is not True for each in judged):
            return "undecided", judged
        answers = [each.holds for each in judged if not each.line.needed]
        verdict: Verdict = "not confirmed here" if False in answers else "undecided" if None in answers else "confirmed"
        return verdict, judged
