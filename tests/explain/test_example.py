"""Numbers that a learner types: computed by the shipped boxes, and the learner's own marked."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.base.errors import UsageError
from pellucid.explain.example import compute, lines, marks
from pellucid.explain.example_file import SHIPPED, Example, Mine, Typed, Walk, read
from pellucid.explain.terminal import Look
from pellucid.model.residual import LayerNorm, Residual

JANE = read(Path("jane"))


def rounded(example: Example, tap: str, row: int = 0, head: int | None = None) -> tuple[float, ...]:
    array = compute(example)[tap].array
    return tuple(np.round((array if array.ndim == 2 else array[head or 0])[row], 4).tolist())


def test_jane_rightly_computed() -> None:
    """Worked out by hand with e = 2.71828: 1 + 2 e = 6.43656, e / 6.43656 = 0.42232, and so on."""
    layer = "encoder.layers.{}."
    assert rounded(JANE, layer.format(0) + "self_attn.weights") == (0.4223, 0.1554, 0.4223)
    assert rounded(JANE, layer.format(0) + "self_attn.z") == (0.8446, 0.5777)
    assert rounded(JANE, layer.format(0) + "ffn.out") == (0.9936, 0.6732)
    assert rounded(JANE, layer.format(1) + "self_attn.weights") == (0.3322, 0.2998, 0.3680)
    assert rounded(JANE, layer.format(1) + "self_attn.z") == (0.8725, 0.8622)
    assert rounded(JANE, "encoder.out") == (1.0271, 1.0146)


def test_what_a_learner_got_is_marked() -> None:
    trace = compute(JANE)
    [(mine, row)] = marks(JANE, trace, trace["encoder.layers.0.self_attn.scores"])
    assert (mine.row, [mark.right for mark in row]) == ("Jane", [True, True, True])
    [(mine, row)] = marks(JANE, trace, trace["encoder.layers.0.self_attn.weights"])
    assert [(mark.mine, round(mark.computed, 4), mark.right) for mark in row] == [
        (0.5, 0.4223, False),
        (0.0, 0.1554, False),
        (0.5, 0.4223, False),
    ]
    text = "\n".join(lines(JANE, Look()))
    assert text.endswith("yours: 3 right, 29 off (more than 0.005 away)")
    assert "  yours, Jane:\n        0.5000  off: 0.4223\n        0.0000  off: 0.1554" in text


def test_what_is_within_the_tolerance_is_right() -> None:
    example = Example(**{**vars(JANE), "mine": (Mine("encoder.out", 0, "Jane", (1.03, 1.01), "x.yaml:1"),)})
    trace = compute(example)
    [(_, row)] = marks(example, trace, trace["encoder.out"])
    assert [mark.right for mark in row] == [True, True]
    strict = Example(**{**vars(example), "tolerance": 0.003})
    [(_, row)] = marks(strict, trace, trace["encoder.out"])
    assert [mark.right for mark in row] == [True, False]


def by_hand(x: np.ndarray, q: np.ndarray, k: np.ndarray, v: np.ndarray, o: np.ndarray, heads: int) -> np.ndarray:
    """Attention of several heads, one loop a head."""
    width = q.shape[1] // heads
    found = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = (x @ q[:, part]) @ (x @ k[:, part]).T / np.sqrt(width)
        shares = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
        found.append(shares @ (x @ v[:, part]))
    return np.concatenate(found, 1) @ o


def norm(x: np.ndarray) -> np.ndarray:
    mean = x.mean(1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(1, keepdims=True) + 1e-5)


def test_a_whole_block_is_the_one_of_the_paper() -> None:
    example = read(Path("block"))
    matrices = [np.array(getattr(example, name)) for name in ("query", "key", "value", "output")]
    angle = np.arange(4)[:, None] / np.array([1.0, 100.0])
    positions = np.stack((np.sin(angle), np.cos(angle)), 2).reshape(4, 4)
    x = np.array(list(example.words.values())) + positions
    x = norm(x + by_hand(x, *matrices, heads=2))
    typed = example.feed_forward
    assert typed is not None
    hidden = np.maximum(x @ np.array(typed.hidden) + np.array(typed.hidden_bias), 0.0)
    x = norm(x + hidden @ np.array(typed.output) + typed.output_bias)
    np.testing.assert_allclose(compute(example)["encoder.out"].array, x, rtol=1e-10)


SWITCHES = ("scale", "mask", "positions", "residual", "norm")


@pytest.mark.parametrize("name", SWITCHES)
def test_every_part_can_be_left_out(name: str) -> None:
    block = read(Path("block"))
    other = Example(**{**vars(block), name: not getattr(block, name)})
    plain = compute(block)
    changed = compute(other)
    side = "decoder" if other.mask else "encoder"
    assert not np.allclose(plain["encoder.out"].array, changed[f"{side}.out"].array)
    taps = {at.removeprefix(f"{side}.") for at in changed}
    assert ("layers.0.self_attn.masked" in taps) == other.mask
    assert ("embed.positions" in taps) == other.positions
    assert ("layers.0.self_attn_residual" in taps) == other.residual
    assert ("layers.0.self_attn_norm.out" in taps) == other.norm


def test_matrices_and_the_feed_forward_can_be_left_out() -> None:
    block = read(Path("block"))
    for name in ("query", "key", "value", "output", "feed_forward"):
        other = compute(Example(**{**vars(block), name: None}))
        assert not np.allclose(other["encoder.out"].array, compute(block)["encoder.out"].array)
        assert ("encoder.layers.0.ffn.out" in other) == (name != "feed_forward")
    bare = Example("bare", words={"a": (1.0, 2.0), "b": (3.0, -1.0)}, residual=False, norm=False, scale=False)
    trace = compute(bare)
    assert trace["encoder.layers.0.self_attn.q"].array[0].tolist() == [[1.0, 2.0], [3.0, -1.0]]
    assert np.array_equal(trace["encoder.out"].array, trace["encoder.layers.0.self_attn.z"].array[0])


def test_a_mask_hides_later_words() -> None:
    trace = compute(Example(**{**vars(JANE), "mask": True, "mine": ()}))
    weights = trace["decoder.layers.0.self_attn.weights"].array[0]
    assert weights[0].tolist() == [1.0, 0.0, 0.0]
    assert (np.triu(weights, 1) == 0.0).all()
    assert trace["decoder.layers.0.self_attn.mask"].labels[1:] == (("Jane", "visits", "Paris"),) * 2


def test_two_numbers_and_a_norm_leave_a_sign() -> None:
    trace = compute(Example(**{**vars(JANE), "norm": True, "mine": ()}))
    np.testing.assert_allclose(np.abs(trace["encoder.layers.0.self_attn_norm.out"].array[:2]), 1.0, atol=1e-3)


def test_add_and_norm_are_the_shipped_box(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    for box in (Residual, LayerNorm):
        forward = box.forward

        def counted(self: object, *given: object, forward: object = forward, box: type = box, **more: object) -> torch.Tensor:
            called.append(box)
            return forward(self, *given, **more)  # type: ignore[operator]

        monkeypatch.setattr(box, "forward", counted)
    compute(read(Path("block")))
    assert called.count(Residual) == called.count(LayerNorm) == 2


def test_one_query_at_a_time_and_then_all_at_once() -> None:
    text = "\n".join(lines(read(Path("thinking-machines")), Look()))
    assert "Thinking     q·k = 1.0000·0.0000 + 0.0000·1.0000 + 2.0000·1.0000 = 2.0000" in text
    assert "Machines     q·k = 1.0000·3.0000 + 0.0000·3.0000 + 2.0000·0.0000 = 3.0000" in text
    assert text.count("gives the same") == 2
    assert "ANOTHER" not in text
    assert text.index("Machines asks") < text.index("all queries at once, one row each") < text.index("self_attn.scores")


def test_a_vector_of_positions_element_by_element() -> None:
    text = "\n".join(lines(read(Path("positions")), Look()))
    assert "element 3: cos(6 / 10000^(2/8)) = cos(6 / 10.0000) = cos(0.6000) = 0.8253" in text
    assert "no two are alike: the nearest two are 0.6577 apart" in text
    assert "no number is beyond 1: the largest is 1.0000" in text
    own = Example("mine", walk=Walk(2, 2, 5), mine=(Mine("P_2", 0, "", (0.909, 0.416), "x.yaml:4"),))
    text = "\n".join(lines(own, Look()))
    assert "= 0.9093   yours: 0.9090 right" in text
    assert "= -0.4161   yours: 0.4160 off" in text
    assert "yours: 1 right, 1 off" in text


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_ones_are_shown_at_any_width(path: Path) -> None:
    for width in (40, 120):
        shown = list(lines(read(path), Look(width=width)))
        assert len(shown) > 10
    if path.stem == "block":
        assert not any(re.search(r"\bnan\b|\binf\b", line) for line in shown)


def typed(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_heads_of_the_learner(tmp_path: Path) -> None:
    path = typed(
        tmp_path,
        "words: {a: [1, 0, 0, 1], b: [0, 1, 1, 0]}\nheads: 2\nnorm: off\n"
        "mine:\n  self_attn.weights:\n    head 1: {b: [0.25, 0.75]}\n",
    )
    example = read(path)
    assert example.mine == (Mine("self_attn.weights", 1, "b", (0.25, 0.75), f"{path}:6"),)
    trace = compute(example)
    [(_, row)] = marks(example, trace, trace["encoder.layers.0.self_attn.weights"])
    assert [mark.computed for mark in row] == trace["encoder.layers.0.self_attn.weights"].array[1, 1].tolist()


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("words: {a: [1, 0], b: [1]}", "as many numbers as the others"),
        ("words: {a: [1, x]}", "a number is needed"),
        ("words: {a: [1, .inf]}", "a number is needed"),
        ("word: {a: [1]}", "did you mean words"),
        ("title: nothing", "nothing to compute"),
        ("words: {a: [1, 0]}\nscale: maybe", "on or off"),
        ("words: {a: [1, 0]}\nquery: [[1, 0]]", "needs 2 rows"),
        ("words: {a: [1, 0]}\nquery: [[1, 0, 0], [0, 1, 0]]", "as many columns as each other"),
        ("words: {a: [1, 0]}\nquery: [[1], [0, 1]]", "of one length"),
        ("words: {a: [1, 0]}\nheads: 3", "heads must divide"),
        ("words: {a: [1, 0]}\noutput: [[1, 0]]", "needs 2 rows"),
        ("words: {a: [1, 0]}\nfeed_forward: {hidden: 1}", "needs output"),
        ("words: {a: [1, 0]}\nfeed_forward: {hidden: [[1, 0, 1], [1, 1, 1]], output: [[1, 0]]}", "do not go together"),
        ("words: {a: [1, 0, 2]}\npositions: on", "even number"),
        ("words: {a: [1, 0]}\nmine: {encoder.nothing: {a: [1]}}", "no such step"),
        ("words: {a: [1, 0]}\nmine: {encoder.out: {b: [1, 0]}}", "no such word"),
        ("words: {a: [1, 0]}\nmine: {encoder.out: {a: [1]}}", "another number of numbers"),
        ("words: {a: [1, 0]}\nmine: {self_attn.q: {head 4: {a: [1, 0]}}}", "no such head"),
        ("walk: {position: 9, positions: 4}", "below positions"),
        ("walk: {d_model: 3}", "must be even"),
        ("words: {a: [1, 0]}\nlayers: 1.5", "whole number"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(text: str, what: str, tmp_path: Path) -> None:
    path = typed(tmp_path, text + "\n")
    with pytest.raises(UsageError, match=what) as refused:
        list(lines(read(path), Look()))
    assert str(path) in str(refused.value) or what in ("nothing to compute", "even number", "do not go together")


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="block, jane, positions, thinking-machines"):
        read(Path("joan"))


def test_typed_numbers_stand_for_multiples_of_the_identity() -> None:
    assert JANE.feed_forward == Typed(1.5, 0.1, 0.8, -0.1)
