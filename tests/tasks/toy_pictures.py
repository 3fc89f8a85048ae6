"""Archives of the small pictures that a test draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pellucid.base.config import PictureConfig

GREY = PictureConfig(patch=2, height=6, width=8, channels=1)  # 3 rows and 4 columns of squares, 12 in all


def archive(
    path: Path, drawn: Callable[[int, int], tuple[npt.NDArray[np.uint8], Sequence[str] | npt.NDArray[np.str_]]], **counts: int
) -> Path:
    """So many pictures with their texts for each split; ``drawn`` gets their number and that of the split."""
    arrays: dict[str, Any] = {}
    for seed, (split, count) in enumerate(counts.items()):
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = drawn(count, seed)
    np.savez(path, **arrays)
    return path
