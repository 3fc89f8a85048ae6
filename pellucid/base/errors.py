"""The errors a user can cause. Each says what was wrong, where, what was expected and found, and what to do next."""

from __future__ import annotations

EXIT_DONE = 0
EXIT_BUG = 1
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class PellucidError(Exception):
    """Base of every error that is shown to the user as a message and not as a traceback.

    Args:
        what: what was wrong, one sentence without a full stop.
        where: file, line or key, as ``"recipe.yaml:12: training.steps"``.
        expected: what would have been right.
        found: what was there instead.
        advice: what to do next, one sentence without a full stop.
    """

    exit_code = EXIT_BUG

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        found: object = None,
        advice: str | None = None,
    ) -> None:
        self.what, self.where, self.expected, self.found, self.advice = what, where, expected, found, advice
        super().__init__(self.message())

    def message(self) -> str:
        """The whole text, one line a part."""
        lines = [self.what if self.where is None else f"{self.where}: {self.what}"]
        if self.expected is not None:
            lines.append(f"  expected: {self.expected}")
        if self.found is not None:
            lines.append(f"  found:    {self.found}")
        if self.advice is not None:
            lines.append(f"  do next:  {self.advice}")
        return "\n".join(lines)


class UsageError(PellucidError):
    """The command line or the configuration is wrong."""

    exit_code = 2


class DataError(PellucidError):
    """A corpus, a prepared store or an input file is wrong."""

    exit_code = 3


class StorageError(PellucidError):
    """A file could not be written: no space, no permission, a read-only disk."""

    exit_code = 3


class ModelError(PellucidError):
    """A model directory or a checkpoint is missing, damaged, unsafe or of another format."""

    exit_code = 4


class DivergedError(PellucidError):
    """Training produced numbers that are not finite."""

    exit_code = 5


class MemoryLimitError(PellucidError):
    """There is not enough memory for what was asked."""

    exit_code = 6
