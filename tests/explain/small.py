"""Small models of every architecture, and one row of input for each. All sizes are distinct.

S 7 source and T 5 target positions, D 24 wide, a vocabulary of 17, 3 heads of 8 in the encoder and 2 of 12 in the decoder.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pellucid.base.config import DecodingConfig, HeadConfig, ModelConfig, PictureConfig, StackConfig
from pellucid.base.recurrent import RecurrentConfig
from pellucid.explain.forward import Inputs
from pellucid.explain.subject import AnyModel, Subject, Writing
from pellucid.model.build import build, initialise

S, T, D, V, H = 7, 5, 24, 17, 10
END = 3
ENCODER_DECODER = ModelConfig(
    d_model=D,
    encoder=StackConfig(n_layers=2, n_heads=3, d_ff=20),
    decoder=StackConfig(n_layers=3, n_heads=2, d_ff=16),
    max_length=48,
    source_vocabulary=V,
    target_vocabulary=V,
)
ENCODER = replace(ENCODER_DECODER, architecture="encoder", tie="none")
DECODER = replace(ENCODER_DECODER, architecture="decoder")
PICTURES = replace(
    ENCODER,
    picture=PictureConfig(patch=2, height=4, width=6, channels=1),
    head=HeadConfig(pool="class"),
    source_vocabulary=0,
    target_vocabulary=4,
)


def recurrent(cell: str, attention: str = "none", base: ModelConfig = ENCODER_DECODER, **changes: Any) -> ModelConfig:
    """A recurrent network: states of 10, 2 encoder and 3 decoder layers."""
    own = {name: changes.pop(name) for name in ("bidirectional", "bridge") if name in changes}
    config = RecurrentConfig(cell, hidden=H, attention=attention, **own)  # type: ignore[arg-type]
    stacks = {"encoder": StackConfig(n_layers=2), "decoder": StackConfig(n_layers=3)}
    return replace(base, **{**stacks, "recurrent": config, "tie": "embeddings", **changes})


def make(config: ModelConfig, dtype: torch.dtype = torch.float32, seed: int = 1) -> Any:
    """A model for evaluation whose every parameter is random and of order 1: biases and gains count."""
    model = build(config)
    initialise(model, seed)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data = ((1.0 if "norm.weight" in name else 0.0) + 0.4 * noise).to(dtype)
    return model.to(dtype).eval()


def ids(length: int, seed: int = 2) -> Tensor:
    """(1, length) random tokens above the four control tokens."""
    return torch.randint(4, V, (1, length), generator=torch.Generator().manual_seed(seed))


def inputs(config: ModelConfig, padding: str = "none") -> Inputs:
    """One row for a model of this shape; ``padding`` "left" or "right": some of it is none."""

    def mask(length: int, real: int) -> Tensor | None:
        if padding == "none":
            return None
        positions = torch.arange(length)[None]
        return positions >= length - real if padding == "left" else positions < real

    source = ids(S, 2)
    if config.picture.patch:
        size = config.picture
        pixels = torch.randn(1, size.channels, size.height, size.width, generator=torch.Generator().manual_seed(4))
        return Inputs(pixels, ids(T, 3) if config.architecture == "encoder-decoder" else None)
    if config.architecture == "decoder":
        return Inputs(None, ids(T, 3), None, mask(T, 3))
    if config.architecture == "encoder":
        return Inputs(source, None, mask(S, 5))
    return Inputs(source, ids(T, 3), mask(S, 5), mask(T, 3))


def name(tokens: Any) -> list[str]:
    """What a token is called here."""
    return [f"t{token}" for token in tokens]


def subject(model: AnyModel, config: ModelConfig, limit: int = 6, **decoding: Any) -> Subject:
    """A model that writes, asked for at most ``limit`` tokens."""
    source = ids(S, 2) if config.architecture == "encoder-decoder" else None
    prompt = (0,) if source is not None else (5, 9, 7)
    writing = Writing(DecodingConfig(**decoding), prompt, END, limit, lambda some: " ".join(name(some)), (0,))
    names = () if source is None else tuple(name(source[0].tolist()))
    return Subject(model, config, "a text", source, names, name, tuple(name(range(V))), writing=writing)
