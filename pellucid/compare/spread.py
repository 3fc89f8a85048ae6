"""How sure a mean over a few seeds is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Student's t for two-sided 95 %, by degrees of freedom; with more than ten the last one serves, which is on the safe side.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)


@dataclass(frozen=True)
class Spread:
    """A mean with its 95 % interval.

    Args:
        mean: of all numbers.
        half: half the width of the interval; 0 where one number is all there is.
        count: of numbers.
    """

    mean: float
    half: float
    count: int

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.half

    def __str__(self) -> str:
        return shown(self.mean) if self.count == 1 else f"{shown(self.mean)} ± {shown(self.half)}"


def spread(numbers: Sequence[float]) -> Spread:
    """Mean and 95 % interval of Student's t of one or more numbers, one a seed.

    Raises:
        ValueError: there is no number.
    """
    count = len(numbers)
    if count == 0:
        raise ValueError("no number to take the mean of")
    mean = math.fsum(numbers) / count
    if count == 1:
        return Spread(mean, 0.0, 1)
    deviation = math.sqrt(math.fsum((number - mean) ** 2 for number in numbers) / (count - 1))
    student = _STUDENT[min(count - 1, len(_STUDENT)) - 1]
    return Spread(mean, student * deviation / math.sqrt(count), count)


def shown(number: float) -> str:
    """Three digits that count, large numbers with commas: ``0.983``, ``12.5``, ``41,200``, ``2.1e-07``."""
    if not math.isfinite(number):
        return str(number)
    if number == 0 or 0.001 <= abs(number) < 1:
        return f"{number:.3f}"
    if abs(number) < 0.001:
        return f"{number:.1e}"
    if abs(number) >= 1e9:
        return f"{number:.2e}"
    digits = max(0, 2 - math.floor(math.log10(abs(number))))
    return f"{round(number, 2 - math.floor(math.log10(abs(number)))):,.{digits}f}"
