"""Learning rates in closed form."""

import math

import pytest

from pellucid.base.config import OptimizerConfig
from pellucid.training.schedule import learning_rate


def rate(step: int, **settings: object) -> float:
    return learning_rate(step, OptimizerConfig(**settings), d_model=512, steps=1000)


def test_the_papers_schedule() -> None:
    # Section 5.3 with d_model 512, warm-up 4,000: the peak is 1 / sqrt(512 * 4000) = 6.99e-4.
    assert rate(1) == pytest.approx(512**-0.5 * 4000**-1.5)
    assert rate(4000) == pytest.approx(6.9877e-4, rel=1e-4)
    assert rate(16000) == pytest.approx(rate(4000) / 2)
    assert max(range(1, 20000), key=rate) == 4000


@pytest.mark.parametrize("schedule", ["inverse_sqrt", "cosine", "constant"])
def test_linear_warm_up_to_the_peak(schedule: str) -> None:
    settings = {"schedule": schedule, "learning_rate": 0.005, "warmup": 200}
    assert rate(1, **settings) == pytest.approx(0.005 / 200)
    assert rate(100, **settings) == pytest.approx(0.0025)
    assert rate(200, **settings) == pytest.approx(0.005)


def test_after_the_warm_up() -> None:
    settings = {"learning_rate": 0.004, "warmup": 200}
    assert rate(800, schedule="inverse_sqrt", **settings) == pytest.approx(0.002)
    assert rate(600, schedule="cosine", **settings) == pytest.approx(0.002)  # halfway between 200 and 1,000
    assert rate(1000, schedule="cosine", **settings) == pytest.approx(0.0, abs=1e-12)
    assert rate(900, schedule="constant", **settings) == 0.004


@pytest.mark.parametrize("schedule", ["inverse_sqrt", "cosine", "constant"])
def test_without_warm_up_the_first_step_has_the_peak_rate(schedule: str) -> None:
    assert rate(1, schedule=schedule, learning_rate=0.1, warmup=0) == pytest.approx(0.1, rel=1e-4)


@pytest.mark.parametrize("schedule", ["paper", "inverse_sqrt", "cosine", "constant"])
def test_every_rate_is_a_number_above_zero_until_the_last_step(schedule: str) -> None:
    rates = [rate(step, schedule=schedule, warmup=10) for step in range(1, 1000)]
    assert all(math.isfinite(value) and value > 0 for value in rates)
