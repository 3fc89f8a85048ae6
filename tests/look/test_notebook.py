"""A trace as a notebook shows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from pellucid.explain import notebook
from pellucid.tasks.translator import Translator


def test_a_cell_shows_the_page_in_a_frame(browser: Browser, translator: Translator, tmp_path: Path) -> None:
    trace = translator.explain("a b d")
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><h1>notebook</h1>{trace._repr_mimebundle_()['text/html']}", encoding="utf-8")
    page, complaints = browser.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name="Attention", exact=True).click()
    frame.get_by_role("heading", name="Attention", exact=True).wait_for()
    cell = frame.locator('#main td[data-row="1"][data-column="2"]')
    shown = float(cell.inner_text())
    cell.click()
    value = frame.locator("#number .value")
    value.wait_for()
    assert float(value.get_attribute("data-value") or "nan") == pytest.approx(shown, abs=5.1e-5)
    frame.locator("#number .terms a").first.click()
    frame.locator("#number a", has_text="decoder.layers.1.cross_attn.scaled").wait_for()
    assert page.locator("h1").inner_text() == "notebook"
    assert frame.locator("h1").inner_text() == "pellucid"
    assert complaints == []
    page.close()


def test_without_html_there_is_text(translator: Translator) -> None:
    text = translator.explain("a b d")._repr_mimebundle_()["text/plain"]
    assert text.startswith("text: a b d\n")
    assert "output: D B A" in text
    assert "encoder.layers.0.self_attn.weights" in text


def test_what_is_too_large_for_a_page_is_text_and_says_so(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "LIMIT", 1_000)
    found = translator.explain("a b d")._repr_mimebundle_()
    assert set(found) == {"text/plain"}
    assert "the page would hold" in found["text/plain"]
