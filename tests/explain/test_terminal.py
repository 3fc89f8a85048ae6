"""A trace as text: aligned, at any width, readable without colour."""

from __future__ import annotations

import re

import numpy as np
import pytest
from small import DECODER, ENCODER_DECODER, PICTURES, S, V, inputs, make, subject

from pellucid.base.errors import UsageError
from pellucid.explain.explain import explain
from pellucid.explain.forward import trace_forward
from pellucid.explain.terminal import Look, as_text, folded, lines, matrix, of_step, padded, wide
from pellucid.explain.trace import Trace

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def trace() -> Trace:
    return explain(subject(make(ENCODER_DECODER), ENCODER_DECODER, beams=2))


def test_every_step_stands_with_its_formula_and_sizes(trace: Trace) -> None:
    text = "\n".join(lines(trace, Look(width=120)))
    first = [name for name in trace if not re.search(r"layers\.[1-9]", name) and not name.startswith("decode.")]
    assert [line.split()[0] for line in text.split("\n") if re.match(r"(encoder|decoder|logits|probs)[. ]", line)] == first
    assert f"encoder.layers.0.self_attn.scores  Q K^T = Q K^T  (3 head x {S} query x {S} key)" in text
    assert "showing layer 0 of 3 (--layer N shows another one)" in text
    assert "showing head 0 of 3 (--head N shows another one)" in text
    assert f"output: {trace.output}" in text


def test_every_number_that_is_shown_is_the_number(trace: Trace) -> None:
    name = "decoder.layers.1.cross_attn.weights"
    shown = list(lines(trace, Look(width=120, step=name, head=1)))
    rows = [line for line in shown if re.match(r"  (t\d+) +[\d.]", line)]
    array = trace[name].array[1]
    assert len(rows) == len(array)
    for row, numbers in zip(rows, array, strict=True):
        assert row.split()[1:] == [as_text(float(number)) for number in numbers]
    header = shown[shown.index("  head 1") + 1]
    assert tuple(header.split()) == trace.names["source"]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
@pytest.mark.parametrize("ink", ["plain", "shades", "colour"])
def test_no_matrix_is_wider_than_the_terminal(trace: Trace, width: int, ink: str) -> None:
    for row in matrix(trace["encoder.embed.out"].array, trace.names["source"], None, Look(width, ink)):  # type: ignore[arg-type]
        if "showing" not in row:
            assert wide(ESCAPE.sub("", row)) <= width


def test_what_is_left_out_is_said(trace: Trace) -> None:
    shown = list(matrix(trace["encoder.embed.out"].array, trace.names["source"], None, Look(72), "d_model"))
    assert shown[0] == "  showing 6 of 24 columns (d_model)"
    assert len(shown[2].split()) == 1 + 6
    tall = list(matrix(np.zeros((70, 2)), None, None, Look(60)))
    assert tall[0] == "  showing 64 of 70 rows"
    assert len(tall) == 2 + 64


def test_shades_and_colours_only_repeat_the_numbers(trace: Trace) -> None:
    name = "encoder.layers.0.self_attn.weights"
    plain = list(lines(trace, Look(120, "plain", name)))
    colour = [ESCAPE.sub("", line) for line in lines(trace, Look(120, "colour", name))]
    assert [line.split() for line in colour] == [line.split() for line in plain]
    shades = [re.sub("[░▒▓█]", "", line).split() for line in lines(trace, Look(120, "shades", name))]
    assert shades == [line.split() for line in plain]
    assert all(ord(letter) < 128 for line in plain for letter in line)


def test_the_largest_number_is_the_darkest() -> None:
    [_, row] = matrix(np.array([[0.0, 0.3, 0.5, 0.7, 1.0]]), None, None, Look(80, "shades"))
    assert [letter for letter in row if letter in "░▒▓█"] == list("░▒▓█")


def test_what_is_not_finite_is_written_out() -> None:
    [_, row] = matrix(np.array([[-np.inf, np.nan, 0.5]]), None, None, Look(80, "shades"))
    assert row.split()[0] == "-inf"
    assert row.split()[1] == "nan"


def test_numbers_take_at_most_nine_columns() -> None:
    values = [0.0, -1.0, 1e-5, -1e-5, 12345.6, -9999.9999, -99999.4, -999.99999, 1e5, 1e30, -1.5e-300, np.inf, -np.inf, np.nan]
    assert all(len(as_text(value)) <= 9 for value in [*values, True, False])
    assert as_text(-0.12345) == "-0.1235"
    assert [as_text(value) for value in (1843.52, 1e7, True)] == ["1843.5", "1.00e+07", "yes"]


def test_outputs_are_named_and_the_largest_first(trace: Trace) -> None:
    shown = list(lines(trace, Look(120, step="probs")))
    assert f"  showing the 5 largest of {V}" in shown
    row = next(line for line in shown if line.startswith("  t0 "))
    best = np.argsort(-trace["probs"].array[0])[:5]
    assert row.split()[1::2] == [f"t{token}" for token in best]


def test_east_asian_and_combining_characters_are_aligned() -> None:
    assert wide("日本") == 4
    assert wide("e\u0301") == 1
    assert padded("日本語", 5) == "日本~"
    assert wide(padded("日本", 7)) == 7
    assert padded("a\x1bb\n", 6) == "a?b?  "
    assert padded("ab", 5, right=True) == "   ab"


def test_lines_are_folded_at_spaces() -> None:
    assert list(folded("one two three four", 9, hang=2)) == ["one two", "  three", "  four"]
    assert list(folded("indivisible", 4)) == ["indivisible"]
    assert list(folded("", 4)) == []


def test_steps_of_decoding_show_the_five_best() -> None:
    trace = explain(subject(make(DECODER), DECODER, beams=1, temperature=1.0))
    step = trace.steps[0]
    shown = list(of_step(step, Look()))
    assert shown[0] == f"decoding step 0: 10 candidates, drawn with {step.draw:.4f}"
    rows = [line for line in shown if line.startswith("  t")]
    assert len(rows) in (5, 6)  # the one that was drawn may be less probable than five others
    assert [row.split()[0] for row in rows[:5]] == [one.name for one in step.candidates[:5]]
    assert sum("chosen" in row for row in rows) == 1
    assert shown[-1].startswith("  written: t")


def test_beams_name_their_parents(trace: Trace) -> None:
    shown = "\n".join(of_step(trace.steps[1], Look()))
    assert f"beam 1 (was {trace.steps[1].parents[1]}): " in shown


def test_one_layer_and_head(trace: Trace) -> None:
    shown = "\n".join(lines(trace, Look(100, layer=1, head=1)))
    assert "decoder.layers.1.self_attn.weights" in shown
    assert "layers.0." not in shown
    assert "head 0" not in shown
    for look, what in (
        (Look(layer=7), "no such layer"),
        (Look(head=9), "no such head"),
        (Look(step="nothing"), "no such step"),
    ):
        with pytest.raises(UsageError, match=what):
            list(lines(trace, look))


def test_a_trace_of_classes_is_shown() -> None:
    trace = trace_forward(make(PICTURES), PICTURES, inputs(PICTURES), vocabulary=("a", "b", "c", "d"))
    shown = list(lines(trace, Look(100)))
    assert any(line.startswith("pooled  c = x_0 or mean(x)  (24 d_model)") for line in shown)
    assert any(re.match(r"   [abcd] \d\.\d{4}  [abcd] ", line) for line in shown)
