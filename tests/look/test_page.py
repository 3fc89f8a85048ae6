"""What holds of the page as a whole: no network, hostile tokens, limits, keyboard, contrast, narrow screens."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from pellucid.explain import page as pages
from pellucid.explain.page import VIEWS, html
from pellucid.explain.recording import TraceTooLargeError
from pellucid.explain.trace import Trace
from pellucid.tasks.translator import Translator
from tests.look.looking import Looking

Open = Callable[..., Looking]
HOSTILE = [
    "</script><script>document.title='taken'</script>",
    "<img src=x onerror=document.title='taken'>",
    "\"'`&amp;",
    "שלום",
    "👩‍👩‍👧",
    "ÄĂ",
    "\u2028\u2029",
    "",
]


def renamed(trace: Trace, names: list[str]) -> Trace:
    """The same trace with other tokens for its first ones."""
    source = (*names, *trace.names["source"])[: len(trace.names["source"])]
    vocabulary = (*names, *trace.vocabulary[len(names) :])

    def labels(some: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return source if some == trace.names["source"] else vocabulary if some == trace.vocabulary else some

    taps = {name: replace(tap, labels=tuple(map(labels, tap.labels))) for name, tap in trace.taps.items()}
    return replace(
        trace, text=names[0], output=names[1], taps=taps, names={**trace.names, "source": source}, vocabulary=vocabulary
    )


def test_hostile_tokens_are_text(looking: Open, translator: Translator, tmp_path: Path) -> None:
    text = " ".join("abcdefgh"[: len(HOSTILE) - 1])
    trace = renamed(translator.explain(text), HOSTILE)
    path = tmp_path / "trace.html"
    trace.save(path)
    for view in VIEWS:
        page = looking(path.as_uri(), view=view)
        assert "taken" not in page.page.title().replace(HOSTILE[0], "").replace(HOSTILE[1], "")
        assert page.page.locator("img, script[src], iframe").count() == 0
    page = looking(path.as_uri(), view="attention", kind="encoder", layer=0, head=0)
    shown = page.page.locator('#main ol[aria-label="keys"] li').all_text_contents()
    assert shown == [*(name.replace(" ", "␣") for name in HOSTILE[:-1]), "(empty)"]
    assert page.compare(trace) == 64


def test_one_token(looking: Open, translator: Translator, tmp_path: Path) -> None:
    path = tmp_path / "trace.html"
    trace = translator.explain("a", tokens=1)
    trace.save(path)
    for view in VIEWS:
        page = looking(path.as_uri(), view=view)
        assert page.page.locator("#main [role=alert]").count() == 0
    assert looking(path.as_uri(), view="attention", kind="decoder", layer=0).compare(trace) == 1


def test_what_is_no_number_is_shown_as_such(looking: Open, translator: Translator, tmp_path: Path) -> None:
    trace = translator.explain("a b d")
    name = "encoder.layers.0.self_attn.weights"
    trace.taps[name].array[0, 0] = np.nan
    trace.taps[name].array[0, 1, 0] = np.inf
    path = tmp_path / "trace.html"
    trace.save(path)
    page = looking(path.as_uri(), view="walk", tap=name, number=f"{name}:0,0,1")
    texts = [cell["text"] for cell in page.cells()]
    assert texts.count("NaN") == 4
    assert texts.count("∞") == 1
    assert page.page.inner_text("#number .value") == "NaN"
    looking(path.as_uri(), view="attention", kind="encoder", layer=0, head=0)


def test_a_page_has_a_largest_size(translator: Translator) -> None:
    trace = translator.explain("a b d")
    with pytest.raises(TraceTooLargeError, match=r"the largest taps are .*bytes.*\n.*keep fewer taps"):
        html(trace, limit=10_000)
    taps = sum(map(len, {pages.as_numbers(array) for array in pages.arrays_of(trace).values()}))  # the same numbers count once
    told = json.loads(re.findall(r'id="trace">(.*?)</script>', html(trace, limit=taps + 3_000))[0])
    assert told["left_out"]
    assert sum(4 * int(np.prod(shape)) for shape in told["weights"].values()) <= 3_000


def test_a_long_text_is_cut_with_words(looking: Open, served: str) -> None:
    long = " ".join("abcdefgh"[at % 8] for at in range(31))
    page = looking(served, text=long, view="attention", kind="encoder")
    assert "columns 0 to 7 of 32" in page.main()
    page.press("columns ›")
    assert "columns 8 to 15 of 32" in page.main()
    assert {cell["column"] for cell in page.cells()} == set(range(8, 16))
    page = looking(served, text="a " * 200)
    assert "only the first" in page.main() or page.page.locator("#main h2").count() == 1


def test_nothing_is_drawn_by_chance_or_fetched_from_elsewhere(exported: str) -> None:
    text = Path(exported.removeprefix("file://")).read_text(encoding="utf-8")
    viewer = Path(pages.__file__).parent / "viewer"
    sources = "".join(path.read_text(encoding="utf-8") for path in sorted(viewer.rglob("*.*")))
    assert "Math.random" not in sources
    names = ("http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML")  # these are names, nothing is there to fetch
    assert set(re.findall(r"https?://[^\"'\s]+", text)) <= set(names)
    listed = {f"{name}.js" for name in (*pages.SCRIPTS, "main")} | {f"views/{name}.js" for name in VIEWS}
    assert listed == {str(path.relative_to(viewer)) for path in viewer.rglob("*.js")}


def test_the_page_runs_no_script_but_its_own(exported: str) -> None:
    text = Path(exported.removeprefix("file://")).read_text(encoding="utf-8")
    policy = re.findall(r'Content-Security-Policy" content="(.*?)"', text)[0]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert len(re.findall(r"<script>", text)) == 1


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("width", [1280, 360])
def test_accessibility(looking: Open, served: str, view: str, width: int) -> None:
    number = "encoder.layers.0.self_attn.scores:0,1,2"
    page = looking(served, f"text=a+b+d&view={view}&number={number}", width=width)
    found = Axe().run(page.page, options={"resultTypes": ["violations"]})
    assert [(one["id"], one["nodes"][0]["html"]) for one in found.response["violations"]] == []


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("width", "zoom"), [(360, 1), (1280, 2)])
def test_narrow_and_enlarged(looking: Open, served: str, view: str, width: int, zoom: int) -> None:
    """At 200 % a window has half as many of CSS's pixels."""
    page = looking(served, f"text=a+b+d&view={view}&number=probs:0,1", width=width // zoom)
    across = page.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert across[0] <= across[1]


@pytest.mark.parametrize("view", VIEWS)
def test_the_keyboard_reaches_every_control(looking: Open, served: str, view: str) -> None:
    page = looking(served, f"text=a+b+d&view={view}")
    script = """() => { const all = [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
        .filter((one) => !one.disabled && one.getClientRects().length && !one.closest("details:not([open]) > :not(summary)"));
        all.forEach((one, at) => { one.dataset.number = at; }); return all.length; }"""
    count = page.page.evaluate(script)
    page.page.evaluate("document.activeElement.blur()")
    reached = set()
    for _ in range(count + 2):
        page.page.keyboard.press("Tab")
        reached.add(page.page.evaluate("document.activeElement?.dataset?.number ?? null"))
    assert {str(at) for at in range(count)} <= reached


def test_the_arrow_keys_walk_a_matrix_and_enter_opens_a_number(looking: Open, exported: str) -> None:
    page = looking(exported, "view=walk&tap=encoder.layers.0.ffn.hidden")
    page.page.locator('#main td[tabindex="0"]').focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "End", "ArrowLeft"):
        page.page.keyboard.press(key)
    page.page.keyboard.press("Enter")
    page.settle()
    assert page.state()["number"] == "encoder.layers.0.ffn.hidden:1,62"
    assert page.page.evaluate("document.activeElement.dataset.row + ',' + document.activeElement.dataset.column") == "1,62"


def test_the_address_is_the_state(looking: Open, exported: str) -> None:
    page = looking(exported, "view=attention&kind=encoder&layer=1&head=3&stage=scaled")
    before = page.main()
    page.choose("Step", "scores")
    assert page.main() != before
    page.page.go_back()
    page.settle()
    assert page.main() == before
    other = looking(exported, "&".join(f"{key}={value}" for key, value in page.state().items()))
    assert other.main() == before


def test_a_server_answers_to_its_own_page_alone(served: str) -> None:
    def answer(path: str, data: bytes | None = None, **headers: str) -> tuple[int, str]:
        request = urllib.request.Request(served + path, data, headers)
        try:
            with urllib.request.urlopen(request) as found:
                return found.status, found.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())["error"]

    kind = {"Content-Type": "application/json"}
    assert answer("", Host="elsewhere.example")[0] == 403
    assert answer("api/trace", b'{"text": "a"}', Host="elsewhere.example", **kind)[0] == 403
    assert answer("api/trace", b"text=a")[0] == 415
    assert answer("api/trace", b"[1]", **kind) == (
        400,
        'a question is an object\n  expected: {"text": "..."}\n  found:    list',
    )
    assert answer("api/trace", b'{"text": "a", "beams": "many"}', **kind)[0] == 400
    assert answer("api/trace", b'{"text": "a", "prefix": "[true]"}', **kind)[0] == 400
    assert answer("api/trace", b'{"text": ""}', **kind)[0] == 400
    assert answer("api/trace", b"{" * 100_000, **kind)[0] == 400
    assert answer("api/numbers?trace=1&kind=tap&name=no")[0] == 400
    assert answer("elsewhere")[0] == 404
    assert answer("../../etc/passwd")[0] == 404


def test_an_error_is_said_on_the_page(looking: Open, served: str) -> None:
    page = looking(served, text="a b", beams="0")
    assert "beams" in page.page.inner_text("#main [role=alert]")
    page.complaints = [one for one in page.complaints if "400" not in one]  # the browser reports every refusal


def test_a_text_is_asked_for(looking: Open, served: str, translator: Translator) -> None:
    page = looking(served)
    page.page.fill("#text", "c a b")
    page.page.get_by_role("button", name="Look").click()
    page.page.wait_for_selector("#tokens strong")
    assert page.page.inner_text("#tokens strong") == translator.explain("c a b").output
    assert page.state()["text"] == "c a b"
