"""A trace as a file is the same trace, and is read where there is no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from small import DECODER, ENCODER_DECODER, PICTURES, inputs, make, subject

from pellucid.base.errors import DataError, UsageError
from pellucid.explain.edits import Ban
from pellucid.explain.explain import explain
from pellucid.explain.files import load
from pellucid.explain.forward import trace_forward
from pellucid.explain.trace import Trace


@pytest.fixture(scope="module")
def trace() -> Trace:
    return explain(subject(make(ENCODER_DECODER), ENCODER_DECODER, beams=2), edits=[Ban(8)])


def same(left: Trace, right: Trace) -> None:
    assert list(left) == list(right)
    for name in left:
        one, other = left[name], right[name]
        assert (one.row, one.axes, one.labels, one.array.dtype) == (other.row, other.axes, other.labels, other.array.dtype)
        np.testing.assert_array_equal(one.array, other.array)
    for field in ("text", "names", "vocabulary", "steps", "output", "edits", "edited", "about"):
        assert getattr(left, field) == getattr(right, field), field
    assert left.inputs.keys() == right.inputs.keys()
    assert all(np.array_equal(left.inputs[name], right.inputs[name]) for name in left.inputs)


@pytest.mark.parametrize("ending", ["npz", "json"])
def test_what_was_saved_is_what_is_loaded(trace: Trace, ending: str, tmp_path: Path) -> None:
    assert not np.isfinite(trace["logits"].array).all()  # -inf comes through, too
    trace.save(tmp_path / f"trace.{ending}")
    loaded = load(tmp_path / f"trace.{ending}")
    same(loaded, trace)
    assert loaded.model is None
    assert not loaded.diff(trace).output_changed


@pytest.mark.parametrize("ending", ["npz", "json"])
def test_it_is_read_without_torch(trace: Trace, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"trace.{ending}"
    trace.save(path)
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from pellucid.explain.files import load\n"
        "from pellucid.explain.terminal import Look, lines\n"
        "trace = load(sys.argv[1])\n"
        "print(float(trace['decoder.layers.1.cross_attn.weights'].array.sum()), len(list(lines(trace, Look()))))\n"
    )
    run = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    weights = trace["decoder.layers.1.cross_attn.weights"].array
    assert float(run.stdout.split()[0]) == float(weights.sum())


def test_json_is_json(trace: Trace, tmp_path: Path) -> None:
    trace.save(tmp_path / "trace.json")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    tree = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert tree["schema"] == 1
    assert [tap["name"] for tap in tree["taps"]] == list(trace)


def test_a_picture_has_a_square_for_each_number(trace: Trace, tmp_path: Path) -> None:
    trace.save(tmp_path / "map.svg")
    tap = trace["decoder.layers.2.cross_attn.weights"]
    root = ElementTree.parse(tmp_path / "map.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    titles = [group.findtext(f"{space}title") for group in root.iter(f"{space}g")]
    assert titles == [f"{value:.6g}" for value in tap.array.flatten().tolist()]
    words = [text.text for text in root.iter(f"{space}text")]
    assert words[0] == "decoder.layers.2.cross_attn.weights: softmax(S')"
    for labels in tap.labels[1:]:
        assert set(labels or ()) <= set(words)


def test_hostile_tokens_stay_text(tmp_path: Path) -> None:
    names = {"source": ['</text><script>alert("x")</script>', "&", "<", '"', "'", "\u202e", "🙂"]}
    trace = trace_forward(make(ENCODER_DECODER), ENCODER_DECODER, inputs(ENCODER_DECODER), text="<b>&", names=names)
    trace.save(tmp_path / "trace.svg")
    text = (tmp_path / "trace.svg").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;/text&gt;" in text or "&lt;/te" in text
    ElementTree.parse(tmp_path / "trace.svg")


def test_png_has_its_signature(trace: Trace, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    trace.save(tmp_path / "map.png", tap="encoder.layers.0.ffn.hidden")
    assert (tmp_path / "map.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_what_cannot_be_is_refused(trace: Trace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such form"):
        trace.save(tmp_path / "trace.txt")
    with pytest.raises(UsageError, match="no such tap"):
        trace.save(tmp_path / "map.svg", tap="encoder.nothing")
    with pytest.raises(UsageError, match="only a picture"):
        trace.save(tmp_path / "trace.npz", tap="logits")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "trace.svg")
    (tmp_path / "bad.json").write_text('{"schema": 2}')
    with pytest.raises(DataError, match="no trace"):
        load(tmp_path / "bad.json")
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no trace"):
        load(tmp_path / "bad.npz")


def test_a_model_without_attention_to_the_source_draws_that_to_itself(tmp_path: Path) -> None:
    trace = trace_forward(make(PICTURES), PICTURES, inputs(PICTURES), taps=["*.self_attn.weights"])
    trace.save(tmp_path / "map.svg")
    assert "encoder.layers.1.self_attn.weights" in (tmp_path / "map.svg").read_text()
    only = trace_forward(make(DECODER), DECODER, inputs(DECODER), taps=["probs"])
    with pytest.raises(UsageError, match="no attention weights"):
        only.save(tmp_path / "map.svg")
