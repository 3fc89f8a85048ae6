"""Every tap computed anew, in float64 NumPy, and compared: the answer to "is this number what its formula says?"."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from pellucid.base.config import ModelConfig
from pellucid.base.errors import UsageError
from pellucid.base.recipe import from_dict
from pellucid.explain.formulas import formula_of
from pellucid.explain.numbers import MissingTapError, Numbers, Place
from pellucid.explain.trace import Array

if TYPE_CHECKING:
    from pellucid.explain.trace import Trace


@dataclass(frozen=True)
class Checked:
    """What became of one tap.

    Args:
        name: of the tap.
        difference: the largest, divided by the largest number of the tap; 0 where nothing was compared.
        left_out: why it was not compared, else empty.
    """

    name: str
    difference: float = 0.0
    left_out: str = ""


@dataclass(frozen=True)
class Report:
    """What a check found, tap by tap, in the order of the trace."""

    rows: tuple[Checked, ...]

    @property
    def compared(self) -> tuple[Checked, ...]:
        """Those that could be computed."""
        return tuple(row for row in self.rows if not row.left_out)

    @property
    def worst(self) -> Checked:
        """The one with the largest difference."""
        return max(self.compared, key=lambda row: row.difference, default=Checked("", left_out="nothing to compare"))

    def __str__(self) -> str:
        left_out = [row for row in self.rows if row.left_out]
        lines = [f"{len(self.compared)} taps computed anew in float64: largest difference {self.worst.difference:.1e}"]
        lines[0] += f" of the tap's largest number, at {self.worst.name}" if self.compared else ""
        lines += [f"  not compared: {row.name}: {row.left_out}" for row in left_out]
        return "\n".join(lines)


def check(trace: Trace) -> Report:
    """Compute each tap of a trace from those before it and the weights of its model.

    Raises:
        UsageError: the trace came from a file, without a model.
    """
    if trace.model is None:
        advice = "check it where it is made, before it is saved"
        raise UsageError("a trace from a file has no weights to compute from", where=trace.text, advice=advice)
    numbers = numbers_of(trace)
    return Report(tuple(_checked(name, trace, numbers) for name in trace.taps if not name.startswith("decode.")))


def numbers_of(trace: Trace) -> Numbers:
    """What the formulas read of a trace and its model."""
    from pellucid.model.lora import plain_weights

    weights = plain_weights(trace.model)

    @cache
    def weight(name: str) -> Array | None:
        return weights[name].detach().double().cpu().numpy() if name in weights else None

    config = from_dict(ModelConfig, dict(trace.about), "trace")
    taps = {name: tap.array for name, tap in trace.taps.items()}
    return Numbers(taps, weight, trace.model.roles, trace.inputs, config)


def _checked(name: str, trace: Trace, numbers: Numbers) -> Checked:
    if name in trace.edited:
        return Checked(name, left_out="it was edited")
    try:
        expected = formula_of(name)(numbers, Place.of(name))
    except MissingTapError as error:
        return Checked(name, left_out=f"it is made of {error}, which is not there")
    return Checked(name, difference(trace.taps[name].array, expected))


def difference(found: Array, expected: Array) -> float:
    """The largest difference, relative to the largest finite number of ``found``; infinity or NaN must stand at the same
    places, and shapes and truth values must be equal, else it is infinite."""
    if found.shape != expected.shape:
        return float("inf")
    finite = np.isfinite(found)
    if found.dtype == bool or not np.array_equal(found[~finite], expected[~finite], equal_nan=True):
        return 0.0 if np.array_equal(found, expected) else float("inf")
    if not np.isfinite(expected[finite]).all():
        return float("inf")
    largest = np.abs(found[finite]).max(initial=0.0)
    return float(np.abs(found[finite] - expected[finite]).max(initial=0.0) / (largest or 1.0))
