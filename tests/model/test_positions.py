"""Positions: the paper's closed form, and where counting begins."""

from __future__ import annotations

import math

import pytest
import torch
from examples import close

from pellucid.model.positions import LearnedPositions, SinusoidalPositions, position_ids

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
    assert torch.equal(positions(at), positions.table[at])


def test_an_offset_is_a_rotation() -> None:
    """What the paper hopes for (section 3.5): the products of two encodings depend on their distance alone."""
    table = SinusoidalPositions(60, D_MODEL).table.double()
    close(table[5] @ table[17], table[40] @ table[52], 1e-6)


def test_learned_positions_are_rows_of_a_matrix() -> None:
    positions = LearnedPositions(4, 3)
    positions.weight.data = torch.arange(12.0).view(4, 3)
    assert positions(torch.tensor([[2, 0]])).tolist() == [[[6.0, 7.0, 8.0], [0.0, 1.0, 2.0]]]


def test_positions_count_from_the_first_real_token() -> None:
    mask = torch.tensor([[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 1]]).bool()
    # By hand; those of padding do not matter, but must exist in a table (none below 0).
    assert position_ids(mask, 4, CPU)[mask].tolist() == [0, 1, 2, 3, 0, 1, 0, 1, 0, 1]
    assert position_ids(mask, 4, CPU).min() == 0
    assert position_ids(mask, 4, CPU).max() == 3


def test_positions_without_a_mask_go_on_after_the_cached_ones() -> None:
    assert position_ids(None, 3, CPU).tolist() == [[0, 1, 2]]
    assert position_ids(None, 3, CPU, start=5).tolist() == [[5, 6, 7]]
