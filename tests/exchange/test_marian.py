"""Marian against ``transformers``. Their sines are rounded to float32; the tests give them those of the formula, in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from encoder_decoders import (
    TOLERANCE,
    altered,
    check_exported,
    check_gradients,
    check_logits,
    check_outputs,
    differences,
    lively,
    same_model,
    with_bias,
)
from parity import randomised
from safetensors.torch import load_file, save_file
from torch import Tensor

from pellucid.base.config import EmbeddingConfig, ModelConfig, PositionalConfig
from pellucid.base.errors import ModelError
from pellucid.exchange.convert import open_source
from pellucid.exchange.mapping import relevant
from pellucid.exchange.marian import FAMILY

MARIAN = pytest.importorskip("transformers.models.marian.modeling_marian")

SHAPE: dict[str, Any] = {
    "vocab_size": 37,
    "d_model": 12,
    "encoder_layers": 2,
    "encoder_attention_heads": 3,
    "encoder_ffn_dim": 18,
    "decoder_layers": 3,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 20,
    "max_position_embeddings": 29,
    "scale_embedding": True,
    "activation_function": "swish",
    "pad_token_id": 2,
    "eos_token_id": 0,
    "forced_eos_token_id": 0,
    "decoder_start_token_id": 2,
}
TWO = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 31}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "one vocabulary": {},
    "two vocabularies": {**TWO, "activation_function": "relu", "decoder_layers": 1},
    "nothing tied": {**TWO, "tie_word_embeddings": False, "activation_function": "gelu", "scale_embedding": False},
}
every = pytest.mark.parametrize("name", CONFIGURATIONS)
CLASS = "MarianMTModel"


def sines(length: int, d_model: int) -> Tensor:
    """``sin(pos / 10000^(2i / d_model))`` for all i, then the cosines."""
    angles = [[pos / 10000 ** (2 * i / d_model) for i in range(d_model // 2)] for pos in range(length)]
    rows = [[*map(math.sin, row), *map(math.cos, row)] for row in angles]
    return torch.tensor(rows, dtype=torch.float64)


def theirs_for(name: str, *, exact: bool = True) -> Any:
    """A model of theirs, with a bias of the logits that is not zero."""
    model = randomised(with_bias(MARIAN.MarianMTModel(MARIAN.MarianConfig(**SHAPE | CONFIGURATIONS[name]))))
    with torch.no_grad():
        for stack in (model.model.encoder, model.model.decoder):
            table = stack.embed_positions
            table.weight.copy_(sines(*table.weight.shape) if exact else table.create_weight())
    return model


@every
def test_logits(name: str) -> None:
    check_logits(theirs_for(name), FAMILY)


@every
def test_logits_with_their_rounding(name: str) -> None:
    check_logits(theirs_for(name, exact=False), FAMILY, tolerance=1e-5)


@every
def test_gradients(name: str) -> None:
    check_gradients(theirs_for(name), FAMILY)


@every
def test_greedy_outputs(name: str) -> None:
    check_outputs(lively(theirs_for(name)), FAMILY)


@every
def test_their_class_loads_what_is_exported(name: str, tmp_path: Path) -> None:
    check_exported(theirs_for(name, exact=False), FAMILY, tmp_path)


@pytest.mark.parametrize("slip", ["epsilon", "activation", "order of sines", "scale of embeddings"])
def test_a_slip_shows(slip: str) -> None:
    theirs = theirs_for("one vocabulary")
    ours, described = same_model(theirs, FAMILY)
    model = described.model
    slips: dict[str, ModelConfig] = {
        "epsilon": replace(model, norm_epsilon=1e-6),
        "activation": replace(model, activation="gelu"),
        "order of sines": replace(model, positional=PositionalConfig(halves=False)),
        "scale of embeddings": replace(model, embedding=EmbeddingConfig(scale=False)),
    }
    found = differences(altered(ours, slips[slip]), theirs)
    assert min(found.values()) > 1e3 * TOLERANCE, found


def test_description() -> None:
    dropouts = {"dropout": 0.2, "attention_dropout": 0.3, "activation_dropout": 0.4}
    found = FAMILY.describe(SHAPE | TWO | dropouts, CLASS)
    assert found.task == "translation"
    assert found.controls == {"pad": 2, "start": 2, "end": 0}
    model = found.model
    assert (model.dropout, model.attention_dropout, model.activation_dropout) == (0.2, 0.3, 0.4)
    assert (model.encoder.n_layers, model.encoder.n_heads, model.encoder.d_ff) == (2, 3, 18)
    assert (model.decoder.n_layers, model.decoder.n_heads, model.decoder.d_ff) == (3, 4, 20)
    assert (model.source_vocabulary, model.target_vocabulary, model.tie) == (37, 31, "decoder")
    assert (model.max_length, model.activation, model.head.bias) == (29, "silu", True)
    assert model.embedding == EmbeddingConfig(scale=True)


@pytest.mark.parametrize("name", ["one vocabulary", "two vocabularies"])
def test_copies_of_tied_matrices_are_left_out(name: str) -> None:
    theirs = theirs_for(name)
    _, described = same_model(theirs, FAMILY)
    pieces = FAMILY.pieces(described.model, CLASS)
    found = relevant(FAMILY, pieces, theirs.state_dict(), torch.equal)
    assert found.keys() == {name for piece in pieces for name in piece.theirs}


@pytest.mark.parametrize(
    "setting",
    [
        {"normalize_before": True},
        {"add_final_layer_norm": True},
        {"normalize_embedding": True},
        {"static_position_embeddings": False},
        {"tie_word_embeddings": False},
        {"activation_function": "tanh"},
    ],
)
def test_what_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="Marian model has"):
        FAMILY.describe(SHAPE | setting, CLASS)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_table_of_positions_in_the_file_must_be_the_one_that_is_computed(dtype: torch.dtype, tmp_path: Path) -> None:
    theirs = MARIAN.MarianMTModel(MARIAN.MarianConfig(**SHAPE))
    theirs.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    table, name = sines(29, SHAPE["d_model"]).to(dtype), "model.encoder.embed_positions.weight"
    save_file({**weights, name: table}, tmp_path / "model.safetensors")
    open_source(tmp_path)
    for other in (table.roll(1, 0), table[:-1].clone()):
        save_file({**weights, name: other}, tmp_path / "model.safetensors")
        with pytest.raises(ModelError, match=name):
            open_source(tmp_path)
