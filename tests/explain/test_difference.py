"""``new.diff(old)``: probabilities, their divergence, the output."""

from __future__ import annotations

import numpy as np
import pytest
from small import DECODER, ENCODER_DECODER, PICTURES, V, inputs, make, subject

from pellucid.base.errors import UsageError
from pellucid.explain.edits import Ban, ZeroHead
from pellucid.explain.explain import explain
from pellucid.explain.forward import trace_forward


def test_nothing_changed() -> None:
    given = subject(make(DECODER), DECODER, beams=1)
    found = explain(given).diff(explain(given))
    assert not found.output_changed
    assert [position.kl for position in found.positions] == [0.0] * len(found.positions)
    assert (found.probabilities == 0.0).all()
    assert "output, unchanged: " in str(found)


def test_probabilities_and_divergence_are_those_of_the_definition() -> None:
    model, given = make(ENCODER_DECODER), inputs(ENCODER_DECODER)
    old = trace_forward(model, ENCODER_DECODER, given)
    new = trace_forward(model, ENCODER_DECODER, given, edits=[ZeroHead("decoder.layers.0.cross_attn", 1)])
    p, q = old["probs"].array.astype(float), new["probs"].array.astype(float)
    found = new.diff(old)
    np.testing.assert_allclose(found.probabilities, q - p)
    expected = (q * np.log(q / p)).sum(1)
    np.testing.assert_allclose([position.kl for position in found.positions], expected, rtol=1e-9)
    assert min(expected) > 1e-4
    for at, position in enumerate(found.positions):
        [first, *_] = position.changes
        token = int(np.argmax(np.abs(q - p)[at]))
        assert (first.name, first.before, first.after) == (str(token), p[at, token], q[at, token])
    assert found.edits == ("head 1 of decoder.layers.0.cross_attn set to zero",)


def test_a_banned_token_has_a_finite_divergence() -> None:
    model, given = make(ENCODER_DECODER), inputs(ENCODER_DECODER)
    old = trace_forward(model, ENCODER_DECODER, given)
    found = trace_forward(model, ENCODER_DECODER, given, edits=[Ban(5)]).diff(old)
    shares = old["probs"].array[:, 5].astype(float)
    np.testing.assert_allclose([position.kl for position in found.positions], -np.log1p(-shares), rtol=1e-4)


def test_positions_are_compared_as_long_as_both_have_read_the_same() -> None:
    given = subject(make(DECODER), DECODER, beams=1, limit=8)
    old = explain(given)
    token = int(old.names["written"][2][1:])
    new = explain(given, edits=[Ban(token)])
    same = [left == right for left, right in zip(old.names["target"], new.names["target"], strict=False)].index(False)
    found = new.diff(old)
    assert found.output_changed
    assert len(found.positions) == same
    assert found.probabilities.shape == (same, V)
    assert f"output before: {old.output}\noutput after:  {new.output}" in str(found)


def test_classes_have_one_distribution() -> None:
    model, given = make(PICTURES), inputs(PICTURES)
    old = trace_forward(model, PICTURES, given)
    new = trace_forward(model, PICTURES, given, edits=[ZeroHead("encoder.layers.1.self_attn", 0)])
    found = new.diff(old)
    [position] = found.positions
    assert found.probabilities.shape == (4,)
    assert position.kl > 0.0


def test_other_inputs_are_not_compared() -> None:
    model = make(ENCODER_DECODER)
    left, right = inputs(ENCODER_DECODER), inputs(ENCODER_DECODER, "right")
    with pytest.raises(UsageError, match="different inputs"):
        trace_forward(model, ENCODER_DECODER, left).diff(trace_forward(model, ENCODER_DECODER, right))
