"""The tap that keeps what it is shown, and passes on what the edits make of it.

Shapes: as in :mod:`pellucid.base.taps`, a batch before the axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np
import torch
from torch import Tensor

from pellucid.base.errors import MemoryLimitError, UsageError
from pellucid.explain.edits import Edit
from pellucid.explain.trace import Array

MAX_BYTES = 2**28


class TraceTooLargeError(MemoryLimitError):
    """The taps that were asked for would take more memory than allowed."""


class Recorder:
    """Called with each tap of a forward of one row, it copies those that are wanted, in evaluation order.

    Args:
        patterns: globs of the names to keep.
        edits: applied to each tensor before it is kept and passed on.
        max_bytes: of all that is kept. What comes after the limit is only counted, so that the error can name the largest.
    """

    def __init__(self, patterns: Sequence[str] = ("*",), edits: Sequence[Edit] = (), max_bytes: int = MAX_BYTES) -> None:
        self.patterns, self.edits, self.max_bytes = tuple(patterns), tuple(edits), max_bytes
        self.arrays: dict[str, Array] = {}
        self.edited: list[tuple[str, Edit]] = []
        self.names: list[str] = []
        self._sizes: dict[str, int] = {}

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        changed = edited(name, tensor, self.edits, self.edited)
        self.names.append(name)
        if any(fnmatchcase(name, pattern) for pattern in self.patterns):
            self._sizes[name] = changed[0].numel() * (1 if changed.dtype == torch.bool else changed.element_size())
            if sum(self._sizes.values()) <= self.max_bytes:
                self.arrays[name] = as_array(changed)
        return changed

    def finish(self) -> dict[str, Array]:
        """What was kept.

        Raises:
            TraceTooLargeError: it was more than allowed.
            UsageError: a glob matched nothing, or an edit named a place that was not reached.
        """
        total = sum(self._sizes.values())
        if total > self.max_bytes:
            largest = sorted(self._sizes.items(), key=lambda item: -item[1])[:3]
            found = ", ".join(f"{name} {size:,} bytes" for name, size in largest)
            raise TraceTooLargeError(
                f"the trace would take {total:,} bytes",
                expected=f"at most {self.max_bytes:,} (max_bytes)",
                found=f"the largest taps are {found}",
                advice='ask for fewer taps, as taps=["*.weights"], for a shorter text, or for a larger max_bytes',
            )
        for pattern in self.patterns:
            if not any(fnmatchcase(name, pattern) for name in self.names):
                raise UsageError("no tap has this name", where="taps", found=pattern, advice="see docs/reference/taps.md")
        for edit in self.edits:
            if not any(done is edit for _, done in self.edited):
                raise UsageError("an edit changed nothing: there is no such place", where="edits", found=edit)
        return self.arrays


def edited(name: str, tensor: Tensor, edits: Sequence[Edit], seen: list[tuple[str, Edit]] | None = None) -> Tensor:
    """What the edits make of a tap; ``seen`` is told which of them had a part in it."""
    for edit in edits:
        if edit.place == name:
            changed = edit(tensor)
            if changed is not tensor and seen is not None:
                seen.append((name, edit))
            tensor = changed
    return tensor


def as_array(tensor: Tensor) -> Array:
    """The one row of a tensor as an array of its own: boolean, float64, or else float32."""
    row = tensor[0].detach()
    if row.dtype not in (torch.bool, torch.float64, torch.int64):
        row = row.float()
    return np.array(row.cpu().numpy())
