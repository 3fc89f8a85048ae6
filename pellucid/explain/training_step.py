"""A training step opened: what was to be said, the loss of each token, the gradient at every tap, and what Adam does.

Dropout is off, so that every number can be computed again. Loss, optimizer and schedule are those that training uses.

Shapes: T predicted tokens, V vocabulary or classes, D width of the model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
        steps: that the means have seen, this one included.
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
    steps: int

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
        optimizer: how it is set: among others the largest norm that is let through (0: any).
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
    optimizer: OptimizerConfig
    weights: Mapping[str, tuple[float, float]]
    updated: Updated
    warm: bool = False

    @property
    def clip(self) -> float:
        """The largest norm that is let through; 0: any."""
        return self.optimizer.clip

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
        wanted: (T,) tokens or classes, of the last positions or of ``places``; (1,) where there is one for the whole.
        places: positions whose outputs count; empty: the last ones.
    """

    inputs: Inputs
    wanted: Tensor
    places: tuple[int, ...] = ()


def target_of(subject: Subject, wanted: Sequence[int] = ()) -> Target:
    """The target of a subject whose output is given, or for which classes or tokens are ``wanted``.

    Raises:
        UsageError: neither is.
    """
    writing = subject.writing
    if writing is not None and writing.given:
        fed = torch.tensor([[*writing.prompt, *writing.given[:-1]]])
        return Target(Inputs(subject.source, fed, subject.source_mask), torch.tensor(writing.given))
    if writing is None and wanted and len(wanted) == (len(subject.asked) if subject.config.head.pool == "none" else 1):
        return Target(Inputs(subject.source, source_mask=subject.source_mask), torch.tensor(wanted), subject.asked)
    expected = "an output, or a class for each that is asked for"
    raise UsageError("a training step needs what is to be said", expected=expected)


def losses_of(
    model: AnyModel, target: Target, smoothing: float, tap: Callable[[str, Tensor], Tensor] | None
) -> tuple[Tensor, Tensor]:
    """The loss of each token (T,) and its logits (T, V)."""
    logits = run(model, target.inputs, tap)[0]  # (positions, V) or (V,)
    if logits.ndim == 1:
        logits = logits[None]
    else:
        logits = logits[list(target.places)] if target.places else logits[-len(target.wanted) :]
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
    wanted: Sequence[int] = (),
) -> TrainingStep:
    """Open a step on one example. The subject's own model stays as it is: a copy is trained.

    Args:
        subject: with the output given, or an encoder that stands alone.
        optimizer: of the run.
        smoothing: of the target.
        steps: of the whole run; its schedule may depend on it.
        number: of the step, from 1.
        moments: Adam's, from a checkpoint; ``None``: they begin at zero.
        wanted: of such an encoder, the class; or the class or token at each position that is asked for.
    """
    model: Any = copy.deepcopy(subject.model).eval().requires_grad_(True)
    target, kept = target_of(subject, wanted), _Kept()
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
        optimizer,
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
        read = [subject.source_names[place] for place in target.places] or subject.source_names
        return tuple(read), tuple(subject.vocabulary[one] for one in wanted)
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
    return Updated(matrix, row, name, old, new, gradient, mean, square, int(state["step"]))
