"""From tokens to vectors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from examples import CONFIG, NO_DROPOUT, close, make, preset
from torch import nn

from pellucid.base.errors import DataError
from pellucid.model.build import build, initialise
from pellucid.model.embedding import PatchEmbedding, TokenEmbedding
from pellucid.model.residual import LayerNorm


def box(**changes: Any) -> tuple[TokenEmbedding, torch.Tensor]:
    """4 wide, tokens scaled by 2, and the matrix of three tokens 1, 2, 3."""
    weight = torch.tensor([1.0, 2.0, 3.0])[:, None].expand(3, 4).clone()
    return TokenEmbedding(**{"scale": 2.0, "types": 0, "d_model": 4, "norm": None, "dropout": NO_DROPOUT, **changes}), weight


def test_tokens_are_scaled_and_positions_are_not() -> None:
    embed, weight = box()
    positions = torch.tensor([10.0, 20.0, 30.0])[None, :, None].expand(1, 3, 4)
    # E[t] sqrt(4) + position: 2 * 3 + 10, 2 * 1 + 20, 2 * 2 + 30.
    assert embed(torch.tensor([[2, 0, 1]]), weight, positions)[0, :, 0].tolist() == [16.0, 22.0, 34.0]
    assert embed(torch.tensor([[2, 0, 1]]), weight, None)[0, :, 0].tolist() == [6.0, 2.0, 4.0]


def test_types_are_added_and_the_sum_is_normalised() -> None:
    norm = LayerNorm(4, 1e-5)
    embed, weight = box(types=2, norm=norm)
    embed.types.data = torch.tensor([[0.0, 0.0, 0.0, 100.0], [0.0, 0.0, 0.0, 200.0]])
    ids, types = torch.tensor([[2, 0]]), torch.tensor([[1, 0]])
    expected = torch.tensor([[[6.0, 6.0, 6.0, 206.0], [2.0, 2.0, 2.0, 102.0]]])
    assert torch.equal(embed(ids, weight, None, types=types), norm(expected))
    # Where nothing is said of types, all are of type 0.
    assert torch.equal(embed(ids, weight, None), embed(ids, weight, None, types=torch.zeros_like(ids)))


def test_patches_are_read_row_by_row_and_follow_the_class_token() -> None:
    """A picture of 2 channels, 4 x 6 pixels, in squares of 2: six of them, each with 8 numbers."""
    project = nn.Identity()
    embed = PatchEmbedding(project=project, patch=2, class_token=True, d_model=8, dropout=NO_DROPOUT)
    embed.class_token.data = torch.arange(8.0)
    pixels = torch.arange(48.0).view(1, 2, 4, 6)
    out = embed(pixels, None, None)
    assert embed.length(pixels) == out.shape[1] == 7
    assert out[0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    # The first square: rows 0 and 1, columns 0 and 1, of channel 0 (24 pixels) and then of channel 1.
    assert out[0, 1].tolist() == [0, 1, 6, 7, 24, 25, 30, 31]
    # The second one stands to its right, the fourth begins the next row.
    assert out[0, 2].tolist() == [2, 3, 8, 9, 26, 27, 32, 33]
    assert out[0, 4].tolist() == [12, 13, 18, 19, 36, 37, 42, 43]


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
