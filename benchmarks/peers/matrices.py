"""What the processor can do: floating-point operations a second of bfloat16 products of large square matrices, at best."""

from __future__ import annotations

import json
import time

import torch

SIDES = (1024, 2048, 4096)
TRIES = 5


def best() -> float:
    """The highest rate seen, in operations a second; a product of matrices of side n takes 2 n^3."""
    found = 0.0
    for side in SIDES:
        left, right = (torch.randn(side, side).bfloat16() for _ in range(2))
        for _ in range(TRIES):
            start = time.perf_counter()
            left @ right
            found = max(found, 2 * side**3 / (time.perf_counter() - start))
    return found


if __name__ == "__main__":
    print(json.dumps({"operations a second": best()}))
