"""Heads taken out of a model by their columns of W^O, and how important each one is.

What a head hands over, its z, enters the output only through its columns of W^O: with these at zero the model computes what it
computes with z at zero (`pellucid.explain.edits.ZeroHead`), and as fast as before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pellucid.tasks.pairs import PairBatch, mean_loss


class Head(NamedTuple):
    """A head, by the name of its attention and its number from 0."""

    attention: str
    number: int

    def __str__(self) -> str:
        stack, _, layer, kind = self.attention.split(".")
        return f"{kind_of(stack, kind)} {layer}.{self.number}"


def kind_of(stack: str, kind: str) -> str:
    """What sort of attention it is, in words."""
    return "cross" if kind == "cross_attn" else f"{stack} self"


def kind(head: Head) -> str:
    """Of which sort of attention the head is."""
    stack, _, _, name = head.attention.split(".")
    return kind_of(stack, name)


def heads(model: Any) -> list[Head]:
    """All heads of an encoder-decoder."""
    names = [f"encoder.layers.{layer}.self_attn" for layer in range(len(model.encoder.layers))]
    layers = range(len(model.decoder.layers))
    names += [f"decoder.layers.{layer}.{attention}" for attention in ("self_attn", "cross_attn") for layer in layers]
    return [Head(name, number) for name in names for number in range(model.get_submodule(name).n_heads)]


@contextmanager
def without(model: Any, removed: Sequence[Head]) -> Iterator[None]:
    """The model without some heads; afterwards it has them again."""
    weights = {head.attention: model.get_submodule(head.attention).output.weight for head in removed}  # (D, H * K)
    whole = {name: weight.detach().clone() for name, weight in weights.items()}
    try:
        with torch.no_grad():
            for head in removed:
                width = weights[head.attention].shape[1] // model.get_submodule(head.attention).n_heads
                weights[head.attention][:, head.number * width : (head.number + 1) * width] = 0.0
        yield
    finally:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(whole[name])


def loss_without(model: Any, removed: Sequence[Head], batches: Sequence[PairBatch]) -> float:
    """The loss per target token without some heads, in nats."""
    with without(model, removed):
        return mean_loss(model.eval(), batches)


def sensitivity(model: Any, examples: Sequence[PairBatch]) -> dict[Head, float]:
    """The mean over examples of |dL/dg|, where g = 1 multiplies the head's z (Michel et al. 2019, section 4.1): one backward
    pass for all heads, where taking each one out needs a forward pass for each.

    Args:
        model: in evaluation mode, so that dropout changes nothing.
        examples: of one pair each.
    """
    gates: dict[str, Tensor] = {}
    for head in heads(model.eval()):
        gates.setdefault(head.attention, torch.ones(model.get_submodule(head.attention).n_heads, requires_grad=True))

    def tap(name: str, tensor: Tensor) -> Tensor:
        attention = name.removesuffix(".z")
        return tensor * gates[attention][:, None, None] if attention in gates else tensor  # (B, H, T, K)

    sums = {name: torch.zeros(len(gate)) for name, gate in gates.items()}
    for example in examples:
        logits = model(example.source, example.target_input, source_mask=example.source_mask, tap=tap)
        loss = torch.nn.functional.cross_entropy(logits[example.wanted], example.target_output, reduction="sum")
        for (name, _), grad in zip(gates.items(), torch.autograd.grad(loss, list(gates.values())), strict=True):
            sums[name] += grad.abs()
    return {head: sums[head.attention][head.number].item() / len(examples) for head in heads(model)}


def normed_by_layer(values: Mapping[Head, float]) -> dict[Head, float]:
    """The same, divided by the norm of the values of each attention, as Michel et al. do."""
    norms: dict[str, float] = {}
    for head, value in values.items():
        norms[head.attention] = math.hypot(norms.get(head.attention, 0.0), value)
    return {head: value / norms[head.attention] for head, value in values.items()}


def greedy_order(model: Any, batches: Sequence[PairBatch]) -> Iterator[tuple[Head, float]]:
    """All heads, each time the one without which the loss is lowest, and that loss: 1 + 2 + ... forward passes."""
    removed: list[Head] = []
    left = heads(model)
    while left:
        losses = [loss_without(model, [*removed, head], batches) for head in left]
        at = losses.index(min(losses))
        removed.append(left.pop(at))
        yield removed[-1], losses[at]
