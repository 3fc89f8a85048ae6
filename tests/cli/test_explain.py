"""``pellucid explain``: what is printed, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pellucid.explain.files import load
from pellucid.tasks.translator import Translator

Run = Callable[..., int]


def shown(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_every_step_of_a_translation(pellucid: Run, learnt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pellucid("explain", learnt, "a b d", "--width", 80) == 0
    text = shown(capsys)
    assert text.startswith("text: a b d\n")
    assert "output: D B A" in text
    assert "showing layer 0 of 2" in text
    assert "encoder.layers.0.self_attn.weights  A = softmax(S')  (4 head x 4 query x 4 key)" in text
    assert "decoding step 0" in text
    assert "\x1b" not in text  # no terminal
    assert [line for line in text.split("\n") if len(line) > 80] == []


def test_one_step_of_one_head(pellucid: Run, learnt: Path, translator: Translator, capsys: pytest.CaptureFixture[str]) -> None:
    name = "decoder.layers.1.cross_attn.weights"
    assert pellucid("explain", learnt, "a b d", "--step", "cross_attn.weights", "--layer", 1, "--head", 2, "--plain") == 0
    rows = [line.split() for line in shown(capsys).split("\n") if line.startswith(("  <s>", "  ▁D", "  ▁B", "  ▁A"))]
    weights = translator.explain("a b d")[name].array[2]
    assert [[float(number) for number in row[1:]] for row in rows] == np.round(weights.astype(float), 4).tolist()


def test_watching_prints_the_five_best_of_each_step(pellucid: Run, learnt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pellucid("explain", learnt, "a b d", "--watch", "--beams", 1) == 0
    text = shown(capsys)
    steps = text.split("decoding step ")[1:]
    assert len(steps) == 4
    assert [step.count(" p 0.") + step.count(" p 1.") for step in steps] == [5, 5, 5, 5]
    assert "D B A" in text.split("\n")[-2]
    assert text.count("chosen") == 4


def test_json(pellucid: Run, learnt: Path, translator: Translator, capsys: pytest.CaptureFixture[str]) -> None:
    assert pellucid("explain", learnt, "a b d", "--json", "--step", "probs") == 0
    tree = json.loads(shown(capsys))
    assert [tap["name"] for tap in tree["taps"]] == ["probs"]
    np.testing.assert_allclose(tree["arrays"]["probs"]["values"], translator.explain("a b d")["probs"].array, rtol=1e-6)
    assert tree["output"] == "D B A"


def test_no_colour_where_none_is_wanted(
    pellucid: Run, learnt: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    arguments = ("explain", learnt, "a b", "--step", "encoder.layers.0.self_attn.weights", "--width", 60)
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda self: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    pellucid(*arguments)
    assert "\x1b[48;5;" in shown(capsys)
    pellucid(*arguments, "--plain")
    assert not set(shown(capsys)) & set("\x1b░▒▓█")
    monkeypatch.setenv("NO_COLOR", "1")
    pellucid(*arguments)
    text = shown(capsys)
    assert "\x1b" not in text
    assert set(text) & set("░▒▓█")


def test_a_check_and_a_file(pellucid: Run, learnt: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.npz"
    assert pellucid("explain", learnt, "a b d", "--check", "--save", path) == 0
    out, err = capsys.readouterr()
    assert "taps computed anew in float64: largest difference" in out
    assert f"wrote {path}" in err
    assert load(path).output == "D B A"


def test_an_example(pellucid: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert pellucid("explain", "--example", "jane", "--step", "ffn.out", "--plain") == 0
    text = shown(capsys)
    assert "Jane      1.0271    1.0146" in text
    assert "1.3030  off: 1.0271" in text


def test_a_training_step(pellucid: Run, learnt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pellucid("explain", learnt, "--training-step") == 0
    text = shown(capsys)
    assert text.startswith("training step 201: dropout off, Adam with its means from the last checkpoint")
    assert "gradient of the mean loss at every tap" in text
    assert pellucid("explain", learnt / "model", "a b", "--output", "B A", "--training-step") == 0
    text = shown(capsys)
    assert text.startswith("training step 1: dropout off, Adam with its means beginning at zero")
    assert "fed              wanted" in text


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("MODEL",), 2, "give a model and a text"),
        (("MODEL", "a b", "--step", "nothing"), 2, "no such step"),
        (("MODEL", "a b", "--layer", 9), 2, "no such layer"),
        (("MODEL", "a b", "--head", 9), 2, "no such head"),
        (("MODEL", " "), 3, "empty text"),
        (("MODEL", "a b", "--training-step"), 2, "a text and what is to be said"),
        (("--example", "nobody"), 2, "no such example"),
        (("nowhere", "a b"), 4, "not a model directory"),
    ],
)
def test_what_is_refused(
    arguments: tuple[str, ...], code: int, what: str, pellucid: Run, learnt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pellucid("explain", *(learnt if one == "MODEL" else one for one in arguments)) == code
    out, err = capsys.readouterr()
    assert what in err
    assert "Traceback" not in err
    assert out == "" or "no such" in what
