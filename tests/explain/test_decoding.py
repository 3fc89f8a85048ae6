"""Decoding as a trace tells it: what the search does, step by step, and the matrices of the same steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from small import DECODER, ENCODER_DECODER, END, V, make, name, subject

from pellucid.decoding.filters import filtered
from pellucid.decoding.greedy import Greedy
from pellucid.decoding.sampling import uniform
from pellucid.decoding.search import search
from pellucid.explain.explain import explain, watched
from pellucid.explain.forward import looking
from pellucid.explain.recording import Recorder
from pellucid.explain.subject import Subject
from pellucid.explain.trace import Trace

CONFIGS = {
    "encoder-decoder": replace(ENCODER_DECODER, norm="pre"),
    "decoder": DECODER,
    "rotary": replace(DECODER, positions="rotary"),
    "alibi": replace(ENCODER_DECODER, positions="alibi"),
}
WAYS: dict[str, dict[str, Any]] = {
    "greedy": {"beams": 1},
    "beam": {"beams": 3},
    "drawn": {"beams": 1, "temperature": 1.5, "top_k": 4},
}


def asked(config: str, way: str, limit: int = 6, dtype: torch.dtype = torch.float32) -> Subject:
    return subject(make(CONFIGS[config], dtype), CONFIGS[config], limit, **WAYS[way])


def searched(given: Subject) -> Any:
    """The shipped search on the same subject: its best output."""
    writing = given.writing
    assert writing is not None
    source = torch.tensor([writing.prompt[:-1]], dtype=torch.int64) if given.source is None else given.source
    with torch.inference_mode():
        [[best, *_]] = search(
            given.model,  # type: ignore[arg-type]
            source,
            torch.ones_like(source, dtype=torch.bool),
            writing.decoding,
            start=writing.prompt[-1],
            end=writing.end,
            limits=torch.tensor([writing.limit]),
            forbidden=writing.forbidden,
            seeds=[writing.seed],
        )
    return best


def written(trace: Trace) -> list[int]:
    """The tokens of the output, the end token too."""
    return [int(token[1:]) for token in trace.names["written"]]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("way", WAYS)
def test_the_output_is_that_of_the_search(config: str, way: str) -> None:
    given = asked(config, way)
    best, trace = searched(given), explain(given)
    assert written(trace) == [*best.ids, *([END] if best.reason == "end" else [])]
    assert trace.output == " ".join(name(best.ids))
    final = [one for one in trace.steps[-1].candidates if one.fate in ("chosen", "ended")]
    assert best.log_probability in [one.score for one in final] or way == "beam"
    assert len(trace.steps) >= len(written(trace))


@pytest.mark.parametrize("config", CONFIGS)
def test_row_t_is_step_t_of_the_cached_loop(config: str) -> None:
    """Every tap of the decoder: one forward over the finished text, and a loop with a cache that sees a token at a time."""
    given = asked(config, "greedy", dtype=torch.float64)
    trace, model = explain(given), given.model
    target = trace.inputs["target"]
    with looking(model):
        if given.source is None:
            state = model.start(model.encode(torch.empty(1, 0, dtype=torch.int64)))  # type: ignore[operator, union-attr]
        else:
            state = model.start(model.encode(given.source))  # type: ignore[operator, union-attr]
        for t, token in enumerate(target.tolist()):
            recorder = Recorder()
            model.step(torch.tensor([[token]]), state, tap=recorder)  # type: ignore[operator, union-attr]
            step = recorder.finish()
            assert {"logits", "decoder.layers.2.self_attn.weights", "decoder.out"} <= step.keys()
            for at, array in step.items():
                np.testing.assert_allclose(array, row(trace, at, t, array.shape), rtol=1e-10, atol=1e-12, err_msg=f"{at} {t}")


def row(trace: Trace, at: str, t: int, shape: tuple[int, ...]) -> Any:
    """What one step of a loop has of a tap: row t, of keys and their values all up to there."""
    whole = trace[at].array
    if at.endswith(("cross_attn.k", "cross_attn.v")):
        return whole
    if at.endswith(("self_attn.k", "self_attn.v")):
        return whole[:, : t + 1]
    if whole.ndim == 3:
        return whole[:, t : t + 1, : shape[2]]
    return whole[t : t + 1]


def test_greedy_steps_say_what_was_likely_and_what_was_taken() -> None:
    trace = explain(asked("encoder-decoder", "greedy"))
    logs = np.log(trace["probs"].array.astype(np.float64))
    total = 0.0
    for t, step in enumerate(trace.steps):
        order = [token for token in np.argsort(-logs[t], kind="stable").tolist() if token != 0]  # 0 is forbidden
        assert [one.token for one in step.candidates] == order[:10]
        taken = step.candidates[0]
        assert [one.fate for one in step.candidates[1:]] == ["dropped"] * 9
        assert taken.fate == ("ended" if taken.token == END else "chosen")
        for one in step.candidates:
            assert one.name == f"t{one.token}"
            assert one.log_probability == pytest.approx(logs[t, one.token], abs=2e-5)
            assert one.score == pytest.approx(total + logs[t, one.token], abs=1e-4)
        total = taken.score
        assert step.draw is None


def test_what_is_drawn_has_its_random_number_and_what_else_might_have_come() -> None:
    given = asked("decoder", "drawn", limit=9)
    assert given.writing is not None
    trace = explain(given)
    first = len(given.writing.prompt) - 1
    for t, step in enumerate(trace.steps):
        logs = torch.log_softmax(torch.from_numpy(trace["logits"].array[None, first + t]), -1)
        logs[:, 0] = -torch.inf
        shares = filtered(logs, given.writing.decoding)[0].softmax(0)
        kept = {one.token for one in step.candidates if one.fate != "dropped"}
        assert kept == set(shares.nonzero().flatten().tolist())
        assert step.draw == uniform(0, t)
        [taken] = [one.token for one in step.candidates if one.fate in ("chosen", "ended")]
        below, up_to = shares[:taken].sum().item(), shares[: taken + 1].sum().item()
        assert below <= step.draw < up_to
    assert trace["decode.draw"].array[:, 0].tolist() == [uniform(0, t) for t in range(len(trace.steps))]


@pytest.mark.parametrize("config", ["encoder-decoder", "decoder"])
def test_beams_have_parents_and_candidates_of_all_beams(config: str) -> None:
    trace = explain(asked(config, "beam", limit=8))
    before: list[tuple[str, ...]] = [(), (), ()]
    scores = [0.0, -np.inf, -np.inf]
    for step in trace.steps:
        assert [one.score for one in step.candidates] == sorted((one.score for one in step.candidates), reverse=True)
        for one in step.candidates:
            assert one.score == pytest.approx(scores[one.beam] + one.log_probability, abs=1e-6)
        chosen = [one for one in step.candidates if one.fate == "chosen"]
        assert len(chosen) == len(step.written)
        assert tuple(one.beam for one in chosen) == step.parents
        assert [(*before[one.beam], one.name) for one in chosen] == list(step.written)
        before, scores = list(step.written), [one.score for one in chosen]
    ended = [one for step in trace.steps for one in step.candidates if one.fate == "ended"]
    assert trace.names["written"][-1] in {one.name for one in ended}


def test_steps_as_arrays() -> None:
    trace = explain(asked("encoder-decoder", "beam"))
    count, width = len(trace.steps), max(len(step.candidates) for step in trace.steps)
    assert trace["decode.candidates"].axes == ("step", "candidate")
    for tap, field in (("candidates", "token"), ("beam", "beam"), ("score", "score"), ("log_probability", "log_probability")):
        array = trace[f"decode.{tap}"].array
        assert array.shape == (count, width)
        for number, step in enumerate(trace.steps):
            assert array[number, : len(step.candidates)].tolist() == [getattr(one, field) for one in step.candidates]
    assert trace["decode.parents"].array[0].tolist() == [0, 0, 0]
    assert np.array_equal(trace["decode.chosen"].array, trace["decode.kept"].array)
    assert "decode.draw" not in trace
    assert not any(at.startswith("decode.") for at in explain(asked("decoder", "greedy"), taps=["probs"]))
    assert list(explain(asked("decoder", "greedy"), taps=["probs", "decode.score"])) == ["probs", "decode.score"]


def test_an_output_can_be_given() -> None:
    given = asked("encoder-decoder", "greedy")
    assert given.writing is not None
    trace = explain(replace(given, writing=replace(given.writing, given=(9, 4, END))))
    assert trace.steps == ()
    assert trace.names["target"] == ("t0", "t9", "t4")
    assert trace.names["written"] == ("t9", "t4", "t3")
    assert trace.output == "t9 t4"


def test_steps_come_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = []
    choose = Greedy.choose

    def counted(self: Greedy, log_probabilities: torch.Tensor) -> Any:
        chosen.append(len(chosen))
        return choose(self, log_probabilities)

    monkeypatch.setattr(Greedy, "choose", counted)
    steps = watched(asked("decoder", "greedy"))
    assert chosen == []
    assert next(steps).number == 0
    assert chosen == [0]
    assert next(steps).number == 1
    assert chosen == [0, 1]
    assert len(trace_vocabulary()) == V


def trace_vocabulary() -> tuple[str, ...]:
    return explain(asked("decoder", "greedy"), taps=["logits"]).vocabulary
