"""The search as a tree: its nodes are the candidates of the trace, its best leaf is the output."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from pellucid.base.config import ModelConfig
from pellucid.decoding.penalties import length_penalty
from pellucid.explain.explain import explain
from pellucid.explain.trace import Trace
from pellucid.tasks.translator import Translator
from tests.explain.small import DECODER, ENCODER_DECODER, make, subject
from tests.look.looking import Looking

Open = Callable[..., Looking]


def nodes(page: Looking) -> dict[str, dict[str, Any]]:
    """What the boxes of the tree hold, by step and place among the candidates."""
    script = """(boxes) => boxes.map((box) => ({ ...box.dataset, label: box.getAttribute("aria-label"),
        text: box.textContent, classes: box.getAttribute("class") }))"""
    found = page.page.locator("#main [role=treeitem]").evaluate_all(script)
    return {one["node"]: one for one in found}


def small(config: ModelConfig = ENCODER_DECODER, **ways: Any) -> Trace:
    """What a small random model writes."""
    return explain(subject(make(config, seed=4), config, **ways))


def saved(trace: Trace, path: Path) -> str:
    trace.save(path)
    return path.as_uri()


def path_of(found: dict[str, dict[str, Any]], key: str) -> list[int]:
    """The tokens from the beginning to a node."""
    tokens: list[int] = []
    while key:
        tokens.insert(0, int(found[key]["token"]))
        key = found[key]["parent"]
    return tokens


WAYS: dict[str, dict[str, Any]] = {
    "two beams": {"beams": 2},
    "four beams, power": {"beams": 4, "length_penalty": "power", "alpha": 1.0},
    "six beams, long outputs wanted": {"beams": 6, "length_penalty": "power", "alpha": 3.0},
    "no penalty": {"beams": 3, "length_penalty": "none"},
    "greedy": {"beams": 1},
    "drawn": {"beams": 1, "temperature": 1.8, "top_k": 5},
}


@pytest.mark.parametrize("config", [ENCODER_DECODER, DECODER], ids=["pairs", "running text"])
@pytest.mark.parametrize("way", WAYS)
def test_the_nodes_are_the_candidates_and_the_best_leaf_is_the_output(
    looking: Open, tmp_path: Path, config: ModelConfig, way: str
) -> None:
    trace = small(config, **WAYS[way])
    page = looking(saved(trace, tmp_path / "trace.html"), "view=beam")
    found = nodes(page)
    divided = length_penalty(trace.writing["decoding"]["length_penalty"], trace.writing["decoding"]["alpha"])
    assert len(found) == sum(len(step.candidates) for step in trace.steps)
    for step in trace.steps:
        before = [()] if step.number == 0 else trace.steps[step.number - 1].written
        for at, one in enumerate(step.candidates):
            node = found[f"{step.number}.{at}"]
            assert int(node["token"]) == one.token
            assert f"step {step.number + 1}" in node["label"].lower()
            assert float(node["log"]) == one.log_probability
            assert float(node["total"]) == one.score
            assert float(node["score"]) == pytest.approx(one.score / divided(step.number + 1), rel=1e-12)
            names = tuple(trace.vocabulary[token] for token in path_of(found, node["parent"]))
            assert names == tuple(before[one.beam])
            if one.fate == "dropped":
                assert "dropped" in node["text"]
                assert "dropped" in node["label"]
                assert "dropped" in node["classes"].split()
            if one.fate == "ended":
                assert "ended" in node["text"]
                assert page.page.locator(f'[data-node="{node["node"]}"] .ring').count() == 1
    best = page.page.get_attribute("[data-best]", "data-best") or ""
    assert path_of(found, best) == list(trace.writing["ids"])
    score = float(page.page.get_attribute("[data-best]", "data-score") or "nan")
    assert score == pytest.approx(trace.writing["score"], rel=1e-12)
    ended = [float(node["score"]) for node in found.values() if node["fate"] == "ended"]
    assert score == max(ended, default=score)
    assert [key for key, node in found.items() if "path" in node["classes"].split()] == [
        key for key in found if path_of(found, key) == trace.writing["ids"][: len(path_of(found, key))]
    ]


def test_the_formula_is_that_of_the_recipe(looking: Open, tmp_path: Path) -> None:
    for at, (way, formula) in enumerate(
        [
            ({"alpha": 0.6}, "score = sum of log p / ((5 + n) / 6)^α"),
            ({"length_penalty": "power", "alpha": 0.5}, "score = sum of log p / n^α"),
            ({"length_penalty": "none"}, "score = sum of log p"),
        ]
    ):
        page = looking(saved(small(beams=2, **way), tmp_path / f"{at}.html"), "view=beam")
        assert page.page.get_attribute("[data-formula]", "data-formula") == formula


def test_the_table_says_what_the_tree_says(looking: Open, exported: str, translator: Translator) -> None:
    page = looking(exported, "view=beam")
    found = nodes(page)
    rows = page.page.locator("#main [data-row]").evaluate_all(
        "(rows) => rows.map((row) => [row.dataset.row, ...[...row.cells].map((cell) => cell.textContent)])"
    )
    assert [row[0] for row in rows] == sorted(found, key=lambda key: [*map(int, key.split("."))])
    for key, _, _, token, log, total, score, fate in rows:
        assert found[key]["label"].startswith(f"{token}, {fate}.")
        assert f"log p {log}, sum {total}, score {score}" in found[key]["label"]
    assert len(rows) == sum(len(step.candidates) for step in translator.explain("a b d").steps)


def test_what_is_too_wide_is_folded(looking: Open, tmp_path: Path) -> None:
    trace = small(beams=8)
    page = looking(saved(trace, tmp_path / "trace.html"), "view=beam")
    found = nodes(page)
    for step in trace.steps:
        drawn = [key for key in found if key.startswith(f"{step.number}.")]
        assert len(drawn) == min(12, len(step.candidates))
    more = page.page.locator("[data-more]").all_text_contents()
    assert more == [f"and {len(step.candidates) - 12} more" for step in trace.steps if len(step.candidates) > 12]
    assert page.page.locator("#main [data-row]").count() == sum(len(step.candidates) for step in trace.steps)
    path = {tuple(path_of(found, key)) for key in found}
    ids = trace.writing["ids"]
    assert all(tuple(ids[:length]) in path for length in range(1, len(ids) + 1))
    page.choose("Show", "lived")
    assert {node["fate"] for node in nodes(page).values()} <= {"chosen", "ended", "later"}
    assert page.state()["dropped"] == "no"


def test_from_a_node_of_the_output_to_its_attention(looking: Open, exported: str, translator: Translator) -> None:
    trace = translator.explain("a b d")
    page = looking(exported, "view=beam")
    found = nodes(page)
    key = next(key for key in found if path_of(found, key) == trace.writing["ids"][:2])
    page.page.locator(f'[data-node="{key}"]').click()
    page.settle()
    assert page.state()["node"] == key
    assert "Σ log p" in page.page.inner_text("[data-details]")
    page.page.locator(f'[data-node="{key}"]').click()
    page.settle()
    assert page.state()["view"] == "attention"
    assert page.state()["query"] == "2"
    names = trace.names["target"]
    assert page.page.inner_text("#main .sentence").startswith(f"“{names[2]}” (position 2) looks most at")
    weights = trace["decoder.layers.1.cross_attn.weights"].array[0][2]
    assert f"(position {int(np.argmax(weights))})" in page.page.inner_text("#main .sentence")


def test_without_a_model_other_texts_have_no_attention(looking: Open, exported: str) -> None:
    page = looking(exported, "view=beam")
    dropped = next(key for key, node in nodes(page).items() if node["fate"] == "dropped" and key.startswith("1."))
    page.go(view="beam", node=dropped)
    details = page.page.locator("[data-details]")
    assert details.get_by_role("button", name="Attention of this text").is_disabled()
    assert "open the model with pellucid look" in details.inner_text()
    page.page.locator(f'[data-node="{dropped}"]').click()
    assert page.state()["view"] == "beam"
    assert page.page.locator('[data-key="choice Beams"]').is_disabled()


def test_with_a_model_any_text_is_followed(looking: Open, served: str, translator: Translator) -> None:
    page = looking(served, "view=beam&text=a+b+d&beams=3")
    found = nodes(page)
    trace = translator.explain("a b d", beams=3)
    key = next(key for key, node in found.items() if key.startswith("1.") and "path" not in node["classes"].split())
    prefix = path_of(found, key)
    page.page.locator(f'[data-node="{key}"]').click()
    page.settle()
    page.press("Attention of this text")
    assert json.loads(page.state()["prefix"]) == prefix
    assert (page.state()["view"], page.state()["query"]) == ("attention", "2")
    forced = translator.explain("a b d", beams=3, prefix=prefix)
    assert page.page.inner_text("#tokens strong") == forced.output
    page.go(view="beam", text="a b d", beams=3, prefix=json.dumps(prefix))
    again = nodes(page)
    assert path_of(again, page.page.get_attribute("[data-best]", "data-best") or "") == list(forced.writing["ids"])
    page.press("Back to what the model wrote")
    assert page.page.inner_text("#tokens strong") == trace.output


def test_the_number_of_beams_is_chosen(looking: Open, served: str, translator: Translator) -> None:
    page = looking(served, "view=beam&text=a+b+d")
    page.choose("Beams", 5)
    assert page.state()["beams"] == "5"
    assert len(nodes(page)) == sum(min(12, len(step.candidates)) for step in translator.explain("a b d", beams=5).steps)
    page.choose("Beams", 1)
    assert "Greedy search" in page.main()
    page.go(view="beam", text="a b d", temperature=1.5, seed=1)
    assert "The output was drawn: temperature 1.5, seed 1." in page.main()
    page.choose("Beams", 1)
    assert "Greedy search" in page.main()


def test_the_tree_is_walked_with_the_keys(looking: Open, exported: str, translator: Translator) -> None:
    page = looking(exported, "view=beam")
    found = nodes(page)
    assert page.page.locator('#main [role=treeitem][tabindex="0"]').count() == 1
    page.page.locator('#main [role=treeitem][tabindex="0"]').focus()

    def focused() -> str:
        key: str = page.page.evaluate("document.activeElement.dataset.node")
        return key

    seen = [focused()]
    for _ in translator.explain("a b d").writing["ids"][1:]:
        page.page.keyboard.press("ArrowRight")
        seen.append(focused())
    assert path_of(found, seen[-1]) == list(translator.explain("a b d").writing["ids"])
    page.page.keyboard.press("ArrowLeft")
    assert focused() == seen[-2]
    page.page.keyboard.press("ArrowDown")
    assert focused() == f"{len(seen) - 2}.1"
    page.page.keyboard.press("Enter")
    page.settle()
    assert page.state()["node"] == f"{len(seen) - 2}.1" == focused()


def test_a_forced_beginning_has_one_candidate(looking: Open, tmp_path: Path) -> None:
    given = subject(make(ENCODER_DECODER, seed=4), ENCODER_DECODER, beams=3)
    assert given.writing is not None
    trace = explain(replace(given, writing=replace(given.writing, prefix=(9, 8))))
    page = looking(saved(trace, tmp_path / "trace.html"), "view=beam")
    found = nodes(page)
    assert [found["0.0"]["token"], found["1.0"]["token"]] == ["9", "8"]
    assert "0.1" not in found
    assert "1.1" not in found
    assert path_of(found, page.page.get_attribute("[data-best]", "data-best") or "") == list(trace.writing["ids"])
    assert page.page.get_by_role("button", name="Back to what the model wrote").is_disabled()


@pytest.mark.parametrize("width", [360, 1280])
def test_everyone_can_use_it(looking: Open, exported: str, width: int) -> None:
    page = looking(exported, "view=beam&node=1.2", width=width)
    assert Axe().run(page.page).response["violations"] == []
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
