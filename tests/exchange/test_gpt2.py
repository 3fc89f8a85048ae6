"""GPT-2 here and in transformers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from parity import converted, decoder_differences, decoder_gradients, decoder_outputs, prompts, randomised, returned
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
TOLERANCE = 1e-6


@pytest.fixture(params=MODELS)
def theirs(request: pytest.FixtureRequest) -> Any:
    return randomised(GPT2LMHeadModel(GPT2Config(**{**SHAPE, **MODELS[request.param]})))


def test_logits(theirs: Any) -> None:
    ours, _ = converted(theirs, FAMILY)
    differences = decoder_differences(ours, theirs)
    assert max(differences.values()) < TOLERANCE, differences


def test_gradients(theirs: Any) -> None:
    ours, described = converted(theirs, FAMILY)
    assert decoder_gradients(ours, theirs, FAMILY, described) < TOLERANCE


def test_generation(theirs: Any) -> None:
    ours, _ = converted(theirs, FAMILY)
    found, expected = decoder_outputs(ours, theirs)
    assert found == expected
    assert len(found[0]) < 9  # the first met its end


def test_there_and_back(theirs: Any) -> None:
    ours, described = converted(theirs, FAMILY)
    ids = prompts(53)
    with torch.no_grad():
        assert torch.equal(returned(ours, theirs, FAMILY, described)(ids).logits, theirs(ids).logits)


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
    described = describe(theirs.config.to_dict(), "")
    slipped = replace(described, model=replace(described.model, **slip))
    ours, _ = converted(theirs, replace(FAMILY, describe=lambda *given: slipped))
    assert min(decoder_differences(ours, theirs).values()) > TOLERANCE


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
