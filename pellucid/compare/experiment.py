"""What an experiment is, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pellucid.compare.rule import Rule

Effort = Literal["smallest", "quick", "full"]  # seconds, to see that it runs; minutes; at most an hour
Place = float | str  # on the horizontal axis: a number, or a name


@dataclass(frozen=True)
class Series:
    """One line of a plot and one column of a table.

    Args:
        name: of what was measured.
        points: for each place on the horizontal axis one number a seed.
    """

    name: str
    points: Mapping[Place, Sequence[float]]


@dataclass(frozen=True)
class Panel:
    """One plot, and the table of the same numbers.

    Args:
        title: what is shown.
        x, y: what the axes are, with units.
        series: the lines.
        log_x, log_y: whether an axis is logarithmic. Places with names are drawn as bars.
    """

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    log_x: bool = False
    log_y: bool = False

    def places(self) -> list[Place]:
        """All places on the horizontal axis, in the order in which they first come."""
        return list(dict.fromkeys(place for series in self.series for place in series.points))


@dataclass(frozen=True)
class Figures:
    """What a run has found.

    Args:
        setup: what was done, a sentence each; what is matched between the sides and what is not is among them.
        panels: the numbers.
        judged: what the rule reads, by name, one number a seed.
        remarks: what a reader should know of these figures.
    """

    setup: tuple[str, ...]
    panels: tuple[Panel, ...]
    judged: Mapping[str, Sequence[float]]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Experiment:
    """A claim and how it is tested.

    Args:
        name: as in ``pellucid compare NAME``.
        claim: what is said of networks, a sentence or two.
        rule: of the verdict.
        run: makes the figures, given the effort and the first seed.
        clocked: whether figures are times, which differ from run to run; all else follows from the seed.
        reading: what the verdict does not say, a sentence each.
    """

    name: str
    claim: str
    rule: Rule
    run: Callable[[Effort, int], Figures]
    clocked: bool = False
    reading: tuple[str, ...] = field(default=())
