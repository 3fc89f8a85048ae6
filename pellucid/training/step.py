"""One training step: forward, loss, backward, update."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pellucid.base.config import OptimizerConfig, TrainingConfig
from pellucid.base.errors import DivergedError
from pellucid.model.block import Block
from pellucid.model.decoder import Decoder
from pellucid.model.encoder import Encoder
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.protocol import Task


@dataclass(frozen=True)
class StepResult:
    """What one step did."""

    loss: float  # summed over the tokens, in nats
    tokens: int  # real target tokens
    gradient_norm: float  # before clipping


def set_up_blocks(model: nn.Module, config: TrainingConfig) -> None:
    """Have the blocks computed again on the way back, or compiled, as the run wants it. Before the model is wrapped."""
    for module in model.modules():
        if isinstance(module, Encoder | Decoder):
            module.recompute = config.recompute
        elif isinstance(module, Block) and config.compile:
            module.compile(dynamic=True)


def make_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Adam:
    """Adam with the paper's constants. Weight decay, where asked for, spares norms, biases and embeddings."""
    decayed = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
    return torch.optim.Adam(
        [group for group in groups if group["params"]],
        lr=0.0,  # set anew before each step
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        decoupled_weight_decay=True,
        fused=True,
    )


def arithmetic(precision: str, device: str) -> AbstractContextManager[Any]:
    """The context that a forward runs in: bfloat16 matrix products with float32 weights, or plain float32."""
    if precision == "bfloat16":
        return torch.autocast(device, dtype=torch.bfloat16)
    return nullcontext()


def seed_step(seed: int, step: int, rank: int = 0) -> None:
    """Make the random numbers of a step (dropout) a function of the seed, the step and the rank alone.

    Then there is no state of a random generator to save: a run that goes on draws what the uninterrupted one drew.
    """
    digest = hashlib.sha256((f"{seed}/{step}/{rank}" if rank else f"{seed}/{step}").encode()).digest()
    torch.manual_seed(int.from_bytes(digest[:8], "little", signed=True))


def train_step(
    task: Task,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    examples: Sequence[Any],
    *,
    rate: float,
    clip: float,
    precision: str,
    device: str,
    ranks: Ranks = ALONE,
) -> StepResult:
    """Update the weights once, from one or more batches added up.

    The loss is the sum over all batches divided by the number of all their real target tokens, so that splitting a batch
    changes nothing, be it in time or among ranks.

    Args:
        task: makes tensors and loss.
        model: in training mode; called through its ``forward`` by the task.
        optimizer: holds the weights.
        examples: the numbers of the examples, one array a batch.
        rate: learning rate of this step.
        clip: largest norm of the gradient; 0: no limit.
        precision, device: see :class:`pellucid.base.config.RuntimeConfig`.
        ranks: that take the step together, each its share of ``examples``.

    Raises:
        DivergedError: a loss or gradient is not finite, on any rank. The weights have not been touched.
    """
    mine = ranks.share(examples)
    batches = [task.batch(share.examples).to(device) for share in mine]
    [tokens] = ranks.sum(sum(task.count(batch) for share, batch in zip(mine, batches, strict=True) if share.real))
    total, odd = 0.0, None
    optimizer.zero_grad(set_to_none=True)
    for number, (share, batch) in enumerate(zip(mine, batches, strict=True), start=1):
        with ranks.micro_step(model, last=number == len(mine)):
            with arithmetic(precision, device):
                loss = task.loss(model, batch)
            if not share.real:
                loss = loss * 0.0
            value = loss.item()
            total += value
            if not _finite(value) and odd is None:
                odd = value, share.examples
            (loss / (tokens / ranks.size)).backward()  # type: ignore[no-untyped-call]  # ranks are averaged: times their number
    [total] = ranks.sum(total)
    if not _finite(total):  # as it is on all ranks then
        [(value, numbers), *_] = ranks.joined([] if odd is None else [odd])
        raise _diverged("the loss", value, task, numbers)
    norm = gradient_norm(model.parameters(), clip, ranks)
    if not _finite(norm):
        raise _diverged("the gradient", norm, task, [number for numbers in examples for number in numbers])
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return StepResult(total, int(tokens), norm)


def gradient_norm(parameters: Iterable[nn.Parameter], clip: float, ranks: Ranks = ALONE) -> float:
    """Norm of the whole gradient; where it is above ``clip`` (and that is not 0) the gradient is scaled down to it."""
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    norm = ranks.gathered(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
    if clip:
        nn.utils.clip_grads_with_norm_(parameters, clip, norm)
    return norm.item()


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")


def _diverged(what: str, value: float, task: Task, numbers: Sequence[int]) -> DivergedError:
    shown = task.describe([int(number) for number in numbers[:3]])
    more = f"\n    and {len(numbers) - 3} more" if len(numbers) > 3 else ""
    return DivergedError(
        f"{what} of a batch is {value}; the weights are as they were before it",
        found="the batch holds\n    " + "\n    ".join(shown) + more,
        advice="look at the examples above; lower optimizer.learning_rate, lengthen optimizer.warmup, or set optimizer.clip; "
        "training.skip_bad_steps leaves a few such steps out",
    )
