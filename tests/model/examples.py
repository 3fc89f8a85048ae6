"""Small models and batches for the tests of the model: every size is distinct, so that two swapped axes never fit.

B 4 rows, S 7 source and T 5 target positions, D 24 wide, 3 heads of 8 in the encoder and 2 of 12 in the decoder, hidden
layers of 20 and 16, 2 encoder and 3 decoder layers, a vocabulary of 17.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from pellucid.base.config import ModelConfig, StackConfig
from pellucid.base.presets import MODEL_PRESETS
from pellucid.base.recipe import from_dict
from pellucid.model.build import build, initialise
from pellucid.model.dropout import Dropout
from pellucid.model.transformer import EncoderDecoder, Transformer

Model = TypeVar("Model", bound=Transformer)

B, S, T, D, V = 4, 7, 5, 24, 17
CONFIG = ModelConfig(
    d_model=D,
    encoder=StackConfig(n_layers=2, n_heads=3, d_ff=20),
    decoder=StackConfig(n_layers=3, n_heads=2, d_ff=16),
    max_length=48,
    source_vocabulary=V,
    target_vocabulary=V,
)
NO_DROPOUT = Dropout(0.0)


def preset(name: str, **changes: Any) -> ModelConfig:
    """The preset of that name with other values laid over it."""
    return replace(from_dict(ModelConfig, MODEL_PRESETS[name], "presets"), **changes)


def make(seed: int = 1, dtype: torch.dtype = torch.float64, **changes: Any) -> EncoderDecoder:
    """A model for evaluation whose every parameter is random and of order 1: biases and norms count, none is 0 or 1."""
    model = randomised(build(replace(CONFIG, **changes)), seed, dtype)
    assert isinstance(model, EncoderDecoder)
    return model


def randomised(model: Model, seed: int = 1, dtype: torch.dtype = torch.float64) -> Model:
    """The model with such parameters."""
    initialise(model, seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        gain = 1.0 if "norm.weight" in name else 0.0
        parameter.data = (gain + 0.4 * noise).to(dtype)
    return model.to(dtype).eval()


def ids(rows: int, length: int, seed: int = 2) -> Tensor:
    """(rows, length) random tokens above the four control tokens."""
    return torch.randint(4, V, (rows, length), generator=torch.Generator().manual_seed(seed))


def real(lengths: list[int], width: int) -> Tensor:
    """(rows, width) mask of sequences that stand on the left."""
    return torch.arange(width) < torch.tensor(lengths)[:, None]


SOURCE, TARGET = ids(B, S, seed=2), ids(B, T, seed=3)
SOURCE_MASK, TARGET_MASK = real([7, 3, 5, 1], S), real([4, 5, 2, 3], T)


def close(left: Tensor, right: Tensor, tolerance: float = 1e-12) -> None:
    """Whole tensors, same shape and type, equal to ``tolerance`` (relative where the numbers are large)."""
    torch.testing.assert_close(left, right, rtol=tolerance, atol=tolerance)
