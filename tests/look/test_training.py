"""The view "training": every number is the one that Python computes from the weights of that checkpoint."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from safetensors.torch import load_file

from pellucid import load
from pellucid.base.errors import UsageError
from pellucid.look.desk import Desk
from pellucid.look.others import Others
from pellucid.look.server import Server
from pellucid.tasks.opened import open_step
from tests.look.looking import Looking

Open = Callable[..., Looking]
LIVE = "view=training&text=a+b+d"


def values(page: Looking, selector: str) -> list[list[float]]:
    """The numbers of the rows of a table, with all their digits."""
    script = (
        """(rows) => rows.map((row) => [...row.querySelectorAll("[data-value]")].map((cell) => Number(cell.dataset.value)))"""
    )
    found: list[list[float]] = page.page.locator(f"{selector} tbody tr").evaluate_all(script)
    return found


def forced(learnt: Path, step: int, output: str) -> np.ndarray:
    """The probability of each token of an output, and of the end, with the weights of a checkpoint."""
    model = load(learnt)
    model.model.load_state_dict(load_file(learnt / f"checkpoints/step-{step:08d}/model.safetensors"))
    ids = [*model.target_tokenizer.encode(output), model.target_tokenizer.end]
    return model.explain("a b d", output=output)["probs"].array[np.arange(len(ids)), ids]


@pytest.mark.parametrize("reference", [None, "D A B"])
def test_each_checkpoint_has_its_own_weights(looking: Open, served: str, learnt: Path, reference: str | None) -> None:
    page = looking(served, LIVE + ("&reference=D+A+B" if reference else ""))
    page.page.wait_for_selector("#main .losses")
    rows = values(page, "#main [data-history]")
    kept = sorted(int(path.name.split("-")[1]) for path in (learnt / "checkpoints").glob("step-*"))
    assert len(rows) == len(kept) + 1 == 3
    for (loss, *shares), step in zip(rows, kept, strict=False):
        expected = forced(learnt, step, reference or "D B A")
        np.testing.assert_allclose(shares, expected, rtol=2e-5)
        assert loss == pytest.approx(-np.log(expected).mean(), rel=2e-5)
    points = page.page.locator("#main .losses circle").evaluate_all("(all) => all.map((one) => Number(one.dataset.value))")
    assert points == [loss for loss, *_ in rows[:-1]]


def test_a_checkpoint_is_chosen_with_the_keyboard(looking: Open, served: str, learnt: Path) -> None:
    page = looking(served, LIVE)
    assert page.page.inner_text("#main output") == "the model itself"
    slider = page.page.locator('#main [data-key="slider Checkpoint"]')
    slider.focus()
    slider.press("Home")
    page.until("location.hash.includes('step=')")
    page.settle()
    assert page.page.evaluate("document.activeElement.dataset.key") == "slider Checkpoint"
    assert page.page.inner_text("#main output") == f"step {page.state()['step']}"
    expected = forced(learnt, int(page.state()["step"]), "D B A")
    np.testing.assert_allclose([row[0] for row in values(page, "#main [data-wanted]")], expected, rtol=2e-5)


def test_the_map_is_of_the_checkpoint(looking: Open, served: str, learnt: Path) -> None:
    page = looking(served, f"{LIVE}&step=150&kind=decoder&layer=1&head=2")
    model = load(learnt)
    model.model.load_state_dict(load_file(learnt / "checkpoints/step-00000150/model.safetensors"))
    array = model.explain("a b d", output="D B A")["decoder.layers.1.self_attn.weights"].array[2]
    cells = page.cells('#main [data-map="checkpoint"] table[role=grid]')
    assert len(cells) == array.size
    for cell in cells:
        assert cell["value"] == pytest.approx(float(array[cell["row"], cell["column"]]), abs=5.1e-5, rel=6e-3)


def test_the_model_that_answers_keeps_its_weights(learnt: Path) -> None:
    desk = Desk(load(learnt))
    before = {name: weight.clone() for name, weight in desk.loaded.model.state_dict().items()}
    others = Others(desk, learnt)
    for step in others.others({})["checkpoints"]:
        others.checkpoint({"step": str(step), "text": "a b d"})
    others.training_step({"after": "150"})
    assert all(bool((weight == before[name]).all()) for name, weight in desk.loaded.model.state_dict().items())
    assert len(others._models) == 2
    with pytest.raises(UsageError, match="no such model or checkpoint"):
        others.checkpoint({"step": "17", "text": "a b d"})
    with pytest.raises(UsageError, match="no state of Adam"):
        others.training_step({"after": "17"})


def test_the_step_is_opened(looking: Open, served: str, learnt: Path) -> None:
    page = looking(served, LIVE)
    page.page.fill('[data-key="field step_text"]', "a b")
    page.page.fill('[data-key="field step_output"]', "B A")
    page.press("Open the step")
    page.page.wait_for_selector("#main [data-adam]")  # after the last checkpoint that is not the end
    step = open_step(load(learnt), learnt, "a b", "B A", 150)
    assert "Training step 151" in page.main()
    tokens = values(page, "#main [data-step-tokens]")
    np.testing.assert_allclose(tokens, np.stack([step.probabilities, step.losses], 1), rtol=1e-6)
    assert page.page.locator("#main [data-step-tokens] tbody tr").evaluate_all(
        "(rows) => rows.map((row) => [row.children[0].textContent, row.children[1].textContent])"
    ) == [[fed, wanted] for fed, wanted in zip(step.fed, step.wanted, strict=True)]
    before, gradient, mean, square, mean_hat, square_hat, update, after = np.array(values(page, "#main [data-adam]")).T
    np.testing.assert_allclose(before, step.updated.before)
    np.testing.assert_allclose(after, step.updated.after)
    np.testing.assert_allclose(gradient, step.updated.gradient)
    adam = step.optimizer
    np.testing.assert_allclose(mean_hat, mean / (1 - adam.beta1**151))
    np.testing.assert_allclose(square_hat, square / (1 - adam.beta2**151))
    np.testing.assert_allclose(update, -step.rate * mean_hat / (np.sqrt(square_hat) + adam.epsilon), rtol=1e-3, atol=1e-8)
    sizes = dict(zip(step.gradients, values(page, "#main [data-taps]"), strict=True))
    expected = step.gradients["encoder.layers.0.self_attn.q"].array.astype(float)
    np.testing.assert_allclose(sizes["encoder.layers.0.self_attn.q"], [np.sqrt((expected**2).mean()), np.abs(expected).max()])
    np.testing.assert_allclose(values(page, "#main [data-weights]"), list(step.weights.values()))


def test_what_is_wrong_is_said_in_place(looking: Open, served: str) -> None:
    page = looking(served, f"{LIVE}&opened=yes&step_text=a+b")
    assert "a text and what is to be said of it" in page.page.inner_text("#main [role=alert]")
    assert page.page.locator("#main [data-history]").count() == 1
    refused = page.complaints.pop()  # the browser says by itself that a question was refused
    assert "400" in refused


def test_without_a_run_it_says_what_it_needs(looking: Open, exported: str, learnt: Path) -> None:
    page = looking(exported, "view=training")
    assert "pellucid look RUN" in page.main()
    assert page.page.locator('[data-key="submit Open the step"]').is_disabled()
    desk = Desk(load(learnt / "model"))
    with Server(desk, more=Others(desk, learnt / "model").answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = looking(server.url, LIVE)
        assert "give the directory of the run, not of the model" in page.main()
        page.press("Open the step")
        page.page.wait_for_selector("#main [data-adam]")
        assert "Training step 1, Adam with its means beginning at zero" in page.main()
        server.shutdown()


def test_nothing_bars_the_way_and_it_fits(looking: Open, served: str) -> None:
    page = looking(served, f"{LIVE}&opened=yes&after=150", width=360)
    page.page.wait_for_selector("#main .losses")
    found = Axe().run(page.page).response["violations"]
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in found] == []
    assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
