"""The view "classes", from a file: probabilities, shares of attention and rollout are those of the trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe

from pellucid.base.config import HeadConfig, ModelConfig
from pellucid.explain.explain import explain
from pellucid.explain.page import html
from pellucid.explain.subject import Subject
from pellucid.explain.trace import Trace
from pellucid.tasks.degrees import degree_probabilities
from tests.explain.small import ENCODER, PICTURES, ids, inputs, make, name
from tests.look.looking import Looking

Open = Callable[..., Looking]
MEAN = replace(ENCODER, head=HeadConfig(pool="mean"), target_vocabulary=3)
TAGS = replace(ENCODER, target_vocabulary=5)
FIRST = replace(ENCODER, head=HeadConfig(pool="class"), target_vocabulary=3)


def traced(config: ModelConfig, vocabulary: int | None = None, **more: Any) -> Trace:
    """A trace of a small random encoder: of seven tokens, or of a picture of six squares."""
    source = inputs(config).source if config.picture.patch else ids(7)
    names = ["class token", *(f"{at // 3},{at % 3}" for at in range(6))] if config.picture.patch else name(ids(7)[0].tolist())
    classes = tuple(f"class {at}" for at in range(vocabulary or config.target_vocabulary))
    return explain(Subject(make(config), config, "small", source, tuple(names), name, classes, **more))


def page_of(trace: Trace, path: Path) -> str:
    (path / "trace.html").write_text(html(trace), encoding="utf-8")
    return (path / "trace.html").as_uri()


def values(page: Looking, selector: str) -> list[float]:
    found = page.page.locator(f"#main {selector} [data-value]").evaluate_all(
        "(all) => all.map((one) => Number(one.dataset.value))"
    )
    return [float(one) for one in found]


def rolled(trace: Trace, layers: int = 2) -> np.ndarray:
    """Attention rollout, written anew."""
    weights = [trace[f"encoder.layers.{layer}.self_attn.weights"].array.astype(float).mean(0) for layer in range(layers)]
    halves = [(one + np.eye(len(one))) / 2 for one in weights]
    return np.linalg.multi_dot([*reversed(halves), np.eye(len(halves[0]))])


def test_probabilities_are_in_order(looking: Open, tmp_path: Path) -> None:
    trace = traced(MEAN)
    page = looking(page_of(trace, tmp_path), "view=classes")
    np.testing.assert_allclose(values(page, "[data-classes]"), np.sort(trace["probs"].array)[::-1], rtol=1e-6)
    assert page.page.locator("#main [data-classes] th").first.inner_text().replace("␣", " ") == trace.output


@pytest.mark.parametrize(("config", "row"), [(MEAN, None), (FIRST, 0)])
def test_shares_are_those_of_what_decides(looking: Open, tmp_path: Path, config: ModelConfig, row: int | None) -> None:
    trace = traced(config)
    weights = [trace[f"encoder.layers.{layer}.self_attn.weights"].array.astype(float) for layer in range(2)]

    def decides(array: np.ndarray) -> np.ndarray:
        return array.mean(0) if row is None else array[row]

    page = looking(page_of(trace, tmp_path), "view=classes")
    np.testing.assert_allclose(values(page, "[data-shares]"), decides(weights[1].mean(0)), rtol=1e-5)
    page.choose("Layer", 0)
    page.choose("Head", 2)
    np.testing.assert_allclose(values(page, "[data-shares]"), decides(weights[0][2]), rtol=1e-5)
    page.choose("Head", "max")
    np.testing.assert_allclose(values(page, "[data-shares]"), decides(weights[0].max(0)), rtol=1e-5)
    page.choose("From", 4)
    np.testing.assert_allclose(values(page, "[data-shares]"), weights[0].max(0)[4], rtol=1e-5)


def test_rollout_is_that_of_the_formula(looking: Open, tmp_path: Path) -> None:
    trace = traced(FIRST)
    page = looking(page_of(trace, tmp_path), "view=classes&head=rollout")
    np.testing.assert_allclose(values(page, "[data-shares]"), rolled(trace)[0], rtol=1e-5)
    assert sum(values(page, "[data-shares]")) == pytest.approx(1, abs=1e-5)
    assert "Abnar and Zuidema" in page.main()
    page.choose("Layer", 0)
    np.testing.assert_allclose(values(page, "[data-shares]"), rolled(trace, 1)[0], rtol=1e-5)


def test_a_picture_is_drawn_with_its_squares(looking: Open, tmp_path: Path) -> None:
    trace = traced(PICTURES)
    page = looking(page_of(trace, tmp_path), "view=classes&head=rollout")
    shares = rolled(trace)[0, 1:]
    np.testing.assert_allclose(values(page, ".patches svg"), shares, rtol=1e-5)
    cells = page.cells()
    assert {(cell["row"], cell["column"]) for cell in cells} == {(row, column) for row in range(2) for column in range(3)}
    for cell in cells:
        assert cell["value"] == pytest.approx(float(shares[3 * cell["row"] + cell["column"]]), abs=5.1e-5)
    drawn = page.page.locator("#main .patches canvas").first.evaluate(
        "(one) => [...one.getContext('2d').getImageData(0, 0, one.width, one.height).data].filter((_, at) => at % 4 === 0)"
    )
    pixels = trace.inputs["source"][0]
    grey = 255 * (pixels - pixels.min()) / (pixels.max() - pixels.min())
    assert np.abs(np.array(drawn) - grey.flatten()).max() <= 0.51
    opaque = page.page.locator("#main .patches rect").evaluate_all(
        "(all) => all.map((one) => Number(one.getAttribute('fill-opacity')))"
    )
    np.testing.assert_allclose(opaque, 0.75 * shares / shares.max(), atol=6e-4)


def test_other_views_read_pictures(looking: Open, tmp_path: Path) -> None:
    trace = traced(PICTURES)
    page = looking(page_of(trace, tmp_path), "view=walk")
    assert "Each square of 2 × 2 pixels is a position" in page.main()
    assert page.compare(trace) > 0
    page.go("view=attention")
    assert page.compare(trace) == 49
    page.go("view=walk&tap=encoder.embed.patches&number=encoder.embed.patches:2,3")
    assert "the pixels of the square" in page.page.inner_text("#number")


def test_each_word_has_its_label(looking: Open, tmp_path: Path) -> None:
    trace = traced(TAGS, asked=(1, 3, 4), words=("un", "deux", "trois"))
    best = trace["probs"].array[[1, 3, 4]].argmax(-1)
    assert trace.output == " ".join(f"class {at}" for at in best)
    page = looking(page_of(trace, tmp_path), "view=classes&layer=1&head=0")
    rows = page.page.locator("#main [data-tags] tbody tr").evaluate_all(
        "(rows) => rows.map((row) => [...row.children].map((one) => one.textContent))"
    )
    assert [row[:2] for row in rows] == [[word, f"class {at}"] for word, at in zip(("un", "deux", "trois"), best, strict=True)]
    np.testing.assert_allclose(values(page, "[data-tags]")[::2], trace["probs"].array[[1, 3, 4]].max(-1), rtol=1e-6)
    page.press("deux")
    assert page.state()["from"] == "3"
    weights = trace["encoder.layers.1.self_attn.weights"].array
    np.testing.assert_allclose(values(page, "[data-shares]"), weights[0, 3], rtol=1e-6)


def test_degrees_are_made_from_thresholds(looking: Open, tmp_path: Path) -> None:
    trace = traced(MEAN, vocabulary=4)
    page = looking(page_of(trace, tmp_path), "view=classes")
    expected = degree_probabilities(torch.from_numpy(trace["logits"].array)[None].double())[0]
    np.testing.assert_allclose(values(page, "[data-classes]"), expected.numpy(), rtol=1e-6, atol=1e-12)
    assert trace.output == f"class {int(expected.argmax())}"


def test_it_is_for_classes_alone(looking: Open, exported: str) -> None:
    page = looking(exported, "view=classes")
    assert page.page.inner_text("#main h2") == "Walk"
    assert "Classes" not in page.page.inner_text("#views")


@pytest.mark.parametrize("config", [PICTURES, MEAN])
def test_nothing_bars_the_way_and_it_fits(looking: Open, tmp_path: Path, config: ModelConfig) -> None:
    page = looking(page_of(traced(config), tmp_path), "view=classes&head=rollout", width=360)
    found = Axe().run(page.page).response["violations"]
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []
    assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
