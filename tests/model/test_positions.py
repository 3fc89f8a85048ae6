"""Positions: the paper's closed form, and where counting begins."""

from __future__ import annotations

import math

import pytest
import torch
from examples import close

from pellucid.base.config import RotaryConfig
from pellucid.model.positions import (
    AlibiPositions,
    LearnedPositions,
    RelativePositions,
    RotaryPositions,
    SinusoidalPositions,
    alibi_slopes,
    position_ids,
    rotate,
)

CPU = torch.device("cpu")
D_MODEL = 6


@pytest.mark.parametrize("position", [0, 1, 100, 999])
def test_sinusoid_in_closed_form(position: int) -> None:
    """PE(pos, 2i) = sin(pos / 10000^(2i / d_model)), PE(pos, 2i + 1) the cosine: interleaved, not one half after the other."""
    expected = []
    for i in range(D_MODEL // 2):
        angle = position / 10000 ** (2 * i / D_MODEL)
        expected += [math.sin(angle), math.cos(angle)]
    table = SinusoidalPositions(1000, D_MODEL).table
    assert table.dtype == torch.float32
    # Half a unit in the last place of a number below 1: an angle computed in float32 would be wrong by 3e-5 at 999.
    close(table[position].double(), torch.tensor(expected, dtype=torch.float64), 2**-25)


def test_position_zero_is_sines_of_zero_and_cosines_of_zero() -> None:
    assert SinusoidalPositions(3, D_MODEL).table[0].tolist() == [0.0, 1.0] * 3


def test_the_table_takes_the_models_type_and_is_no_parameter() -> None:
    positions = SinusoidalPositions(10, D_MODEL).double()
    positions.initialise()
    assert list(positions.parameters()) == []
    assert list(positions.state_dict()) == []
    # In float64 the closed form holds to its last digits: cos(3) and sin(3 / 10000^(1/3)).
    assert positions.table[3, 1].item() == pytest.approx(math.cos(3.0), abs=1e-15)
    assert positions.table[3, 2].item() == pytest.approx(math.sin(3 / 10000 ** (1 / 3)), abs=1e-15)


def test_sinusoids_are_looked_up_by_position() -> None:
    positions = SinusoidalPositions(10, D_MODEL)
    at = torch.tensor([[0, 7], [3, 3]])
    assert torch.equal(positions.added(at), positions.table[at])


def test_an_offset_is_a_rotation() -> None:
    """What the paper hopes for (section 3.5): the products of two encodings depend on their distance alone."""
    table = SinusoidalPositions(60, D_MODEL).table.double()
    close(table[5] @ table[17], table[40] @ table[52], 1e-6)


def test_learned_positions_are_rows_of_a_matrix() -> None:
    positions = LearnedPositions(4, 3)
    positions.weight.data = torch.arange(12.0).view(4, 3)
    assert positions.added(torch.tensor([[2, 0]])).tolist() == [[[6.0, 7.0, 8.0], [0.0, 1.0, 2.0]]]


def test_positions_count_from_the_first_real_token() -> None:
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1]]).bool()
    # By hand; those of padding do not matter, but must exist in a table (none below 0).
    assert position_ids(mask, 4, CPU)[mask].tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 0, 1]
    assert position_ids(mask, 4, CPU).min() == 0
    assert position_ids(mask, 4, CPU).max() == 3


def test_positions_without_a_mask_are_those_of_the_columns() -> None:
    assert position_ids(None, 3, CPU).tolist() == [[0, 1, 2]]


def test_halves_hold_the_same_numbers_in_another_order() -> None:
    turns, halves = SinusoidalPositions(50, D_MODEL).table, SinusoidalPositions(50, D_MODEL, halves=True).table
    assert torch.equal(halves, torch.cat((turns[:, 0::2], turns[:, 1::2]), dim=1))


def test_rotation_turns_pairs_half_a_head_apart() -> None:
    """By hand, position 3, width 4: numbers 0 and 2 by 3 radians, numbers 1 and 3 by 3 / 10000^(1/2) = 0.03."""
    x = torch.tensor([1.0, 2.0, 5.0, 7.0], dtype=torch.float64).view(1, 1, 1, 4)
    rotation = RotaryPositions(4, RotaryConfig()).rotation(torch.tensor([[3]]), like=x)
    c, s, c2, s2 = math.cos(3), math.sin(3), math.cos(0.03), math.sin(0.03)
    expected = torch.tensor([c - 5 * s, 2 * c2 - 7 * s2, s + 5 * c, 2 * s2 + 7 * c2], dtype=torch.float64)
    close(rotate(x, rotation).flatten(), expected, 1e-14)


def test_rotated_products_depend_on_the_distance_alone() -> None:
    query, key = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scheme = RotaryPositions(8, RotaryConfig())

    def product(at: int, other: int) -> torch.Tensor:
        left = rotate(query, scheme.rotation(torch.tensor([[at]]), query))
        return (left * rotate(key, scheme.rotation(torch.tensor([[other]]), key))).sum()

    close(product(5, 2), product(1005, 1002), 1e-10)
    assert abs(product(5, 2) - product(5, 3)) > 1e-3


def test_angles_are_exact_in_bfloat16() -> None:
    """Positions 300 and 301 are one number in bfloat16; their rotations must differ."""
    like = torch.empty(0, dtype=torch.bfloat16)
    cosine, _ = RotaryPositions(2, RotaryConfig()).rotation(torch.tensor([[300, 301]]), like)
    expected = torch.tensor([math.cos(300), math.cos(301)]).to(torch.bfloat16)
    assert cosine.dtype == torch.bfloat16
    assert torch.equal(cosine[0, 0, :, 0], expected)


def test_scaled_rotations() -> None:
    """Linear: all waves slower. llama3, by hand: of a length of 64 and waves of 2 pi / f, a quick wave (f = 1 turns 10 times)
    is left, a slow one (f = 0.01, 0.1 times) is stretched in full, one between (f = 0.25, 2.546 turns) in part."""
    linear = RotaryPositions(4, RotaryConfig(scaling="linear", factor=4.0))
    assert linear.frequencies == [0.25, 0.0025]
    config = RotaryConfig(base=16.0, scaling="llama3", factor=8.0, original_length=64)
    frequencies = RotaryPositions(4, config).frequencies  # 1 and 16^(-1/2)
    share = (64 * 0.25 / (2 * math.pi) - 1) / 3
    assert frequencies == pytest.approx([1.0, (1 - share) * 0.25 / 8 + share * 0.25], abs=1e-15)
    slow = RotaryPositions(4, RotaryConfig(scaling="llama3", factor=8.0, original_length=64)).frequencies
    assert slow == [1.0, 0.01 / 8]


def test_alibi_slopes_as_published() -> None:
    """Press et al., section 3: 8 heads have 1/2, 1/4, .. 1/256. For 12 heads their code takes every second slope of 16."""
    assert alibi_slopes(8) == [2.0**-i for i in range(1, 9)]
    assert alibi_slopes(12) == [2.0**-i for i in range(1, 9)] + [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]


def test_alibi_bias_falls_with_the_distance() -> None:
    bias = AlibiPositions(2).bias(torch.tensor([[1, 4]]), torch.tensor([[0, 1, 6]]))
    # Slopes 2^-4 and 2^-8 of distances 1, 0, 5 and 4, 3, 2.
    distance = torch.tensor([[1.0, 0.0, 5.0], [4.0, 3.0, 2.0]], dtype=torch.float64)
    assert torch.equal(bias, -torch.stack([distance / 16, distance / 256])[None])


@pytest.mark.parametrize("both_ways", [True, False])
def test_buckets_of_relative_positions(both_ways: bool) -> None:
    """8 buckets up to distance 20, by hand. One way: 0 to 3 alone, then bucket 4 + floor(4 log(d / 4) / log 5).
    Both ways: 4 for each direction, 0 and 1 alone, then 2 + floor(2 log(d / 2) / log 10); keys behind the query 4 higher."""
    scheme = RelativePositions(3, buckets=8, max_distance=20, both_ways=both_ways)
    offsets = torch.tensor([-30, -19, -9, -8, -6, -4, -2, -1, 0, 1, 2, 7, 30])
    if both_ways:
        assert scheme.bucket(offsets).tolist() == [3, 3, 3, 3, 2, 2, 2, 1, 0, 5, 6, 7, 7]
    else:
        assert scheme.bucket(offsets).tolist() == [7, 7, 6, 5, 5, 4, 2, 1, 0, 0, 0, 0, 0]


def test_relative_bias_is_a_row_for_each_head() -> None:
    scheme = RelativePositions(3, buckets=4, max_distance=8, both_ways=False)
    scheme.weight.data = torch.arange(12.0).view(4, 3)
    bias = scheme.bias(torch.tensor([[1]]), torch.tensor([[0, 1, 5]]))
    # Distances 1, 0, and a key behind the query, which counts as 0.
    assert bias.tolist() == [[[[3.0, 0.0, 0.0]], [[4.0, 1.0, 1.0]], [[5.0, 2.0, 2.0]]]]
