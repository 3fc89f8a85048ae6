"""Attention with parts left out or shared, positions added again, layers shared; and verdicts on made-up figures."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pellucid.compare.corpus import pairs_side_by_side, translations, translator
from pellucid.compare.experiment import Place
from pellucid.compare.experiments import positions, roles
from pellucid.compare.experiments.positions import EVERY, OWN, PAPER, SHARED, WIDE, sinusoids
from pellucid.compare.experiments.roles import NO_OUTPUT, ONE, SAME_KEY, UNEVEN, WHOLE
from pellucid.compare.translating import transformer
from pellucid.model.attention import MultiHeadAttention
from pellucid.model.positions import SinusoidalPositions


def attentions(model: nn.Module) -> list[MultiHeadAttention]:
    return [module for module in model.modules() if isinstance(module, MultiHeadAttention)]


@pytest.mark.parametrize("name", roles.VARIANTS)
def test_an_attention_has_the_matrices_that_its_name_says(name: str) -> None:
    found = attentions(roles.variant(transformer(8, 3), name, 1))
    assert len(found) == 9  # of three layers on either side, and three that read the memory
    for each in found:
        assert isinstance(each.output, nn.Identity) == (name == NO_OUTPUT)
        assert (each.key is each.query) == (name in (SAME_KEY, ONE))
        assert (each.value is each.query) == (name == ONE)


@pytest.mark.parametrize("name", roles.VARIANTS)
def test_what_attention_lacks_the_feed_forward_has(name: str) -> None:
    config = roles.configuration(name, 16)
    by_hand = {WHOLE: 4, NO_OUTPUT: 3, SAME_KEY: 3, ONE: 2, UNEVEN: 4}[name]  # matrices of 16 x 16 + 16 in each of 9 attentions
    missing = (4 - by_hand) * 9 * (16 * 16 + 16)
    one_wider = 6 * (2 * 16 + 1)  # of six layers
    assert config.encoder.d_ff == config.decoder.d_ff == 64 + round(missing / one_wider)
    assert [each.n_heads for each in attentions(translator(config, 1))[:3]] == ([1, 8, 1] if name == UNEVEN else [4, 4, 4])


ROLES_GOOD: dict[Place, list[float]] = {
    WHOLE: [1.0, 1.1],
    NO_OUTPUT: [1.3, 1.4],
    SAME_KEY: [1.2, 1.3],
    ONE: [1.5, 1.6],
    UNEVEN: [1.0, 1.1],
}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "confirmed"),
        ({SAME_KEY: [1.0, 1.1]}, "not confirmed here"),
        ({UNEVEN: [1.3, 1.4]}, "not confirmed here"),
        ({ONE: [1.0, 1.6]}, "undecided"),
        ({WHOLE: [5.0, 5.1]}, "undecided"),
    ],
)
def test_roles_can_come_out_each_way(change: dict[Place, list[float]], verdict: str) -> None:
    assert roles.EXPERIMENT.rule.judge(roles.judged({**ROLES_GOOD, **change}))[0] == verdict


def test_positions_are_added_where_a_layer_begins() -> None:
    config = transformer(8, 3)
    plain, every = (positions.variant(config, name, 1).eval() for name in (PAPER, EVERY))
    batch = translations(pairs_side_by_side("dev")[:4])
    assert not torch.allclose(plain(batch.ids, wanted=batch.wanted), every(batch.ids, wanted=batch.wanted))
    for stack in (every.model.encoder, every.model.decoder):
        assert isinstance(stack.positions, SinusoidalPositions)
        stack.positions.table.zero_()
    for stack in (plain.model.encoder, plain.model.decoder):
        assert isinstance(stack.positions, SinusoidalPositions)
        stack.positions.table.zero_()
    torch.testing.assert_close(plain(batch.ids, wanted=batch.wanted), every(batch.ids, wanted=batch.wanted))


def test_a_shared_layer_counts_once_and_a_wider_one_makes_up_for_it() -> None:
    config = transformer(16, 3)
    layer = 4 * (16 * 16 + 16) + 2 * 16 * 64 + 64 + 16 + 4 * 16  # attention, feed-forward, two norms
    whole = positions.weights(config, PAPER)
    assert whole - positions.weights(config, SHARED) == 2 * layer
    wide = positions.configuration(WIDE, 16)
    assert abs(positions.weights(wide, WIDE) - whole) <= 2 * (2 * 16 + 1)
    shared = positions.variant(config, SHARED, 1).model.encoder.layers
    assert len(shared) == 3
    assert len(set(map(id, shared))) == 1


def test_sinusoids_of_the_papers_base_are_the_models() -> None:
    torch.testing.assert_close(sinusoids(7, 6, 10_000), SinusoidalPositions(7, 6).table)
    assert sinusoids(3, 4, 100)[2].tolist() == pytest.approx([math.sin(2), math.cos(2), math.sin(0.2), math.cos(0.2)])


LOSSES: dict[Place, list[float]] = {PAPER: [1.0, 1.1], EVERY: [1.0, 1.1], SHARED: [1.2, 1.3], WIDE: [1.15, 1.25]}
RIGHT: dict[Place, list[float]] = {base: [0.8, 0.82] for base in positions.BASES}


@pytest.mark.parametrize(
    ("losses", "right", "verdict"),
    [
        ({}, {}, "confirmed"),
        ({EVERY: [0.8, 0.9]}, {}, "not confirmed here"),
        ({WIDE: [0.9, 1.0]}, {}, "not confirmed here"),
        ({}, {100: [0.95, 0.97]}, "not confirmed here"),
        ({}, {OWN: [0.1, 0.1]}, "undecided"),
    ],
)
def test_positions_can_come_out_each_way(
    losses: dict[Place, list[float]], right: dict[Place, list[float]], verdict: str
) -> None:
    found = positions.judged({**LOSSES, **losses}, {**RIGHT, **right})
    assert positions.EXPERIMENT.rule.judge(found)[0] == verdict
