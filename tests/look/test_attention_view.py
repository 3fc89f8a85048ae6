"""The view of attention: maps, lines, and what a head looks like."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pellucid.tasks.translator import Translator
from tests.look.looking import Looking

Open = Callable[..., Looking]


STAGES = [(kind, stage) for kind in ("cross", "encoder", "decoder") for stage in ("scores", "scaled", "weights")]


@pytest.mark.parametrize(("kind", "stage"), [*STAGES, ("decoder", "mask"), ("decoder", "masked")])
def test_every_stage_shows_its_tap(looking: Open, exported: str, translator: Translator, kind: str, stage: str) -> None:
    trace = translator.explain("a b d")
    page = looking(exported, view="attention", kind=kind, layer=1, head=2, stage=stage)
    place = {
        "cross": "decoder.layers.1.cross_attn",
        "encoder": "encoder.layers.1.self_attn",
        "decoder": "decoder.layers.1.self_attn",
    }
    assert {cell["tap"] for cell in page.cells()} == {f"{place[kind]}.{stage}"}
    assert page.compare(trace) == 16


def test_queries_are_rows_and_keys_columns_where_they_differ(looking: Open, served: str, translator: Translator) -> None:
    output = "D B"  # three target positions against four of the source
    trace = translator.explain("a b d", output=output)
    assert trace["decoder.layers.0.cross_attn.weights"].shape[1:] == (3, 4)
    page = looking(served, text="a b d", output=output, view="attention", kind="cross", layer=0, head=1)
    names = lambda selector: page.page.locator(selector).all_inner_texts()  # noqa: E731
    assert names("#main table[role=grid] tbody th") == ["<s>", "▁D", "▁B"]
    assert names("#main table[role=grid] thead th")[1:] == ["▁a", "▁b", "▁d", "</s>"]
    assert names('#main ol[aria-label="queries"] li') == ["<s>", "▁D", "▁B"]
    assert names('#main ol[aria-label="keys"] li') == ["▁a", "▁b", "▁d", "</s>"]
    assert page.compare(trace) == 12


@pytest.mark.parametrize("together", ["mean", "max"])
def test_heads_taken_together(looking: Open, exported: str, translator: Translator, together: str) -> None:
    weights = translator.explain("a b d")["decoder.layers.0.cross_attn.weights"].array
    expected = weights.mean(0) if together == "mean" else weights.max(0)
    page = looking(exported, view="attention", kind="cross", layer=0, head=together)
    shown = np.array([cell["value"] for cell in page.cells()]).reshape(expected.shape)
    np.testing.assert_allclose(shown, expected, atol=5.1e-5, rtol=6e-3)


def test_lines_are_the_weights_and_pointing_shows_those_of_one_query(
    looking: Open, exported: str, translator: Translator
) -> None:
    weights = translator.explain("a b d")["decoder.layers.1.cross_attn.weights"].array[0]
    page = looking(exported, view="attention", kind="cross", layer=1, head=0)
    script = """(lines) => lines.map((line) =>
        [line.dataset.query, line.dataset.keyToken, line.getAttribute("stroke-opacity")].map(Number))"""
    drawn = page.page.locator(".lines line").evaluate_all(script)
    assert {(row, column) for row, column, _ in drawn} == set(
        zip(*map(np.ndarray.tolist, np.nonzero(weights > 0.01)), strict=True)
    )
    for row, column, opacity in drawn:
        assert opacity == pytest.approx(float(weights[int(row), int(column)]), abs=5.1e-4)
    count = "(lines) => lines.filter((line) => getComputedStyle(line).display !== 'none').map((line) => line.dataset.query)"
    page.page.locator('#main [data-key="query 2"]').hover()
    assert set(page.page.locator(".lines line").evaluate_all(count)) == {"2"}
    page.page.mouse.move(0, 0)
    assert len(page.page.locator(".lines line").evaluate_all(count)) == len(drawn)
    page.page.locator('#main [data-key="query 1"]').click()
    page.settle()
    assert page.state()["query"] == "1"
    page.page.mouse.move(0, 0)
    page.page.evaluate("document.activeElement.blur()")
    assert set(page.page.locator(".lines line").evaluate_all(count)) == {"1"}
    best = int(weights[1].argmax())
    assert "(position 1) looks most at" in page.main()
    assert f"(position {best}): {100 * weights[1, best]:.1f} %" in page.main()


def test_what_a_head_looks_like_is_said_with_its_numbers(looking: Open, exported: str, translator: Translator) -> None:
    weights = translator.explain("a b d")["encoder.layers.0.self_attn.weights"].array[3].astype(np.float64)
    page = looking(exported, view="attention", kind="encoder", layer=0, head=3)
    found = dict(
        page.page.locator(".measures dd").evaluate_all(
            "(all) => all.map((one) => [one.dataset.measure, Number(one.dataset.value)])"
        )
    )
    places = np.arange(len(weights))
    expected = {
        "entropy": -(weights * np.log(weights)).sum(1).mean(),
        "distance": (weights * np.abs(places[:, None] - places)).sum(1).mean(),
        "previous token": np.diag(weights, -1).mean(),
        "same token": np.diag(weights).mean(),
        "next token": np.diag(weights, 1).mean(),
        "first token": weights[:, 0].mean(),
        "separator": weights[:, 3].mean(),  # the end token
    }
    assert found == pytest.approx(expected, rel=1e-5)
    shares = {name: value for name, value in expected.items() if name not in ("entropy", "distance")}
    best = max(shares, key=lambda name: shares[name])
    assert best in page.page.locator("#main section p", has_text="looks like").inner_text()


def test_all_heads_are_links_to_their_maps(looking: Open, exported: str, translator: Translator) -> None:
    page = looking(exported, view="attention", kind="cross", layer=0, head=0)
    links = page.page.locator(".thumbs a")
    assert links.count() == 2 * 4
    links.nth(6).click()  # layer 1, head 2
    page.settle()
    assert {key: page.state()[key] for key in ("layer", "head")} == {"layer": "1", "head": "2"}
    assert page.compare(translator.explain("a b d")) == 16
