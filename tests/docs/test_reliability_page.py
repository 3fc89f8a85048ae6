"""The page on reliability says what was measured, and every row held."""

from __future__ import annotations

import json

from benchmarks import reliability


def test_the_page_is_made_from_the_results() -> None:
    rows = json.loads(reliability.RESULTS.read_text(encoding="utf-8"))
    assert reliability.PAGE.read_text(encoding="utf-8") == reliability.page(rows)
    assert rows.keys() <= reliability.EXPERIMENTS.keys()
    assert [name for name, row in rows.items() if row["held"] != row["of"] or row["failures"]] == []
