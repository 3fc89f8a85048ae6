"""Cosines at the same place, the corpus as tokens, and translators in the common training loop."""

from __future__ import annotations

import math

import pytest
import torch

from pellucid.compare.corpus import BEGIN, END, FILL, LONGEST, pairs_side_by_side, sentences, translations, translator
from pellucid.compare.experiments.contextual import LAYERS, configuration, cosines, layers_of

A, B = 3, 4  # words


def test_cosines_of_the_same_word_and_of_different_ones() -> None:
    ids = torch.tensor([[BEGIN, A, END], [BEGIN, A, B], [BEGIN, B, END]])
    vectors = torch.zeros(3, 3, 2)
    vectors[:, 1] = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    vectors[:, 2] = torch.tensor([5.0, 5.0])  # one word alone has no pair; the end is no word
    same, different = cosines(vectors, ids)
    assert same == pytest.approx(math.sqrt(0.5))
    assert different == pytest.approx((0.0 + math.sqrt(0.5)) / 2)


def test_layers_begin_where_context_has_no_part_yet() -> None:
    french, _ = sentences("dev")
    ids = french.ids[:5]
    layers = layers_of(translator(configuration(8), 1), ids)
    assert [each.shape for each in layers] == [(5, LONGEST + 2, 8)] * (LAYERS + 1)
    assert torch.allclose(layers[0][:, 0], layers[0][:1, 0])  # the begin token, with its position
    assert not torch.allclose(layers[1][:, 0], layers[1][:1, 0])


def test_pairs_are_translations_of_each_other() -> None:
    french, english = sentences("dev")
    ids = pairs_side_by_side("dev")
    assert torch.equal(ids, torch.cat((french.ids, english.ids), 1))
    shown = [english.names[token] for token in english.ids[0] if token > END]
    assert shown
    assert all(shown)
    batch = translations(ids[:3])
    widest = int((torch.stack((french.ids[:3], english.ids[:3])) != FILL).sum(-1).max())
    assert widest < LONGEST + 2
    assert batch.ids.shape == (3, 2 * widest - 1)  # what no sentence fills is left out
    assert not batch.wanted[:, :widest].any()
    expected = [token for row in english.ids[:3].tolist() for token in row[1:] if token != FILL]
    assert batch.answers.tolist() == expected


def test_a_translator_does_not_see_the_answer() -> None:
    model = translator(configuration(8), 1).eval()
    ids = pairs_side_by_side("dev")[:2]
    batch = translations(ids)
    before = model(batch.ids, wanted=batch.wanted)
    changed = batch.ids.clone()
    changed[0, (batch.ids.shape[1] + 1) // 2 + 2] = A  # second word of the first target
    after = model(changed, wanted=batch.wanted)
    same = (before == after).all(1)
    first = int(batch.wanted[0].sum())
    assert same[:2].tolist() == [True, True]
    assert not same[2:first].any()
    assert same[first:].all()
