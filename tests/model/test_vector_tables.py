"""The loss of word vectors and its gradient, against the formulas of the paper written out pair by pair."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pellucid.model.build import initialise
from pellucid.model.word_vectors import WordBatch, WordVectors

# R = 2 rows, T = 3, W = 1, S = 2 noise words, U = 5 distinct words of 6, D = 4; 9 rows of the input table.
WORDS = torch.tensor([0, 1, 3, 4, 5])
PARTS = [[0], [1, 6, 8], [3, 7], [4], [5, 6]]  # rows of each distinct word
CENTRES = torch.tensor([[0, 1, 2], [3, 4, 0]])
AROUND = torch.tensor([[0, 0, 1, 2, 3], [2, 3, 4, 0, 0]])
NOISE = torch.tensor([[2, 5], [0, 0]])
NEAR = torch.zeros(2, 3, 5, dtype=torch.bool)
for row, centre, other in [(0, 0, 2), (0, 1, 1), (0, 1, 3), (0, 2, 2), (1, 0, 2)]:
    NEAR[row, centre, other] = True


def batch(negatives: int = 3) -> WordBatch:
    parts = torch.tensor([row for rows in PARTS for row in rows])
    begins = torch.tensor([0, 1, 4, 6, 7])
    return WordBatch(WORDS, parts, begins, CENTRES, AROUND, NEAR, NOISE, negatives, int(NEAR.sum()))


@pytest.fixture
def model() -> WordVectors:
    torch.manual_seed(1)
    model = WordVectors(9, 6, 4).double()
    for weight in model.parameters():
        torch.nn.init.normal_(weight)
    return model


def by_hand(model: WordVectors, *, cbow: bool, negatives: int = 3) -> tuple[float, Tensor, Tensor]:
    """Loss and gradients of both tables, pair by pair: of a right pair -log s(u v), of noise -log s(-u v), s the sigmoid; the
    derivative by the product u v is s - 1 and s."""
    table, output = model.input.detach(), model.output.detach()
    total, of_input, of_output = 0.0, torch.zeros_like(table), torch.zeros_like(output)
    read = [table[rows].mean(0) for rows in PARTS]

    def pair(x: Tensor, word: int, right: bool, weight: float) -> Tensor:
        """Adds one pair to loss and output gradient; gives the gradient of x."""
        nonlocal total
        s = 1 / (1 + math.exp(-float(x @ output[word])))
        total -= weight * math.log(s if right else 1 - s)
        of_output[word] += weight * (s - right) * x
        return weight * (s - right) * output[word]

    for r in range(2):
        for t in range(3):
            others = [int(AROUND[r, j]) for j in range(5) if NEAR[r, t, j]]
            if not others:
                continue
            read_ones = others if cbow else [int(CENTRES[r, t])]
            told = [int(CENTRES[r, t])] if cbow else others
            x = torch.stack([read[place] for place in read_ones]).mean(0)
            gradient = torch.zeros(4, dtype=torch.float64)
            for place in told:
                gradient += pair(x, int(WORDS[place]), True, 1.0)
                for word in NOISE[r].tolist():
                    gradient += pair(x, word, False, negatives / 2)
            for place in read_ones:
                for row in PARTS[place]:
                    of_input[row] += gradient / len(read_ones) / len(PARTS[place])
    return total, of_input, of_output


@pytest.mark.parametrize("cbow", [False, True])
def test_loss_and_gradients_pair_by_pair(model: WordVectors, cbow: bool) -> None:
    found = model(batch(), cbow=cbow)
    found.backward()
    total, of_input, of_output = by_hand(model, cbow=cbow)
    assert found.item() == pytest.approx(total, rel=1e-6)  # the loss is computed in float32
    assert model.input.grad is not None
    assert model.output.grad is not None
    torch.testing.assert_close(model.input.grad, of_input, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model.output.grad, of_output, rtol=1e-5, atol=1e-6)


def test_more_noise_words_count_for_more(model: WordVectors) -> None:
    one, three = model(batch(1)), model(batch(3))
    right = by_hand(model, cbow=False, negatives=0)[0]
    assert (three - right).item() == pytest.approx(3 * (one - right).item(), rel=1e-5)


def test_at_first_every_word_is_as_probable_as_noise() -> None:
    """Each of 5 neighbours and its 3 noise words costs log 2."""
    model = WordVectors(9, 6, 4)
    initialise(model, 7)
    assert model(batch()).item() == pytest.approx(5 * (1 + 3) * math.log(2), rel=1e-6)
    assert bool((model.output == 0).all())
    assert 0 < float(model.input.detach().abs().max()) <= 1 / 4


def test_a_word_is_the_mean_of_its_rows(model: WordVectors) -> None:
    found = model.vectors(torch.tensor([1, 6, 8, 4]), torch.tensor([0, 3]))
    torch.testing.assert_close(found, torch.stack([model.input[[1, 6, 8]].mean(0), model.input[4]]))
