"""States layer by layer, what a probe reads, what a layer would answer; and verdicts on made-up figures."""

from __future__ import annotations

import pytest
import torch

from pellucid.compare.corpus import BEGIN, END, FILL, next_words, sentences
from pellucid.compare.experiments import overthinking, probes
from pellucid.compare.experiments.probes import BEFORE, FIRST, KINDS, NEXT, NONE, QUESTIONS, TAG
from pellucid.compare.sizes import decoder, made
from pellucid.compare.states import layer_states

VOCABULARY = 9


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_state_is_what_the_model_answers_from(kind: str) -> None:
    model = made(decoder(kind, width=8, vocabulary=VOCABULARY, layers=3, max_length=5), 1)
    ids = torch.randint(VOCABULARY, (2, 5), generator=torch.Generator().manual_seed(1))
    states = layer_states(model, ids)
    assert [each.shape for each in states] == [(2, 5, 8)] * 4
    last = model.decoder.norm(states[-1]) if kind == "Transformer" and model.decoder.norm is not None else states[-1]
    torch.testing.assert_close(last @ model.weight("output").T, model(ids))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_the_last_layers_answer_is_the_models() -> None:
    size = overthinking.SIZES["smallest"]
    model = made(overthinking.configuration(size), 1).eval()
    batch = next_words(sentences("dev")[1].ids[:6])
    logits = overthinking.answers(model, batch)
    assert len(logits) == size.layers + 1
    torch.testing.assert_close(logits[-1], model(batch.ids, wanted=batch.wanted))
    assert not torch.allclose(logits[-2], logits[-1])


def test_answers_left_behind_and_answers_found_late() -> None:
    right = torch.tensor([[1, 0, 0, 0, 1], [0, 1, 0, 0, 1], [0, 1, 1, 0, 0]]).bool()  # of three layers, five answers
    assert overthinking.shares(right) == (0.4, 0.2)  # the first and the last; the third


@pytest.mark.parametrize(
    ("right", "spoilt", "verdict"),
    [
        ([0.5, 0.5], [0.1, 0.11], "confirmed"),
        ([0.5, 0.5], [0.0, 0.001], "not confirmed here"),
        ([0.5, 0.5], [0.0, 0.1], "undecided"),
        ([0.1, 0.1], [0.1, 0.11], "undecided"),
    ],
)
def test_overthinking_can_come_out_each_way(right: list[float], spoilt: list[float], verdict: str) -> None:
    assert overthinking.EXPERIMENT.rule.judge(overthinking.judged(right, spoilt))[0] == verdict


def test_every_word_has_its_part_of_speech() -> None:
    ids, kinds = sentences("dev")[1].ids, probes.tags("dev")
    assert torch.equal(kinds != NONE, ids > END)
    names = sentences("dev")[1].names
    the = kinds[ids == names.index("the")]
    assert len(set(the.tolist())) == 1


def test_what_is_asked_at_each_word() -> None:
    ids = torch.tensor([[BEGIN, 5, 6, 7, 8, END, FILL]])
    kinds = torch.tensor([[NONE, 2, 0, 1, 3, NONE, NONE]])
    asked = probes.questions(ids, kinds)
    assert {question: numbers[0].tolist() for question, numbers in asked.items()} == {
        TAG: [NONE, 2, 0, 1, 3, NONE],
        NEXT: [NONE, 0, 1, 3, NONE, NONE],
        BEFORE: [NONE, NONE, NONE, 6, 7, NONE],
        FIRST: [NONE, NONE, NONE, 5, 5, NONE],
    }


def test_a_probe_reads_what_is_there_and_not_what_is_not() -> None:
    generator = torch.Generator().manual_seed(1)
    answers = torch.randint(3, (600,), generator=generator)
    noise = torch.randn(600, 5, generator=generator)
    told = torch.cat((noise, torch.nn.functional.one_hot(answers, 3) + 2.0), dim=1)
    assert torch.equal(probes.read(probes.probe(told[:400], answers[:400], 4), told[400:]), answers[400:])
    blind = probes.read(probes.probe(noise[:400], answers[:400], 4), noise[400:])
    assert float((blind == answers[400:]).double().mean()) < 0.5


def _shares(value: float) -> list[dict[str, float]]:
    return [dict.fromkeys(QUESTIONS, value + seed) for seed in (0.0, 0.01)]


@pytest.mark.parametrize(
    ("transformer", "lstm", "loss", "verdict"),
    [
        (0.8, 0.7, 2.0, "confirmed"),
        (0.7, 0.8, 2.0, "not confirmed here"),
        (0.8, 0.7, 6.0, "undecided"),
    ],
)
def test_probes_can_come_out_each_way(transformer: float, lstm: float, loss: float, verdict: str) -> None:
    last = {"Transformer": _shares(transformer), "LSTM": _shares(lstm)}
    judged = probes.judged({kind: [loss, loss] for kind in KINDS}, last)
    assert probes.EXPERIMENT.rule.judge(judged)[0] == verdict


def test_one_question_alone_does_not_confirm_it() -> None:
    better = [{**each, FIRST: each[FIRST] - 0.2} for each in _shares(0.8)]
    judged = probes.judged({kind: [2.0, 2.0] for kind in KINDS}, {"Transformer": better, "LSTM": _shares(0.7)})
    assert probes.EXPERIMENT.rule.judge(judged)[0] == "not confirmed here"
