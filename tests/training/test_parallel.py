"""Ranks: who takes what of a step and of a validation, and a step of several processes, which is the step of one."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from started import ended, free_port, start
from steps_of_ranks import STEPS, one_step

from pellucid.base.config import RuntimeConfig
from pellucid.data.batches import plan
from pellucid.training.checkpoints import read_moments
from pellucid.training.parallel import ALONE, RankError, Ranks, together
from pellucid.training.step import seed_step


class At(Ranks):
    """A rank that does not speak with the others."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


@pytest.mark.parametrize("size", [1, 2, 3, 4, 6, 7])
@pytest.mark.parametrize("accumulate", [1, 2, 3, 4])
def test_every_example_of_a_step_counts_once_and_ranks_take_as_many_parts(size: int, accumulate: int) -> None:
    batches = [np.arange(10 * number, 10 * number + 1 + 3 * number) for number in range(accumulate)]  # 1, 4, 7, 10 examples
    shares = [At(rank, size).share(batches) for rank in range(size)]
    assert len({len(mine) for mine in shares}) == 1
    assert all(len(share.examples) for mine in shares for share in mine)
    counted = [number for mine in shares for share in mine if share.real for number in share.examples]
    assert sorted(counted) == sorted(np.concatenate(batches))


def test_batches_are_dealt_out_whole_where_that_goes() -> None:
    batches = [[0, 1, 2], [3], [4, 5], [6]]
    assert [share.examples for share in At(1, 2).share(batches)] == [[3], [6]]
    assert [share.examples for share in At(3, 8).share(batches)] == [[6]]
    assert At(7, 8).share(batches) == [([6], False)]
    assert [share.examples for share in At(4, 8).share(batches)] == [[1]]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_epoch_is_the_same_whatever_the_number_of_processes(size: int) -> None:
    lengths = np.random.default_rng(3).integers(1, 30, size=(101, 2))
    epoch = plan(lengths, tokens=96, seed=5, epoch=2)
    accumulate, seen = 2, Counter[int]()
    steps = [
        [epoch[i] for i in range(first, min(first + accumulate, len(epoch)))] for first in range(0, len(epoch), accumulate)
    ]
    for batches in steps:
        shares = [At(rank, size).share(batches) for rank in range(size)]
        here = {int(number) for mine in shares for share in mine for number in share.examples}
        assert here == {int(number) for batch in batches for number in batch}  # no rank is ahead of the others
        seen.update(int(number) for mine in shares for share in mine if share.real for number in share.examples)
    assert seen == Counter(range(101))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_validation_takes_each_example_once(size: int) -> None:
    parts = [list(At(rank, size).mine(range(10))) for rank in range(size)]
    assert sorted(number for part in parts for number in part) == list(range(10))
    assert parts[-1][0] == size - 1


def test_each_rank_draws_its_own_random_numbers() -> None:
    def drawn(step: int, rank: int) -> torch.Tensor:
        seed_step(1, step, rank)
        return torch.rand(5)

    assert torch.equal(drawn(7, 1), drawn(7, 1))
    assert not torch.equal(drawn(7, 0), drawn(7, 1))
    assert not torch.equal(drawn(7, 1), drawn(8, 1))
    seed_step(1, 7)
    assert torch.equal(torch.rand(5), drawn(7, 0))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_the_other_does_not_join_says_so(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"TORCHELASTIC_RUN_ID": "alone", "TORCHELASTIC_RESTART_COUNT": "0", "RANK": str(rank), "WORLD_SIZE": "2"}
    for name, value in (given | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}).items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(RankError, match=rf"rank {rank}: .* did not find each other\n.*the other one is rank {1 - rank}\n"),
        together(RuntimeConfig(device="cpu", timeout=1)),
    ):
        raise AssertionError("there is nobody to train with")


@pytest.mark.parametrize("shard", ["none", "full"])
def test_a_step_of_two_processes_is_that_of_one(shard: str, tmp_path: Path) -> None:
    program = [str(Path(__file__).with_name("steps_of_ranks.py")), shard, str(tmp_path)]
    process = start(2, program)
    said = ended(process)
    assert process.returncode == 0, said
    ranks = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    saved = [rank.pop("saved") for rank in ranks]
    assert ranks[0] == ranks[1]
    for name in STEPS:
        result, gradients = one_step(ALONE, STEPS[name])
        assert ranks[0][name] == pytest.approx([result.loss, result.tokens, result.gradient_norm], rel=1e-6)
        found = load_file(tmp_path / f"{name}.gradients.safetensors")
        assert found.keys() == gradients.keys()
        for weight, gradient in gradients.items():
            torch.testing.assert_close(found[weight], gradient, rtol=0.0, atol=1e-6, msg=f"{name}: {weight}")
    assert ranks[0]["clipped"] == pytest.approx(0.5, rel=1e-4)
    assert ranks[0]["poisoned"]["same"]
    assert "the loss of a batch is nan" in ranks[0]["poisoned"]["message"]
    assert "row 3" in ranks[0]["poisoned"]["message"]
    assert "row 0" not in ranks[0]["poisoned"]["message"]
    assert ranks[0]["joined"] == list(range(7))
    assert ranks[0]["sum"] == [2.0, 1.0]
    if shard == "none":
        assert saved == [{"written": False}] * 2
    else:
        _assert_saved_in_parts(saved, tmp_path)


def _assert_saved_in_parts(saved: list[dict[str, object]], directory: Path) -> None:
    """Each rank read its own part as it was; one process alone reads the whole; what the system refuses is told by all."""
    for rank in saved:
        assert rank["written"]
        assert rank["same"]
        assert rank["less"]
    assert str(saved[0]["refused"]).startswith("NotADirectoryError")  # who writes the checkpoint tells of it, with more
    assert re.fullmatch(r"StorageError: .*/a file/optimizer: cannot be written: Not a directory", str(saved[1]["refused"]))
    assert len(list((directory / "optimizer").glob("*.safetensors"))) == 2
    whole, read = load_file(directory / "moments.safetensors"), read_moments(directory)
    assert whole.keys() == read.keys()
    for name, value in whole.items():
        assert torch.equal(read[name], value), name
