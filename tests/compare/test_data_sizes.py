"""Where a falling curve comes down to a loss, translators of equal size, costs; and verdicts on made-up figures."""

from __future__ import annotations

import math

import pytest
import torch

from pellucid.compare.corpus import BEGIN, END
from pellucid.compare.curves import reached_at
from pellucid.compare.experiment import Place
from pellucid.compare.experiments import cost, data_sizes, steps
from pellucid.compare.sizes import decoder, made, parameters
from pellucid.compare.translating import LSTM, TRANSFORMER, equal_translators


def test_a_curve_is_read_between_its_points_over_logarithms() -> None:
    curve = {100.0: 4.0, 400.0: 2.0, 800.0: 1.0}
    assert reached_at(curve, 3.0) == pytest.approx(200.0)
    assert reached_at(curve, 1.5) == pytest.approx(math.sqrt(400.0 * 800.0))
    assert reached_at(curve, 5.0) == 100.0
    with pytest.raises(ValueError, match="not reached"):
        reached_at(curve, 0.5)


def test_translators_of_equal_size() -> None:
    ours, other = equal_translators(16, 2, dropout=0.1).values()
    assert other.recurrent.cell == "lstm"
    assert other.recurrent.attention == "dot"
    assert abs(parameters(other) / parameters(ours) - 1) < 0.05
    assert other.dropout == ours.dropout == 0.1


def _curve(*losses: float) -> dict[Place, list[float]]:
    """Two seeds that hardly differ, at 100, 200 and 400 of something."""
    return {100.0 * 2**place: [loss, loss + 0.001] for place, loss in enumerate(losses)}


@pytest.mark.parametrize(
    ("transformer", "lstm", "slower", "verdict"),
    [
        ((3.0, 2.0, 1.0), (4.0, 3.0, 2.0), 1.0, "confirmed"),  # half the steps
        ((3.0, 2.0, 1.0), (4.0, 3.0, 2.0), 4.0, "not confirmed here"),  # each takes four times as long
        ((4.0, 3.0, 2.0), (3.0, 2.0, 1.0), 1.0, "not confirmed here"),
        ((6.0, 5.0, 4.0), (4.0, 3.0, 2.0), 1.0, "undecided"),
    ],
)
def test_steps_can_come_out_each_way(
    transformer: tuple[float, ...], lstm: tuple[float, ...], slower: float, verdict: str
) -> None:
    found = steps.judged({TRANSFORMER: _curve(*transformer), LSTM: _curve(*lstm)}, [slower, slower])
    assert steps.EXPERIMENT.rule.judge(found)[0] == verdict


def test_half_the_steps_are_half() -> None:
    found = steps.judged({TRANSFORMER: _curve(3.0, 2.0, 1.0), LSTM: _curve(4.0, 3.0, 2.0)}, [3.0, 5.0])
    assert found[steps.FEWER] == pytest.approx([0.5, 0.5])
    assert found[steps.SOONER] == pytest.approx([2.0, 2.0])


@pytest.mark.parametrize(
    ("transformer", "lstm", "verdict"),
    [
        ((3.0, 2.0, 1.0), (2.5, 2.0, 1.5), "confirmed"),
        ((2.0, 1.5, 1.0), (2.5, 2.0, 1.5), "not confirmed here"),
        ((3.0, 2.0, 1.5), (2.5, 2.0, 1.0), "not confirmed here"),
        ((6.0, 5.0, 4.0), (2.5, 2.0, 1.0), "undecided"),
    ],
)
def test_data_sizes_can_come_out_each_way(transformer: tuple[float, ...], lstm: tuple[float, ...], verdict: str) -> None:
    found = data_sizes.judged({TRANSFORMER: _curve(*transformer), LSTM: _curve(*lstm)})
    assert data_sizes.EXPERIMENT.rule.judge(found)[0] == verdict


def test_a_count_of_operations_and_weights_by_hand() -> None:
    width, vocabulary = 4, 7
    ids = torch.tensor([[BEGIN, 5, END], [BEGIN, 6, END]])  # six tokens
    lstm, transformer = (
        made(decoder(kind, width=width, vocabulary=vocabulary, layers=1, heads=2, max_length=3), 1)
        for kind in ("LSTM", "Transformer")
    )
    readout = 2 * 6 * width * vocabulary
    assert cost.layer_weights(lstm) == 2 * 4 * width * (width + 1)
    assert cost.operations(lstm, ids) == 2 * 6 * 8 * width**2 + readout
    projections, feed_forward, attention = (
        4 * width**2,
        2 * 4 * width**2,
        2 * 2 * 3 * 3 * width,
    )  # rows, both products, T x S x D
    assert cost.operations(transformer, ids) == 2 * (6 * (projections + feed_forward) + attention) + readout
    norms = 3 * 2 * width
    assert cost.layer_weights(transformer) == projections + 4 * width + feed_forward + 4 * width + width + norms


@pytest.mark.parametrize(
    ("transformer", "factor", "verdict"),
    [
        ((2.0, 1.0, 0.5), 1.5, "confirmed"),  # as good as the other at a quarter of the width, dearer by half
        ((2.0, 1.0, 0.5), 0.9, "not confirmed here"),  # not dearer
        ((4.0, 3.0, 2.0), 1.5, "not confirmed here"),  # not better
        ((6.0, 5.0, 4.0), 1.5, "undecided"),
    ],
)
def test_cost_can_come_out_each_way(transformer: tuple[float, ...], factor: float, verdict: str) -> None:
    losses = {"Transformer": _curve(*transformer), "LSTM": _curve(4.0, 3.0, 2.0)}
    spent = {
        name: {
            kind: {width: [float(width) * much] for width in losses[kind]}
            for kind, much in (("Transformer", factor), ("LSTM", 1.0))
        }
        for name in cost.COSTS
    }
    assert cost.EXPERIMENT.rule.judge(cost.judged(losses, spent))[0] == verdict
