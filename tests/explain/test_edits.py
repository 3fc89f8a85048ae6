"""Edits: what is changed, where, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small import DECODER, ENCODER, ENCODER_DECODER, END, S, inputs, make, subject

from pellucid.base.errors import UsageError
from pellucid.explain.edits import Ban, Edit, MeanHead, Patch, SetWeights, ZeroHead
from pellucid.explain.explain import explain
from pellucid.explain.forward import Inputs, trace_forward
from pellucid.explain.trace import Trace

MODEL = make(ENCODER_DECODER)
CROSS, SELF = "decoder.layers.1.cross_attn", "decoder.layers.2.self_attn"


def traced(*edits: Edit, model: Any = MODEL, given: Inputs | None = None) -> Trace:
    return trace_forward(model, ENCODER_DECODER, given or inputs(ENCODER_DECODER), edits=edits)


def changed(trace: Trace) -> set[str]:
    """Taps that are not as without edits."""
    plain = traced()
    return {name for name in plain if not np.array_equal(plain[name].array, trace[name].array, equal_nan=True)}


def test_a_head_set_to_zero_is_a_head_without_its_rows_of_the_output_matrix() -> None:
    trace = traced(ZeroHead("encoder.layers.0.self_attn", 1))
    other = make(ENCODER_DECODER)
    other.encoder.layers[0].self_attn.output.weight.data[:, 8:16] = 0.0
    np.testing.assert_allclose(trace["logits"].array, traced(model=other)["logits"].array, rtol=1e-4, atol=1e-5)
    assert not np.allclose(trace["logits"].array, traced()["logits"].array, atol=1e-3)
    z = trace["encoder.layers.0.self_attn.z"].array
    assert (z[1] == 0.0).all()
    assert np.array_equal(z[[0, 2]], traced()["encoder.layers.0.self_attn.z"].array[[0, 2]])
    assert trace.edited == ("encoder.layers.0.self_attn.z",)
    assert trace.edits == ("head 1 of encoder.layers.0.self_attn set to zero",)
    assert not {name for name in changed(trace) if "embed" in name or ("scores" in name and "encoder.layers.0" in name)}


def test_the_mean_of_a_head_is_over_all_positions_or_over_those_that_are_there() -> None:
    plain = traced()
    encoder = traced(MeanHead("encoder.layers.1.self_attn", 2))["encoder.layers.1.self_attn.z"].array
    own = plain["encoder.layers.1.self_attn.z"].array
    np.testing.assert_allclose(encoder[2], np.broadcast_to(own[2].mean(0), own[2].shape), rtol=1e-5, atol=1e-6)
    assert np.array_equal(encoder[:2], own[:2])
    decoder, own = traced(MeanHead(SELF, 0))[f"{SELF}.z"].array, plain[f"{SELF}.z"].array
    expected = np.stack([own[0, : t + 1].mean(0) for t in range(own.shape[1])])
    np.testing.assert_allclose(decoder[0], expected, rtol=1e-5, atol=1e-6)


def test_a_row_of_weights_is_set_and_sums_to_one() -> None:
    trace = traced(SetWeights(CROSS, 1, query=2, shares={0: 1.0, 6: 3.0}))
    weights, plain = trace[f"{CROSS}.weights"].array, traced()[f"{CROSS}.weights"].array
    assert weights[1, 2].tolist() == [0.25, 0, 0, 0, 0, 0, 0.75]
    same = np.ones(weights.shape[:2], dtype=bool)
    same[1, 2] = False
    assert np.array_equal(weights[same], plain[same])
    v = trace[f"{CROSS}.v"].array[1]
    np.testing.assert_allclose(trace[f"{CROSS}.z"].array[1, 2], 0.25 * v[0] + 0.75 * v[6], rtol=1e-5)


def test_a_vector_is_patched_from_another_trace() -> None:
    other = traced(given=replace(inputs(ENCODER_DECODER), source=torch.full((1, S), 11)))
    trace = traced(Patch("encoder.layers.0.out", 3, other, of=5))
    vectors = trace["encoder.layers.0.out"].array
    assert np.array_equal(vectors[3], other["encoder.layers.0.out"].array[5])
    rest = [0, 1, 2, 4, 5, 6]
    assert np.array_equal(vectors[rest], traced()["encoder.layers.0.out"].array[rest])
    whole = [Patch("encoder.layers.0.out", at, other) for at in range(S)]
    np.testing.assert_array_equal(traced(*whole)["encoder.out"].array, other["encoder.out"].array)


def test_one_head_is_patched() -> None:
    other = traced(given=replace(inputs(ENCODER_DECODER), source=torch.full((1, S), 11)))
    z, plain = traced(Patch(f"{CROSS}.z", 1, other, head=1))[f"{CROSS}.z"].array, traced()[f"{CROSS}.z"].array
    assert np.array_equal(z[1, 1], other[f"{CROSS}.z"].array[1, 1])
    assert np.array_equal(z[0], plain[0])


def test_a_token_is_banned_and_the_others_share_its_probability() -> None:
    trace, plain = traced(Ban(7)), traced()["probs"].array.astype(np.float64)
    expected = plain.copy()
    expected[:, 7] = 0.0
    np.testing.assert_allclose(trace["probs"].array, expected / expected.sum(1, keepdims=True), rtol=1e-4)
    assert changed(trace) == {"logits", "probs"}


def test_what_is_made_of_an_edited_number_is_still_what_its_formula_says() -> None:
    edits = (ZeroHead(CROSS, 0), SetWeights(SELF, 1, 3, {1: 1.0}), Ban(9))
    trace = traced(*edits)
    report = trace.check()
    assert {row.name for row in report.rows if row.left_out} == set(trace.edited) == {edit.place for edit in edits}
    assert report.worst.difference <= 1e-5


@pytest.mark.parametrize("config", [ENCODER_DECODER, DECODER, replace(DECODER, positions="rotary")])
@pytest.mark.parametrize("beams", [1, 3])
def test_edits_hold_while_the_output_is_written(config: Any, beams: int) -> None:
    """What the search chose from at each step is the row of the forward over the finished text, edits and all."""
    model = make(config)
    other = explain(subject(model, config, beams=1))
    part = "cross_attn" if config.architecture == "encoder-decoder" else "self_attn"
    edits = (
        ZeroHead("decoder.layers.0.self_attn", 1),
        MeanHead("decoder.layers.1.self_attn", 0),
        SetWeights(f"decoder.layers.2.{part}", 0, query=2, shares={1: 1.0, 2: 1.0}),
        Patch("decoder.layers.1.out", 3, other, of=1),
    )
    trace = explain(subject(model, config, beams=beams), edits=edits)
    first = len(trace.names["target"]) - len(trace.names["written"])
    logs = np.log(trace["probs"].array.astype(np.float64))
    prefix: tuple[str, ...] = ()
    before: tuple[tuple[str, ...], ...] = ((),)
    for t, step in enumerate(trace.steps[: len(trace.names["written"])]):
        rows = [one for one in step.candidates if before[one.beam] == prefix]
        assert rows or beams > 1
        for one in rows:
            assert one.log_probability == pytest.approx(logs[first + t, one.token], abs=1e-4)
        before, prefix = step.written, trace.names["written"][: t + 1]
    assert set(trace.edited) == {edit.place for edit in edits}


def test_edits_that_change_nothing_leave_the_search_as_it_is() -> None:
    """Asked anew for the whole text at every step, the model says what it says with its cache."""
    for config in (ENCODER_DECODER, DECODER):
        given = subject(make(config), config, beams=3)
        plain = explain(given)
        own = Patch("decoder.layers.0.out", 0, plain)
        again = explain(given, edits=[own])
        assert [step.written for step in again.steps] == [step.written for step in plain.steps]
        assert again.output == plain.output


def test_a_banned_token_is_not_written() -> None:
    given = subject(make(DECODER), DECODER, beams=1)
    plain = explain(given)
    token = int(plain.names["written"][0][1:])
    trace = explain(given, edits=[Ban(token)])
    assert token != END
    assert plain.names["written"][0] not in trace.names["written"]


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (ZeroHead(CROSS, 2), "no such head"),
        (MeanHead("encoder.layers.7.self_attn", 0), "there is no such place"),
        (SetWeights(CROSS, 0, query=9, shares={0: 1.0}), "there is no such place"),
        (SetWeights(CROSS, 0, query=0, shares={0: 0.0}), "at least 0"),
        (SetWeights(CROSS, 0, query=0, shares={0: 1.0, 1: -1.0}), "at least 0"),
        (Ban(17), "no such token"),
        (Patch("encoder.out", 0, traced(), of=7), "no such position"),
        (Patch("encoder.nothing", 0, traced()), "there is no such place"),
        (Patch("encoder.out", 0, traced(), head=1), "has no heads"),
    ],
)
def test_an_edit_of_what_is_not_there_is_refused(edit: Edit, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        traced(edit)


def test_encoders_are_edited_too() -> None:
    trace = trace_forward(make(ENCODER), ENCODER, inputs(ENCODER), edits=[ZeroHead("encoder.layers.1.self_attn", 0)])
    assert (trace["encoder.layers.1.self_attn.z"].array[0] == 0).all()
