"""The layers: what the page shows is what Python computed of them, in a file and with a model behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from pellucid.base.config import HeadConfig
from pellucid.explain.files import load
from pellucid.explain.forward import trace_forward
from pellucid.explain.lens import layers_of, lens, parts
from pellucid.explain.page import html
from pellucid.explain.trace import Trace
from pellucid.tasks.translator import Translator
from tests.explain.small import DECODER, ENCODER, PICTURES, V, inputs, make, name
from tests.look.looking import Looking, number

Open = Callable[..., Looking]
TEXT = "a b d"


@pytest.fixture(scope="module")
def trace(translator: Translator) -> Trace:
    return translator.explain(TEXT)


def said(page: Looking) -> list[dict[str, str]]:
    """Every cell of the lens."""
    script = """(cells) => cells.map((cell) => ({ ...cell.dataset, token: cell.querySelector("bdi").textContent,
        text: cell.childNodes[2].textContent, same: cell.textContent.includes("✓") }))"""
    found: list[dict[str, str]] = page.page.locator("#main .lens td").evaluate_all(script)
    return found


def check_lens(page: Looking, trace: Trace, between: bool) -> None:
    expected = {state.tap: np.atleast_2d(found) for state, found in lens(trace) if between or not state.after}
    last = expected[list(expected)[-1]].argmax(-1)
    cells = said(page)
    rows = len(last)
    assert len(cells) == rows * len(expected)
    assert list(dict.fromkeys(cell["state"] for cell in cells)) == list(expected)
    for cell in cells:
        row = expected[cell["state"]][int(cell["row"])]
        token = int(cell["id"])
        assert row[token] == row.max()
        assert cell["token"] == trace.vocabulary[token]
        assert number(cell["text"]) == pytest.approx(row.max(), abs=5.1e-5, rel=6e-3)
        assert cell["same"] == (token == last[int(cell["row"])])


@pytest.mark.parametrize("where", ["exported", "served"])
@pytest.mark.parametrize("between", [False, True])
def test_each_cell_is_the_most_probable_of_its_layer(
    looking: Open, request: pytest.FixtureRequest, trace: Trace, where: str, between: bool
) -> None:
    page = looking(request.getfixturevalue(where), f"text={TEXT}&view=layers")
    if between:
        page.press("Also after each sublayer")
    check_lens(page, trace, between)
    assert page.page.title() == f"Layers: {TEXT}"


def test_the_formula_and_its_author_are_named(looking: Open, exported: str) -> None:
    page = looking(exported, "view=layers")
    assert "the final norm applied to each layer's output, then the output matrix" in page.main()
    assert "(nostalgebraist, “interpreting GPT: the logit lens”, 2020)" in page.main()


def test_a_cell_opens_its_five(looking: Open, exported: str, trace: Trace) -> None:
    page = looking(exported, "view=layers")
    page.page.locator('#main .lens td[data-row="1"][data-column="1"]').click()
    page.settle()
    assert page.state()["said"] == "decoder.layers.0.out:1"
    expected = {state.tap: found for state, found in lens(trace)}["decoder.layers.0.out"][1]
    rows = page.page.locator("#main .five tr").all_inner_texts()
    assert [row.split()[0] for row in rows] == [trace.vocabulary[token] for token in np.argsort(-expected, kind="stable")[:5]]
    shares = [number(row.split()[1]) for row in rows]
    np.testing.assert_allclose(shares, np.sort(expected)[::-1][:5], atol=5.1e-5, rtol=6e-3)
    page.press("decoder.layers.0.out")
    assert page.state()["tap"] == "decoder.layers.0.out"


def test_the_keyboard_walks_the_lens(looking: Open, exported: str) -> None:
    page = looking(exported, "view=layers")
    page.page.locator('#main .lens td[tabindex="0"]').focus()
    for key in ("ArrowUp", "Home", "ArrowRight", "Enter"):
        page.page.keyboard.press(key)
    page.settle()
    assert page.state()["said"] == "decoder.layers.0.out:2"
    assert page.page.evaluate("document.activeElement.dataset.key") == "said 2 decoder.layers.0.out"


def sized(page: Looking) -> list[tuple[int, str, str, float, str]]:
    """Each number of the parts: row, tap, what it is, all digits, the text."""
    script = """(rows) => rows.flatMap((row, at) => [...row.querySelectorAll("td[data-tap]")].map((cell) => {
        const text = (cell.querySelector(".digits") ?? cell).textContent;
        return [at, cell.dataset.tap, cell.dataset.what, Number(cell.dataset.value), text];
    }))"""
    found: list[tuple[int, str, str, float, str]] = page.page.locator("#main .parts tbody tr").evaluate_all(script)
    return found


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_sizes_of_the_parts(looking: Open, exported: str, trace: Trace, stack: str) -> None:
    mine = {part.tap: part for part in parts(trace) if part.stack == stack}
    inputs_ = {part.to: part.before for part in mine.values()}
    page = looking(exported, f"view=layers&stack={stack}")
    for place in (None, 1):
        if place is not None:
            page.choose("At", place)
        cells = sized(page)
        assert {tap for _, tap, what, _, _ in cells if what == "norm"} == set(mine)
        for _, tap, what, value, text in cells:
            numbers = inputs_[tap] if what == "before" else getattr(mine[tap], {"norm": "norms", "cosine": "cosines"}[what])
            expected = numbers.mean() if place is None else numbers[place]
            assert value == pytest.approx(expected, rel=1e-7)
            assert number(text) == pytest.approx(value, abs=5.1e-5, rel=1e-3)
    page.choose("Rows", "positions")
    page.choose("In", 1)
    for row, tap, what, value, _ in sized(page):
        if what == "norm":
            assert ".layers.1." in tap
            assert value == pytest.approx(mine[tap].norms[row], rel=1e-7)


@pytest.mark.parametrize("kind", ["pictures", "per token", "post-norm decoder"])
def test_other_models(looking: Open, tmp_path: Path, kind: str) -> None:
    config = {
        "pictures": PICTURES,
        "per token": replace(ENCODER, norm="pre", head=HeadConfig(transform="norm")),
        "post-norm decoder": DECODER,
    }[kind]
    given = inputs(config)
    shown = trace_forward(make(config), config, given, text="small", vocabulary=name(range(config.target_vocabulary)))
    (tmp_path / "trace.html").write_text(html(shown), encoding="utf-8")
    page = looking((tmp_path / "trace.html").as_uri(), "view=layers&between=yes")
    check_lens(page, shown, between=True)
    assert ("no final norm" in page.main()) == (config.norm == "post")


def test_without_the_model_only_the_sizes_are_there(looking: Open, trace: Trace, tmp_path: Path) -> None:
    trace.save(tmp_path / "trace.npz")
    load(tmp_path / "trace.npz").save(tmp_path / "trace.html")
    page = looking((tmp_path / "trace.html").as_uri(), "view=layers")
    assert "saved without its model" in page.main()
    assert said(page) == []
    assert len({tap for _, tap, what, _, _ in sized(page) if what == "norm"}) == 6


def test_long_texts_are_cut_and_it_is_said(looking: Open, tmp_path: Path) -> None:
    import torch

    config = replace(DECODER, max_length=80)
    given = replace(inputs(config), target=torch.arange(70)[None] % V)
    (tmp_path / "trace.html").write_text(html(trace_forward(make(config), config, given)), encoding="utf-8")
    page = looking((tmp_path / "trace.html").as_uri(), "view=layers&rows=positions")
    assert page.main().count("The first 64 of 70 positions.") == 2
    assert len(said(page)) == 64 * 4


def test_narrow_and_accessible(looking: Open, exported: str) -> None:
    page = looking(exported, "view=layers&between=yes", width=360)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 360
    found = Axe().run(page.page)
    assert found.violations_count == 0, found.generate_report()


def test_what_is_asked_of_a_forgotten_trace_is_refused(translator: Translator) -> None:
    from pellucid.base.errors import UsageError
    from pellucid.look.desk import Desk

    desk = Desk(translator)
    assert desk.layers({"trace": desk.trace({"text": TEXT})["id"]}) == layers_of(translator.explain(TEXT))
    for wrong in ("7", None, ["1"]):
        with pytest.raises(UsageError, match="forgotten"):
            desk.layers({"trace": wrong})
