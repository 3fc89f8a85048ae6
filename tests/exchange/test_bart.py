"""BART against ``transformers``."""

from __future__ import annotations

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
from parity import converted, randomised, shapes_of
from torch import Tensor

from pellucid.base.config import EmbeddingConfig, ModelConfig
from pellucid.base.errors import ModelError
from pellucid.exchange.bart import FAMILY
from pellucid.exchange.mapping import relevant, to_ours, to_theirs
from pellucid.model.transformer import EncoderDecoder

BART = pytest.importorskip("transformers.models.bart.modeling_bart")

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
}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "bart": {},
    "scaled": {"scale_embedding": True, "activation_function": "gelu_new", "decoder_layers": 1},
    "relu": {"activation_function": "relu", "encoder_layers": 4, "decoder_start_token_id": 0},
}
every = pytest.mark.parametrize("name", CONFIGURATIONS)
CLASS = "BartForConditionalGeneration"


def theirs_for(name: str) -> Any:
    """A model of theirs, with a bias of the logits that is not zero."""
    return randomised(with_bias(BART.BartForConditionalGeneration(BART.BartConfig(**SHAPE | CONFIGURATIONS[name]))))


@every
def test_logits(name: str) -> None:
    check_logits(theirs_for(name), FAMILY)


@every
def test_gradients(name: str) -> None:
    check_gradients(theirs_for(name), FAMILY)


@every
def test_greedy_outputs(name: str) -> None:
    check_outputs(lively(theirs_for(name)), FAMILY)


@every
def test_their_class_loads_what_is_exported(name: str, tmp_path: Path) -> None:
    check_exported(theirs_for(name), FAMILY, tmp_path)


@pytest.mark.parametrize("slip", ["epsilon", "activation", "scale of embeddings"])
def test_a_slip_shows(slip: str) -> None:
    theirs = theirs_for("scaled")
    ours, described = same_model(theirs, FAMILY)
    model = described.model
    slips: dict[str, ModelConfig] = {
        "epsilon": replace(model, norm_epsilon=1e-6),
        "activation": replace(model, activation="gelu"),
        "scale of embeddings": replace(model, embedding=EmbeddingConfig(scale=False, norm=True)),
    }
    found = differences(altered(ours, slips[slip]), theirs)
    assert min(found.values()) > 1e3 * TOLERANCE, found


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_positions_shifted_by_a_row_show(side: str) -> None:
    theirs = theirs_for("bart")
    ours, _ = same_model(theirs, FAMILY)
    table: Tensor = ours.get_submodule(side).get_submodule("positions").get_parameter("weight")
    with torch.no_grad():
        table.copy_(table.roll(1, dims=0))
    found = differences(ours, theirs)
    assert min(found.values()) > 1e3 * TOLERANCE, found


def test_unused_rows_of_positions_are_written_as_zeros() -> None:
    theirs = theirs_for("bart")
    ours, described = same_model(theirs, FAMILY)
    table = to_theirs(FAMILY.pieces(described.model, CLASS), ours.state_dict())["model.decoder.embed_positions.weight"]
    expected = theirs.model.decoder.embed_positions.weight.detach().clone()
    expected[:2] = 0.0
    assert torch.equal(table, expected)


def test_the_class_without_a_head() -> None:
    """Files of the pre-trained models: no prefix and no bias of the logits; the logits are those of a bias of zero."""
    theirs = randomised(BART.BartForConditionalGeneration(BART.BartConfig(**SHAPE)))
    ours, described = converted(theirs.model, FAMILY)
    assert isinstance(ours, EncoderDecoder)
    assert ours.head.bias is None
    assert described.task == "denoising"
    found = differences(ours, theirs)
    assert max(found.values()) < TOLERANCE, found


def test_a_file_without_the_prefix() -> None:
    theirs = theirs_for("bart")
    ours, described = same_model(theirs, FAMILY)
    pieces = FAMILY.pieces(described.model, CLASS)
    weights = {name.removeprefix("model."): weight for name, weight in theirs.state_dict().items() if name != "lm_head.weight"}
    again = to_ours(pieces, relevant(FAMILY, pieces, weights, torch.equal), shapes_of(ours), "memory")
    assert all(torch.equal(again[name], weight) for name, weight in ours.state_dict().items())


@pytest.mark.parametrize("name", ["BartModel", CLASS])
def test_copies_of_the_embedding_must_be_copies(name: str) -> None:
    """With the prefix and without it, in the class that has it and in the one that has not."""
    whole_model = theirs_for("bart")
    theirs = whole_model.model if name == "BartModel" else whole_model
    _, described = converted(theirs, FAMILY)
    pieces, weights = FAMILY.pieces(described.model, name), dict(theirs.state_dict())
    known = {each for piece in pieces for each in piece.theirs}
    assert relevant(FAMILY, pieces, weights, torch.equal).keys() == known
    for copy in ("encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight"):
        full = copy.removeprefix("model.") if name == "BartModel" else copy
        if full in weights:
            with pytest.raises(ModelError, match="tied"):
                relevant(FAMILY, pieces, weights | {full: weights[full] + 1}, torch.equal)


def test_description() -> None:
    dropouts = {"dropout": 0.2, "attention_dropout": 0.3, "activation_dropout": 0.4}
    found = FAMILY.describe(SHAPE | dropouts, CLASS)
    assert found.task == "denoising"
    assert found.controls == {"pad": 1, "start": 2, "end": 2}
    model = found.model
    assert (model.dropout, model.attention_dropout, model.activation_dropout) == (0.2, 0.3, 0.4)
    assert (model.encoder.n_layers, model.encoder.n_heads, model.encoder.d_ff) == (2, 3, 18)
    assert (model.decoder.n_layers, model.decoder.n_heads, model.decoder.d_ff) == (3, 4, 20)
    assert (model.max_length, model.tie, model.activation, model.head.bias) == (29, "all", "gelu", True)
    assert model.embedding == EmbeddingConfig(scale=False, norm=True)


@pytest.mark.parametrize(
    "setting",
    [
        {"normalize_before": True},
        {"add_final_layer_norm": True},
        {"normalize_embedding": False},
        {"static_position_embeddings": True},
        {"tie_word_embeddings": False},
        {"is_encoder_decoder": False},
        {"activation_function": "tanh"},
    ],
)
def test_what_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="BART model has"):
        FAMILY.describe(SHAPE | setting, CLASS)
