"""What experiments are made of, by hand: matched sizes, the trainer, costs, and the measures that single experiments have."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.compare.cost import peak_bytes, ratios, seconds
from pellucid.compare.experiments import distance, gradients, heads, mask, order, residual, scaling
from pellucid.compare.learner import Batch, accuracy, learn, train
from pellucid.compare.sizes import decoder, equal_decoders, made, matched, parameters


class TestSizes:
    def test_widths_are_those_nearest_in_weights(self) -> None:
        configs = equal_decoders(("Transformer", "LSTM", "GRU", "RNN"), width=16, vocabulary=11, layers=1, heads=2)
        # One block of width 16: 4 projections with bias, feed-forward of 64, two norms and the last; and the embedding.
        assert parameters(configs["Transformer"]) == 4 * (16 * 16 + 16) + 16 * 64 + 64 + 64 * 16 + 16 + 3 * 32 + 11 * 16
        # An LSTM of width w: 8 w^2 + 8 w + 11 w.
        assert parameters(configs["LSTM"]) == 8 * configs["LSTM"].d_model ** 2 + 19 * configs["LSTM"].d_model
        for config in configs.values():
            assert parameters(config) == pytest.approx(parameters(configs["Transformer"]), rel=0.04)

    def test_of_two_widths_the_nearer_one(self) -> None:
        make = partial(decoder, "RNN", vocabulary=7, layers=1)
        sizes = [parameters(make(width=width)) for width in (5, 6)]
        assert matched(lambda width: make(width=width), sizes[0] + 1).d_model == 5
        assert matched(lambda width: make(width=width), sizes[1] - 1).d_model == 6


class Table(nn.Module):
    """Logits of an answer from the token alone."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 5, generator=torch.Generator().manual_seed(seed)))

    def forward(self, ids: Tensor, *, wanted: Tensor) -> Tensor:
        return self.weight[ids[wanted]]


def opposite(generator: torch.Generator) -> Batch:
    ids = torch.randint(5, (3, 4), generator=generator)
    return Batch(ids, ids > 0, 4 - ids[ids > 0])


class TestLearner:
    def test_it_learns_and_repeats_itself(self) -> None:
        runs = []
        for _ in range(2):
            model = Table(1)
            runs.append(train(model, opposite, steps=150, rate=0.1, seed=3))
            assert accuracy(model, opposite, batches=2, seed=4) == 1.0
        assert runs[0] == runs[1]
        assert runs[0][-1] < 0.1 < runs[0][0]

    def test_the_best_rate_of_the_first_seed_serves_for_all(self) -> None:
        learnt = learn(Table, opposite, steps=40, rates=(1e-6, 0.1), seeds=(1, 2))
        assert learnt.rate == 0.1
        assert learnt.scores[0.1] > learnt.scores[1e-6]
        assert len(learnt.models) == len(learnt.losses) == 2
        assert learnt.losses[1] == train(Table(2), opposite, steps=40, rate=0.1, seed=2)

    def test_a_run_that_diverges_ends_and_is_not_chosen(self) -> None:
        def broken(generator: torch.Generator) -> Batch:
            return Batch(
                torch.ones(1, 1, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool), torch.ones(1, dtype=torch.long)
            )

        model = Table(1)
        with torch.no_grad():
            model.weight.fill_(math.nan)
        assert len(train(model, broken, steps=9, rate=0.1, seed=1)) == 1


class TestCost:
    def test_peak_is_the_most_held_at_once(self) -> None:
        def work() -> None:
            one = torch.empty(1000)
            del one
            kept = [torch.empty(500, dtype=torch.float64), torch.empty(300)]
            kept.clear()

        assert peak_bytes(work) == 500 * 8 + 300 * 4

    def test_contenders_take_turns(self) -> None:
        calls: list[str] = []
        found = seconds({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, least=0.0)
        assert "".join(calls) == "aabb" + "ab" * 3  # two runs each to know how often to repeat
        assert [len(numbers) for numbers in found.values()] == [3, 3]

    def test_ratios_are_taken_round_by_round(self) -> None:
        assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]


class TestMeasures:
    @pytest.mark.parametrize("kind", ["Transformer", "LSTM"])
    def test_gradients_are_those_at_the_tap_of_the_embedding(self, kind: str) -> None:
        model = made(decoder(kind, width=8, vocabulary=6, heads=2, max_length=5), 1).double()
        ids = torch.tensor([[1, 2, 3, 4, 5], [5, 5, 0, 1, 2]])
        directions = torch.randn(2, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        entered: list[Tensor] = []

        def catch(name: str, tensor: Tensor) -> Tensor:
            if name == "decoder.embed.out":
                entered.append(tensor.detach().requires_grad_())
                return entered[-1]
            return tensor

        logits = model(ids, tap=catch)[:, -1]
        (gradient,) = torch.autograd.grad((logits * directions).sum(), entered[0])
        expected = math.sqrt(8) * gradient.square().sum(-1).mean(0).sqrt()  # the embedding is multiplied by sqrt(d_model)
        torch.testing.assert_close(gradients.norms(model, ids, directions), expected)

    def test_layers_that_are_counted_are_the_models_own(self) -> None:
        x = torch.randn(7, 4, generator=torch.Generator().manual_seed(1))
        found = {kind: layer(list(x)) for kind, layer in scaling.layers(4, seed=3).items()}
        torch.testing.assert_close(found["self-attention"], F.scaled_dot_product_attention(x[None], x[None], x[None])[0, -1])
        torch.manual_seed(3)
        torch.testing.assert_close(found["recurrent"], nn.RNN(4, 4, batch_first=True)(x[None])[0][0, -1])

    def test_products_of_matrices_are_counted(self) -> None:
        layers = scaling.layers(4, seed=3)
        assert scaling.operations(layers["self-attention"], 7, 4) == 2 * (2 * 7 * 7 * 4)  # q k^T and weights v
        assert scaling.operations(layers["recurrent"], 7, 4) == 2 * 7 * (2 * 4 * 4)  # W x and U h

    def test_chains_of_a_graph_drawn_by_hand(self) -> None:
        # exp, exp, add, and the leaf itself from the first vector; one exp less from the second.
        longest, shortest = scaling.chains(lambda x: x[0].exp().exp() + x[1].exp(), 2, 3)
        assert (longest, shortest) == (4, 3)

    def test_difference_of_maps(self) -> None:
        weights = torch.zeros(1, 2, 6, 6)
        weights[..., 0] = 1.0
        assert heads.difference(weights) == 0.0
        weights[:, 1, :, 0], weights[:, 1, :, 1] = 0.25, 0.75
        assert heads.difference(weights) == 0.75

    def test_the_answer_of_heads_is_the_larger_of_two_before(self) -> None:
        drawn = heads.batch(torch.Generator().manual_seed(1), size=heads.SIZES["smallest"])
        rows, length = drawn.ids.shape
        expected = [max(int(row[at - 1]), int(row[at - 4])) for row in drawn.ids for at in range(4, length)]
        assert drawn.answers.tolist() == expected
        assert int(drawn.wanted.sum()) == rows * (length - 4)

    def test_without_positions_the_two_sentences_are_the_same(self) -> None:
        size = order.SIZES["smallest"]
        assert order.shift(order.untrained(order.config_of("encoder", "none", size), 1)) < 1e-5
        assert order.shift(order.untrained(order.config_of("encoder", "sinusoidal", size), 1)) > 0.01

    def test_entropy_of_the_ruled_language(self) -> None:
        # 0.8 and an eighth of 0.2 for one token, an eighth of 0.2 for each of seven.
        assert mask.entropy() == pytest.approx(-0.825 * math.log(0.825) - 7 * 0.025 * math.log(0.025))
        drawn = mask.sentences(torch.Generator().manual_seed(1), length=200, rows=50)
        follows = (mask.following(drawn[:, :-1]) == drawn[:, 1:]).float().mean()
        assert float(follows) == pytest.approx(0.825, abs=0.02)

    def test_recall_asks_for_the_first_symbol_after_fillers_of_another_alphabet(self) -> None:
        drawn = distance.batch(torch.Generator().manual_seed(1), distance=5, rows=3)
        assert drawn.ids.shape == (3, 6)
        assert drawn.answers.tolist() == drawn.ids[:, 0].tolist()
        assert bool((drawn.ids[:, 1:5] >= distance.SYMBOLS).all())
        assert drawn.ids[drawn.wanted].tolist() == [distance.QUESTION] * 3

    def test_a_stack_with_all_its_parts_is_the_model_itself(self) -> None:
        size = residual.SIZES["smallest"]
        ids = torch.tensor([[1, 20, 30, 31, 32]])
        plain = made(residual._config(2, size), 1)(ids)
        torch.testing.assert_close(residual.variant("whole", 2, size, 1)(ids), plain)
        for name in ("no residual", "no norm", "neither", residual.LONG):
            assert not torch.allclose(residual.variant(name, 2, size, 1)(ids), plain)

    @pytest.mark.parametrize("depth", [1, 2, 5])
    def test_long_skips_go_from_the_first_layer_to_the_last(self, depth: int) -> None:
        size = residual.SIZES["smallest"]
        model = residual.variant(residual.LONG, depth, size, 1).eval()
        plain = residual.blocks(residual.variant("no residual", depth, size, 1))
        blocks = residual.blocks(model)
        assert [list(a.state_dict()) for a in blocks] == [list(b.state_dict()) for b in plain]
        assert all(
            torch.equal(x, y)
            for a, b in zip(blocks, plain, strict=True)
            for x, y in zip(a.parameters(), b.parameters(), strict=True)
        )
        [stack] = model.decoder.layers
        joints = [each.joint for each in stack.modules() if isinstance(each, residual.Joined) and each.joint is not None]
        assert len(joints) == depth // 2
        seen: list[int] = []
        hooks = [
            block.register_forward_hook(lambda *_, number=number: seen.append(number)) for number, block in enumerate(blocks)
        ]
        model(torch.tensor([[1, 20, 30, 31, 32]]))
        assert seen == list(range(depth))
        assert len(hooks) == depth
