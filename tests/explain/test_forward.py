"""A trace holds every tap of the table with its axes and labels, and no more than it may."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from small import DECODER, ENCODER, ENCODER_DECODER, PICTURES, D, S, T, V, inputs, make, name

from pellucid.base.errors import UsageError
from pellucid.explain.forward import Inputs, trace_forward
from pellucid.explain.recording import TraceTooLargeError
from pellucid.explain.trace import Trace

SOURCE, TARGET = tuple(f"s{number}" for number in range(S)), tuple(f"t{number}" for number in range(T))


def traced(config: object = ENCODER_DECODER, **options: object) -> Trace:
    names = {"source": SOURCE, "target": TARGET}
    return trace_forward(
        make(config), config, inputs(config), text="a text", names=names, vocabulary=tuple(name(range(V))), **options
    )


@pytest.mark.parametrize("config", [ENCODER_DECODER, ENCODER, DECODER, PICTURES], ids=lambda config: config.architecture)
def test_what_is_kept_is_what_the_model_shows_in_its_order(config: object) -> None:
    model, given = make(config), inputs(config)
    seen: dict[str, torch.Tensor] = {}

    def keep(at: str, tensor: torch.Tensor) -> torch.Tensor:
        seen[at] = tensor
        return tensor

    arguments = [tensor for tensor in (given.source, given.target) if tensor is not None]
    with torch.inference_mode():
        model(*arguments, tap=keep)
    trace = trace_forward(model, config, given)
    assert list(trace) == list(seen)
    for at, tensor in seen.items():
        assert np.array_equal(np.asarray(trace[at]), tensor[0].numpy()), at


def test_axes_and_labels_of_cross_attention_are_those_of_both_sides() -> None:
    trace = traced()
    weights, keys, queries = (trace[f"decoder.layers.2.cross_attn.{step}"] for step in ("weights", "k", "q"))
    assert (weights.axes, weights.shape) == (("head", "query", "key"), (2, T, S))
    assert weights.labels == (None, TARGET, SOURCE)
    assert (keys.axes, keys.shape, keys.labels) == (("head", "position", "d_head"), (2, S, 12), (None, SOURCE, None))
    assert (queries.shape, queries.labels) == ((2, T, 12), (None, TARGET, None))
    assert trace["decoder.layers.2.self_attn.weights"].labels == (None, TARGET, TARGET)
    assert trace["encoder.layers.1.ffn.hidden"].labels == (SOURCE, None)
    assert trace["logits"].labels == (TARGET, tuple(name(range(V))))
    assert repr(weights) == "<decoder.layers.2.cross_attn.weights: head 2 x query 5 x key 7>"


def test_axes_are_as_many_as_the_array_has() -> None:
    for config in (ENCODER_DECODER, ENCODER, DECODER, PICTURES):
        trace = traced(config)
        for at, tap in trace.taps.items():
            assert len(tap.axes) == len(tap.labels) == tap.array.ndim, at
            assert all(some is None or len(some) == size for some, size in zip(tap.labels, tap.shape, strict=True)), at


def test_what_is_pooled_has_classes_and_no_positions() -> None:
    trace = traced(PICTURES)
    assert trace["pooled"].axes == ("d_model",)
    assert trace["pooled"].shape == (D,)
    assert trace["logits"].axes == ("class",)


def test_globs_select() -> None:
    trace = traced(taps=["*.cross_attn.weights", "probs"])
    assert list(trace) == [*(f"decoder.layers.{layer}.cross_attn.weights" for layer in range(3)), "probs"]
    assert list(trace.select("decoder.layers.1.*")) == ["decoder.layers.1.cross_attn.weights"]
    with pytest.raises(UsageError, match="no such tap"):
        trace.select("*.nothing")
    with pytest.raises(UsageError, match="did you mean probs"):
        trace["prob"]
    with pytest.raises(UsageError, match="no tap has this name"):
        traced(taps=["*.weight"])


def test_a_limit_of_bytes_refuses_and_names_the_largest_taps() -> None:
    whole = traced()
    total = sum(tap.array.nbytes for tap in whole.taps.values())
    assert len(traced(max_bytes=total)) == len(whole)
    with pytest.raises(TraceTooLargeError) as refused:
        traced(max_bytes=total - 1)
    sizes = sorted((-tap.array.nbytes, number, at) for number, (at, tap) in enumerate(whole.taps.items()))
    largest = [at for _, _, at in sizes[:3]]
    assert re.findall(r"([\w.]+) [\d,]+ bytes", str(refused.value.found)) == largest
    assert f"{total:,}" in refused.value.what
    assert refused.value.exit_code == 6


def test_what_is_not_wanted_does_not_count() -> None:
    assert list(traced(taps=["decoder.out"], max_bytes=T * D * 4)) == ["decoder.out"]


def test_the_mode_of_the_model_is_as_it_was() -> None:
    model = make(replace(ENCODER_DECODER, dropout=0.5))
    quiet = trace_forward(model, ENCODER_DECODER, inputs(ENCODER_DECODER))
    model.train()
    trained = trace_forward(model, ENCODER_DECODER, inputs(ENCODER_DECODER))
    assert model.training
    assert np.array_equal(quiet["logits"].array, trained["logits"].array)
    with pytest.raises(UsageError, match="no tap has this name"):
        trace_forward(model, ENCODER_DECODER, inputs(ENCODER_DECODER), taps=["nothing"])
    assert model.training


def test_a_trace_is_of_one_row() -> None:
    given = inputs(ENCODER)
    assert given.source is not None
    with pytest.raises(UsageError, match="one row"):
        trace_forward(make(ENCODER), ENCODER, Inputs(given.source.repeat(2, 1)))


def test_bfloat16_is_shown_in_float32() -> None:
    trace = trace_forward(make(DECODER, torch.bfloat16), DECODER, inputs(DECODER))
    assert {tap.array.dtype for tap in trace.taps.values()} == {np.dtype(np.float32), np.dtype(bool)}
