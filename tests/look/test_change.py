"""Edits on the page: what it shows of them is what Python computes with them; undone, everything is as it was."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from pellucid.base.errors import PellucidError, UsageError
from pellucid.explain.edits import Ban, Edit, MeanHead, Patch, SetWeights, ZeroHead
from pellucid.explain.trace import Trace
from pellucid.look.desk import Desk
from pellucid.look.editing import MOST, TEXTS
from pellucid.tasks.translator import Translator
from tests.look.looking import Looking, number

Open = Callable[..., Looking]
TEXT, OTHER = "a b d", "c c h"
CROSS, OWN = "decoder.layers.1.cross_attn", "decoder.layers.0.self_attn"
ALL: list[dict[str, Any]] = [
    {"kind": "ZeroHead", "attention": CROSS, "head": 2},
    {"kind": "MeanHead", "attention": "encoder.layers.0.self_attn", "head": 1},
    {"kind": "SetWeights", "attention": CROSS, "head": 0, "query": 1, "shares": {"0": 1, "2": 3.5}},
    {"kind": "Patch", "name": "encoder.layers.0.out", "position": 1, "text": OTHER, "of": 2},
    {"kind": "Patch", "name": f"{OWN}.z", "position": 0, "text": OTHER, "of": 0, "head": 3},
    {"kind": "Ban", "token": 7},
]


def in_python(translator: Translator) -> list[Edit]:
    """The same edits as objects."""
    other = translator.explain(OTHER)
    return [
        ZeroHead(CROSS, 2),
        MeanHead("encoder.layers.0.self_attn", 1),
        SetWeights(CROSS, 0, 1, {0: 1.0, 2: 3.5}),
        Patch("encoder.layers.0.out", 1, other, of=2),
        Patch(f"{OWN}.z", 0, other, of=0, head=3),
        Ban(7),
    ]


@pytest.fixture(scope="module")
def plain(translator: Translator) -> Trace:
    return translator.explain(TEXT)


def same_numbers(found: Trace, expected: Trace) -> None:
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_array_equal(found[name].array, expected[name].array)


def test_each_kind_is_the_edit_of_its_name(translator: Translator) -> None:
    desk = Desk(translator)
    for tree, edit in zip(ALL, in_python(translator), strict=True):
        expected = translator.explain(TEXT, edits=[edit])
        told = desk.trace({"text": TEXT, "edits": json.dumps([tree])})
        same_numbers(desk._traces[told["id"]], expected)
        assert told["edits"] == (str(edit),)


def test_the_difference_is_that_of_python(translator: Translator, plain: Trace) -> None:
    told = Desk(translator).change({"text": TEXT, "edits": json.dumps(ALL)})
    json.dumps(told, allow_nan=False)
    new = translator.explain(TEXT, edits=in_python(translator))
    found = new.diff(plain)
    assert (told["before"], told["after"], told["changed"]) == (found.before, found.after, found.output_changed)
    assert told["edits"] == found.edits
    for at, (one, position) in enumerate(zip(told["positions"], found.positions, strict=True)):
        assert (one["name"], float(one["kl"])) == (position.name, position.kl)
        assert one["changes"] == [[change.name, change.before, change.after] for change in position.changes]
        before, after = plain["probs"].array[at], new["probs"].array[at]
        best = {*np.argsort(-before, kind="stable")[:5].tolist(), *np.argsort(-after, kind="stable")[:5].tolist()}
        assert {token for token, _, _ in one["both"]} == best
        assert all((old, now) == (before[token], after[token]) for token, old, now in one["both"])


@pytest.mark.parametrize("ways", [{}, {"beams": "1", "tokens": "3"}, {"temperature": "1.5", "top_k": "4", "seed": "3"}])
def test_the_code_runs_as_it_is_shown(translator: Translator, learnt: Path, ways: dict[str, str]) -> None:
    text = "a b 'd\" \\"
    question = {"text": text, "edits": json.dumps(ALL), **ways}
    desk = Desk(translator, learnt)
    told = desk.change(question)
    known: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(told["code"], known)
    same_numbers(known["new"], desk._traces[desk.trace(question)["id"]])
    assert known["new"].edits == told["edits"]
    assert f"edit: {told['edits'][0]}" in printed.getvalue()


CASES: list[tuple[Any, str]] = [
    ("no json", "these are no edits"),
    ({"kind": "Ban"}, "these are no edits"),
    (7, "these are no edits"),
    ("[" * 100_000, "these are no edits"),
    ([7], "no such kind"),
    ([{"kind": "Exec", "code": "1"}], "no such kind"),
    ([{"kind": ["Ban"], "token": 1}], "no such kind"),
    ([{"kind": "__class__"}], "no such kind"),
    ([{"kind": "ZeroHead", "head": 1}], "needs one more argument"),
    ([{"kind": "ZeroHead", "attention": CROSS, "head": 1, "more": 1}], "no such argument"),
    ([{"kind": "ZeroHead", "attention": CROSS, "head": 4}], "no such head"),
    ([{"kind": "ZeroHead", "attention": CROSS, "head": -1}], "no number of a head"),
    ([{"kind": "ZeroHead", "attention": CROSS, "head": True}], "no number of a head"),
    ([{"kind": "ZeroHead", "attention": CROSS, "head": 10**30}], "no number of a head"),
    ([{"kind": "MeanHead", "attention": "encoder.layers.9.self_attn", "head": 0}], "no such place"),
    ([{"kind": "MeanHead", "attention": "*", "head": 0}], "no such place"),
    ([{"kind": "MeanHead", "attention": 3, "head": 0}], "a text is needed"),
    ([{"kind": "Ban", "token": 10**6}], "no such token"),
    ([{"kind": "Ban", "token": 1.5}], "no number of a head"),
    ([{**ALL[2], "query": -1}], "no number of a head"),
    ([{**ALL[2], "query": 30}], "no such place"),
    ([{**ALL[2], "shares": []}], "shares are an object"),
    ([{**ALL[2], "shares": {"-1": 1}}], "no number of a head"),
    ([{**ALL[2], "shares": {"0": -1}}], "no share"),
    ([{**ALL[2], "shares": {"0": float("nan")}}], "no share"),
    ([{**ALL[2], "shares": {"0": float("inf")}}], "no share"),
    ([{**ALL[2], "shares": {"0": "1"}}], "no share"),
    ([{**ALL[2], "shares": {"0": 0}}], "must be above 0"),
    ([{**ALL[3], "name": "*"}], "no tap has this name"),
    ([{**ALL[3], "name": "probs"}], "for reading alone"),
    ([{**ALL[3], "name": "decode.score"}], "no tap has this name"),
    ([{**ALL[3], "name": "encoder.layers.8.out"}], "no tap has this name"),
    ([{**ALL[3], "text": " "}], "a text is needed"),
    ([{**ALL[3], "of": 99}], "no such position"),
    ([{**ALL[3], "head": 0}], "has no heads"),
    ([{**ALL[3], "position": 99}], "no such place"),
    ([{"kind": "Ban", "token": 1}] * (MOST + 1), "too many edits"),
    ([{**ALL[3], "text": f"a {'b ' * at}"} for at in range(TEXTS + 1)], "too many texts"),
    ([{"kind": "Ban", "token": token} for token in range(20)], "token"),
]


@pytest.mark.parametrize(("edits", "what"), CASES, ids=[f"{at} {what}" for at, (_, what) in enumerate(CASES)])
def test_hostile_edits_are_refused_in_words(translator: Translator, edits: Any, what: str) -> None:
    given = json.dumps(edits) if isinstance(edits, list) else edits
    with pytest.raises(PellucidError, match=what):
        Desk(translator).trace({"text": TEXT, "edits": given})
    with pytest.raises(PellucidError, match=what):
        Desk(translator).change({"text": TEXT, "edits": given})


def test_it_is_said_which_edit_is_wrong(translator: Translator) -> None:
    with pytest.raises(UsageError, match="edit 2, head"):
        Desk(translator).trace({"text": TEXT, "edits": json.dumps([ALL[0], {**ALL[1], "head": "x"}])})


# On the page


def start(looking: Open, served: str, **state: Any) -> Looking:
    return looking(served, text=TEXT, view="change", **state)


def shown_difference(page: Looking, translator: Translator, edits: Sequence[Edit], plain: Trace) -> None:
    """Every number of "what becomes of it" is Python's."""
    new = translator.explain(TEXT, edits=edits)
    found = new.diff(plain)
    rows = page.page.locator("#main .effect tr[data-position]").evaluate_all(
        """(rows) => rows.map((row) => ({ kl: row.querySelector("[data-what=kl]").dataset.value,
            cells: [...row.querySelectorAll("td")].map((cell) => cell.textContent) }))"""
    )
    assert len(rows) == len(found.positions)
    names = plain.vocabulary
    for at, (row, position) in enumerate(zip(rows, found.positions, strict=True)):
        assert float(row["kl"]) == pytest.approx(position.kl, rel=1e-9)
        for cell, trace in zip(row["cells"][1:3], (plain, new), strict=True):
            token = int(trace["probs"].array[at].argmax())
            name, share = cell.rsplit(" ", 1)
            assert (name, number(share)) == (names[token], pytest.approx(trace["probs"].array[at, token], abs=5.1e-5, rel=6e-3))
        assert row["cells"][3].startswith(f"{position.changes[0].name} ")
    for key, output in (("before", found.before), ("after", found.after)):
        assert page.page.inner_text(f'[data-output="{key}"]') == output
    chosen = int(np.argmax([position.kl for position in found.positions]))
    outputs = page.page.locator("#main .both tr[data-id]").evaluate_all(
        """(rows) => rows.map((row) => [row.dataset.id,
            ...[...row.querySelectorAll("[data-what]")].map((cell) => cell.dataset.value)])"""
    )
    for token, before, after in outputs:
        assert float(before) == pytest.approx(plain["probs"].array[chosen, int(token)], rel=1e-6)
        assert float(after) == pytest.approx(new["probs"].array[chosen, int(token)], rel=1e-6)
    assert {int(np.argmax(trace["probs"].array[chosen])) for trace in (plain, new)} <= {int(row[0]) for row in outputs}


def numbers_of(page: Looking) -> dict[str, list[float]]:
    """Every number of the trace behind the page, as float32."""
    found: dict[str, list[float]] = page.page.evaluate(
        """async () => { const { view } = window.pellucid, found = {};
        for (const tap of view.trace.list) if (!tap.name.startsWith("decode."))
            found[tap.name] = Array.from((await view.trace.array(tap.name)).data, String);
        return found; }"""
    )
    return found


def set_head(page: Looking, home: str, head: str, mode: str) -> None:
    page.page.locator(f'[data-key="{home} {head} {mode}"]').click()
    page.settle()


def test_a_head_is_switched_and_undone(looking: Open, served: str, translator: Translator, plain: Trace) -> None:
    page = start(looking, served)
    before = numbers_of(page)
    assert page.page.locator("#main td[data-mode]").count() == 8
    set_head(page, CROSS, "2", "zero")
    assert json.loads(page.state()["edits"]) == [ALL[0]]
    assert page.page.evaluate("document.activeElement.dataset.key") == f"{CROSS} 2 zero"
    assert page.page.get_attribute(f'td[data-home="{CROSS}"][data-head="2"]', "data-mode") == "zero"
    shown_difference(page, translator, [ZeroHead(CROSS, 2)], plain)
    expected = translator.explain(TEXT, edits=[ZeroHead(CROSS, 2)])
    found = numbers_of(page)
    for name in found:
        values = np.array([float(text.replace("Infinity", "inf")) for text in found[name]], dtype=np.float32)
        np.testing.assert_array_equal(values, expected[name].array.astype(np.float32).ravel())
    set_head(page, CROSS, "2", "mean")
    shown_difference(page, translator, [MeanHead(CROSS, 2)], plain)
    set_head(page, CROSS, "2", "on")
    assert "edits" not in page.state()
    assert "Nothing is changed." in page.main()
    assert numbers_of(page) == before


def test_edits_are_undone_one_by_one_and_all(looking: Open, served: str, translator: Translator, plain: Trace) -> None:
    page = start(looking, served)
    before = numbers_of(page)
    page = start(looking, served, edits=json.dumps(ALL))
    edits = in_python(translator)
    assert page.page.locator("#main .edit-list li").count() == len(ALL)
    shown_difference(page, translator, edits, plain)
    page.page.locator('[data-key="undo 2"]').click()
    page.settle()
    assert json.loads(page.state()["edits"]) == [*ALL[:2], *ALL[3:]]
    shown_difference(page, translator, [*edits[:2], *edits[3:]], plain)
    page.press("Undo all")
    assert "edits" not in page.state()
    assert numbers_of(page) == before
    page.page.go_back()
    page.settle()
    assert len(json.loads(page.state()["edits"])) == len(ALL) - 1


def test_without_any_head_only_the_bias_is_left(looking: Open, served: str, translator: Translator) -> None:
    page = start(looking, served, kind="encoder")
    set_head(page, "encoder.layers.1.self_attn", "0,1,2,3", "zero")
    assert len(json.loads(page.state()["edits"])) == 4
    bias = translator.model.encoder.layers[1].self_attn.output.bias.detach().numpy()
    found = np.array(numbers_of(page)["encoder.layers.1.self_attn.out"], dtype=np.float32).reshape(4, -1)
    np.testing.assert_array_equal(found, np.broadcast_to(bias, found.shape))
    assert page.page.inner_text("#tokens .warning").startswith("4 edits")


def test_weights_are_dragged(looking: Open, served: str, translator: Translator, plain: Trace) -> None:
    page = start(looking, served, layer=1, head=1, query=2)
    row = plain[f"{CROSS}.weights"].array[1, 2].astype(float)
    shares = [number(text) for text in page.page.locator("#main .sliders [data-what=share]").all_text_contents()]
    np.testing.assert_allclose(shares, row / row.sum(), atol=5.1e-5, rtol=6e-3)
    slider = page.page.locator("#main .sliders input").nth(3)
    slider.fill("0.75")
    row[3] = 0.75
    shares = [number(text) for text in page.page.locator("#main .sliders [data-what=share]").all_text_contents()]
    np.testing.assert_allclose(shares, row / row.sum(), atol=5.1e-5, rtol=6e-3)
    page.press("Set these weights")
    [edit] = json.loads(page.state()["edits"])
    kept = {int(key): share for key, share in edit["shares"].items()}
    np.testing.assert_allclose([kept.get(key, 0.0) for key in range(4)], row, rtol=1e-6)
    shown_difference(page, translator, [SetWeights(CROSS, 1, 2, kept)], plain)
    found = np.array(numbers_of(page)[f"{CROSS}.weights"], dtype=np.float32).reshape(4, 4, 4)[1, 2]
    np.testing.assert_allclose(found, row / row.sum(), rtol=1e-5)
    for at in range(4):
        page.page.locator("#main .sliders input").nth(at).fill("0")
    page.page.get_by_role("button", name="Set these weights").click()
    assert page.page.inner_text('[data-said="weights"]') == "Some share must be above 0."


def test_a_decoder_has_no_sliders_for_what_is_not_written(looking: Open, served: str) -> None:
    page = start(looking, served, kind="decoder", query=1)
    assert page.page.locator("#main .sliders input").count() == 2
    assert "sees no later position" in page.main()


def test_a_vector_is_patched(looking: Open, served: str, translator: Translator, plain: Trace) -> None:
    page = start(looking, served)
    page.choose("Vector", f"{OWN}.z")
    page.choose("Put at position", 1)
    page.choose("Of", 3)
    page.page.get_by_role("button", name="Patch", exact=True).click()
    assert page.page.inner_text('[data-said="patch"]') == "Give the other text."
    page.page.fill("#patch-text", OTHER)
    page.page.fill("#patch-of", "2")
    page.press("Patch")
    assert json.loads(page.state()["edits"]) == [
        {"kind": "Patch", "name": f"{OWN}.z", "position": 1, "text": OTHER, "of": 2, "head": 3}
    ]
    shown_difference(page, translator, [Patch(f"{OWN}.z", 1, translator.explain(OTHER), of=2, head=3)], plain)


def test_an_output_is_banned(looking: Open, served: str, translator: Translator, plain: Trace) -> None:
    first = int(plain["probs"].array[0].argmax())
    page = start(looking, served)
    page.page.fill("#ban", "no such thing")
    page.page.get_by_role("button", name="Ban it").click()
    assert "No output is called “no such thing”" in page.page.inner_text('[data-said="ban"]')
    page.page.fill("#ban", plain.vocabulary[first])
    page.press("Ban it")
    assert json.loads(page.state()["edits"]) == [{"kind": "Ban", "token": first}]
    shown_difference(page, translator, [Ban(first)], plain)
    assert f"token {first} banned (“{plain.vocabulary[first]}”)" in page.main()
    next_one = page.page.locator('#main .both button[data-key^="ban "]').first
    token = int((next_one.get_attribute("data-key") or "").removeprefix("ban "))
    next_one.click()
    page.settle()
    shown_difference(page, translator, [Ban(first), Ban(token)], plain)


def test_the_code_is_on_the_page(looking: Open, served: str, translator: Translator, learnt: Path) -> None:
    page = start(looking, served, edits=json.dumps(ALL))
    expected = Desk(translator, learnt).change({"text": TEXT, "edits": json.dumps(ALL)})["code"]
    assert page.page.locator("#main .code").text_content() == expected
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.page.get_by_role("button", name="Copy").click()
    page.until("document.getElementById('live').textContent === 'copied'")
    assert page.page.evaluate("navigator.clipboard.readText()") == expected


@pytest.mark.parametrize("edits", ["nonsense", '[{"kind":"ZeroHead","attention":"<b>x</b>","head":0}]'])
def test_what_is_wrong_with_an_edit_is_said_and_undone(looking: Open, served: str, edits: str) -> None:
    page = start(looking, served, edits=edits)
    assert "edit" in page.page.inner_text("#main [role=alert]")
    assert page.page.locator("#main b").count() == 0
    page.press("Undo all edits")
    assert "Nothing is changed." in page.main()
    assert len(page.complaints) == 1  # the browser's own word on the refusal
    page.complaints.clear()


def test_a_file_says_why_nothing_can_be_changed(looking: Open, translator: Translator, tmp_path: Path) -> None:
    edits = [ZeroHead(CROSS, 2), Ban(7)]
    translator.explain(TEXT, edits=edits).save(tmp_path / "trace.html")
    page = looking((tmp_path / "trace.html").as_uri(), view="change")
    assert "needs the model" in page.main()
    assert page.page.locator("#main .edit-list li").all_inner_texts() == list(map(str, edits))
    controls = page.page.locator("#main button, #main input, #main select")
    assert controls.count() > 20
    assert all(control.is_disabled() for control in controls.all())


def test_narrow_and_accessible(looking: Open, served: str) -> None:
    page = looking(served, width=360, text=TEXT, view="change", edits=json.dumps(ALL))
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 360
    found = Axe().run(page.page)
    assert found.violations_count == 0, found.generate_report()


def test_a_model_with_one_answer(translator: Translator) -> None:
    """What pools has one distribution, without a position."""
    from pellucid.explain.forward import trace_forward
    from pellucid.look.editing import told_difference
    from tests.explain.small import PICTURES, inputs, make

    old, new = (
        trace_forward(make(PICTURES), PICTURES, inputs(PICTURES), vocabulary="wxyz", edits=edits) for edits in ([], [Ban(2)])
    )
    told = told_difference(new.diff(old), old, new)
    [position] = told["positions"]
    assert position["name"] == ""
    assert position["kl"] == pytest.approx(-np.log1p(-float(old["probs"].array[2])), rel=1e-4)
    assert {token: (before, after) for token, before, after in position["both"]} == {
        token: (old["probs"].array[token], new["probs"].array[token]) for token in range(4)
    }


def test_a_recurrent_network_has_heads_and_vectors_to_change(looking: Open, tmp_path: Path) -> None:
    from pellucid.explain.forward import trace_forward
    from pellucid.explain.page import html
    from tests.explain.small import inputs, make, recurrent

    config = recurrent("lstm", "additive")
    edits = [ZeroHead("decoder.layers.2.cross_attn", 0)]
    trace = trace_forward(
        make(config), config, inputs(config), text="small", vocabulary=[f"t{at}" for at in range(17)], edits=edits
    )
    (tmp_path / "trace.html").write_text(html(trace), encoding="utf-8")
    page = looking((tmp_path / "trace.html").as_uri(), "view=change")
    assert page.page.inner_text("#main .edit-list") == str(edits[0])
    assert page.page.locator("#main .heads tbody th").all_inner_texts() == ["layer 2"]
    assert page.page.locator('#views a:text-is("Layers")').count() == 0
