"""``check`` finds every tap to be what its formula says, and says so where one is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small import DECODER, ENCODER, ENCODER_DECODER, PICTURES, inputs, make

from pellucid.base.config import (
    EmbeddingConfig,
    HeadConfig,
    PictureConfig,
    PositionalConfig,
    RelativeConfig,
    RotaryConfig,
    StackConfig,
)
from pellucid.base.errors import UsageError
from pellucid.base.taps import TABLE
from pellucid.explain.check import check, difference
from pellucid.explain.formulas import formula_of
from pellucid.explain.forward import trace_forward
from pellucid.model.build import build, initialise
from pellucid.model.lora import lora

SHARED = StackConfig(n_layers=2, n_heads=6, n_kv_heads=2, d_head=10, d_ff=20)
STRETCHED = RotaryConfig(base=20.0, scaling="llama3", factor=4.0, low_frequency=0.4, high_frequency=1.7, original_length=13)
VARIANTS: dict[str, Any] = {
    "post": ENCODER_DECODER,
    "pre": replace(ENCODER_DECODER, norm="pre"),
    "rms": replace(ENCODER_DECODER, norm="pre", norm_kind="rms"),
    "sines in halves": replace(ENCODER_DECODER, positional=PositionalConfig(halves=True)),
    "learned": replace(ENCODER_DECODER, positions="learned", embedding=EmbeddingConfig(scale=False, types=2, norm=True)),
    "rotary": replace(ENCODER_DECODER, positions="rotary", encoder=SHARED, decoder=SHARED),
    "stretched": replace(DECODER, positions="rotary", positional=PositionalConfig(rotary=STRETCHED)),
    "linear": replace(
        DECODER, positions="rotary", positional=PositionalConfig(rotary=RotaryConfig(scaling="linear", factor=2.5))
    ),
    "alibi": replace(ENCODER_DECODER, positions="alibi"),
    "relative": replace(
        ENCODER_DECODER,
        positions="relative",
        positional=PositionalConfig(relative=RelativeConfig(buckets=8, max_distance=9)),
        attention="dot-unscaled",
    ),
    "no positions": replace(ENCODER_DECODER, positions="none"),
    "additive": replace(ENCODER_DECODER, attention="additive"),
    "another layer read": replace(ENCODER_DECODER, decoder=StackConfig(3, 2, 16, reads=(0, 1, 0))),
    "encoder": replace(ENCODER, head=HeadConfig(pool="mean", transform="norm", activation="gelu", bias=True)),
    "encoder, first": replace(ENCODER, head=HeadConfig(pool="class", transform="dense")),
    "every position": replace(ENCODER, tie="embeddings", head=HeadConfig(scale=True)),
    "pictures": PICTURES,
    "captions": replace(
        ENCODER_DECODER, tie="decoder", picture=PictureConfig(patch=2, height=4, width=6, channels=3), source_vocabulary=0
    ),
    "decoder": DECODER,
    **{
        f"{activation}": replace(ENCODER_DECODER, activation=activation, bias=False)
        for activation in ("gelu", "gelu_tanh", "silu", "glu", "reglu", "geglu", "geglu_tanh", "swiglu")
    },
}


def test_every_row_of_the_table_has_its_formula() -> None:
    assert all(callable(formula_of(row.name)) for row in TABLE)


@pytest.mark.parametrize("padding", ["none", "right", "left"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_tap_is_what_its_formula_says(variant: str, padding: str) -> None:
    config = VARIANTS[variant]
    trace = trace_forward(make(config), config, inputs(config, padding))
    report = trace.check()
    assert [row.name for row in report.compared] == list(trace)
    assert report.worst.difference <= 1e-5, str(report)


@pytest.mark.parametrize("variant", ["post", "rotary", "relative", "geglu", "every position"])
def test_in_float64_the_digits_go_on(variant: str) -> None:
    """So it is the same number, and not one that is nearly the same; but for sines, which are kept in float32."""
    config = VARIANTS[variant]
    rows = trace_forward(make(config, torch.float64), config, inputs(config, "right")).check().rows
    assert max(row.difference for row in rows if not row.name.endswith("embed.positions")) <= 1e-12


def test_what_lora_adds_belongs_to_the_weights() -> None:
    model = build(DECODER, lora(2, 3.0))
    initialise(model, 1)
    for name, parameter in model.named_parameters():
        if "lora_out" in name:
            parameter.data.normal_(generator=torch.Generator().manual_seed(5))
    assert trace_forward(model, DECODER, inputs(DECODER)).check().worst.difference <= 1e-5


def test_a_wrong_number_is_found_where_it_is() -> None:
    """Of each kind of tap that a post-norm model has: its largest number a thousandth larger."""
    trace = trace_forward(MODEL, ENCODER_DECODER, inputs(ENCODER_DECODER, "right"))
    names = [name for name in trace if ".layers." not in name or "decoder.layers.1." in name]
    assert len(names) == 59
    for name in names:
        array = trace[name].array
        kept = array.copy()
        if array.dtype == bool:
            array[0, 0, 0] = ~array[0, 0, 0]
        else:
            largest = np.unravel_index(np.argmax(np.where(np.isfinite(array), np.abs(array), 0.0)), array.shape)
            array[largest] *= 1.001
        found = {row.name: row.difference for row in check(trace).rows}
        assert found[name] > 5e-4, name
        array[...] = kept


MODEL = make(ENCODER_DECODER)


def test_taps_that_were_not_kept_are_named() -> None:
    trace = trace_forward(MODEL, ENCODER_DECODER, inputs(ENCODER_DECODER), taps=["logits", "probs"])
    report = trace.check()
    assert [row.name for row in report.compared] == ["probs"]
    assert "not compared: logits: it is made of decoder.out, which is not there" in str(report)


def test_without_a_model_there_is_nothing_to_compute_from() -> None:
    trace = trace_forward(MODEL, ENCODER_DECODER, inputs(ENCODER_DECODER), taps=["probs"])
    trace.model = None
    with pytest.raises(UsageError, match="no weights"):
        trace.check()


def test_how_differences_are_told() -> None:
    inf, nan = np.inf, np.nan
    assert difference(np.array([2.0, -4.0]), np.array([2.0, -4.5])) == 0.125
    assert difference(np.array([0.0, 0.0]), np.array([0.5, 0.0])) == 0.5
    assert difference(np.array([-inf, 2.0]), np.array([-inf, 3.0])) == 0.5
    assert difference(np.array([-inf, 2.0]), np.array([7.0, 2.0])) == inf
    assert difference(np.array([7.0, 2.0]), np.array([nan, 2.0])) == inf
    assert difference(np.array([nan, 2.0]), np.array([nan, 2.0])) == 0.0
    assert difference(np.array([True, False]), np.array([True, True])) == inf
    assert difference(np.zeros((2, 3)), np.zeros((3, 2))) == inf
