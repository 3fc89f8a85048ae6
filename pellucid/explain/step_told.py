"""A training step told: line by line in a terminal, or as a tree for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from pellucid.explain.terminal import as_text, matches, numbers_of, padded
from pellucid.explain.trace import Array
from pellucid.explain.training_step import TrainingStep, Updated


def as_tree(step: TrainingStep) -> dict[str, Any]:
    """All but the trace and the gradients themselves, of which it has the sizes. What is no finite number is ``None``."""
    right, other = step.smoothed
    taps = [{"name": name, **_sizes(tap.array)} for name, tap in step.gradients.items()]
    weights = [{"name": name, "gradient": norms[0], "update": norms[1]} for name, norms in step.weights.items()]
    updated = {
        name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in _fields(step.updated).items()
    }
    tree = {
        "text": step.trace.text,
        "fed": [_fed(step, at) for at in range(len(step.wanted))],
        "wanted": step.wanted,
        "losses": step.losses.tolist(),
        "probabilities": step.probabilities.tolist(),
        "loss": step.loss,
        "smoothing": {"share": step.smoothing, "wanted": right, "other": other, "outputs": step.trace["logits"].shape[-1]},
        "number": step.number,
        "warm": step.warm,
        "rate": step.rate,
        "norm": step.norm,
        "clip": step.clip,
        "optimizer": asdict(step.optimizer),
        "taps": taps,
        "weights": weights,
        "updated": {**updated, "update": step.updated.update.tolist(), "steps": step.updated.steps},
    }
    found: dict[str, Any] = _finite(tree)
    return found


def _fields(updated: Updated) -> dict[str, Any]:
    return dict(vars(updated))


def _sizes(gradient: Array) -> dict[str, float]:
    """Root mean square and largest size."""
    numbers = gradient.astype(np.float64)
    return {"size": float(np.sqrt(np.square(numbers).mean())), "largest": float(np.abs(numbers).max())}


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def _fed(step: TrainingStep, at: int) -> str:
    """What was read at a predicted position; empty where one output is for the whole."""
    return step.fed[at] if len(step.fed) == len(step.wanted) else ""


def lines(step: TrainingStep, look: Any) -> Iterator[str]:
    """The whole step, line by line: see :func:`pellucid.explain.terminal.lines`."""
    right, other = step.smoothed
    warm = "its means from the last checkpoint" if step.warm else "its means beginning at zero"
    yield f"training step {step.number}: dropout off, Adam with {warm}"
    yield f"text: {step.trace.text}"
    others = step.trace["logits"].shape[-1] - 1
    yield f"smoothed target: {right:.4f} for what is wanted, {other:.3g} for each of the other {others:,}"
    yield ""
    yield f"  {padded('fed', 16)} {padded('wanted', 16)} {'probability':>11} {'loss':>9}"
    for at, wanted in enumerate(step.wanted):
        fed = _fed(step, at) or "(the whole)"
        yield f"  {padded(fed, 16)} {padded(wanted, 16)} {step.probabilities[at]:11.4f} {step.losses[at]:9.4f}"
    yield f"mean loss {step.loss:.4f} nats a token"
    yield ""
    yield "gradient of the mean loss at every tap"
    yield f"  {'tap':<48} {'root mean square':>16} {'largest':>10}"
    shown = [tap for tap in step.gradients.values() if look.step is None or matches(tap.name, look.step)]
    for tap in shown:
        sizes = _sizes(tap.array)
        yield f"  {tap.name:<48} {sizes['size']:16.3e} {sizes['largest']:10.3e}"
    if look.step is not None:
        for tap in shown:
            yield ""
            yield f"gradient at {tap.name}"
            yield from numbers_of(tap, step.trace, look)
    yield ""
    clipped = f", scaled down to {step.clip:g}" if step.clip and step.norm > step.clip else ""
    yield f"norm of the whole gradient {step.norm:.4f}{clipped}; learning rate {step.rate:.3e}"
    yield f"  {'parameter':<56} {'gradient':>10} {'update':>10}"
    for name, (gradient, update) in step.weights.items():
        yield f"  {name:<56} {gradient:10.3e} {update:10.3e}"
    yield ""
    yield from _row_lines(step, look)


def _row_lines(step: TrainingStep, look: Any) -> Iterator[str]:
    """The row that was updated, number by number."""
    one = step.updated
    fit = max(1, (look.width - 22) // 10)
    yield f"Adam's update of row {one.row} ({one.name}) of {one.matrix}"
    if fit < len(one.before):
        yield f"  showing {fit} of {len(one.before)} columns"
    rows: Sequence[tuple[str, Array]] = (
        ("before", one.before),
        ("gradient g", one.gradient),
        ("m, mean of g", one.mean),
        ("v, mean of g^2", one.square),
        ("update", one.update),
        ("after", one.after),
    )
    for name, numbers in rows:
        yield f"  {name:<16} " + " ".join(as_text(float(number)).rjust(9) for number in numbers[:fit])
