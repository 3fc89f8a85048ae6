"""GPT-2 here and in transformers."""

from __future__ import annotations

from typing import Any

import pytest
from parity import (
    TOLERANCE,
    check_decoder_gradients,
    check_decoder_logits,
    check_decoder_outputs,
    check_decoder_returned,
    converted,
    decoder_differences,
    randomised,
    with_slip,
)
from transformers import GPT2Config, GPT2LMHeadModel

from pellucid.base.config import EmbeddingConfig
from pellucid.base.errors import ModelError
from pellucid.exchange.gpt2 import FAMILY, describe
from pellucid.exchange.mapping import relevant

SHAPE = {"vocab_size": 53, "n_positions": 29, "n_embd": 24, "n_layer": 2, "n_head": 3, "bos_token_id": 1, "eos_token_id": 2}
MODELS: dict[str, dict[str, Any]] = {
    "as published": {},
    "other parts": {
        "n_head": 4,
        "n_inner": 40,
        "activation_function": "relu",
        "layer_norm_epsilon": 0.01,
        "tie_word_embeddings": False,
        "pad_token_id": 3,
    },
}


@pytest.fixture(params=MODELS)
def theirs(request: pytest.FixtureRequest) -> Any:
    return randomised(GPT2LMHeadModel(GPT2Config(**{**SHAPE, **MODELS[request.param]})))


def test_logits(theirs: Any) -> None:
    check_decoder_logits(theirs, FAMILY)


def test_gradients(theirs: Any) -> None:
    check_decoder_gradients(theirs, FAMILY)


def test_generation(theirs: Any) -> None:
    check_decoder_outputs(theirs, FAMILY)


def test_there_and_back(theirs: Any) -> None:
    check_decoder_returned(theirs, FAMILY)


@pytest.mark.parametrize(
    "slip",
    [
        {"activation": "gelu"},
        {"norm_epsilon": 1e-4},
        {"attention": "dot-unscaled"},
        {"embedding": EmbeddingConfig(scale=True)},
    ],
    ids=str,
)
def test_a_slip_shows(slip: dict[str, Any]) -> None:
    theirs = randomised(GPT2LMHeadModel(GPT2Config(**SHAPE)))
    assert min(decoder_differences(with_slip(theirs, FAMILY, slip), theirs).values()) > TOLERANCE


def test_queries_and_keys_in_the_wrong_order_show() -> None:
    theirs = randomised(GPT2LMHeadModel(GPT2Config(**SHAPE)))
    right, _ = converted(theirs, FAMILY)
    attention = right.decoder.layers[0].self_attn
    attention.query, attention.key = attention.key, attention.query
    assert min(decoder_differences(right, theirs).values()) > TOLERANCE


def test_names_without_prefix_buffers_and_copies(theirs: Any) -> None:
    """The layout of the first files: no "transformer.", masks among the weights, a copy of the tied matrix."""
    _, described = converted(theirs, FAMILY)
    pieces = FAMILY.pieces(described.model, "GPT2LMHeadModel")
    full = set(theirs.state_dict())
    old = {name.removeprefix("transformer."): name for name in full}
    old |= {"h.0.attn.bias": "a mask", "h.1.attn.masked_bias": "a number"}
    expected = {name: name for piece in pieces for name in piece.theirs}
    assert relevant(FAMILY, pieces, old, lambda one, other: True) == expected


def test_a_tied_matrix_under_its_other_name() -> None:
    model = describe(SHAPE, "").model
    pieces = FAMILY.pieces(model, "")
    names = {name for piece in pieces for name in piece.theirs} - {"transformer.wte.weight"}
    found = relevant(FAMILY, pieces, {name: name for name in [*names, "lm_head.weight"]}, str.__eq__)
    assert found == {**{name: name for name in names}, "transformer.wte.weight": "lm_head.weight"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"scale_attn_weights": False}, "scale_attn_weights"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"activation_function": "mish"}, "mish"),
    ],
)
def test_what_has_no_part_is_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        describe({**SHAPE, **change}, "GPT2LMHeadModel")


def test_a_missing_setting() -> None:
    with pytest.raises(ModelError, match="n_layer"):
        describe({name: value for name, value in SHAPE.items() if name != "n_layer"}, "GPT2LMHeadModel")
