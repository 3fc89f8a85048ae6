"""A training step opened: what was to be said, the loss of each token, the gradient at every tap, and what Adam does.

Dropout is off, so that every number can be computed again. Loss, optimizer and schedule are those that training uses.

Shapes: T predicted tokens, V vocabulary or classes, D width of the model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.config import OptimizerConfig
from pellucid.base.errors import UsageError
from pellucid.explain.forward import Inputs, described, run
from pellucid.explain.recording import as_array
from pellucid.explain.subject import AnyModel, Subject
from pellucid.explain.trace import Array, Tapped, Trace
from pellucid.training.checkpoints import restore_moments
from pellucid.training.schedule import learning_rate
from pellucid.training.step import gradient_norm, make_optimizer

EXACT = (torch.float32, torch.float64)


@dataclass(frozen=True)
class Updated:
    """What Adam did to one row of a matrix.

    Args:
        matrix: its name; ``row``: its number, and ``name`` what it stands for.
        before, after: the row.
        gradient: after clipping.
        mean, square: Adam's running means of the gradient and of its square, after this step.
        update: what was added: ``-rate * mean_hat / (sqrt(square_hat) + epsilon)``, and weight decay where there is any.
    """

    matrix: str
    row: int
    name: str
    before: Array
    after: Array
    gradient: Array
    mean: Array
    square: Array

    @property
    def update(self) -> Array:
        """What was added."""
        return self.after - self.before


@dataclass(frozen=True)
class TrainingStep:
    """One step, on one example.

    Args:
        trace: the forward, every tap.
        gradients: of the mean loss, at every tap that it depends on.
        fed, wanted: what the model read, and what it was to say next: the target, shifted by one.
        losses: of each token, in nats, against the smoothed target, (T,).
        probabilities: that the model gave to what was wanted, (T,).
        smoothing: share of the probability that is spread over all outputs.
        number: of the step, from 1; it decides the learning rate.
        rate: the learning rate.
        norm: of the whole gradient, before clipping.
        clip: the largest norm that is let through; 0: any.
        weights: for each parameter the norm of its gradient and of its update.
        updated: the embedding's row that is shown.
        warm: whether Adam's means came from a checkpoint, and did not begin at zero.
    """

    trace: Trace
    gradients: dict[str, Tapped]
    fed: tuple[str, ...]
    wanted: tuple[str, ...]
    losses: Array
    probabilities: Array
    smoothing: float
    number: int
    rate: float
    norm: float
    clip: float
    weights: Mapping[str, tuple[float, float]]
    updated: Updated
    warm: bool = False

    @property
    def loss(self) -> float:
        """The mean over the tokens."""
        return float(self.losses.mean())

    @property
    def smoothed(self) -> tuple[float, float]:
        """The smoothed target: what the wanted output gets, and each other one."""
        size = self.trace["logits"].shape[-1]
        return 1.0 - self.smoothing + self.smoothing / size, self.smoothing / size


@dataclass
class _Kept:
    """A tap that keeps the tensors themselves, so that their gradients can be read."""

    tensors: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, name: str, tensor: Tensor) -> Tensor:
        if tensor.requires_grad and name != "probs":
            tensor = tensor.clone()  # a tap may show one tensor under two names; each has its own gradient
            tensor.retain_grad()
        self.tensors[name] = tensor
        return tensor


@dataclass(frozen=True)
class Target:
    """What a model is to learn from one example.

    Args:
        inputs: one row.
        wanted: (T,) tokens, the last of its positions; or (1,) class.
    """

    inputs: Inputs
    wanted: Tensor


def target_of(subject: Subject, label: int | None = None) -> Target:
    """The target of a subject whose output is given, or of a class.

    Raises:
        UsageError: neither is.
    """
    writing = subject.writing
    if writing is not None and writing.given:
        fed = torch.tensor([[*writing.prompt, *writing.given[:-1]]])
        return Target(Inputs(subject.source, fed, subject.source_mask), torch.tensor(writing.given))
    if writing is None and label is not None and subject.config.head.pool != "none":
        return Target(Inputs(subject.source, source_mask=subject.source_mask), torch.tensor([label]))
    raise UsageError("a training step needs what is to be said", expected="an output, or the class of a classifier")


def losses_of(
    model: AnyModel, target: Target, smoothing: float, tap: Callable[[str, Tensor], Tensor] | None
) -> tuple[Tensor, Tensor]:
    """The loss of each token (T,) and its logits (T, V)."""
    logits = run(model, target.inputs, tap)[0]  # (positions, V) or (V,)
    logits = logits[None] if logits.ndim == 1 else logits[-len(target.wanted) :]
    if logits.dtype not in EXACT:
        logits = logits.float()
    wanted = target.wanted.to(logits.device)
    return F.cross_entropy(logits, wanted, label_smoothing=smoothing, reduction="none"), logits


def training_step(
    subject: Subject,
    optimizer: OptimizerConfig,
    *,
    smoothing: float,
    steps: int,
    number: int = 1,
    moments: Mapping[str, Tensor] | None = None,
    label: int | None = None,
) -> TrainingStep:
    """Open a step on one example. The subject's own model stays as it is: a copy is trained.

    Args:
        subject: with the output given, or a classifier.
        optimizer: of the run.
        smoothing: of the target.
        steps: of the whole run; its schedule may depend on it.
        number: of the step, from 1.
        moments: Adam's, from a checkpoint; ``None``: they begin at zero.
        label: the class, of a classifier.
    """
    model: Any = copy.deepcopy(subject.model).eval().requires_grad_(True)
    target, kept = target_of(subject, label), _Kept()
    losses, logits = losses_of(model, target, smoothing, kept)
    losses.mean().backward()  # type: ignore[no-untyped-call]
    trace, gradients = _as_trace(subject, target, kept)
    rate = learning_rate(number, optimizer, d_model=subject.config.d_model, steps=steps)
    adam = make_optimizer(model, optimizer)
    if moments is not None:
        restore_moments(model, adam, dict(moments))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    norm = gradient_norm(model.parameters(), optimizer.clip)
    for group in adam.param_groups:
        group["lr"] = rate
    adam.step()
    names = _names(subject, target)
    shares = logits.detach().softmax(-1).gather(1, target.wanted.to(logits.device)[:, None])[:, 0]
    return TrainingStep(
        trace,
        gradients,
        *names,
        losses.detach().double().cpu().numpy(),
        shares.double().cpu().numpy(),
        smoothing,
        number,
        rate,
        norm,
        optimizer.clip,
        {name: _norms(weight, before[name]) for name, weight in model.named_parameters() if weight.grad is not None},
        _updated(subject, model, before, adam, target),
        moments is not None,
    )


def _as_trace(subject: Subject, target: Target, kept: _Kept) -> tuple[Trace, dict[str, Tapped]]:
    """What was kept as arrays: the taps, and their gradients."""
    fed = target.inputs.target
    names = {"source": subject.source_names} if subject.source is not None else {}
    names |= {"target": tuple(subject.name(fed[0].tolist()))} if fed is not None else {}
    trace = Trace(subject.text, {}, target.inputs.arrays(), names, subject.vocabulary)
    arrays = {name: as_array(tensor) for name, tensor in kept.tensors.items()}
    trace.taps = {name: described(name, array, subject.config, trace) for name, array in arrays.items()}
    seen = [(name, tensor) for name, tensor in kept.tensors.items() if tensor.retains_grad]
    found = {name: as_array(tensor.grad) for name, tensor in seen if tensor.grad is not None}
    return trace, {name: described(name, array, subject.config, trace) for name, array in found.items()}


def _names(subject: Subject, target: Target) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What was fed at the predicted positions, and what was wanted there, as they are read."""
    wanted, fed = target.wanted.tolist(), target.inputs.target
    if fed is None:
        return subject.source_names, tuple(subject.vocabulary[one] for one in wanted)
    return tuple(subject.name(fed[0, -len(wanted) :].tolist())), tuple(subject.name(wanted))


def _norms(weight: nn.Parameter, before: Tensor) -> tuple[float, float]:
    assert weight.grad is not None
    return float(weight.grad.norm()), float((weight.detach() - before).norm())


def _updated(
    subject: Subject, model: nn.Module, before: Mapping[str, Tensor], adam: torch.optim.Adam, target: Target
) -> Updated:
    """The row of the output matrix of what was wanted first; where matrices are tied, of the embedding too."""
    matrix, row = f"weights.{subject.model.roles['output']}", int(target.wanted[0])
    weight = dict(model.named_parameters())[matrix]
    assert weight.grad is not None
    state = adam.state[weight]
    name = subject.vocabulary[row] if row < len(subject.vocabulary) else str(row)
    rows = (before[matrix], weight.detach(), weight.grad, state["exp_avg"], state["exp_avg_sq"])
    old, new, gradient, mean, square = (tensor[row].double().cpu().numpy() for tensor in rows)
    return Updated(matrix, row, name, old, new, gradient, mean, square)


def lines(step: TrainingStep, look: Any) -> Iterator[str]:
    """The whole step, line by line: see :func:`pellucid.explain.terminal.lines`."""
    from pellucid.explain.terminal import as_text, matches, numbers_of, padded

    right, other = step.smoothed
    warm = "its means from the last checkpoint" if step.warm else "its means beginning at zero"
    yield f"training step {step.number}: dropout off, Adam with {warm}"
    yield f"text: {step.trace.text}"
    others = step.trace["logits"].shape[-1] - 1
    yield f"smoothed target: {right:.4f} for what is wanted, {other:.3g} for each of the other {others:,}"
    yield ""
    yield f"  {padded('fed', 16)} {padded('wanted', 16)} {'probability':>11} {'loss':>9}"
    pooled = len(step.fed) != len(step.wanted)
    for at, wanted in enumerate(step.wanted):
        fed = "(the whole)" if pooled else step.fed[at]
        yield f"  {padded(fed, 16)} {padded(wanted, 16)} {step.probabilities[at]:11.4f} {step.losses[at]:9.4f}"
    yield f"mean loss {step.loss:.4f} nats a token"
    yield ""
    yield "gradient of the mean loss at every tap"
    yield f"  {'tap':<48} {'root mean square':>16} {'largest':>10}"
    shown = [tap for tap in step.gradients.values() if look.step is None or matches(tap.name, look.step)]
    for tap in shown:
        size = float(np.sqrt(np.square(tap.array.astype(np.float64)).mean()))
        yield f"  {tap.name:<48} {size:16.3e} {np.abs(tap.array).max():10.3e}"
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
    yield from _row_lines(step, look, as_text)


def _row_lines(step: TrainingStep, look: Any, as_text: Callable[[float], str]) -> Iterator[str]:
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
