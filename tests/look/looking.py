"""A page as a test sees it: its cells, its links, its complaints."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
from playwright.sync_api import Page, Request

from pellucid.explain.trace import Trace


class Looking:
    """One page, at one address.

    Attributes:
        complaints: what the console said, errors of the scripts, and requests for anything that the page did not come from.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("request", self._requested)

    def _requested(self, request: Request) -> None:
        asked, own = urlsplit(request.url), urlsplit(self.url)
        if asked.scheme != "data" and (asked.scheme, asked.netloc) != (own.scheme, own.netloc):
            self.complaints.append(f"asked for {request.url}")

    def go(self, state: str = "", **values: Any) -> None:
        """To another state: as it stands in the address, or by its values."""
        state = state or urlencode(values)
        self.page.goto(f"{self.url}#{state}" if state else self.url)
        self.settle()

    def settle(self) -> None:
        """Wait until the page is drawn; a new address is told to the page only when the script that set it has ended."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        self.page.wait_for_selector("#main:not([aria-busy])")
        self.page.wait_for_selector("#main h2, #main [role=alert], #ask input")

    def until(self, expression: str) -> None:
        """Wait until something holds on the page, whose policy lets nobody else ask in a loop there."""
        for _ in range(400):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(25)
        raise AssertionError(f"never came true: {expression}")

    def press(self, text: str) -> None:
        """A button or link of this name in the view."""
        self.page.get_by_role("button", name=text, exact=True).or_(
            self.page.get_by_role("link", name=text, exact=True)
        ).first.click()
        self.settle()

    def choose(self, label: str, value: object) -> None:
        """Choose from the list of this label."""
        self.page.locator(f'select[data-key="choice {label}"]').select_option(str(value))
        self.settle()

    def main(self) -> str:
        """The text of the view."""
        return self.page.inner_text("#main")

    def cells(self, selector: str = "#main table[role=grid]") -> list[dict[str, Any]]:
        """Every cell that is shown of the grids: tap, head, row, column, and its text as a number."""
        script = """(tables) => tables.flatMap((table) => [...table.querySelectorAll("td")].map((cell) => ({
            tap: table.dataset.tap ?? null, head: table.dataset.head === undefined ? null : Number(table.dataset.head),
            row: Number(cell.dataset.row), column: Number(cell.dataset.column), text: cell.textContent })))"""
        found: list[dict[str, Any]] = self.page.locator(selector).evaluate_all(script)
        for cell in found:
            cell["value"] = number(cell["text"])
        return found

    def compare(self, trace: Trace) -> int:
        """Every visible cell equals its tap, to the digits that are shown; gives how many there were."""
        count = 0
        for cell in self.cells():
            if cell["tap"] is None:
                continue
            array = trace[cell["tap"]].array
            index = [
                *([] if cell["head"] is None else [cell["head"]]),
                *([cell["row"]] if array.ndim > 1 else []),
                cell["column"],
            ]
            expected = float(array[tuple(index)])
            close = np.isclose(cell["value"], expected, rtol=6e-3 if "e" in cell["text"] else 1e-5, atol=5.1e-5, equal_nan=True)
            assert close or (abs(expected) > 999 and np.isclose(cell["value"], expected, atol=0.051)), (cell, expected)
            count += 1
        return count

    def state(self) -> dict[str, str]:
        """What stands in the address."""
        found: dict[str, str] = self.page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")
        return found


def number(text: str) -> float:
    """A number as the page writes it."""
    return float(text.replace("−", "-").replace("∞", "inf"))
