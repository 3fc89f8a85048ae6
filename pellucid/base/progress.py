"""Progress of anything that takes long: a bar on a terminal, plain lines elsewhere, nothing with ``--quiet``.

Everything goes to stderr; stdout belongs to the data.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from tqdm import tqdm

BAR_DELAY = 2.0  # seconds of work before anything is shown
LINE_EVERY = 10.0  # seconds between lines when stderr is no terminal

_quiet = False
_bars = 0  # that are up


def set_quiet(quiet: bool) -> None:
    """Show no progress and no messages from now on, in the whole process (``--quiet``). Errors are shown nonetheless."""
    global _quiet
    _quiet = quiet


def say(line: str) -> None:
    """Print a line to stderr, above a bar if one is up; nothing with ``--quiet``."""
    if _quiet:
        return
    with suppress(OSError):  # nobody reads stderr any more: no reason to end a training run
        if not _bars:
            print(line, file=sys.stderr, flush=True)
        else:
            from tqdm import tqdm

            tqdm.write(line, file=sys.stderr)


class Progress:
    """Shows how far a piece of work is, its rate and the time left.

    Args:
        total: units of work in all; None when not known.
        unit: what is counted, in the plural: ``"steps"``.
        label: what is being done, in a word or two.
        start: units done before, when work is taken up again. They do not count for the rate.
    """

    def __init__(self, total: int | None, unit: str, label: str, *, start: int = 0) -> None:
        self.total, self.unit, self.label = total, unit, label
        self.done = self.start = start
        self._started = self._shown = time.monotonic()
        self._values: dict[str, float] = {}
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        global _bars
        if not _quiet and sys.stderr.isatty():
            self._bar = _bar(self)
            _bars += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        global _bars
        if self._bar is not None:
            self._bar.close()
            _bars -= 1
        elif kind is None and time.monotonic() - self._started >= BAR_DELAY:
            say(self.line())

    def update(self, n: int = 1, **values: float) -> None:
        """Count ``n`` more units; ``values`` (loss, rate) are shown beside the count until given anew."""
        self.done += n
        self._values.update(values)
        if self._bar is not None:
            self._bar.set_postfix(self._formatted(), refresh=False)
            self._bar.update(n)
        elif time.monotonic() - self._shown >= LINE_EVERY:
            self._shown = time.monotonic()
            say(self.line())

    def line(self) -> str:
        """The state in words: ``training: 1200 of 5000 steps, 35.2 a second, 1:48 left, loss 2.31``."""
        rate = (self.done - self.start) / max(time.monotonic() - self._started, 1e-9)
        count = f"{self.done}" if self.total is None else f"{self.done} of {self.total}"
        parts = [f"{self.label}: {count} {self.unit}", f"{rate:.3g} a second"]
        if self.total is not None and self.done < self.total and rate > 0:
            parts.append(f"{_duration((self.total - self.done) / rate)} left")
        parts += [f"{name} {value}" for name, value in self._formatted().items()]
        return ", ".join(parts)

    def _formatted(self) -> dict[str, str]:
        return {name: f"{value:.4g}" for name, value in self._values.items()}


def _bar(progress: Progress) -> tqdm[Any]:
    from tqdm import tqdm  # 40 ms that a command without long work need not spend

    return tqdm(
        total=progress.total,
        initial=progress.start,
        desc=progress.label,
        unit=f" {progress.unit}",
        unit_scale=(progress.total or 0) >= 1_000_000,  # 31.0M rather than 31014022
        file=sys.stderr,
        delay=BAR_DELAY,
        dynamic_ncols=True,
        leave=None,  # of nested bars only the outer one stays
    )


def _duration(seconds: float) -> str:
    """``1:48`` or ``2:03:05``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
