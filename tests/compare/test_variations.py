"""The rows of Table 3: one change each; and verdicts on made-up figures."""

from __future__ import annotations

import pytest

from pellucid.compare.experiments import variations
from pellucid.compare.experiments.variations import BASE, BETTER, ROWS, WORSE, configurations
from pellucid.compare.sizes import parameters


def test_every_row_is_there_and_of_row_a_all_are_of_equal_size() -> None:
    configs = configurations(16)
    assert set(configs) == {BASE, *(name for names in ROWS.values() for name in names)}
    sizes = {name: parameters(config) for name, config in configs.items()}
    assert {sizes[name] for name in ROWS["A: heads"]} == {sizes[BASE]}
    assert {sizes[name] for name in ROWS["D: dropout"]} == {sizes[BASE]}
    smaller = {name for name, size in sizes.items() if size < sizes[BASE]}
    assert smaller == {"d_k / 4", "d_k / 2", "half the layers", "d_model / 2", "d_ff / 4"}
    # Half as wide keys: in six attentions W^Q, W^K, W^V and W^O lose half of 16 x 16 each, and the first three half a bias.
    assert sizes[BASE] - sizes["d_k / 2"] == 6 * (4 * 16 * 8 + 3 * 8)


def test_every_change_is_one() -> None:
    configs = configurations(16)
    base = configs[BASE]
    assert [configs[name].encoder.n_heads for name in ROWS["A: heads"]] == [1, 2, 8]
    assert [configs[name].encoder.d_head for name in ROWS["B: width of keys"]] == [1, 2]
    assert [configs[name].encoder.n_layers for name in ("half the layers", "twice the layers")] == [1, 4]
    assert [configs[name].d_model for name in ("d_model / 2", "d_model x 2")] == [8, 32]
    assert [configs[name].encoder.d_ff for name in (BASE, "d_ff / 4", "d_ff x 4", "d_model x 2")] == [64, 16, 256, 64]
    assert all(config.encoder == config.decoder for config in configs.values())
    assert [config for config in configs.values() if config == base] == [base]


GOOD = {
    BASE: [1.0, 1.001],
    **{name: [1.3, 1.301] for name in WORSE},
    **{name: [0.8, 0.801] for name in BETTER},
    **{
        name: [1.0, 1.001] for name in ("2 heads", "8 heads", "d_k / 2", "twice the layers", "dropout 0.2", "learned positions")
    },
}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, "confirmed"),
        ({"1 head": [0.9, 0.901]}, "not confirmed here"),
        ({"d_ff x 4": [1.1, 1.101]}, "not confirmed here"),
        ({"learned positions": [1.2, 1.201]}, "not confirmed here"),
        ({"no dropout": [0.8, 1.4]}, "undecided"),
        ({BASE: [4.0, 4.001]}, "undecided"),
    ],
)
def test_variations_can_come_out_each_way(change: dict[str, list[float]], verdict: str) -> None:
    assert variations.EXPERIMENT.rule.judge(variations.judged({**GOOD, **change}))[0] == verdict
