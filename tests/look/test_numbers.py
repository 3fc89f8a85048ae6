"""The walk and "this number": what is shown is what the model computed, and every sum gives its cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pellucid.base.config import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig
from pellucid.explain.forward import trace_forward
from pellucid.explain.page import html
from pellucid.tasks.translator import Translator
from tests.explain.small import DECODER, ENCODER, ENCODER_DECODER, PICTURES, inputs, make, name, recurrent
from tests.look.looking import Looking

Open = Callable[..., Looking]

KINDS = {
    "post-norm": ENCODER_DECODER,
    "pre-norm, rotary, gated, RMS": replace(
        ENCODER_DECODER, norm="pre", norm_kind="rms", positions="rotary", activation="swiglu"
    ),
    "learned positions, gelu, decoder": replace(DECODER, positions="learned", activation="gelu"),
    "ALiBi, shared keys": replace(DECODER, positions="alibi", decoder=StackConfig(2, 4, 20, n_kv_heads=2)),
    "additive": replace(ENCODER_DECODER, attention="additive", activation="gelu_tanh"),
    "BERT's ends": replace(
        ENCODER,
        embedding=EmbeddingConfig(scale=False, norm=True, types=2),
        head=HeadConfig(transform="norm", activation="gelu"),
    ),
    "classifier": replace(ENCODER, head=HeadConfig(pool="mean"), target_vocabulary=3),
    "pictures": PICTURES,
    "LSTM, additive": recurrent("lstm", "additive"),
    "GRU, one way": recurrent("gru", "dot", bidirectional=False),
    "RNN": recurrent("rnn"),
    "a recurrent decoder alone": recurrent("lstm", base=DECODER),
    "a recurrent classifier": recurrent(
        "gru", architecture="encoder", tie="none", head=HeadConfig(pool="last"), target_vocabulary=3
    ),
}
# Every cell of small taps; of larger ones a share, always the same.
SUMS = """async () => {
  const { view, expand } = window.pellucid, found = [];
  for (const tap of view.trace.list) {
    if (!tap.wires || tap.wires.kind === "rule") continue;
    const numbers = await view.trace.array(tap.name);
    const size = numbers.data.length, step = Math.max(1, Math.floor(size / 40));
    for (let place = 0; place < size; place += step) {
      const index = [];
      let rest = place;
      for (let axis = tap.shape.length - 1; axis >= 0; axis--) {
        index.unshift(rest % tap.shape[axis]);
        rest = Math.floor(rest / tap.shape[axis]);
      }
      const sum = await expand(view.trace, tap.name, index);
      const result = sum.result === null ? "missing" : String(sum.result);
      found.push([tap.name, tap.wires.kind, String(index), result, String(numbers.data[place])]);
    }
  }
  return found;
}"""


def page_of(config: ModelConfig, path: Path, padding: str = "none") -> str:
    """A page with a trace of a small random model."""
    given = inputs(config, padding)
    names = {
        side: name(tensor[0].tolist())
        for side, tensor in (("source", given.source), ("target", given.target))
        if tensor is not None and tensor.ndim == 2
    }
    vocabulary = name(range(config.target_vocabulary))
    trace = trace_forward(make(config), config, given, text="small", names=names, vocabulary=vocabulary)
    path.write_text(html(trace), encoding="utf-8")
    return path.as_uri()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", ["none", "left"])
def test_every_sum_gives_its_cell(looking: Open, tmp_path: Path, kind: str, padding: str) -> None:
    if padding != "none" and kind == "pictures":
        return
    page = looking(page_of(KINDS[kind], tmp_path / "trace.html", padding))
    rows = page.page.evaluate(SUMS)
    found, stored = (np.array([float(row[at].replace("Infinity", "inf")) for row in rows]) for at in (3, 4))
    infinite = ~np.isfinite(stored)
    assert np.array_equal(found[infinite], stored[infinite])
    taps = np.array([row[0] for row in rows])
    for tap in dict.fromkeys(taps[~infinite].tolist()):
        some = (taps == tap) & ~infinite
        assert np.abs(found[some] - stored[some]).max() <= 2e-5 * max(np.abs(stored[some]).max(), 1e-3), tap
    own = {"product", "state" if "RNN" not in kind else "beside"} & {row[1] for row in rows}
    assert own or {"linear", "softmax", "mix", "concat", "sum", "scale"} <= {row[1] for row in rows}


def test_every_step_of_the_walk_shows_its_tap(looking: Open, exported: str, translator: Translator) -> None:
    trace = translator.explain("a b d")
    page = looking(exported, "view=walk&tap=encoder.embed.tokens")
    seen, count = [], 0
    while True:
        seen.append(page.page.inner_text("#main h3"))
        count += page.compare(trace)
        following = page.page.get_by_role("button", name="Next ›")
        if following.is_disabled():
            break
        page.page.keyboard.press("j")
        page.settle()
    assert seen == [tap for tap in trace if not tap.startswith("decode.")]
    assert count > 10 * len(seen)


def test_a_head_is_chosen(looking: Open, exported: str, translator: Translator) -> None:
    trace = translator.explain("a b d")
    page = looking(exported, "view=walk&tap=decoder.layers.0.cross_attn.z")
    page.choose("Head", 2)
    assert page.state()["head"] == "2"
    assert {cell["head"] for cell in page.cells() if cell["tap"]} == {2}
    assert page.compare(trace) > 0


def test_an_operand_leads_to_where_it_came_from(looking: Open, exported: str, translator: Translator) -> None:
    trace = translator.explain("a b d")
    page = looking(exported, "view=walk&tap=encoder.layers.0.self_attn.scores")
    page.page.locator('#main td[data-row="1"][data-column="2"]').click()
    page.settle()
    assert page.state()["number"] == "encoder.layers.0.self_attn.scores:0,1,2"
    query, key = (trace[f"encoder.layers.0.self_attn.{step}"].array[0] for step in "qk")
    rows = page.page.locator("#number .terms tbody tr").evaluate_all("(rows) => rows.map((row) => row.lastChild.textContent)")
    products = query[1].astype(float) * key[2].astype(float)
    np.testing.assert_allclose([float(text.replace("−", "-")) for text in rows], products, atol=5.1e-5, rtol=6e-3)
    page.page.locator("#number .terms a").first.click()
    page.settle()
    assert page.state()["number"] == "encoder.layers.0.self_attn.q:0,1,0"
    assert float(page.page.get_attribute("#number .value", "data-value") or "nan") == pytest.approx(
        float(query[1, 0]), abs=1e-7
    )
    page.page.go_back()
    page.settle()
    assert page.state()["number"] == "encoder.layers.0.self_attn.scores:0,1,2"


@pytest.mark.parametrize("kind", KINDS)
def test_the_panel_shows_a_cell_of_every_kind(looking: Open, tmp_path: Path, kind: str) -> None:
    page = looking(page_of(KINDS[kind], tmp_path / "trace.html"), "view=walk")
    script = """() => [...new Map(pellucid.view.trace.list.filter((tap) => tap.wires)
        .map((tap) => [tap.wires.kind, `${tap.name}:${tap.shape.map((size) => size - 1)}`])).entries()]"""
    cells = page.page.evaluate(script)
    for _, cell in cells:
        page.go(view="walk", number=cell)
        value = float((page.page.get_attribute("#number .value", "data-value") or "nan").replace("Infinity", "inf"))
        if page.page.locator("#number .checked").count():
            result = float((page.page.get_attribute("#number .checked", "data-result") or "nan").replace("Infinity", "inf"))
            assert result == value or abs(result - value) <= 2e-5 * max(abs(value), 1)
        else:
            assert "The rule:" in page.page.inner_text("#number")
    assert len(cells) >= 8


def test_without_the_model_the_page_says_what_it_cannot_know(looking: Open, translator: Translator, tmp_path: Path) -> None:
    from pellucid.explain.files import load

    translator.explain("a b d").save(tmp_path / "trace.npz")
    load(tmp_path / "trace.npz").save(tmp_path / "trace.html")
    page = looking((tmp_path / "trace.html").as_uri(), "view=walk&tap=probs&number=probs:0,1")
    assert "saved without its model" in page.page.inner_text("#number")
    assert page.compare(translator.explain("a b d")) > 0
