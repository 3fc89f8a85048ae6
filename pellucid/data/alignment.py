"""Where two files that should be aligned slip apart: help for finding a lost line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pellucid.data.lines import lines_of

_MOST_LINES = 10_000_000  # longer files are not looked through: the lengths of all their lines would fill the memory


def likely_slip(first: tuple[Path, int], second: tuple[Path, int]) -> int | None:
    """The line from which on the shorter file seems to lag behind, counted from 1; None when the files are too long.

    Translations have similar lengths. Up to a line the sides are compared as they stand, after it shifted by as many lines as
    one file has more; the line is chosen for which the lengths agree best. With several lost lines it is a compromise of them.

    Args:
        first, second: a file and how many lines it has, not the same number.
    """
    (shorter, _), (longer, most) = sorted((first, second), key=lambda file: file[1])
    if most > _MOST_LINES:
        return None
    long, short = _log_lengths(longer), _log_lengths(shorter)
    shift = len(long) - len(short)
    usual = long.mean() - short.mean() if len(short) else 0.0  # one language takes more letters than the other
    before = np.abs(long[: len(short)] - short - usual)
    after = np.abs(long[shift:] - short - usual)
    # With the slip after k lines, k = 0 ... len(short): the first k lines compared as they stand, the others shifted.
    costs = np.concatenate(([0.0], np.cumsum(before))) + np.concatenate((np.cumsum(after[::-1])[::-1], [0.0]))
    return int(np.argmin(costs)) + 1


def _log_lengths(path: Path) -> npt.NDArray[np.float64]:
    return np.log(np.fromiter((len(line.raw) + 1 for line in lines_of(path)), dtype=np.float64))
