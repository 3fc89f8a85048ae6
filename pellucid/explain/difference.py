"""What an edit changed: two traces of the same input side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pellucid.base.errors import UsageError
from pellucid.explain.trace import Array

if TYPE_CHECKING:
    from pellucid.explain.trace import Trace

SHOWN = 3  # outputs whose probability changed most, at each position


@dataclass(frozen=True)
class Change:
    """What became of one output's probability at one position.

    Args:
        name: of the output, token or class.
        before, after: its probability in the one trace and in the other.
    """

    name: str
    before: float
    after: float


@dataclass(frozen=True)
class Position:
    """What became of one position, or of the whole, where the model gives one answer.

    Args:
        name: of the token that stands there; empty for the whole.
        kl: the Kullback-Leibler divergence of the new distribution from the old one, in nats: sum of new log(new / old).
        changes: the outputs whose probabilities changed most.
    """

    name: str
    kl: float
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Difference:
    """What changed.

    Args:
        positions: those that can be compared: where both traces had read the same up to there.
        probabilities: new less old at these positions, (positions, outputs), or (outputs,).
        before, after: the outputs.
        edits: of the new trace, in words.
    """

    positions: tuple[Position, ...]
    probabilities: Array
    before: str | None
    after: str | None
    edits: tuple[str, ...]

    @property
    def output_changed(self) -> bool:
        """Whether the output is another one."""
        return self.before != self.after

    def __str__(self) -> str:
        lines = [f"edit: {edit}" for edit in self.edits]
        for number, position in enumerate(self.positions):
            changes = ", ".join(f"{one.name} {one.before:.4f} -> {one.after:.4f}" for one in position.changes)
            lines.append(f"{number:>3} {position.name:<16} KL {position.kl:.4f}  {changes}")
        if self.output_changed:
            lines += [f"output before: {self.before}", f"output after:  {self.after}"]
        elif self.before is not None:
            lines.append(f"output, unchanged: {self.before}")
        return "\n".join(lines)


def difference(old: Trace, new: Trace) -> Difference:
    """What changed from one trace to another one.

    Raises:
        UsageError: they are not of the same input, or one has no probabilities.
    """
    if not all(np.array_equal(old.inputs.get(name, 0), new.inputs.get(name, 0)) for name in ("source", "source_mask")):
        advice = "compare traces of one text"
        raise UsageError("the traces are of different inputs", expected=old.text, found=new.text, advice=advice)
    before, after = (trace["probs"].array.astype(np.float64) for trace in (old, new))
    if before.ndim == 1:
        change = after - before
        return Difference((_position("", before, after, new),), change, old.output, new.output, new.edits)
    common = _common(old, new, min(len(before), len(after)))
    names = new["probs"].labels[0] or tuple(map(str, range(common)))
    positions = tuple(_position(names[at], before[at], after[at], new) for at in range(common))
    return Difference(positions, after[:common] - before[:common], old.output, new.output, new.edits)


def _common(old: Trace, new: Trace, most: int) -> int:
    """Positions at which both models had read the same."""
    if "target" not in new.inputs:
        return most
    same = old.inputs["target"][:most] == new.inputs["target"][:most]
    return most if same.all() else int(np.argmin(same))


def _position(name: str, before: Array, after: Array, trace: Trace) -> Position:
    share = after > 0
    with np.errstate(divide="ignore"):
        kl = float(np.sum(after[share] * (np.log(after[share]) - np.log(before[share]))))
    largest = np.argsort(-np.abs(after - before), kind="stable")[:SHOWN]
    names = trace.vocabulary or tuple(map(str, range(len(after))))
    changes = tuple(Change(names[at], float(before[at]), float(after[at])) for at in largest)
    return Position(name, max(kl, 0.0), changes)
