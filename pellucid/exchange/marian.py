"""Marian (Junczys-Dowmunt et al., 2018; the OPUS-MT models): the paper's Transformer, sines before cosines.

Their training leaves the embedding of the padding token as it is; here it learns like any other, since outputs begin with it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pellucid.base.config import EmbeddingConfig, HeadConfig, ModelConfig, PositionalConfig, Tie
from pellucid.exchange.bart import layers, shape, shape_settings
from pellucid.exchange.family import Described, Family, Settings, given, refuse, required, size
from pellucid.exchange.pieces import Piece, same, shaped
from pellucid.model.positions import SinusoidalPositions

# Where each of our matrices lies; where there is one vocabulary, the output projection is it too.
_MATRICES = {
    "all": {"shared": "model.shared.weight"},
    "decoder": {"source": "model.encoder.embed_tokens.weight", "target": "model.decoder.embed_tokens.weight"},
    "none": {
        "source": "model.encoder.embed_tokens.weight",
        "target": "model.decoder.embed_tokens.weight",
        "output": "lm_head.weight",
    },
}


def describe(settings: Settings, architecture: str) -> Described:
    """Their config.json as ours."""
    refuse(settings, "Marian", normalize_embedding=False, static_position_embeddings=True)
    source = required(settings, "vocab_size")[0]
    tie: Tie = "all"
    target = source
    if given(settings, "share_encoder_decoder_embeddings", True):
        refuse(settings, "Marian", tie_word_embeddings=True)
    else:
        target = size(settings, "decoder_vocab_size") or source
        tie = "decoder" if given(settings, "tie_word_embeddings", True) else "none"
    model = ModelConfig(
        **shape(settings, "Marian"),
        positions="sinusoidal",
        positional=PositionalConfig(halves=True),
        embedding=EmbeddingConfig(scale=given(settings, "scale_embedding", False)),
        head=HeadConfig(bias=True),
        tie=tie,
        source_vocabulary=source,
        target_vocabulary=target,
    )
    pad, end = settings.get("pad_token_id"), settings.get("eos_token_id", 0)
    controls = {"pad": pad, "start": settings.get("decoder_start_token_id", pad), "end": end}
    return Described("translation", model, controls=controls)


def settings(described: Described, architecture: str) -> dict[str, Any]:
    """Ours as their config.json."""
    model = described.model
    return {
        "vocab_size": model.source_vocabulary,
        "decoder_vocab_size": model.target_vocabulary,
        "share_encoder_decoder_embeddings": model.tie == "all",
        "tie_word_embeddings": model.tie != "none",
        "static_position_embeddings": True,
        **shape_settings(described),
    }


def pieces(model: ModelConfig, architecture: str) -> list[Piece]:
    """Their weights and ours."""
    matrices = [same(f"weights.{ours}", theirs) for ours, theirs in _MATRICES[model.tie].items()]
    return [*matrices, *layers(model, "model."), shaped("head.bias", "final_logits_bias", (-1,), (1, -1))]


def _sines(model: ModelConfig) -> Tensor:
    """Their table of positions, which old files have; (positions, d_model)."""
    positions = SinusoidalPositions(model.max_length, model.d_model, halves=True)
    positions.initialise()
    return positions.table


FAMILY = Family(
    name="marian",
    classes={"MarianMTModel": "translation"},
    prefix="model.",
    describe=describe,
    settings=settings,
    pieces=pieces,
    ignored=(r"\.embed_positions\.weight$",),
    computed={r"\.embed_positions\.weight$": _sines},
    copies={
        "model.encoder.embed_tokens.weight": "model.shared.weight",
        "model.decoder.embed_tokens.weight": "model.shared.weight",
        "lm_head.weight": "model.decoder.embed_tokens.weight",
    },
)
