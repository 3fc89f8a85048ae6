"""A training step opened: gradients against finite differences, and an update that is Adam's."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small import DECODER, ENCODER, ENCODER_DECODER, END, PICTURES, V, ids, inputs, make, name, subject
from torch import Tensor

from pellucid.base.config import HeadConfig, OptimizerConfig, StackConfig
from pellucid.base.errors import UsageError
from pellucid.explain.step_told import as_tree, lines
from pellucid.explain.subject import Subject
from pellucid.explain.terminal import Look
from pellucid.explain.training_step import Target, TrainingStep, losses_of, target_of, training_step
from pellucid.training.loss import smoothed_cross_entropy

ADAM = OptimizerConfig(schedule="constant", learning_rate=0.01, warmup=0, clip=0.0, weight_decay=0.0)
SHALLOW = replace(ENCODER_DECODER, encoder=StackConfig(1, 3, 20), decoder=StackConfig(1, 2, 16), activation="gelu")
CONFIGS: dict[str, Any] = {
    "post": SHALLOW,
    "pre": replace(SHALLOW, norm="pre", norm_kind="rms", activation="swiglu"),
    "decoder": replace(DECODER, decoder=StackConfig(2, 2, 16), positions="rotary", activation="gelu"),
    "tags": replace(ENCODER, encoder=StackConfig(1, 3, 20), activation="gelu", target_vocabulary=4),
    "classes": replace(
        PICTURES, encoder=StackConfig(1, 3, 20), activation="silu", head=HeadConfig(pool="class", transform="norm")
    ),
}
GIVEN = (9, 4, 11, END)


def asked(config: Any, dtype: torch.dtype = torch.float64) -> Subject:
    if config.architecture != "encoder":
        found = subject(make(config, dtype), config)
        assert found.writing is not None
        return replace(found, writing=replace(found.writing, given=GIVEN))
    if config.head.pool == "none":
        some = tuple(name(ids(7)[0].tolist()))
        return Subject(make(config, dtype), config, "words", ids(7), some, name, ("a", "b", "c", "d"), asked=(1, 3, 4))
    pixels = inputs(config).source
    assert pixels is not None
    names = tuple(f"p{number}" for number in range(7))
    return Subject(make(config, dtype), config, "a picture", pixels.to(dtype), names, name, ("a", "b", "c", "d"))


def opened(config: Any, smoothing: float = 0.1, optimizer: OptimizerConfig = ADAM, **options: Any) -> TrainingStep:
    given = asked(config)
    return training_step(given, optimizer, smoothing=smoothing, steps=100, wanted=wanted(given), **options)


def wanted(given: Subject) -> list[int]:
    """A class, or one for each position that is asked for."""
    return [] if given.writing is not None else [2, 0, 3] if given.asked else [2]


@pytest.mark.parametrize("config", CONFIGS)
def test_gradients_are_those_of_finite_differences(config: str) -> None:
    """At every tap, along a random direction: what the loss gains when the tap is moved a little to either side."""
    step, given = opened(CONFIGS[config]), asked(CONFIGS[config])
    target = target_of(given, wanted(given))
    generator = torch.Generator().manual_seed(6)
    unreached = {at for at, tap in step.trace.taps.items() if tap.array.dtype == bool} | {"probs"}
    unreached |= {at for at in step.trace if at.endswith("embed.positions") and CONFIGS[config].positions == "sinusoidal"}
    assert set(step.trace) - set(step.gradients) == unreached
    for at, gradient in step.gradients.items():
        direction = torch.randn(gradient.shape, generator=generator, dtype=torch.float64)
        gained = difference(given, target, at, direction)
        finite = np.where(np.isfinite(gradient.array), gradient.array, 0.0)
        assert gained == pytest.approx(float((finite * direction.numpy()).sum()), rel=1e-6, abs=1e-9), at


@torch.no_grad()
def difference(given: Subject, target: Target, at: str, direction: Tensor, little: float = 1e-5) -> float:
    """The derivative of the mean loss along a direction, from two losses."""

    def loss(step: float) -> float:
        def move(place: str, tensor: Tensor) -> Tensor:
            return tensor + step * direction if place == at else tensor

        return losses_of(given.model, target, 0.1, move)[0].mean().item()

    return (loss(little) - loss(-little)) / (2 * little)


@pytest.mark.parametrize("config", CONFIGS)
def test_the_loss_is_the_one_of_training(config: str) -> None:
    given, step = asked(CONFIGS[config]), opened(CONFIGS[config])
    target = target_of(given, wanted(given))

    def readout(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x[0][list(target.places) or slice(-len(target.wanted), None)] if x.ndim == 3 else x
        return smoothed_cross_entropy(x, weight, target.wanted, 0.1, bias)

    arguments = [some for some in (target.inputs.source, target.inputs.target) if some is not None]
    total = given.model(*arguments, readout=readout).item()
    assert step.loss == pytest.approx(total / len(target.wanted), rel=1e-12)
    right, other = step.smoothed
    size = step.trace["logits"].shape[-1]
    assert right + (size - 1) * other == pytest.approx(1.0)
    rows = list(target.places) or slice(-len(target.wanted), None)
    logs = torch.log_softmax(torch.from_numpy(np.atleast_2d(step.trace["logits"].array)[rows]), -1)
    smoothed = torch.full_like(logs, other).scatter(1, target.wanted[:, None], right)
    np.testing.assert_allclose(step.losses, -(smoothed * logs).sum(1).numpy(), rtol=1e-12)
    np.testing.assert_allclose(step.probabilities, logs.exp().gather(1, target.wanted[:, None])[:, 0].numpy(), rtol=1e-12)


def test_the_target_is_shifted_by_one() -> None:
    step = opened(SHALLOW)
    assert step.fed == ("t0", "t9", "t4", "t11")
    assert step.wanted == ("t9", "t4", "t11", "t3")
    step = opened(CONFIGS["decoder"])  # after a prompt of three
    assert step.trace.names["target"] == ("t5", "t9", "t7", "t9", "t4", "t11")
    assert step.fed == ("t7", "t9", "t4", "t11")


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_the_first_update_is_that_of_the_formula(clip: float) -> None:
    step = opened(SHALLOW, optimizer=replace(ADAM, clip=clip))
    one, scale = step.updated, 1.0
    assert step.norm > 0.5
    if clip:
        scale = clip / (step.norm + 1e-6)
    gradient = gradients_of_weights()[one.matrix][one.row] * scale
    np.testing.assert_allclose(one.gradient, gradient, rtol=1e-9)
    mean, square = (1 - ADAM.beta1) * gradient, (1 - ADAM.beta2) * gradient**2
    np.testing.assert_allclose(one.mean, mean, rtol=1e-9)
    np.testing.assert_allclose(one.square, square, rtol=1e-9)
    expected = -0.01 * (mean / (1 - ADAM.beta1)) / (np.sqrt(square / (1 - ADAM.beta2)) + ADAM.epsilon)
    np.testing.assert_allclose(one.update, expected, rtol=1e-6)
    assert (one.row, one.name, one.matrix) == (9, "t9", "weights.shared")
    assert not step.warm


def gradients_of_weights() -> dict[str, Any]:
    given = asked(SHALLOW)
    model: Any = copy.deepcopy(given.model)
    target = target_of(given)
    logits = model(target.inputs.source, target.inputs.target)[0]
    F.cross_entropy(logits, target.wanted, label_smoothing=0.1).backward()
    return {at: weight.grad.numpy() for at, weight in model.named_parameters()}


def test_adam_goes_on_from_its_means() -> None:
    given = asked(SHALLOW)
    moments = {}
    for at, weight in given.model.named_parameters():
        moments |= {f"{at}/step": torch.tensor(7.0), f"{at}/exp_avg": torch.full_like(weight, 0.2)}
        moments[f"{at}/exp_avg_sq"] = torch.full_like(weight, 0.5)
    cold, warm = opened(SHALLOW), opened(SHALLOW, moments=moments, number=8)
    gradient = cold.updated.gradient
    np.testing.assert_allclose(warm.updated.mean, ADAM.beta1 * 0.2 + (1 - ADAM.beta1) * gradient, rtol=1e-9)
    np.testing.assert_allclose(warm.updated.square, ADAM.beta2 * 0.5 + (1 - ADAM.beta2) * gradient**2, rtol=1e-9)
    assert warm.warm
    assert warm.number == 8


def test_the_model_stays_as_it_is() -> None:
    given = asked(SHALLOW, torch.float32)
    before = {at: weight.clone() for at, weight in given.model.named_parameters()}
    step = training_step(given, ADAM, smoothing=0.0, steps=100)
    assert all(torch.equal(weight, before[at]) for at, weight in given.model.named_parameters())
    assert all(weight.grad is None for weight in given.model.parameters())
    assert set(step.weights) == set(before)
    assert math.sqrt(sum(norm**2 for norm, _ in step.weights.values())) == pytest.approx(step.norm, rel=1e-4)


def test_without_a_target_there_is_no_step() -> None:
    with pytest.raises(UsageError, match="what is to be said"):
        training_step(subject(make(DECODER), DECODER), ADAM, smoothing=0.0, steps=1)


def test_it_is_told_line_by_line() -> None:
    text = "\n".join(lines(opened(SHALLOW), Look(width=90)))
    step = opened(SHALLOW)
    for at in range(4):
        assert f"{step.fed[at]:<16} {step.wanted[at]:<16} {step.probabilities[at]:11.4f} {step.losses[at]:9.4f}" in text
    assert f"smoothed target: {0.9 + 0.1 / V:.4f}" in text
    assert all(at in text for at in step.gradients)
    assert "Adam's update of row 9 (t9) of weights.shared" in text
    assert "showing 6 of 24 columns" in text
    one = "\n".join(lines(step, Look(width=90, step="cross_attn.weights")))
    assert "gradient at decoder.layers.0.cross_attn.weights" in one
    assert "encoder.embed.out" not in one


def test_as_a_tree_it_has_the_same_numbers() -> None:
    step = opened(CONFIGS["tags"])
    tree = json.loads(json.dumps(as_tree(step), allow_nan=False))
    assert (tree["fed"], tree["wanted"]) == (list(step.fed), ["c", "a", "d"])
    assert step.fed == tuple(step.trace.names["source"][at] for at in (1, 3, 4))
    np.testing.assert_allclose(tree["losses"], step.losses)
    assert tree["smoothing"] == {"share": 0.1, "wanted": 0.925, "other": 0.025, "outputs": 4}
    assert [one["name"] for one in tree["taps"]] == list(step.gradients)
    largest = {one["name"]: one["largest"] for one in tree["taps"]}
    assert largest["logits"] == pytest.approx(np.abs(step.gradients["logits"].array).max())
    np.testing.assert_allclose(np.array(tree["updated"]["before"]) + tree["updated"]["update"], tree["updated"]["after"])
    assert tree["updated"]["steps"] == 1
