"""A browser without a window, and pages in it: one that was written to a file, and one with a model behind it.

Where there is no Chromium these tests are skipped, and say so; where CHROMIUM names one, it must be there.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from pellucid import load
from pellucid.look.desk import Desk
from pellucid.look.others import Others
from pellucid.look.server import Server
from pellucid.tasks.translator import Translator
from tests.look.looking import Looking

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM)), None)
    if found is None:
        pytest.skip("no Chromium on this machine: the page was not looked at")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def looking(browser: Browser) -> Iterator[Callable[..., Looking]]:
    """Opens a page; afterwards none of those that were opened may have complained, or asked for anything elsewhere."""
    opened: list[Looking] = []

    def open_page(url: str, state: str = "", /, *, width: int = 1280, **values: object) -> Looking:
        opened.append(Looking(browser.new_page(viewport={"width": width, "height": 900}), url))
        opened[-1].go(state, **values)
        return opened[-1]

    yield open_page
    complaints = [complaint for one in opened for complaint in one.complaints]
    for one in opened:
        one.page.close()
    assert complaints == []


@pytest.fixture(scope="session")
def translator(learnt: Path) -> Translator:
    """The model that has learnt to reverse letters."""
    return load(learnt)


@pytest.fixture(scope="session")
def exported(translator: Translator, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a file: three letters and the end, 4 source and 4 target positions."""
    path = tmp_path_factory.mktemp("look") / "trace.html"
    translator.explain("a b d").save(path)
    return path.as_uri()


@pytest.fixture(scope="session")
def served(learnt: Path) -> Iterator[str]:
    """The address of a server with the model."""
    desk = Desk(load(learnt), learnt)
    with Server(desk, more=Others(desk, learnt).answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.url
        server.shutdown()
