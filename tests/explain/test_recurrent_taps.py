"""Recurrent networks looked at: every tap is what its formula says, edits reach what follows them, and the search is shown.

S 7 source and T 5 target positions, embeddings of 24, states of 10, 2 encoder and 3 decoder layers.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from small import DECODER, D, H, S, T, V, inputs, make, recurrent, subject

from pellucid.base.config import HeadConfig, StackConfig
from pellucid.explain.edits import MeanHead, Patch, SetWeights, ZeroHead
from pellucid.explain.explain import explain
from pellucid.explain.forward import Inputs, run, trace_forward

VARIANTS = {
    **{
        f"{cell}, {attention}": recurrent(cell, attention)
        for cell, attention in product(("rnn", "gru", "lstm"), ("none", "dot"))
    },
    **{f"{cell}, additive, mean": recurrent(cell, "additive", bridge="mean") for cell in ("rnn", "gru", "lstm")},
    "one way": recurrent("lstm", "dot", bidirectional=False),
    "one way, none": recurrent("gru", bidirectional=False),
    "more below": recurrent("lstm", encoder=StackConfig(n_layers=3), decoder=StackConfig(n_layers=1)),
    "decoder": recurrent("lstm", base=DECODER),
    "last state": recurrent("lstm", architecture="encoder", tie="none", head=HeadConfig(pool="last", bias=True)),
    "last state, one way": recurrent(
        "gru", architecture="encoder", tie="none", head=HeadConfig(pool="last"), bidirectional=False
    ),
    "mean, with a layer": recurrent("rnn", architecture="encoder", tie="none", head=HeadConfig(pool="mean", transform="norm")),
}
ATTENDING = recurrent("gru", "additive", decoder=StackConfig(n_layers=2))


@pytest.mark.parametrize("padding", ["none", "right", "left"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_tap_is_what_its_formula_says(variant: str, padding: str) -> None:
    config = VARIANTS[variant]
    trace = trace_forward(make(config), config, inputs(config, padding))
    report = trace.check()
    assert [row.name for row in report.compared] == list(trace)
    assert report.worst.difference <= 1e-5, str(report)


def test_in_float64_the_digits_go_on() -> None:
    rows = trace_forward(make(ATTENDING, torch.float64), ATTENDING, inputs(ATTENDING, "right")).check().rows
    assert len(rows) == 40
    assert max(row.difference for row in rows) <= 1e-12


def test_a_wrong_number_is_found_where_it_is() -> None:
    """Of each tap: its largest number a thousandth larger, or one truth value turned."""
    trace = trace_forward(make(ATTENDING), ATTENDING, inputs(ATTENDING, "right"))
    for name in trace:
        array = trace[name].array
        kept = array.copy()
        largest = np.unravel_index(np.argmax(np.where(np.isfinite(array), np.abs(array), 0.0)), array.shape)
        array[largest] = ~array[largest] if array.dtype == bool else array[largest] * 1.001
        found = {row.name: row.difference for row in trace.check().rows}
        assert found[name] > 1e-5, name
        array[...] = kept


def test_taps_have_axes_and_labels() -> None:
    names = {"source": [f"s{n}" for n in range(S)], "target": [f"t{n}" for n in range(T)]}
    trace = trace_forward(make(ATTENDING), ATTENDING, inputs(ATTENDING), names=names)
    weights = trace["decoder.layers.1.cross_attn.weights"]
    assert weights.axes == ("head", "query", "key")
    assert weights.labels == (None, tuple(names["target"]), tuple(names["source"]))
    assert weights.shape == (1, T, S)
    assert "decoder.layers.0.cross_attn.weights" not in trace  # the last layer's state is what asks
    np.testing.assert_allclose(weights.array.sum(-1), 1.0, atol=1e-6)
    gates = trace["encoder.layers.0.backward.gates"]
    assert (gates.axes, gates.shape) == (("position", "gates x d_hidden"), (S, 3 * H))
    assert gates.labels[0] == tuple(names["source"])
    assert trace["decoder.layers.1.bridge.hidden"].shape == (H,)
    assert trace["encoder.out"].shape == (S, 2 * H)
    assert trace["decoder.embed.out"].shape == (T, D)
    assert trace["logits"].shape == (T, V)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_patched_state_reaches_what_follows_and_nothing_before(cell: str) -> None:
    config = recurrent(cell, "dot")
    model, given = make(config), inputs(config)
    before = trace_forward(model, config, given)
    other = trace_forward(model, config, Inputs(given.source, (given.target - 4 + 3) % (V - 4) + 4))  # type: ignore[operator]
    name = "decoder.layers.0.forward.hidden"
    after = trace_forward(model, config, given, edits=[Patch(name, 2, other)])
    np.testing.assert_array_equal(after[name].array[2], other[name].array[2])
    changed = np.abs(after["logits"].array - before["logits"].array).max(-1)
    assert not changed[:2].any()
    assert changed[2:].all()
    assert after.edited == (name,)
    backward = "encoder.layers.0.backward.hidden"
    after = trace_forward(model, config, given, edits=[Patch(backward, 3, before, of=0)])
    changed = np.abs(after[backward].array - before[backward].array).max(-1)
    assert not changed[4:].any()
    assert changed[:4].all()


def test_weights_set_by_hand_are_what_the_cell_reads() -> None:
    model, given = make(ATTENDING), inputs(ATTENDING)
    edit = SetWeights("decoder.layers.1.cross_attn", 0, 1, {4: 1.0})
    trace = trace_forward(model, ATTENDING, given, edits=[edit])
    place = "decoder.layers.1.cross_attn"
    np.testing.assert_array_equal(trace[f"{place}.weights"].array[0, 1], np.eye(S, dtype=np.float32)[4])
    np.testing.assert_allclose(trace[f"{place}.z"].array[0, 1], trace["encoder.out"].array[4], rtol=1e-6)
    report = trace.check()
    assert [row.name for row in report.rows if row.left_out] == [f"{place}.weights"]
    assert report.worst.difference <= 1e-5


@pytest.mark.parametrize("edit", [ZeroHead("decoder.layers.1.cross_attn", 0), MeanHead("decoder.layers.1.cross_attn", 0)])
def test_what_is_written_under_an_edit_is_what_the_forward_under_it_says(edit: Any) -> None:
    """The search asks for the whole text at every step, so that what it chose is the best of the final trace's rows."""
    model = make(ATTENDING)
    trace = explain(subject(model, ATTENDING, beams=1), edits=[edit])
    chosen = [row for step in trace.steps for row in step.candidates if row.fate in ("chosen", "ended")]
    best = np.log(trace["probs"].array[np.arange(len(chosen)), [row.token for row in chosen]])
    np.testing.assert_allclose([row.log_probability for row in chosen], best, atol=1e-5)
    plain = explain(subject(model, ATTENDING, beams=1))
    assert not np.allclose(trace["probs"].array[1], plain["probs"].array[1], atol=1e-4)


def test_without_a_tap_no_definition_is_written_out() -> None:
    """Looking takes the definition; the same numbers come from torch's layers without it."""
    model, given = make(ATTENDING), inputs(ATTENDING)
    with torch.inference_mode():
        logits = run(model, given, None)
    trace = trace_forward(model, ATTENDING, given)
    np.testing.assert_allclose(trace["logits"].array, logits[0].numpy(), atol=1e-5)
