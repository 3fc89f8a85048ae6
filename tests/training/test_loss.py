"""The loss against its definition, written out in NumPy."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pellucid.training import loss
from pellucid.training.loss import smoothed_cross_entropy


@pytest.fixture(autouse=True, params=["at once", "chunk by chunk"])
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test here is of both forms."""
    monkeypatch.setattr(loss, "FEW", 10**6 if request.param == "at once" else 0)


def by_definition(x: np.ndarray, weight: np.ndarray, target: list[int], smoothing: float) -> float:
    """-q . log p summed over tokens, with q = 1 - smoothing on the right token plus smoothing / V everywhere."""
    total = 0.0
    for vector, right in zip(x, target, strict=True):
        logits = weight @ vector
        log_p = logits - math.log(np.exp(logits).sum())
        q = np.full(len(weight), smoothing / len(weight))
        q[right] += 1.0 - smoothing
        total -= float(q @ log_p)
    return total


def vectors(n: int, d: int, v: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=torch.float64, generator=generator, requires_grad=True)
    weight = torch.randn(v, d, dtype=torch.float64, generator=generator, requires_grad=True)
    return x, weight, torch.randint(v, (n,), generator=generator)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_equals_the_definition(smoothing: float) -> None:
    x, weight, target = vectors(7, 3, 5)
    expected = by_definition(x.detach().numpy(), weight.detach().numpy(), target.tolist(), smoothing)
    assert smoothed_cross_entropy(x, weight, target, smoothing).item() == pytest.approx(expected, rel=1e-12)


def test_by_hand() -> None:
    # One token, logits (ln 1, ln 3): p = (1/4, 3/4). Right token 1, smoothing 0.2: q = (0.1, 0.9).
    x = torch.tensor([[1.0]], dtype=torch.float64)
    weight = torch.tensor([[math.log(1.0)], [math.log(3.0)]], dtype=torch.float64)
    expected = -(0.1 * math.log(0.25) + 0.9 * math.log(0.75))
    assert smoothed_cross_entropy(x, weight, torch.tensor([1]), 0.2).item() == pytest.approx(expected, rel=1e-12)


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 9), chunk=st.integers(1, 10), smoothing=st.floats(0.0, 0.5))
def test_chunks_change_nothing(n: int, chunk: int, smoothing: float) -> None:
    x, weight, target = vectors(n, 3, 5, seed=n)
    whole = F.cross_entropy(x @ weight.T, target, label_smoothing=smoothing, reduction="sum")
    expected = torch.autograd.grad(whole, (x, weight))
    kept, loss.CHUNK = loss.CHUNK, chunk
    try:
        found = smoothed_cross_entropy(x, weight, target, smoothing)
        gradients = torch.autograd.grad(found, (x, weight))
    finally:
        loss.CHUNK = kept
    torch.testing.assert_close(found, whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, expected, rtol=1e-10, atol=1e-12)


def test_gradients_by_finite_differences() -> None:
    x, weight, target = vectors(4, 3, 5)
    assert torch.autograd.gradcheck(lambda x, weight: smoothed_cross_entropy(x, weight, target, 0.1), (x, weight))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_never_below_the_entropy_of_the_target(smoothing: float) -> None:
    n_words = 5
    q = np.full(n_words, smoothing / n_words)
    q[2] += 1.0 - smoothing
    floor = -sum(p * math.log(p) for p in q if p)
    # Logits log q: the best that any model can do.
    best = torch.tensor(np.log(np.maximum(q, 1e-300)))[:, None]
    found = smoothed_cross_entropy(torch.ones(1, 1, dtype=torch.float64), best, torch.tensor([2]), smoothing)
    assert found.item() == pytest.approx(floor, abs=1e-9)
    x, weight, target = vectors(50, 3, n_words)
    assert smoothed_cross_entropy(x, weight, target, smoothing).item() >= 50 * floor


def test_no_gradients_are_made_where_none_are_wanted() -> None:
    x, weight, target = vectors(4, 3, 5)
    with torch.no_grad():
        assert not smoothed_cross_entropy(x, weight, target).requires_grad
    frozen = smoothed_cross_entropy(x, weight.detach(), target)
    frozen.backward()
    assert x.grad is not None
    assert weight.grad is None


def test_bfloat16_products_stay_close() -> None:
    generator = torch.Generator().manual_seed(1)
    x, weight = torch.randn(64, 32, generator=generator), torch.randn(100, 32, generator=generator) / 32**0.5
    target = torch.randint(100, (64,), generator=generator)
    exact = smoothed_cross_entropy(x, weight, target, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = smoothed_cross_entropy(x, weight, target, 0.1)
    assert rounded.dtype == torch.float32
    # bfloat16 has 8 bits: a relative error of 2^-9 in each factor of each product.
    assert rounded.item() == pytest.approx(exact.item(), rel=2**-7)
