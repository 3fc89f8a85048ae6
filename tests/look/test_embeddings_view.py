"""The embeddings: what the page shows of vectors, neighbours, angles and planes is what Python computes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator

from pellucid.explain.embeddings import METRICS, Metric, Table, between, neighbours, plane, tables_of, tokens_of
from pellucid.explain.files import load
from pellucid.explain.forward import trace_forward
from pellucid.explain.page import html
from pellucid.explain.trace import Trace
from pellucid.tasks.translator import Translator
from tests.explain.small import ENCODER, inputs, make, name
from tests.look.looking import Looking, number

Open = Callable[..., Looking]


@pytest.fixture(scope="module")
def trace(translator: Translator) -> Trace:
    return translator.explain("a b d")


@pytest.fixture(scope="module")
def table(trace: Trace) -> Table:
    (found,) = tables_of(trace).values()
    return found


def near(page: Looking) -> list[tuple[int, float]]:
    """The neighbours that are listed."""
    script = "(rows) => rows.map((row) => [Number(row.dataset.neighbour), Number(row.dataset.value)])"
    return [tuple(pair) for pair in page.page.locator("#main .near tbody tr").evaluate_all(script)]


def coordinates(page: Looking) -> dict[int, list[float]]:
    script = """(rows) => rows.map((row) => [Number(row.dataset.word),
        [...row.querySelectorAll("td")].slice(2).map((cell) => cell.textContent)])"""
    rows = page.page.locator("#main .coordinates tbody tr").evaluate_all(script)
    return {row: list(map(number, texts)) for row, texts in rows}


def measured(page: Looking) -> dict[str, float]:
    """Name and value of what lies between the two words."""
    script = "(rows) => rows.map((row) => [row.dataset.between, row.dataset.value])"
    return {key: float(value) for key, value in page.page.locator("#main [data-between]").evaluate_all(script)}


@pytest.mark.parametrize("where", ["served", "exported"])
@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_are_those_of_python(
    looking: Open, request: pytest.FixtureRequest, trace: Trace, table: Table, where: str, metric: Metric
) -> None:
    token = tokens_of(trace, table)[1]
    page = looking(request.getfixturevalue(where), text="a b d", view="embeddings", token=token, metric=metric)
    found, expected = near(page), neighbours(table.vectors, token, metric=metric)
    assert [row for row, _ in found] == [one.token for one in expected]
    np.testing.assert_allclose([value for _, value in found], [one.value for one in expected], rtol=1e-12)
    assert page.page.locator("#main .near tbody th").all_text_contents() == [table.names[one.token] for one in expected]


@pytest.mark.parametrize("where", ["served", "exported"])
def test_two_words_are_measured_as_in_python(
    looking: Open, request: pytest.FixtureRequest, trace: Trace, table: Table, where: str
) -> None:
    first, second = tokens_of(trace, table)[:2]
    page = looking(request.getfixturevalue(where), text="a b d", view="embeddings", token=first, against=second)
    expected = between(table.vectors[first], table.vectors[second])
    assert measured(page) == pytest.approx(
        {
            "dot": expected.dot,
            "first": expected.norms[0],
            "second": expected.norms[1],
            "cosine": expected.cosine,
            "degrees": expected.degrees,
            "distance": expected.distance,
        },
        rel=1e-9,
    )
    cells = page.cells('#main table[aria-label="the two vectors"]')
    rows = table.vectors[[first, second]]
    assert len(cells) == 16
    for cell in cells:
        assert cell["value"] == pytest.approx(rows[cell["row"], cell["column"]], abs=5.1e-5)
    assert "and 27 more" in page.page.inner_text('#main [data-between="dot"]')  # of 32, 5 are written out
    ones = page.page.locator("#main [data-one-hot]")
    assert [int(one.get_attribute("data-one-hot") or -1) for one in ones.all()] == [first, second]
    assert f"{len(table.vectors)} columns, the 1 in column {first}" in ones.first.inner_text()


@pytest.mark.parametrize("where", ["served", "exported"])
def test_the_plane_is_that_of_python(
    looking: Open, request: pytest.FixtureRequest, trace: Trace, table: Table, where: str
) -> None:
    page = looking(request.getfixturevalue(where), text="a b d", view="embeddings", space="yes")
    expected, found = plane(table.vectors), coordinates(page)
    assert set(tokens_of(trace, table)) <= set(found)
    for row, values in found.items():
        np.testing.assert_allclose(values, expected.coordinates[row], atol=5.1e-5)
    kept = 100 * float(expected.explained.sum())
    assert f"All three keep {kept:.1f} % of the variance" in page.main()


def painted(canvas: Locator) -> str:
    """The picture as text, to be compared."""
    found: str = canvas.evaluate("(canvas) => canvas.toDataURL()")
    return found


def coloured(canvas: Locator) -> int:
    """Points that are neither white nor grey: of the marks."""
    script = """(canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.reduce((some, value, at) => some + (at % 4 === 0 && Math.abs(value - data[at + 2]) > 60), 0);
    }"""
    found: int = canvas.evaluate(script)
    return found


def test_space_is_turned_by_sliders_and_arrows(looking: Open, exported: str) -> None:
    page = looking(exported, view="embeddings", space="yes")
    canvas = page.page.locator("#main .plot canvas")
    page.until("document.querySelector('#main .plot canvas').width > 300")
    assert coloured(canvas) > 20
    before = painted(canvas)
    page.page.locator("#main .plot").focus()
    page.page.keyboard.press("ArrowRight")
    assert page.state()["turn"] == "35"
    turned = painted(canvas)
    assert turned != before
    page.page.keyboard.press("ArrowUp")
    assert page.state()["tilt"] == "115"
    assert painted(canvas) != turned
    slider = page.page.locator('[data-key="slider Turn"]')
    assert slider.input_value() == "35"
    slider.focus()
    page.page.keyboard.press("ArrowLeft")
    assert page.state()["turn"] == "34"
    assert slider.evaluate("(one) => one === document.activeElement")  # it was not drawn anew under the hand


def test_a_word_is_found_and_chosen(looking: Open, served: str, table: Table) -> None:
    page = looking(served, text="a b d", view="embeddings")
    field = page.page.get_by_label("First word").and_(page.page.locator("input"))
    field.fill("H")
    hits = page.page.locator("#main .hits").first.locator("a").all_text_contents()
    assert set(hits) == {one for one in table.names if "h" in one.lower()}
    field.fill("no such thing")
    assert "no such word here" in page.main()
    field.fill("H")
    page.page.keyboard.press("Enter")
    page.until("location.hash.includes('token=')")
    page.settle()
    assert table.names[int(page.state()["token"])].lower() == "▁h"
    assert page.page.locator("#main .near tbody tr").count() == 10


def test_a_point_of_the_plot_is_a_link(looking: Open, exported: str, trace: Trace, table: Table) -> None:
    page = looking(exported, view="embeddings")
    page.until("document.querySelector('#main .plot canvas').width > 300")
    box = page.page.locator("#main .plot canvas").bounding_box()
    assert box is not None
    known = list(coordinates(page))
    shown = plane(table.vectors).coordinates[known][:, :2]
    ends = np.array([shown.min(0), shown.max(0)])
    middle = ends.mean(0)
    unit = min((size / 2 - 16) / half for size, half in zip((box["width"], box["height"]), ends[1] - middle, strict=True))
    row = known[int(np.argmax(shown[:, 0]))]  # the one at the right end
    x, y = (plane(table.vectors).coordinates[row][:2] - middle) * unit
    page.page.locator("#main .plot canvas").click(position={"x": box["width"] / 2 + x, "y": box["height"] / 2 - y})
    page.settle()
    assert page.state()["token"] == str(row)


def cosines(page: Looking) -> list[list[float]]:
    script = """(rows) => rows.map((row) => [...row.querySelectorAll("td")].map((cell) => Number(cell.dataset.value)))"""
    found: list[list[float]] = page.page.locator("#main .layers tbody tr").evaluate_all(script)
    return found


def cosine(first: Any, second: Any) -> float:
    return between(first, second).cosine


STEPS = ["embed.tokens", "embed.out", "layers.0.out", "layers.1.out", "out"]


def test_a_word_in_two_texts(looking: Open, served: str, translator: Translator, trace: Trace) -> None:
    other = translator.explain("c b a")
    page = looking(served, text="a b d", view="embeddings", context="c b a", stack="encoder", word="0-2")
    rows = cosines(page)
    pairs = [(trace[f"encoder.{step}"].array[0], other[f"encoder.{step}"].array[2]) for step in STEPS]
    row = pairs[0][0]
    expected = [[cosine(first, row), cosine(second, row), cosine(first, second)] for first, second in pairs]
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    np.testing.assert_allclose(rows[0], 1.0, atol=1e-12)  # the row is the same wherever it stands
    assert all(values[2] < 0.9999 for values in rows[1:])
    options = page.page.locator('select[data-key="choice Word"] option').evaluate_all("(some) => some.map((one) => one.value)")
    ends = [f"{one}-{two}" for one, name in enumerate("ab") for two, second in enumerate("cba") if name == second]
    assert set(options) == {*ends, "3-3"}  # the end token, too
    page.page.locator('[data-key="context"]').fill("   ")
    page.page.get_by_role("button", name="Compare").click()
    page.settle()
    assert "context" not in page.state()


def test_a_word_that_stands_twice_in_a_file(looking: Open, translator: Translator, tmp_path: Path) -> None:
    trace = translator.explain("a b a")
    trace.save(tmp_path / "trace.html")
    page = looking((tmp_path / "trace.html").as_uri(), view="embeddings", stack="encoder", word="0-2")
    pairs = [trace[f"encoder.{step}"].array[[0, 2]] for step in STEPS]
    np.testing.assert_allclose([row[2] for row in cosines(page)], [cosine(*pair) for pair in pairs], atol=1e-6)
    page.go(view="embeddings", stack="encoder", word="1")
    own = [trace[f"encoder.{step}"].array[1] for step in STEPS]
    np.testing.assert_allclose(cosines(page), [[cosine(one, own[0])] for one in own], atol=1e-6)
    assert page.page.locator('[data-key="context"]').is_disabled()
    assert "A second text needs the model" in page.main()


def test_tables_that_differ_and_words_that_are_not_in_the_file(looking: Open, tmp_path: Path) -> None:
    config = replace(ENCODER, source_vocabulary=500, target_vocabulary=5)
    trace = trace_forward(make(config), config, inputs(config), names={"source": name(range(7))}, vocabulary=name(range(5)))
    (tmp_path / "trace.html").write_text(html(trace), encoding="utf-8")
    source, output = tables_of(trace).values()
    page = looking((tmp_path / "trace.html").as_uri(), view="embeddings")
    assert "It differs from: output matrix" in page.main()
    assert "500 rows of 24 numbers" in page.main()
    token = next(row for row, _ in near(page) if row not in tokens_of(trace, source))
    page.go(view="embeddings", token=token)
    assert "The neighbours of this word are not in this file" in page.main()
    assert "open the model with pellucid look" in page.main()
    page.go(view="embeddings", table="output", token=0, against=3)
    assert measured(page)["cosine"] == pytest.approx(cosine(output.vectors[0], output.vectors[3]), rel=1e-9)
    assert len(near(page)) == 4


def test_a_trace_without_its_model_still_has_its_contexts(looking: Open, trace: Trace, tmp_path: Path) -> None:
    trace.save(tmp_path / "trace.npz")
    load(tmp_path / "trace.npz").save(tmp_path / "trace.html")
    page = looking((tmp_path / "trace.html").as_uri(), view="embeddings")
    assert "vectors are not in this file" in page.main()
    assert len(cosines(page)) == len(STEPS)


def test_what_cannot_be_asked_is_refused(served: str, looking: Open) -> None:
    page = looking(served, text="a b d", view="embeddings")
    script = """async (questions) => {
      const found = [];
      for (const [path, question] of questions) {
        found.push(await asked(path, question).then(() => "answered", (error) => error.message));
      }
      return found;
    }"""
    asked: list[tuple[str, dict[str, object]]] = [
        ("/api/neighbours", {"table": "shared", "token": "x"}),
        ("/api/neighbours", {"table": "shared", "token": 10**9}),
        ("/api/neighbours", {"table": "no", "token": 0}),
        ("/api/table", {}),
        ("/api/neighbours", {"table": "shared", "token": 0, "metric": "taxi"}),
    ]
    found = page.page.evaluate(script, asked)
    words = ["this is no number", "there is no such token", "no such table", "no such table", "nothing of this name measures"]
    assert [word in text for word, text in zip(words, found, strict=True)] == [True] * 5
    page.complaints = [one for one in page.complaints if "400" not in one]  # the browser reports what was refused


@pytest.mark.parametrize("width", [360, 640])
def test_nothing_is_wider_than_a_narrow_screen(looking: Open, exported: str, width: int) -> None:
    for values in ({}, {"space": "yes"}):
        page = looking(exported, "", width=width, view="embeddings", **values)
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_vector_of_zeros_has_no_direction(looking: Open, tmp_path: Path) -> None:
    trace = trace_forward(make(ENCODER), ENCODER, inputs(ENCODER), vocabulary=name(range(17)))
    trace.model.weight("source").data[0] = 0.0
    (tmp_path / "trace.html").write_text(html(trace), encoding="utf-8")
    page = looking((tmp_path / "trace.html").as_uri(), view="embeddings", token=0, against=1)
    assert page.page.locator("#main .near tbody tr").first.inner_text().split("\t")[2] == "none"
    assert math.isnan(measured(page)["degrees"])
