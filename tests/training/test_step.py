"""One step: normalisation by tokens, groups of the optimizer, clipping, refusal of what is not finite."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pellucid.base.config import ModelConfig, OptimizerConfig, StackConfig
from pellucid.base.errors import DivergedError
from pellucid.model.build import build, initialise
from pellucid.tasks.pairs import PairBatch, pad, pair_loss
from pellucid.training.step import gradient_norm, make_optimizer, seed_step, train_step

PAD, START, END, VOCABULARY = 0, 2, 3, 23
POISON = VOCABULARY - 1  # a batch of nothing but this has a loss that is not a number


@dataclass
class Copying:
    """A task in memory: copy sequences of very different lengths."""

    rows: list[list[int]]
    poison: int | None = None

    def batch(self, examples: Sequence[int]) -> PairBatch:
        rows = [self.rows[i] for i in examples]
        source, mask = pad([[*row, END] for row in rows], PAD)
        wanted, real = pad([[*row, END] for row in rows], PAD)
        fed = torch.cat((torch.full((len(rows), 1), START), wanted[:, :-1]), dim=1)
        batch = PairBatch(source, mask, fed, wanted[real], real)
        if self.poison in examples:
            return replace(batch, source=source.new_full(source.shape, POISON))
        return batch

    def count(self, batch: PairBatch) -> int:
        return len(batch.target_output)

    def loss(self, model: nn.Module, batch: PairBatch) -> Tensor:
        factor = float("nan") if (batch.source == POISON).all() else 1.0
        return pair_loss(model, batch, 0.1) * factor

    def describe(self, examples: Sequence[int]) -> list[str]:
        return [f"row {i}" for i in examples]


def small_model(dropout: float = 0.0, dtype: torch.dtype = torch.float64) -> nn.Module:
    config = ModelConfig(
        d_model=12,
        encoder=StackConfig(1, 3, 20),
        decoder=StackConfig(1, 2, 20),
        dropout=dropout,
        max_length=64,
        source_vocabulary=VOCABULARY,
        target_vocabulary=VOCABULARY,
    )
    model = build(config)
    initialise(model, seed=1)
    return model.to(dtype).train()


def rows(seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [random.integers(4, VOCABULARY, size=length).tolist() for length in (1, 30, 2, 17, 5, 1, 9, 24)]


def gradients_of(batches: list[list[int]], task: Copying | None = None) -> dict[str, Tensor]:
    model = small_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    train_step(task or Copying(rows()), model, optimizer, batches, rate=0.0, clip=0.0, precision="float32", device="cpu")
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def test_splitting_a_batch_changes_nothing() -> None:
    whole = gradients_of([list(range(8))])
    for parts in ([[0, 1], [2, 3], [4, 5], [6, 7]], [[1], [0, 2, 3, 4, 5, 6, 7]]):
        split = gradients_of(parts)
        assert split.keys() == whole.keys()
        for name in whole:
            torch.testing.assert_close(split[name], whole[name], rtol=1e-9, atol=1e-12)


def test_a_mean_of_means_would_be_noticed() -> None:
    """The control of the test above: gradients averaged batch by batch differ, since lengths do."""
    first, second = gradients_of([[0]]), gradients_of([[1]])
    whole = gradients_of([[0, 1]])
    name = max(whole, key=lambda name: whole[name].norm())
    assert not torch.allclose((first[name] + second[name]) / 2, whole[name], rtol=1e-3)


def test_the_loss_is_the_sum_over_real_tokens() -> None:
    model = small_model()
    task = Copying(rows())
    optimizer = make_optimizer(model, OptimizerConfig())
    result = train_step(task, model, optimizer, [[0, 1], [2]], rate=0.0, clip=0.0, precision="float32", device="cpu")
    assert result.tokens == (1 + 1) + (30 + 1) + (2 + 1)  # each row and its end token
    expected = sum(pair_loss(model, task.batch([i]), 0.1).item() for i in (0, 1, 2))
    assert result.loss == pytest.approx(expected, rel=1e-9)


def test_weight_decay_spares_norms_biases_and_embeddings() -> None:
    model = small_model()
    optimizer = make_optimizer(model, OptimizerConfig(weight_decay=0.1))
    names = {id(weight): name for name, weight in model.named_parameters()}
    decayed = {names[id(weight)] for weight in optimizer.param_groups[0]["params"]}
    spared = {names[id(weight)] for weight in optimizer.param_groups[1]["params"]}
    assert optimizer.param_groups[0]["weight_decay"] == 0.1
    assert optimizer.param_groups[1]["weight_decay"] == 0.0
    assert decayed | spared == set(names.values())
    assert all(name.endswith("weight") and "norm" not in name for name in decayed)
    assert spared == {name for name in names.values() if "norm" in name or name.endswith("bias") or "weights." in name}


def test_adam_has_the_papers_constants() -> None:
    group = make_optimizer(small_model(), OptimizerConfig()).param_groups[0]
    assert (group["betas"], group["eps"]) == ((0.9, 0.98), 1e-9)


def test_clipping_scales_the_whole_gradient() -> None:
    weights = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))]
    weights[0].grad, weights[1].grad = torch.tensor([2.0, 3.0]), torch.tensor([6.0])  # norm 7
    assert gradient_norm(weights, clip=0.0) == pytest.approx(7.0)
    assert gradient_norm(weights, clip=3.5) == pytest.approx(7.0)  # reported before clipping
    torch.testing.assert_close(weights[0].grad, torch.tensor([1.0, 1.5]), rtol=1e-5, atol=0.0)
    torch.testing.assert_close(weights[1].grad, torch.tensor([3.0]), rtol=1e-5, atol=0.0)


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_touched() -> None:
    model = small_model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimizer = make_optimizer(model, OptimizerConfig())
    task = Copying(rows(), poison=3)
    with pytest.raises(DivergedError) as caught:
        train_step(task, model, optimizer, [[0, 1], [2, 3]], rate=0.1, clip=0.0, precision="float32", device="cpu")
    assert caught.value.exit_code == 5
    assert "row 3" in str(caught.value)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, before[name]), name


def test_a_gradient_that_is_not_finite_stops_too() -> None:
    model = small_model()
    optimizer = make_optimizer(model, OptimizerConfig())
    first = next(model.parameters())
    before = first.detach().clone()
    first.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(DivergedError, match="gradient"):
        train_step(Copying(rows()), model, optimizer, [[0]], rate=0.1, clip=1.0, precision="float32", device="cpu")
    assert torch.equal(first, before)


def test_random_numbers_depend_on_seed_and_step_alone() -> None:
    def draw(seed: int, step: int, waste: int) -> Tensor:
        torch.rand(waste)
        seed_step(seed, step)
        return torch.rand(5)

    assert torch.equal(draw(1, 7, waste=0), draw(1, 7, waste=100))
    assert not torch.equal(draw(1, 7, waste=0), draw(1, 8, waste=0))
    assert not torch.equal(draw(1, 7, waste=0), draw(2, 7, waste=0))


def test_a_bfloat16_step_is_finite_and_close() -> None:
    losses: dict[str, float] = {}
    for precision in ("float32", "bfloat16"):
        model = small_model(dtype=torch.float32)
        optimizer = make_optimizer(model, OptimizerConfig())
        result: Any = train_step(
            Copying(rows()), model, optimizer, [list(range(8))], rate=1e-3, clip=1.0, precision=precision, device="cpu"
        )
        losses[precision] = result.loss
        assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in model.parameters())
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.01)
