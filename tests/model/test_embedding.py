"""From tokens to vectors."""

from __future__ import annotations

import math

import pytest
import torch
from examples import CONFIG, NO_DROPOUT, close, make, preset

from pellucid.base.errors import DataError
from pellucid.model.build import build, initialise
from pellucid.model.embedding import Embedding
from pellucid.model.positions import LearnedPositions


def box() -> tuple[Embedding, torch.Tensor]:
    """4 wide, positions 10, 20, 30 for 0, 1, 2; and the matrix of three tokens 1, 2, 3."""
    positions = LearnedPositions(3, 4)
    positions.weight.data = torch.tensor([10.0, 20.0, 30.0])[:, None].expand(3, 4).clone()
    weight = torch.tensor([1.0, 2.0, 3.0])[:, None].expand(3, 4).clone()
    return Embedding(positions=positions, max_length=3, d_model=4, dropout=NO_DROPOUT), weight


def test_tokens_are_scaled_and_positions_are_not() -> None:
    embed, weight = box()
    # E[t] sqrt(4) + position: 2 * 3 + 10, 2 * 1 + 20, 2 * 2 + 30.
    assert embed(torch.tensor([[2, 0, 1]]), weight)[0, :, 0].tolist() == [16.0, 22.0, 34.0]


def test_the_first_real_token_stands_at_position_zero() -> None:
    embed, weight = box()
    mask = torch.tensor([[False, True, True]])
    # By hand: 2 * 1 + 10 and 2 * 2 + 20 behind one padding token.
    assert embed(torch.tensor([[2, 0, 1]]), weight, mask)[0, 1:, 0].tolist() == [12.0, 24.0]


def test_a_cache_moves_the_position() -> None:
    embed, weight = box()
    assert embed(torch.tensor([[0]]), weight, start=2)[0, 0].tolist() == [32.0] * 4


@pytest.mark.parametrize(("length", "start"), [(4, 0), (2, 2), (1, 3)])
def test_a_sequence_that_the_positions_do_not_reach_is_refused(length: int, start: int) -> None:
    embed, weight = box()
    with pytest.raises(DataError, match="longer than the model's positions reach") as caught:
        embed(torch.zeros(1, length, dtype=torch.int64), weight, start=start)
    assert caught.value.found == length + start
    assert "at most 3 tokens (model.max_length)" in str(caught.value.expected)


@pytest.mark.parametrize("positions", ["sinusoidal", "learned"])
def test_the_model_refuses_it_on_both_sides_and_step_by_step(positions: str) -> None:
    model = make(positions=positions)
    fits = torch.full((1, CONFIG.max_length), 4)
    too_long = torch.full((1, CONFIG.max_length + 1), 4)
    assert torch.isfinite(model(fits, fits)).all()
    _, state = model.step(fits, model.start(model.encode(fits)))
    for call in (lambda: model(too_long, fits), lambda: model(fits, too_long), lambda: model.step(fits[:, :1], state)):
        with pytest.raises(DataError, match="longer than the model's positions reach"):
            call()


@pytest.mark.parametrize("tie", ["all", "decoder", "none"])
def test_embedded_tokens_have_variance_one_before_positions_are_added(tie: str) -> None:
    vocabulary = 1000
    model = build(preset("tiny", tie=tie, source_vocabulary=vocabulary, target_vocabulary=vocabulary))
    initialise(model, seed=3)
    seen = {}

    def keep(name: str, tensor: torch.Tensor) -> torch.Tensor:
        seen[name] = tensor
        return tensor

    with torch.inference_mode():
        tokens = torch.arange(vocabulary).view(10, 100)
        model.eval()(tokens[:, :50], tokens[:, 50:], tap=keep)
    for stack in ("encoder", "decoder"):
        # 500 x 128 normal numbers: the variance is known to sqrt(2 / 64,000) = 0.6 %, and four times that is allowed.
        assert seen[f"{stack}.embed.scaled"].var().item() == pytest.approx(1.0, abs=0.025)
        close(seen[f"{stack}.embed.scaled"], seen[f"{stack}.embed.tokens"] * math.sqrt(128), 1e-6)
