"""Next token: what the page computes is what the search computes, to the token that a random number picks."""

from __future__ import annotations

import itertools
import json
import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe

from pellucid.base.config import DecodingConfig
from pellucid.decoding.filters import filtered
from pellucid.decoding.rules import Restrictions, Written, rules_of
from pellucid.decoding.sampling import draw, uniform
from pellucid.explain.explain import explain
from pellucid.explain.page import html
from pellucid.explain.trace import Trace
from pellucid.look.desk import Desk
from pellucid.look.server import Server
from pellucid.tasks.translator import Translator
from tests.explain.small import DECODER, ENCODER, END, make, subject
from tests.look.looking import Looking
from tests.look.test_numbers import page_of

Open = Callable[..., Looking]
TOKENS = 311
CONTROLS = ("temperature", "top_k", "top_p", "min_p")

# Rows come with null for -inf, and go back so.
FILTERED = """([rows, settings]) => settings.map(([temperature, topK, topP, minP], at) => {
  const { chances } = window.pellucid;
  const values = Float64Array.from(rows[at % rows.length], (value) => (value === null ? -Infinity : value));
  const { before, after, fates, kept, mass } = chances.filtered(values, { temperature, topK, topP, minP });
  return { before: [...before], after: [...after], kept: [...fates].map((fate) => fate === chances.KEPT), count: kept, mass };
})"""
DRAWN = "([shares, uniforms]) => uniforms.map((u) => window.pellucid.chances.drawn(Float64Array.from(shares), u).token)"


def rows() -> torch.Tensor:
    """Log probabilities (5, TOKENS): uneven, with ties, all equal, one token far above, some that may not come."""
    chooser = torch.Generator().manual_seed(5)
    uneven = 3.0 * torch.randn(TOKENS, generator=chooser)
    tied = torch.randint(0, 6, (TOKENS,), generator=chooser).float()
    sure = torch.zeros(TOKENS).index_fill(0, torch.tensor([200]), 40.0)
    found = torch.stack((uneven, tied, torch.zeros(TOKENS), sure, uneven.flip(0))).log_softmax(dim=1)
    return found.index_fill(1, torch.tensor([0, 7, 8, 300]), -torch.inf)


def as_json(values: torch.Tensor) -> list[Any]:
    """With None for -inf."""
    return [[None if value == -math.inf else value for value in row] for row in values.double().tolist()]


def test_the_filters_are_those_of_the_search(looking: Open, exported: str) -> None:
    page, values = looking(exported), rows()
    settings = list(
        itertools.product((0.05, 0.7, 1.0, 2.5), (0, 1, 3, 40, TOKENS, 999), (1.0, 0.9, 0.5, 0.01), (0.0, 0.02, 0.5, 1.0))
    )
    found = page.page.evaluate(FILTERED, [as_json(values), settings])
    removed = set()
    for at, (one, (temperature, k, p, m)) in enumerate(zip(found, settings, strict=True)):
        row = values[at % len(values)][None]
        config = DecodingConfig(beams=1, temperature=temperature, top_k=k, top_p=p, min_p=m)
        left = filtered(row, config)[0]
        np.testing.assert_allclose(one["after"], left.softmax(0), rtol=1e-9, atol=1e-15)
        assert one["kept"] == (left > -torch.inf).tolist(), settings[at]
        shares = (row[0].double() / temperature).softmax(0)
        np.testing.assert_allclose(one["before"], shares, rtol=1e-9, atol=1e-15)
        gone = sum(share for share, kept in zip(one["before"], one["kept"], strict=True) if not kept)
        assert one["mass"] + gone == pytest.approx(1.0, abs=1e-12)
        assert one["count"] == sum(one["kept"]) >= 1
        removed.add(one["count"])
        if k == 1:  # greedy: of equals the lowest id
            assert one["kept"].index(True) == int(row.argmax())
            assert one["count"] == 1
    assert len(removed) > 12


def test_temperature_zero_is_the_most_probable_of_equals_the_first(looking: Open, exported: str) -> None:
    page, values = looking(exported), rows()
    settings = [[0.0, 5, 0.5, 0.5]] * 5 + [[1e-9, 0, 1.0, 0.0]] * 5
    found = page.page.evaluate(FILTERED, [as_json(values), settings])
    for one, row in zip(found, [*values, *values], strict=True):
        best = int(row.argmax())
        ties = int((row == row.max()).sum())
        assert one["after"][best] == pytest.approx(1.0 if one["count"] == 1 else 1.0 / ties)
    assert [one["count"] for one in found[:5]] == [1] * 5
    assert [one["kept"].index(True) for one in found[:5]] == [int(row.argmax()) for row in values]


def test_a_random_number_picks_the_token_that_the_search_picks(looking: Open, exported: str) -> None:
    page = looking(exported)
    for row in rows():
        left = filtered(row[None], DecodingConfig(beams=1, temperature=1.3, top_k=60, top_p=0.95))
        uniforms = [uniform(seed, position) for seed in range(20) for position in range(5)] + [0.0, 1.0 - 2.0**-53]
        found = page.page.evaluate(DRAWN, [left.softmax(1)[0].tolist(), uniforms])
        assert found == draw(left.expand(len(uniforms), -1), torch.tensor(uniforms, dtype=torch.float64)).tolist()


def test_what_may_not_come_is_what_the_search_forbids(looking: Open, exported: str) -> None:
    page = looking(exported)
    logits = 4.0 * torch.randn(1, 29, generator=torch.Generator().manual_seed(3))
    written = [5, 9, 5, 9, 6, 5]
    script = """([logits, penalty, rules]) => {
      const { chances } = window.pellucid;
      const values = chances.logProbabilities(Float32Array.from(logits), { penalty, written: rules.written });
      return [...chances.permitted(values, chances.forbidden(rules))].map((value) => (value === -Infinity ? null : value));
    }"""
    for penalty, minimum, ngram in itertools.product((1.0, 1.7, 0.6), (0, 6, 7), (0, 1, 2, 3)):
        config = DecodingConfig(repetition_penalty=penalty, min_length=minimum, no_repeat_ngram=ngram)
        restrictions = Restrictions(torch.tensor([0, 2]), penalty, tuple(rules_of(config, END)))
        expected = restrictions.log_probabilities(
            logits, lambda: Written(torch.tensor([written]), torch.tensor([0]), torch.tensor([30]))
        )
        rules = {"never": [0, 2], "end": END, "minLength": minimum, "ngram": ngram, "written": written}
        found = page.page.evaluate(script, [logits[0].tolist(), penalty, rules])
        assert [value is None for value in found] == (expected[0] == -torch.inf).tolist()
        np.testing.assert_allclose([-np.inf if value is None else value for value in found], expected[0], atol=1e-6)


def lines(page: Looking) -> dict[int, dict[str, float]]:
    """The numbers of the rows of the first table, by token."""
    script = "(rows) => rows.map((row) => ({ ...row.dataset }))"
    found = page.page.locator("#main .chances").first.locator("tbody tr").evaluate_all(script)
    return {int(one["token"]): {key: float(value) for key, value in one.items()} for one in found}


def check_steps(page: Looking, trace: Trace, **values: Any) -> int:
    """At every step the page has the candidates of the search, with their log probabilities; gives how many were compared."""
    count, path = 0, list(trace.writing["ids"])
    for step in trace.steps[: len(path)]:
        page.go(view="next", position=trace.writing["prompt"] - 1 + step.number, bars=64, **values)
        shown = lines(page)
        names = [[trace.vocabulary[token] for token in path[: step.number]]]
        before = [list(names_) for names_ in (trace.steps[step.number - 1].written if step.number else [()])]
        for one in step.candidates:
            if before[one.beam] == names[0]:  # of the beam that the page shows
                assert math.log(shown[one.token]["p"]) == pytest.approx(one.log_probability, abs=2e-5)
                count += 1
    return count


def test_every_step_has_the_candidates_of_the_search(looking: Open, exported: str, translator: Translator) -> None:
    trace = translator.explain("a b d")
    page = looking(exported, "view=next&bars=64")
    assert check_steps(page, trace) >= 2 * len(trace.writing["ids"])
    page.go(view="next", position=2, bars=64)
    probabilities = trace["probs"].array[2]
    shown = lines(page)
    assert set(shown) == set(range(len(probabilities)))
    for token, one in shown.items():
        assert one["p"] == pytest.approx(float(probabilities[token]), rel=2e-5)
        assert one["rank"] == 1 + sum(probabilities > probabilities[token]) or one["p"] < 1e-6
        forbidden = token in trace.writing["forbidden"]
        assert (one["after"] == 0.0) == forbidden
    assert "may not come here whatever the filters" in page.main()


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_the_draws_of_the_model_are_those_of_the_page(looking: Open, translator: Translator, tmp_path: Path, seed: int) -> None:
    trace = translator.explain("h a b", temperature=2.5, top_k=9, top_p=0.97, min_p=0.001, seed=seed)
    trace.save(tmp_path / "drawn.html")
    page = looking((tmp_path / "drawn.html").as_uri(), "view=next")
    for step in trace.steps:
        page.go(view="next", position=step.number, bars=64)
        result = page.page.locator("[data-drawn]")
        assert int(result.get_attribute("data-drawn") or -1) == trace.writing["ids"][step.number]
        assert float(page.page.get_attribute("[data-recorded]", "data-recorded") or -1) == step.draw
        assert step.draw == uniform(seed, step.number)
        begin, end = (float(result.get_attribute(f"data-{name}") or -1) for name in ("begin", "end"))
        assert begin <= (step.draw or 0.0) < end
        kept = {one.token for one in step.candidates if one.fate != "dropped"}
        fates = {token: one["fate"] for token, one in lines(page).items()}
        assert all((fates[one.token] == 0) == (one.token in kept) for one in step.candidates)


def test_controls_change_what_is_left(looking: Open, exported: str, translator: Translator) -> None:
    probabilities = translator.explain("a b d")["logits"].array[1]
    page = looking(exported, "view=next&position=1&next_temperature=0")
    assert "1 of " in page.page.inner_text("[data-kept]")
    assert page.page.get_attribute("[data-drawn]", "data-drawn") == str(int(np.argmax(probabilities)))
    page.press("No filters")
    assert float(page.page.get_attribute("[data-mass]", "data-mass") or 0) == pytest.approx(1.0)
    page.page.locator('[data-key="field Top-k"]').fill("3")
    assert page.state()["next_top_k"] == "3"
    kept, mass, removed = (
        float(page.page.get_attribute("[data-kept]", f"data-{name}") or -1) for name in ("kept", "mass", "removed")
    )
    assert kept == 3
    assert mass + removed == pytest.approx(1.0, abs=1e-12)
    assert [one["fate"] for one in list(lines(page).values())[:5]].count(0.0) == 3
    page.press("Greedy")
    assert page.state()["next_temperature"] == "0"
    page.go("view=next&next_temperature=nonsense&next_top_k=-4&next_u=9&position=99")
    assert "NaN" not in page.main()


def test_a_slider_follows_the_hand(looking: Open, exported: str) -> None:
    page = looking(exported, "view=next&position=1")
    length = page.page.evaluate("history.length")
    slider = page.page.locator('[data-key="slider Temperature"]')
    box = slider.bounding_box()
    assert box is not None
    page.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.page.mouse.down()
    seen = []
    for share in (0.6, 0.7, 0.8, 0.95):
        page.page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)
        seen.append(float(page.state()["next_temperature"]))
        assert float(page.page.locator('[data-key="field Temperature"]').input_value()) == seen[-1]
    page.page.mouse.up()
    page.settle()
    assert seen == sorted(set(seen))
    assert seen[-1] > 1.8
    assert page.page.evaluate("history.length") == length
    assert f"temperature {seen[-1]}" in page.page.inner_text("[data-kept]")
    assert f"next_temperature={seen[-1]}" in (page.page.get_attribute("nav a", "href") or "")
    slider.focus()
    page.page.keyboard.press("Home")
    page.settle()
    assert page.state()["next_temperature"] == "0"
    assert page.page.evaluate("document.activeElement.dataset.key") == "slider Temperature"


def test_any_token_is_found_with_its_rank(looking: Open, exported: str, translator: Translator) -> None:
    trace = translator.explain("a b d")
    page = looking(exported, "view=next&position=0")
    page.page.locator("#find").fill("C")
    row = page.page.locator("#main .chances").nth(1).locator("tbody tr").first
    token = trace.vocabulary.index("▁C")
    assert row.get_attribute("data-token") == str(token)
    probabilities = trace["probs"].array[0]
    assert int(row.get_attribute("data-rank") or 0) == 1 + int((probabilities > probabilities[token]).sum())
    assert page.state()["find"] == "C"
    page.page.locator("#find").fill("no such token")
    assert page.page.get_attribute("[data-found]", "data-found") == "0"


def test_without_a_model_nothing_is_taken(looking: Open, exported: str) -> None:
    page = looking(exported, "view=next&position=1")
    buttons = page.page.get_by_role("button", name="instead")
    assert buttons.count() > 5
    assert all(one.is_disabled() for one in buttons.all())
    assert "open the model with pellucid look" in page.page.inner_text("[data-obstacle]")
    assert page.page.get_by_role("button", name="Write the whole output like this").is_disabled()


def test_another_token_is_taken_and_given_back(looking: Open, served: str, translator: Translator) -> None:
    page = looking(served, "view=next&text=a+b+d&position=1")
    trace = translator.explain("a b d")
    token = trace.vocabulary.index("▁G")
    page.page.locator(f'[data-key="take {token}"]').first.click()
    page.settle()
    prefix = [trace.writing["ids"][0], token]
    assert json.loads(page.state()["prefix"]) == prefix
    forced = translator.explain("a b d", prefix=prefix)
    assert forced.output is not None
    assert forced.output.split()[1] == "G"
    note = page.page.inner_text("[data-forced]")
    assert forced.output in note
    assert f"Left to itself it wrote: {trace.output}" in note
    assert forced.output in page.page.inner_text("#tokens")
    assert page.page.locator(f'tr[data-token="{token}"]').first.inner_text().count("forced") == 1
    page.press("Back to what the model wrote")
    assert "prefix" not in page.state()
    assert page.page.locator("[data-forced]").count() == 0
    end = trace.writing["end"]
    page.page.locator(f'[data-key="take {end}"]').first.click()
    page.settle()
    assert json.loads(page.state()["prefix"]) == [trace.writing["ids"][0], end]
    assert page.page.inner_text("#tokens strong") == translator.explain("a b d", prefix=[prefix[0], end]).output


def test_the_whole_output_is_drawn_like_this(looking: Open, served: str, translator: Translator) -> None:
    page = looking(served, "view=next&text=h+a+b&next_temperature=2.5&next_top_k=9")
    page.page.locator("#seed").fill("2")
    page.press("Write the whole output like this")
    assert {key: page.state()[key] for key in ("temperature", "top_k", "seed")} == {
        "temperature": "2.5",
        "top_k": "9",
        "seed": "2",
    }
    expected = translator.explain("h a b", temperature=2.5, top_k=9, seed=2, beams=1)
    assert page.page.inner_text("#tokens strong") == expected.output
    assert check_steps(page, expected, text="h a b", temperature=2.5, top_k=9, seed=2, beams=1) > 10


class Prompted:
    """A small language model as a desk knows it: it goes on from a prompt of three tokens."""

    def __init__(self) -> None:
        self.model = make(DECODER)

    def explain(self, text: str, prefix: tuple[int, ...] = (), **ways: Any) -> Trace:
        """With rules that forbid something."""
        given = subject(self.model, DECODER, beams=1, repetition_penalty=1.4, min_length=4, no_repeat_ngram=2)
        assert given.writing is not None
        return explain(replace(given, writing=replace(given.writing, prefix=tuple(prefix))))


@pytest.fixture
def prompted() -> Iterator[str]:
    """The address of a server with it."""
    with Server(Desk(Prompted())) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.url
        server.shutdown()


def test_a_prompt_is_no_part_of_what_is_forced(looking: Open, prompted: str) -> None:
    trace = Prompted().explain("a")
    page = looking(prompted, "view=next&text=a")
    assert "output token 1 of" in page.main()
    assert check_steps(page, trace, text="a") == sum(len(step.candidates) for step in trace.steps)
    page.go(view="next", text="a", position=1)
    assert "change it in the text above" in page.page.inner_text("[data-obstacle]")
    page.go(view="next", text="a", position=trace.writing["prompt"] - 1 + 2)
    token = next(one for one in range(4, 17) if one != trace.writing["ids"][2])
    page.page.locator(f'[data-key="take {token}"]').first.click()
    page.settle()
    prefix = [*trace.writing["ids"][:2], token]
    assert json.loads(page.state()["prefix"]) == prefix
    assert page.page.inner_text("#tokens strong") == Prompted().explain("a", prefix=tuple(prefix)).output


def test_a_model_that_fills_gaps_has_a_distribution_at_each_position(looking: Open, tmp_path: Path) -> None:
    page = looking(page_of(ENCODER, tmp_path / "trace.html"), "view=next&position=3")
    assert "can be taken" in page.page.inner_text("[data-obstacle]")
    assert page.page.get_by_role("button", name="Take").count() == 0
    assert len(lines(page)) == 17
    assert sum(one["p"] for one in lines(page).values()) == pytest.approx(1.0, abs=1e-5)
    page.page.keyboard.press("j")
    page.settle()
    assert page.state()["position"] == "4"


def test_numbers_that_are_none_are_said(looking: Open, translator: Translator, tmp_path: Path) -> None:
    trace = translator.explain("a b d")
    trace.taps["logits"].array[2, 5] = np.nan
    (tmp_path / "trace.html").write_text(html(trace), encoding="utf-8")
    page = looking((tmp_path / "trace.html").as_uri(), "view=next&position=2")
    assert "there is no distribution" in page.main()


@pytest.mark.parametrize("width", [360, 1280])
def test_everyone_can_use_it(looking: Open, exported: str, width: int) -> None:
    page = looking(exported, "view=next&position=1&next_top_k=5&next_temperature=1.4&find=a", width=width)
    assert Axe().run(page.page).response["violations"] == []
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
