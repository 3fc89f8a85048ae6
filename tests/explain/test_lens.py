"""The logit lens: the last layer is the model, an earlier one is the model without those after it; and sizes by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import DECODER, ENCODER, ENCODER_DECODER, PICTURES, T, V, inputs, make, recurrent

from pellucid.base.config import HeadConfig, ModelConfig, StackConfig
from pellucid.base.errors import UsageError
from pellucid.explain.edits import Ban, ZeroHead
from pellucid.explain.files import load
from pellucid.explain.forward import trace_forward
from pellucid.explain.lens import described, edited_end, layers_of, lens, parts, states
from pellucid.explain.trace import Trace

KINDS = {
    "post-norm": ENCODER_DECODER,
    "pre-norm": replace(ENCODER_DECODER, norm="pre"),
    "pre-norm, RMS, decoder": replace(DECODER, norm="pre", norm_kind="rms", positions="rotary"),
    "per token, the head's own layer": replace(ENCODER, head=HeadConfig(transform="norm", activation="gelu")),
    "mean over tokens": replace(ENCODER, norm="pre", head=HeadConfig(pool="mean", transform="dense"), target_vocabulary=3),
    "pictures": PICTURES,
}


def traced(config: ModelConfig, dtype: torch.dtype = torch.float64, **options: object) -> Trace:
    given = inputs(config)
    if given.source is not None and given.source.is_floating_point():
        given = replace(given, source=given.source.to(dtype))
    return trace_forward(make(config, dtype), config, given, vocabulary=[f"t{at}" for at in range(V)], **options)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_layer_says_what_the_model_says(kind: str) -> None:
    trace = traced(KINDS[kind])
    *_, (state, found) = lens(trace)
    assert state.tap == f"{'encoder' if KINDS[kind].architecture == 'encoder' else 'decoder'}.layers.{state.layer}.out"
    assert found.shape == trace["probs"].shape
    np.testing.assert_allclose(found, trace["probs"].array, rtol=0, atol=1e-12)


def test_in_float32_the_last_layer_is_the_model_to_six_digits(learnt: Path) -> None:
    import pellucid

    trace = pellucid.load(learnt).explain("a b d")
    *_, (_, found) = lens(trace)
    np.testing.assert_allclose(found, trace["probs"].array, rtol=0, atol=1e-6)


@pytest.mark.parametrize("config", [ENCODER_DECODER, replace(ENCODER_DECODER, norm="pre"), replace(DECODER, norm="pre")])
def test_an_earlier_layer_says_what_a_model_that_ends_there_says(config: ModelConfig) -> None:
    """The same weights in a model of fewer layers, its end as it is."""
    found = {state.tap: probabilities for state, probabilities in lens(traced(config))}
    whole = make(config, torch.float64)
    for layers in (1, 2):
        short = replace(config, decoder=replace(config.decoder, n_layers=layers))
        model = make(short, torch.float64)
        known = whole.state_dict()
        model.load_state_dict({name: known[name] for name in model.state_dict()})
        expected = trace_forward(model, short, inputs(config))["probs"].array
        np.testing.assert_allclose(found[f"decoder.layers.{layers - 1}.out"], expected, rtol=0, atol=1e-12)


def test_between_the_sublayers_stands_what_is_there_when_the_later_ones_add_nothing() -> None:
    """With pre-norm a feed-forward of zeros leaves the residual after attention as the layer's output."""
    config = replace(DECODER, norm="pre", decoder=StackConfig(1, 2, 16))
    model = make(config, torch.float64)
    found = dict(lens(trace_forward(model, config, inputs(config))))
    for parameter in model.decoder.layers[0].feed_forward.output.parameters():
        parameter.data.zero_()
    expected = trace_forward(model, config, inputs(config))["probs"].array
    [between] = [probabilities for state, probabilities in found.items() if state.after]
    np.testing.assert_allclose(between, expected, rtol=0, atol=1e-12)


def test_states_in_their_order() -> None:
    post, pre = (states(traced(replace(ENCODER_DECODER, norm=norm))) for norm in ("post", "pre"))
    assert [state.text for state in post[:4]] == [
        "embedding",
        "layer 0, after self-attention",
        "layer 0, after cross-attention",
        "layer 0",
    ]
    assert [state.tap for state in post[:4]] == [
        "decoder.embed.out",
        "decoder.layers.0.self_attn_norm.out",
        "decoder.layers.0.cross_attn_norm.out",
        "decoder.layers.0.out",
    ]
    assert [state.tap for state in pre[1:3]] == ["decoder.layers.0.self_attn_residual", "decoder.layers.0.cross_attn_residual"]
    assert len(post) == len(pre) == 1 + 3 * 3


def test_the_formula_is_said() -> None:
    assert described(KINDS["pre-norm"]) == ("the final norm applied to each layer's output, then the output matrix and softmax")
    assert described(ENCODER_DECODER) == "post-norm: no final norm; each layer's output times the output matrix and softmax"
    assert "the mean over the tokens, then the head's own layer" in described(KINDS["mean over tokens"])


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_parts_are_what_is_added_to_what(norm: str) -> None:
    trace = traced(replace(ENCODER_DECODER, norm=norm))
    found = {part.tap: part for part in parts(trace)}
    assert len(found) == 2 * 2 + 3 * 3
    for part in found.values():
        total = trace[part.to].array + trace[part.tap].array
        np.testing.assert_allclose(total, trace[part.tap.replace(".out", "_residual")].array, rtol=1e-12)
        for at in range(len(part.norms)):
            added, stream = trace[part.tap].array[at].tolist(), trace[part.to].array[at].tolist()
            dot = sum(one * other for one, other in zip(added, stream, strict=True))
            size, other_size = sum(x * x for x in added) ** 0.5, sum(x * x for x in stream) ** 0.5
            assert part.norms[at] == pytest.approx(size)
            assert part.before[at] == pytest.approx(other_size)
            assert part.cosines[at] == pytest.approx(dot / size / other_size)


def test_what_adds_nothing_has_no_angle() -> None:
    model = make(DECODER)
    for parameter in model.decoder.layers[1].feed_forward.output.parameters():
        parameter.data.zero_()
    trace = trace_forward(model, DECODER, inputs(DECODER))
    [told] = [part for part in layers_of(trace)["parts"] if part["tap"] == "decoder.layers.1.ffn.out"]
    assert told["norms"] == [0.0] * T
    assert told["cosines"] == [None] * T


def test_what_is_told_are_the_five_largest() -> None:
    trace = traced(KINDS["pre-norm"])
    told = layers_of(trace)
    json.dumps(told, allow_nan=False)
    for (state, probabilities), row in zip(lens(trace), told["states"], strict=True):
        assert row["tap"] == state.tap
        for at in range(T):
            order = sorted(range(V), key=lambda token, at=at: (-probabilities[at, token], token))[:5]
            assert row["ids"][at] == order
            assert row["shares"][at] == pytest.approx([probabilities[at, token] for token in order], rel=1e-8)


def test_only_so_many_positions_are_told() -> None:
    config = replace(DECODER, max_length=80)
    target = torch.arange(70)[None] % V
    given = replace(inputs(config), target=target)
    told = layers_of(trace_forward(make(config), config, given))
    assert {len(row["ids"]) for row in told["states"]} == {len(part["norms"]) for part in told["parts"]} == {64}


def test_an_edit_of_the_end_is_named() -> None:
    trace = traced(ENCODER_DECODER, edits=[Ban(5), ZeroHead("decoder.layers.2.self_attn", 0)])
    assert edited_end(trace) == layers_of(trace)["edited"] == ["logits"]
    *_, (_, found) = lens(trace)
    assert found[:, 5].min() > 0.0 == trace["probs"].array[:, 5].max()
    inside = traced(ENCODER_DECODER, edits=[ZeroHead("decoder.layers.2.self_attn", 0)])
    *_, (_, found) = lens(inside)
    np.testing.assert_allclose(found, inside["probs"].array, rtol=0, atol=1e-12)


def test_a_trace_from_a_file_has_sizes_and_no_lens(tmp_path: Path) -> None:
    trace = traced(ENCODER_DECODER)
    trace.save(tmp_path / "trace.npz")
    saved = load(tmp_path / "trace.npz")
    assert layers_of(saved)["states"] == []
    assert layers_of(saved)["parts"] == layers_of(trace)["parts"]
    with pytest.raises(UsageError, match="no weights"):
        list(lens(saved))


def test_taps_that_were_not_kept_are_left_out() -> None:
    trace = traced(ENCODER_DECODER, taps=["decoder.layers.[0-9].out", "probs"])
    assert [state.text for state in states(trace)] == ["layer 0", "layer 1", "layer 2"]
    assert parts(trace) == []


def test_a_model_that_breaks_down_is_told_too() -> None:
    model = make(DECODER)
    model.decoder.layers[2].feed_forward.output.weight.data.fill_(float("nan"))
    told = layers_of(trace_forward(model, DECODER, inputs(DECODER)))
    json.dumps(told, allow_nan=False)
    assert told["states"][-1]["shares"][0] == [None] * 5
    assert told["states"][0]["shares"][0][0] is not None


def test_a_recurrent_network_has_no_residual() -> None:
    config = recurrent("gru", "dot")
    trace = traced(config)
    assert states(trace) == parts(trace) == list(lens(trace)) == []
    json.dumps(layers_of(trace), allow_nan=False)
