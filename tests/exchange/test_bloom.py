"""BLOOM here and in transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from parity import (
    TOLERANCE,
    InFloat64,
    check_decoder_gradients,
    check_decoder_logits,
    check_decoder_outputs,
    check_decoder_returned,
    converted,
    decoder_differences,
    randomised,
    with_slip,
)
from transformers import BloomConfig, BloomForCausalLM
from transformers.models.bloom import modeling_bloom

from pellucid.base.errors import ModelError
from pellucid.exchange.bloom import FAMILY, describe
from pellucid.exchange.pieces import Piece, interleaved, stacked

SHAPE = {"vocab_size": 53, "hidden_size": 24, "n_layer": 2, "n_head": 4, "bos_token_id": 1, "eos_token_id": 2}
MODELS: dict[str, dict[str, Any]] = {
    "as published": {},
    "other parts": {"n_head": 6, "layer_norm_epsilon": 0.01, "tie_word_embeddings": False, "pad_token_id": 3},
}


@pytest.fixture(autouse=True)
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling_bloom, "torch", InFloat64())


@pytest.fixture(params=MODELS)
def theirs(request: pytest.FixtureRequest) -> Any:
    return randomised(BloomForCausalLM(BloomConfig(**{**SHAPE, **MODELS[request.param]})))


def test_logits(theirs: Any) -> None:
    check_decoder_logits(theirs, FAMILY)


def test_gradients(theirs: Any) -> None:
    check_decoder_gradients(theirs, FAMILY)


def test_generation(theirs: Any) -> None:
    check_decoder_outputs(theirs, FAMILY)


def test_there_and_back(theirs: Any) -> None:
    check_decoder_returned(theirs, FAMILY)


@pytest.mark.parametrize("slip", [{"activation": "gelu"}, {"norm_epsilon": 1e-3}, {"positions": "none"}], ids=str)
def test_a_slip_shows(slip: dict[str, Any]) -> None:
    theirs = randomised(BloomForCausalLM(BloomConfig(**SHAPE)))
    assert min(decoder_differences(with_slip(theirs, FAMILY, slip), theirs).values()) > TOLERANCE


def test_rows_in_another_order_show() -> None:
    """Queries, keys and values one below the other, as GPT-2 has them."""

    def pieces(*given: Any) -> list[Piece]:
        return [stacked(piece.ours, piece.theirs[0]) if len(piece.ours) == 3 else piece for piece in FAMILY.pieces(*given)]

    theirs = randomised(BloomForCausalLM(BloomConfig(**SHAPE)))
    ours, _ = converted(theirs, replace(FAMILY, pieces=pieces))
    assert min(decoder_differences(ours, theirs).values()) > TOLERANCE


def test_rows_in_turn() -> None:
    """Two heads of three rows each, for a and b: row numbers as numbers."""
    piece = interleaved(["a", "b"], "c", n_heads=2)
    first, second = piece.read([torch.arange(12)])
    assert (first.tolist(), second.tolist()) == ([0, 1, 2, 6, 7, 8], [3, 4, 5, 9, 10, 11])
    (both,) = piece.write([first, second])
    assert both.tolist() == list(range(12))


def test_names_of_settings_in_older_files() -> None:
    old = {"vocab_size": 53, "n_embed": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "seq_length": 31}
    assert describe(old, "").model == replace(describe(SHAPE, "").model, max_length=31)


@pytest.mark.parametrize("name", ["apply_residual_connection_post_layernorm", "slow_but_exact"])
def test_what_has_no_part_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=name):
        describe({**SHAPE, name: True}, "BloomForCausalLM")


def test_a_missing_setting() -> None:
    with pytest.raises(ModelError, match="n_head or num_attention_heads"):
        describe({name: value for name, value in SHAPE.items() if name != "n_head"}, "BloomForCausalLM")
