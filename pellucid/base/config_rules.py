"""What the dataclasses of the configuration check themselves with."""

from __future__ import annotations

from typing import Any


class ConfigProblems(ValueError):
    """Every mistake found in one dataclass: ``(field name, what is wrong and what would be right)`` pairs.

    The text names every other field that the rule depends on: the reader of recipes leaves out what only follows from a
    field that it could not read.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{name}: {text}" for name, text in problems))


class Rules:
    """Collects broken rules, to be raised together."""

    def __init__(self) -> None:
        self.broken: list[tuple[str, str]] = []

    def require(self, holds: bool, name: str, text: str) -> None:
        if not holds:
            self.broken.append((name, text))

    def between(self, config: Any, low: float, high: float, *names: str) -> None:
        """``low <= value < high`` for each named field."""
        for name in names:
            value = getattr(config, name)
            self.require(low <= value < high, name, f"must be at least {low} and below {high}, is {value}")

    def at_least(self, config: Any, low: float, *names: str) -> None:
        for name in names:
            value = getattr(config, name)
            self.require(value >= low, name, f"must be at least {low}, is {value}")

    def at_most(self, config: Any, high: float, *names: str) -> None:
        for name in names:
            value = getattr(config, name)
            self.require(value <= high, name, f"must be at most {high:,}, is {value:,}")

    def finish(self) -> None:
        if self.broken:
            raise ConfigProblems(self.broken)
