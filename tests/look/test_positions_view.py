"""The positions: the formula at 10,000 is the tap, learned ones are their table, angles and biases those of the model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pellucid.base.config import ModelConfig, PositionalConfig, RotaryConfig
from pellucid.explain.forward import trace_forward
from pellucid.explain.page import html
from pellucid.explain.positions import added, frequencies
from pellucid.explain.trace import Array, Trace
from pellucid.model.positions import alibi_slopes
from tests.explain.small import DECODER, ENCODER, ENCODER_DECODER, PICTURES, D, S, T, inputs, make, name
from tests.look.looking import Looking

Open = Callable[..., Looking]
COMPUTED = '#main table[aria-label="what is added, position by dimension, computed"]'


def traced(config: ModelConfig, padding: str = "none") -> Trace:
    """A trace of a small random model; the tokens have names."""
    given = inputs(config, padding)
    names = {
        side: name(tensor[0].tolist())
        for side, tensor in (("source", given.source), ("target", given.target))
        if tensor is not None and tensor.ndim == 2
    }
    return trace_forward(make(config), config, given, names=names)


def written(trace: Trace, path: Path) -> str:
    path.write_text(html(trace), encoding="utf-8")
    return path.as_uri()


def grid(page: Looking, selector: str) -> Array:
    """The first eight columns of a grid, all rows."""
    cells = page.cells(selector)
    found = np.full((max(cell["row"] for cell in cells) + 1, max(cell["column"] for cell in cells) + 1), np.nan)
    for cell in cells:
        found[cell["row"], cell["column"]] = cell["value"]
    return found


def slide(page: Looking, label: str, value: int) -> None:
    """Drag a slider."""
    script = "(one, value) => { one.value = value; one.dispatchEvent(new Event('input', { bubbles: true })); }"
    page.page.locator(f'[data-key="slider {label}"]').evaluate(script, value)


@pytest.mark.parametrize("halves", [False, True])
@pytest.mark.parametrize("padding", ["none", "left"])
def test_the_formula_at_ten_thousand_is_the_tap(looking: Open, tmp_path: Path, halves: bool, padding: str) -> None:
    config = replace(ENCODER_DECODER, positional=PositionalConfig(halves=halves))
    trace = traced(config, padding)
    page = looking(written(trace, tmp_path / "trace.html"), view="positions")
    assert float(page.page.get_attribute("#main [data-same]", "data-same") or "nan") <= 6e-8
    assert page.compare(trace) == S * 8
    page.choose("Stack", "decoder")
    assert float(page.page.get_attribute("#main [data-same]", "data-same") or "nan") <= 6e-8
    assert page.compare(trace) == T * 8
    page.go(view="positions", positions=32)
    expected = added(config, np.arange(32), None)
    np.testing.assert_allclose(grid(page, COMPUTED), expected[:, :8], atol=5.1e-5)


def test_another_base_changes_waves_and_their_lengths(looking: Open, tmp_path: Path) -> None:
    trace = traced(ENCODER_DECODER)
    page = looking(written(trace, tmp_path / "trace.html"), view="positions")
    longest = 2 * math.pi * 10_000 ** ((D - 2) / D)
    assert float(page.page.get_attribute("#main [data-wave]", "data-wave") or "nan") == pytest.approx(longest, rel=1e-12)
    slide(page, "Base", 4)
    assert page.state()["base"] == "4"
    assert float(page.page.get_attribute("#main [data-wave]", "data-wave") or "nan") == pytest.approx(
        2 * math.pi * 100 ** ((D - 2) / D), rel=1e-12
    )
    assert page.page.get_attribute("#main [data-same]", "data-same") == "no"
    assert page.page.locator("#main [data-tap]").count() == 0
    angle = np.arange(S)[:, None] / 100.0 ** (np.arange(0, D, 2) / D)
    expected = np.stack((np.sin(angle), np.cos(angle)), axis=2).reshape(S, D)
    np.testing.assert_allclose(grid(page, COMPUTED), expected[:, :8], atol=5.1e-5)
    slide(page, "Base", 8)
    assert page.compare(trace) == S * 8


def test_what_is_said_of_all_vectors_is_so(looking: Open, tmp_path: Path) -> None:
    trace = traced(ENCODER_DECODER)
    page = looking(written(trace, tmp_path / "trace.html"), view="positions", positions=32)
    table = added(ENCODER_DECODER, np.arange(32), None)
    apart = np.linalg.norm(table[:, None] - table[None], axis=2) + 99 * np.eye(32)
    said = page.page.inner_text("#main [data-checked]")
    assert said.startswith("Each of the 32 vectors is unique")
    assert f"lie {apart.min():.4f} apart" in said
    assert "within ±1" in said
    assert "not within" not in said
    assert "d_model\n24" in page.main()


def test_one_element_step_by_step(looking: Open, tmp_path: Path) -> None:
    trace = traced(ENCODER_DECODER)
    page = looking(written(trace, tmp_path / "trace.html"), view="positions", at=3, element=7)
    value = math.cos(3 / 10_000 ** (6 / D))
    assert float(page.page.get_attribute("#main .element", "data-value") or "nan") == pytest.approx(value, rel=1e-12)
    assert "exponent 2i / d = 6 / 24 = 0.2500" in page.main()
    page.page.locator('#main [data-key="element number"]').click()
    page.settle()
    assert page.state()["number"] == "encoder.embed.positions:3,7"
    shown = float(page.page.get_attribute("#number .value", "data-value") or "nan")
    assert shown == pytest.approx(trace["encoder.embed.positions"].array[3, 7], abs=1e-7)
    slide(page, "Element", 0)
    assert float(page.page.get_attribute("#main .element", "data-value") or "nan") == pytest.approx(math.sin(3), rel=1e-12)


@pytest.mark.parametrize("measure", ["dot", "cosine"])
def test_how_alike_positions_are(looking: Open, tmp_path: Path, measure: str) -> None:
    trace = traced(ENCODER_DECODER)
    page = looking(written(trace, tmp_path / "trace.html"), view="positions", alike=measure)
    vectors = trace["encoder.embed.positions"].array.astype(np.float64)
    expected = vectors @ vectors.T
    if measure == "cosine":
        expected /= np.outer(np.linalg.norm(vectors, axis=1), np.linalg.norm(vectors, axis=1))
    found = grid(page, '#main table[aria-label^="similarity of positions"]')
    np.testing.assert_allclose(found, expected, atol=5.1e-5)
    assert "depends on the distance alone" in page.main()


def test_waves_are_chosen_and_stand_in_a_table(looking: Open, tmp_path: Path) -> None:
    page = looking(written(traced(ENCODER_DECODER), tmp_path / "trace.html"), view="positions", positions=32)
    page.choose("Add dimension", 9)
    assert page.state()["curves"] == "0,2,6,12,9"
    page.page.get_by_role("button", name="take dimension 2 away").click()
    page.settle()
    assert page.page.locator("#main .curves path").count() == 4
    page.page.get_by_text("The curves as a table").click()
    table = added(ENCODER_DECODER, np.arange(48), None)
    found = grid(page, '#main table[aria-label="dimensions 0, 6, 12, 9"]')
    np.testing.assert_allclose(found, table[:, [0, 6, 12, 9]][: len(found)], atol=5.1e-5)
    assert len(found) == 48  # as far as the model's positions reach


@pytest.mark.parametrize(
    ("config", "stack"),
    [(replace(DECODER, positions="learned"), "decoder"), (replace(PICTURES, positions="learned"), "encoder")],
)
def test_learned_positions_are_shown_as_they_are(looking: Open, tmp_path: Path, config: ModelConfig, stack: str) -> None:
    trace = traced(config)
    page = looking(written(trace, tmp_path / "trace.html"), view="positions")
    shown = len(trace[f"{stack}.embed.positions"].array)
    assert page.compare(trace) == shown * 8
    assert "One learned vector for each position" in page.main()
    assert page.page.locator('[data-key="slider Base"]').count() == 0
    assert "not within ±1" in page.page.inner_text("#main [data-checked]")
    page.choose("Positions", 48)
    weight = getattr(trace.model, stack).positions.weight.detach().numpy()
    np.testing.assert_allclose(grid(page, '#main table[aria-label$="by dimension, computed"]'), weight[:, :8], atol=5.1e-5)


@pytest.mark.parametrize("rotary", [RotaryConfig(), RotaryConfig(scaling="linear", factor=3.0)])
def test_rotary_angles_are_those_of_the_model(looking: Open, tmp_path: Path, rotary: RotaryConfig) -> None:
    config = replace(ENCODER, positions="rotary", positional=PositionalConfig(rotary=rotary))
    page = looking(written(traced(config), tmp_path / "trace.html"), view="positions")
    turns = frequencies(8, rotary)
    found = grid(page, '#main table[aria-label^="angle in radians"]')
    np.testing.assert_allclose(found, np.arange(S)[:, None] * turns, atol=5.1e-5)
    alike = grid(page, '#main table[aria-label^="mean cosine"]')
    distance = np.arange(S)[:, None] - np.arange(S)
    np.testing.assert_allclose(alike, np.cos(distance[..., None] * turns).mean(-1), atol=5.1e-5)
    assert page.page.locator('[data-key="slider Base"]').count() == (rotary.scaling == "none")
    if rotary.scaling == "none":
        slide(page, "Base", 4)
        found = grid(page, '#main table[aria-label^="angle in radians"]')
        np.testing.assert_allclose(found, np.arange(S)[:, None] * 100.0 ** (-np.arange(4) / 4), atol=5.1e-5)


@pytest.mark.parametrize("positions", ["alibi", "relative"])
def test_bias_against_distance(looking: Open, tmp_path: Path, positions: str) -> None:
    config = replace(ENCODER, positions=positions)  # type: ignore[arg-type]
    trace = traced(config)
    page = looking(written(trace, tmp_path / "trace.html"), view="positions", head=1)
    bias = trace["encoder.layers.0.self_attn.bias"].array
    found = grid(page, '#main table[aria-label="bias, distance by head"]')
    expected = [[bias[head, max(0, -off), max(0, -off) + off] for head in range(3)] for off in range(1 - S, S)]
    np.testing.assert_allclose(found, expected, atol=5.1e-5)
    assert "it depends on that alone" in page.page.inner_text("#main [data-distance]")
    assert page.compare(trace) == S * S
    assert page.page.locator("#main .curves path").count() == 3
    if positions == "alibi":
        slopes = ", ".join(f"head {head} {slope:.4f}" for head, slope in enumerate(alibi_slopes(3)))
        assert page.page.inner_text("#main [data-slopes]") == f"Slopes: {slopes}."


@pytest.mark.parametrize("config", [ENCODER_DECODER, replace(ENCODER, positions="rotary"), replace(DECODER, positions="alibi")])
def test_nothing_is_wider_than_a_narrow_screen(looking: Open, tmp_path: Path, config: ModelConfig) -> None:
    page = looking(written(traced(config), tmp_path / "trace.html"), "", width=360, view="positions")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_page_of_a_server_has_the_whole_range(looking: Open, served: str) -> None:
    page = looking(served, text="a b d", view="positions", positions=32)
    expected = np.sin(np.arange(32))
    np.testing.assert_allclose(grid(page, COMPUTED)[:, 0], expected, atol=5.1e-5)
