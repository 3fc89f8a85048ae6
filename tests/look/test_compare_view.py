"""The view "compare": maps, their difference and distributions are those of the two traces."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from safetensors.torch import load_file, save_file

from pellucid import load
from pellucid.base.errors import UsageError
from pellucid.look.desk import Desk
from pellucid.look.others import Others
from pellucid.look.server import Server
from pellucid.tasks.translator import Translator
from tests.look.looking import Looking

Open = Callable[..., Looking]


def earlier(learnt: Path) -> Any:
    """The model with the weights of the first checkpoint that is kept."""
    model = load(learnt)
    model.model.load_state_dict(load_file(learnt / "checkpoints/step-00000150/model.safetensors"))
    return model


@pytest.fixture(scope="module")
def two(learnt: Path) -> Iterator[tuple[str, Any]]:
    """The address of a server with two models, and the second: the first with its output matrix turned round."""
    desk, second = Desk(load(learnt)), load(learnt)
    weight = second.model.weight("output")
    weight.data = -weight.data
    with Server(desk, more=Others(desk, learnt, second, "other").answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.url, second
        server.shutdown()


def grid(page: Looking, which: str) -> dict[tuple[int, int], float]:
    cells = page.cells(f'#main [data-map="{which}"] table[role=grid]')
    return {(cell["row"], cell["column"]): cell["value"] for cell in cells}


def same(found: dict[tuple[int, int], float], expected: np.ndarray) -> None:
    assert len(found) == expected.size
    for place, value in found.items():
        assert value == pytest.approx(float(expected[place]), abs=5.1e-5, rel=6e-3)


def test_two_texts(looking: Open, served: str, translator: Translator) -> None:
    page = looking(served, "view=compare&text=a+b+d&kind=cross&layer=1&head=3")
    assert "Give a second text" in page.main()
    page.page.fill('[data-key="field text2"]', "c b e")
    page.press("Set beside")
    page.page.wait_for_selector("#main [data-outputs]")
    name = "decoder.layers.1.cross_attn.weights"
    traces = [translator.explain(text) for text in ("a b d", "c b e")]
    first, second = (trace[name].array[3] for trace in traces)
    same(grid(page, "first"), first)
    same(grid(page, "second"), second)
    same(grid(page, "difference"), second - first)
    assert all(trace.output in page.page.inner_text("#main [data-outputs]") for trace in traces if trace.output)
    assert "positions cannot be compared" in page.main()
    page.choose("Head", "mean")
    difference = (traces[1][name].array.astype(float) - traces[0][name].array).mean(0)
    same(grid(page, "difference"), difference)
    script = """(rows) => rows.map((row) =>
        [row.children[0].textContent, ...[...row.querySelectorAll("td")].map((cell) => cell.dataset.value)])"""
    rows = page.page.locator("#main [data-next] tbody tr").evaluate_all(script)
    before, after = (trace["probs"].array[0] for trace in traces)
    for token, *numbers in rows:
        at = translator.explain("a b d").vocabulary.index(token)
        np.testing.assert_allclose([float(one) for one in numbers], [before[at], after[at], after[at] - before[at]], atol=1e-7)
    assert rows[0][0] == traces[0].vocabulary[int(np.argmax(np.maximum(before, after)))]


def test_white_is_no_change_and_signs_have_colours(looking: Open, served: str) -> None:
    page = looking(served, "view=compare&text=a+b+d&second=150&kind=cross")
    cells = page.page.locator('#main [data-map="difference"] td').evaluate_all(
        "(cells) => cells.map((cell) => [cell.textContent, getComputedStyle(cell).backgroundColor.match(/\\d+/g).map(Number)])"
    )
    for text, (red, _, blue) in cells:
        if text.startswith("−") and red + blue < 500:
            assert red > blue
        elif red + blue < 500:
            assert blue > red
        if text in ("0.0000", "−0.0000"):
            assert red == blue == 255


def test_texts_of_other_lengths_have_no_difference_map(looking: Open, served: str) -> None:
    page = looking(served, "view=compare&text=a+b+d&text2=c+b&kind=encoder")
    assert "No difference map: 4 × 4 and 3 × 3" in page.main()
    assert page.page.locator('#main [data-map="difference"]').count() == 0


@pytest.mark.parametrize("which", ["150", "second"])
def test_the_difference_is_pythons(
    looking: Open, two: tuple[str, Any], learnt: Path, translator: Translator, which: str
) -> None:
    url, second = two
    page = looking(url, f"view=compare&text=a+b+d&second={which}")
    other = (second if which == "second" else earlier(learnt)).explain("a b d")
    found = other.diff(translator.explain("a b d"))
    kl = page.page.locator("#main [data-difference] tbody td.digits").evaluate_all(
        "(all) => all.map((one) => one.dataset.value)"
    )
    np.testing.assert_allclose([float(one) for one in kl], [one.kl for one in found.positions], rtol=1e-4, atol=1e-9)
    text = page.page.inner_text("#main [data-difference]")
    assert all(change.name in text for one in found.positions for change in one.changes)
    assert ("The outputs differ" in page.main()) == found.output_changed
    assert (other.output or "nothing") in page.page.inner_text("#main [data-outputs]")


def test_what_cannot_be_compared_is_said(learnt: Path) -> None:
    desk = Desk(load(learnt))
    others = Others(desk, learnt)
    first, second = (others.other({"text": text})["id"] for text in ("a b d", "c b"))
    with pytest.raises(UsageError, match="different inputs"):
        others.difference({"first": first, "second": second})
    with pytest.raises(UsageError, match="forgotten"):
        others.difference({"first": first, "second": "17"})
    with pytest.raises(UsageError, match="no such model"):
        others.other({"text": "a b", "of": "second"})
    assert Others(desk).others({})["checkpoints"] == []


def test_the_command_takes_a_second_model(learnt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.cli.main import main

    told: list[dict[str, Any]] = []

    def once(server: Server) -> None:
        told.append(server.answers["/api/others"]({}))
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", once)
    with pytest.raises(SystemExit) as left:
        main(["look", str(learnt), "--with", str(learnt / "model"), "--no-browser"])
    assert left.value.code in (0, None)
    assert told == [
        {"checkpoints": [150, 200], "moments": [150, 200], "steps": 200, "reason": None, "second": str(learnt / "model")}
    ]


def test_a_file_says_what_it_needs(looking: Open, exported: str) -> None:
    page = looking(exported, "view=compare")
    assert "pellucid look RUN" in page.main()
    assert page.page.locator('[data-key="choice Second"]').is_disabled()


def test_weights_of_another_shape_are_refused(learnt: Path, tmp_path: Path) -> None:
    from pellucid.base.errors import ModelError

    weights = load_file(learnt / "model" / "model.safetensors")
    name = next(iter(weights))
    save_file({**weights, name: weights[name][:1].clone()}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="do not fit"):
        load(learnt).with_weights(tmp_path / "other.safetensors")


def test_nothing_bars_the_way_and_it_fits(looking: Open, two: tuple[str, Any]) -> None:
    page = looking(two[0], "view=compare&text=a+b+d&second=second", width=360)
    page.page.wait_for_selector("#main [data-difference]")
    found = Axe().run(page.page).response["violations"]
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []
    assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
