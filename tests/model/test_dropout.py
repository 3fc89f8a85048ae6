"""Dropout: how much is dropped, what is kept, and where the paper has it."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from examples import SOURCE, TARGET, make
from torch import Tensor, nn

from pellucid.model.dropout import Dropout

N = 200_001  # elements: not a multiple of 8, the random bytes of one random number


def dropped(p: float, seed: int = 1, shape: tuple[int, ...] = (N,), dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(seed)
    return Dropout(p).train()(torch.ones(shape, dtype=dtype))


@pytest.mark.parametrize("p", [0.1, 0.3])
def test_the_right_share_is_dropped_and_the_mean_is_kept(p: float) -> None:
    share = round(p * 256) / 256  # one random byte decides: 26 / 256 and 77 / 256
    out = dropped(p)
    zeros = (out == 0).double().mean().item()
    # Within 4 standard deviations of a binomial share; a second one covers the distance of p from the byte's share.
    sigma = math.sqrt(share * (1 - share) / N)
    assert abs(zeros - share) < 4 * sigma
    assert abs(share - p) <= 1 / 512
    assert abs(out.mean().item() - 1.0) < 4 * sigma / (1 - share)


@pytest.mark.parametrize("p", [0.1, 0.3])
def test_what_stays_is_scaled_by_one_number(p: float) -> None:
    share = round(p * 256) / 256
    assert sorted(set(dropped(p).tolist())) == [0.0, 1 / (1 - share)]


def test_elements_are_dropped_independently() -> None:
    """Neighbours (bytes of one random number) and places 8 apart (the same byte of the next) are uncorrelated."""
    zeros = (dropped(0.3) == 0).double()
    zeros -= zeros.mean()
    for distance in (1, 2, 4, 8, 16):
        correlation = (zeros[:-distance] * zeros[distance:]).mean() / zeros.var()
        assert abs(correlation.item()) < 4 / math.sqrt(N)


def test_the_seed_decides() -> None:
    assert torch.equal(dropped(0.3, seed=5), dropped(0.3, seed=5))
    assert not torch.equal(dropped(0.3, seed=5), dropped(0.3, seed=6))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_shape_and_type_stay(dtype: torch.dtype) -> None:
    out = dropped(0.1, shape=(3, 5, 7), dtype=dtype)
    assert out.shape == (3, 5, 7)
    assert out.dtype == dtype


def test_nothing_is_dropped_outside_training_or_with_p_zero() -> None:
    x = torch.ones(4)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x


def test_the_gradient_is_dropped_where_the_output_is() -> None:
    x = torch.ones(1000, dtype=torch.float64, requires_grad=True)
    out = Dropout(0.3).train()(x)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())


def test_even_the_largest_p_leaves_something() -> None:
    out = dropped(0.9999)
    assert 0 < (out != 0).double().mean().item() < 0.01
    assert math.isfinite(out.sum().item())


def test_other_devices_use_their_own_noise() -> None:
    # A meta tensor has no numbers, so that only the branch and its shape show.
    assert Dropout(0.3).train()(torch.ones(3, 4, device="meta")).shape == (3, 4)


def dropouts(**changes: Any) -> Counter[str]:
    """How often each dropout of the model worked (was called with p > 0) in one forward, by name."""
    model, calls = make(**changes).train(), Counter[str]()

    def counter(name: str) -> Any:
        def count(module: nn.Module, arguments: object) -> None:
            calls[name] += module.p > 0

        return count

    for name, module in model.named_modules():
        if isinstance(module, Dropout):
            module.register_forward_pre_hook(counter(name))
    model(SOURCE, TARGET)
    return +calls


def test_dropout_is_where_the_paper_has_it() -> None:
    """Section 5.4: on the sums of embeddings and positions, and on the output of each sublayer, once; nowhere else."""
    expected = {f"{stack}.embed.dropout" for stack in ("encoder", "decoder")}
    expected |= {f"encoder.layers.{n}.{part}_residual.dropout" for n in range(2) for part in ("self_attn", "feed_forward")}
    expected |= {
        f"decoder.layers.{n}.{part}_residual.dropout" for n in range(3) for part in ("self_attn", "cross_attn", "feed_forward")
    }
    assert dropouts(dropout=0.1) == dict.fromkeys(expected, 1)


def test_attention_and_activation_dropout_are_settings() -> None:
    attentions = {f"encoder.layers.{n}.self_attn.dropout" for n in range(2)}
    attentions |= {f"decoder.layers.{n}.{part}.dropout" for n in range(3) for part in ("self_attn", "cross_attn")}
    assert dropouts(dropout=0.0, attention_dropout=0.1) == dict.fromkeys(attentions, 1)
    feed_forwards = {f"encoder.layers.{n}.feed_forward.dropout" for n in range(2)}
    feed_forwards |= {f"decoder.layers.{n}.feed_forward.dropout" for n in range(3)}
    assert dropouts(dropout=0.0, activation_dropout=0.1) == dict.fromkeys(feed_forwards, 1)


def test_training_then_evaluation_is_deterministic() -> None:
    model = make(dropout=0.3, attention_dropout=0.2, activation_dropout=0.1)
    before = model(SOURCE, TARGET)
    model.train()
    noisy = model(SOURCE, TARGET)
    assert not torch.allclose(noisy, model(SOURCE, TARGET))
    model.eval()
    assert torch.equal(model(SOURCE, TARGET), before)
    assert torch.equal(model(SOURCE, TARGET), before)
