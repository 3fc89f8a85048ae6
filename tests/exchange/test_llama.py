"""LLaMA here and in transformers."""

from __future__ import annotations

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
from transformers import LlamaConfig, LlamaForCausalLM, modeling_rope_utils
from transformers.models.llama import modeling_llama

from pellucid.base.config import PositionalConfig, RotaryConfig
from pellucid.base.errors import ModelError
from pellucid.exchange.llama import FAMILY, describe

SHAPE = {
    "vocab_size": 53,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 31,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# Original length 13: of the four waves of eight numbers one is quick, one slow and two between.
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 20.0,
    "factor": 4.0,
    "low_freq_factor": 0.4,
    "high_freq_factor": 1.7,
    "original_max_position_embeddings": 13,
}
MODELS: dict[str, dict[str, Any]] = {
    "as published": {},
    "shared keys": {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10, "rope_theta": 500.0},
    "biases": {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "rms_norm_eps": 0.01},
    "one bias": {"attention_bias": True, "hidden_act": "gelu", "rope_scaling": {"type": "linear", "factor": 2.5}},
    "stretched": {"mlp_bias": True, "rope_parameters": LLAMA3, "eos_token_id": [2, 5], "pad_token_id": 3},
}


@pytest.fixture(autouse=True)
def in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling_llama, "torch", InFloat64())
    monkeypatch.setattr(modeling_rope_utils, "torch", InFloat64())
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # the angles


@pytest.fixture(params=MODELS)
def theirs(request: pytest.FixtureRequest) -> Any:
    return randomised(LlamaForCausalLM(LlamaConfig(**{**SHAPE, **MODELS[request.param]})))


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
        {"activation": "geglu"},
        {"norm_epsilon": 1e-3},
        {"positions": "none"},
        {"positional": PositionalConfig(rotary=RotaryConfig(base=9_000.0))},
    ],
    ids=str,
)
def test_a_slip_shows(slip: dict[str, Any]) -> None:
    theirs = randomised(LlamaForCausalLM(LlamaConfig(**SHAPE)))
    assert min(decoder_differences(with_slip(theirs, FAMILY, slip), theirs).values()) > TOLERANCE


def test_gate_and_hidden_exchanged_show() -> None:
    theirs = randomised(LlamaForCausalLM(LlamaConfig(**SHAPE)))
    ours, _ = converted(theirs, FAMILY)
    feed_forward = ours.decoder.layers[1].feed_forward  # type: ignore[union-attr]
    feed_forward.gate, feed_forward.hidden = feed_forward.hidden, feed_forward.gate
    assert min(decoder_differences(ours, theirs).values()) > TOLERANCE


def test_positions_under_old_and_new_names() -> None:
    """Files of before and after transformers 5."""
    numbers = {name: value for name, value in LLAMA3.items() if name not in ("rope_type", "rope_theta")}
    expected = RotaryConfig(20.0, "llama3", factor=4.0, low_frequency=0.4, high_frequency=1.7, original_length=13)
    old = {"rope_theta": 20.0, "rope_scaling": {"type": "llama3", **numbers}}
    for change in (old, {"rope_parameters": LLAMA3}):
        assert describe({**SHAPE, **change}, "").model.positional.rotary == expected


@pytest.mark.parametrize("kind", ["yarn", "dynamic", "longrope"])
@pytest.mark.parametrize("key", ["rope_scaling", "rope_parameters"])
def test_other_positions_are_refused_by_name(key: str, kind: str) -> None:
    with pytest.raises(ModelError, match=kind):
        describe({**SHAPE, key: {"rope_type": kind, "factor": 4.0}}, "LlamaForCausalLM")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"hidden_act": "mish"}, "mish"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"rope_scaling": {"rope_type": "linear"}}, "factor"),
    ],
)
def test_what_cannot_be_done_exactly_is_refused(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        describe({**SHAPE, **change}, "LlamaForCausalLM")


def test_a_missing_setting() -> None:
    with pytest.raises(ModelError, match="intermediate_size"):
        describe({name: value for name, value in SHAPE.items() if name != "intermediate_size"}, "LlamaForCausalLM")
