"""A vector of the sinusoidal positions, element by element, from the table that models use."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from pellucid.explain.example_file import Example
from pellucid.explain.terminal import as_text
from pellucid.model.positions import SinusoidalPositions

BASE = 10_000


def walk(example: Example) -> Iterator[str]:
    """Each element with its formula, what the learner got, and what holds of all positions together."""
    asked = example.walk
    assert asked is not None
    positions = SinusoidalPositions(asked.positions, asked.d_model).double()
    positions.initialise()
    table = positions.table
    vector, own = table[asked.position].tolist(), _own(example, asked.position)
    yield f"P_{asked.position}: what is added at position {asked.position}; positions begin at 0; d_model {asked.d_model}"
    right = 0
    for element, value in enumerate(vector):
        wave, pair = ("cos", "sin")[element % 2 == 0], element // 2
        divisor = BASE ** (2 * pair / asked.d_model)
        angle = f"{asked.position} / {BASE}^({2 * pair}/{asked.d_model})"
        text = f"  element {element}: {wave}({angle}) = {wave}({asked.position} / {divisor:.4f})"
        text += f" = {wave}({asked.position / divisor:.4f}) = {value:.4f}"
        if own:
            good = abs(own[element] - value) <= example.tolerance
            right += good
            text += f"   yours: {as_text(own[element])} {'right' if good else 'off'}"
        yield text
    if own:
        yield f"yours: {right} right, {len(own) - right} off (more than {example.tolerance:g} away)"
    yield ""
    yield f"all {asked.positions} positions"
    for position, row in enumerate(table.tolist()):
        yield f"  P_{position:<3} " + " ".join(f"{value:8.4f}" for value in row)
    apart = torch.pdist(table).min().item() if asked.positions > 1 else float("nan")
    yield f"no two are alike: the nearest two are {apart:.4f} apart"
    yield f"no number is beyond 1: the largest is {table.abs().max().item():.4f}"


def _own(example: Example, position: int) -> tuple[float, ...]:
    """What the learner got for the vector, where it is as long as that."""
    from pellucid.base.errors import UsageError

    for mine in example.mine:
        if mine.tap == f"P_{position}":
            assert example.walk is not None
            if len(mine.values) != example.walk.d_model:
                found, expected = len(mine.values), example.walk.d_model
                raise UsageError("another number of numbers", where=mine.place, found=found, expected=expected)
            return mine.values
    return ()
