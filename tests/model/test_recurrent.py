"""Recurrent layers: equal to torch's own, in values and gradients, and blind to padding.

B 4 rows, T 7 positions, D 5 wide, states of 3.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from examples import close, real
from torch import Tensor, nn

from pellucid.base.taps import Tap
from pellucid.model.cache import StateCache
from pellucid.model.recurrent import RecurrentLayer

B, T, D, H = 4, 7, 5, 3
KINDS = ("rnn", "gru", "lstm")
TORCH = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
LENGTHS = [7, 3, 5, 1]


def layer(kind: str, *, both_ways: bool) -> RecurrentLayer:
    made = RecurrentLayer(kind, D, H, both_ways=both_ways).double()
    generator = torch.Generator().manual_seed(1)
    for weight in made.parameters():
        weight.data = 0.5 * torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    return made


def vectors(*shape: int, seed: int = 2) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def begun(made: RecurrentLayer, rows: int = B) -> tuple[Tensor, ...]:
    width = H * len(made.directions)
    return tuple(vectors(rows, width, seed=3 + number) for number in range(made.n_states))


def watched() -> Tap:
    return Tap(lambda name, tensor: tensor)


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_definition_is_what_torch_computes(kind: str, both_ways: bool) -> None:
    """Values and gradients, of the inputs and of every weight, from states that are not zero."""
    made = layer(kind, both_ways=both_ways)
    found = []
    for tap in (None, watched()):
        x, states = vectors(B, T, D).requires_grad_(), tuple(state.requires_grad_() for state in begun(made))
        out, after = made(x, None, states, tap)
        made.zero_grad()
        (out.square().sum() + sum(state.sin().sum() for state in after)).backward()
        gradients = [weight.grad for weight in made.parameters()] + [x.grad] + [state.grad for state in states]
        found.append((out, *after, *(gradient.clone() for gradient in gradients if gradient is not None)))
    assert len(found[0]) == 1 + 2 * made.n_states + 4 * len(made.directions) + 1
    for one, other in zip(*found, strict=True):
        close(one, other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_is_torchs_own_with_the_same_weights(kind: str) -> None:
    made, states = layer(kind, both_ways=True), begun(layer(kind, both_ways=True))
    own: Any = TORCH[kind](D, H, batch_first=True, bidirectional=True).double()
    own.load_state_dict(made.rnn.state_dict())
    halves = tuple(torch.stack(state.chunk(2, dim=1)) for state in states)  # (directions, B, H)
    expected, _ = own(vectors(B, T, D), halves if kind == "lstm" else halves[0])
    close(made(vectors(B, T, D), None, states)[0], expected)


def test_an_lstm_by_hand() -> None:
    """One number in, one state: the gates in torch's order i, f, g, o; weights of x 1, 2, 3, 4; of h 0; biases 0."""
    made = RecurrentLayer("lstm", 1, 1, both_ways=False).double()
    for weight in made.parameters():
        weight.data.zero_()
    made.rnn.weight_ih_l0.data = torch.tensor([[1.0], [2.0], [3.0], [4.0]], dtype=torch.float64)  # type: ignore[union-attr]
    x, before = 0.3, 0.7

    def sigmoid(number: float) -> float:
        return 1 / (1 + math.exp(-number))

    cell = sigmoid(2 * x) * before + sigmoid(x) * math.tanh(3 * x)
    hidden = sigmoid(4 * x) * math.tanh(cell)
    given = (torch.zeros(1, 1, dtype=torch.float64), torch.tensor([[before]], dtype=torch.float64))
    for tap in (None, watched()):
        _, (h, c) = made(torch.tensor([[[x]]], dtype=torch.float64), None, given, tap)
        close(torch.cat((h, c)), torch.tensor([[hidden], [cell]], dtype=torch.float64))


@pytest.mark.parametrize("tapped", [False, True])
@pytest.mark.parametrize("side", ["left", "right", "inside"])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_changes_nothing(kind: str, side: str, tapped: bool) -> None:
    made = layer(kind, both_ways=True)
    x, states, mask = vectors(B, T, D), begun(made), real(LENGTHS, T)
    if side == "left":
        mask = mask.flip(1)
    elif side == "inside":
        mask = torch.stack([row[torch.randperm(T, generator=torch.Generator().manual_seed(n))] for n, row in enumerate(mask)])
    tap = watched() if tapped else None
    out, after = made(x, mask, states, tap)
    noise, after_noise = made(torch.where(mask[:, :, None], x, 1e3), mask, states, tap)
    assert torch.equal(out, noise)
    assert all(torch.equal(one, other) for one, other in zip(after, after_noise, strict=True))
    for row in range(B):
        own = tuple(state[row : row + 1] for state in states)
        alone, last = made(x[row : row + 1, mask[row]], None, own)
        close(out[row, mask[row]], alone[0])
        assert not out[row, ~mask[row]].any()
        for one, other in zip(after, last, strict=True):
            close(one[row : row + 1], other)


@pytest.mark.parametrize("tapped", [False, True])
def test_a_row_of_nothing_leaves_the_states_as_they_were(tapped: bool) -> None:
    made = layer("gru", both_ways=False)
    mask = torch.tensor([[True, True], [False, False]])
    states = begun(made, 2)
    out, after = made(vectors(2, 2, D), mask, states, watched() if tapped else None)
    assert torch.equal(after[0][1], states[0][1])
    assert not out[1].any()
    assert not torch.equal(after[0][0], states[0][0])


def test_the_states_stay_in_float32_where_products_are_in_bfloat16() -> None:
    made = layer("lstm", both_ways=True).float()
    x = vectors(B, T, D).float()
    expected, _ = made(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = made(x)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_a_cache_goes_back_to_what_was_whatever_was_chosen_since() -> None:
    """Two states, three rows, width 1: after each position p row r holds 10 p + r."""
    after = [torch.tensor([[[0.0], [1.0], [2.0]]]) + 10 * position for position in range(4)]
    cache = StateCache(after[0])
    cache.append(after[1])
    cache.select(torch.tensor([2, 0, 0]))
    cache.append(after[2])
    cache.select(torch.tensor([1, 1]))
    cache.append(after[3][:, :2])
    assert cache.length == 3
    assert cache.now is not None
    cache.truncate(5)
    assert torch.equal(cache.now, after[3][:, :2])
    cache.truncate(2)
    assert torch.equal(cache.now.flatten(), torch.tensor([21.0, 21.0]))
    cache.truncate(1)  # rows 2, 0, 0, and of these the second twice
    assert cache.length == 1
    assert torch.equal(cache.now.flatten(), torch.tensor([10.0, 10.0]))
    cache.select(torch.tensor([0]))
    cache.truncate(0)
    assert torch.equal(cache.now.flatten(), torch.tensor([0.0]))


def test_an_empty_cache_may_be_chosen_from() -> None:
    cache = StateCache()
    cache.select(torch.tensor([0, 0]))
    assert cache.now is None
    assert cache.length == 0
