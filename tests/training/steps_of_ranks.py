"""What each of several processes does in tests of single steps: started by ``torchrun``, it writes down what it found."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from test_step import Copying, rows, small_model
from torch import Tensor
from torch.distributed.tensor import DTensor

from pellucid.base.config import OptimizerConfig, RuntimeConfig
from pellucid.base.errors import DivergedError, StorageError
from pellucid.training.checkpoints import moments_of, read_moments
from pellucid.training.parallel import ALONE, Ranks, together
from pellucid.training.step import StepResult, make_optimizer, train_step

# Rows of 1 to 30 tokens, so that a mean of means would be far off. With 2 processes: batches dealt out whole; one batch cut in
# two; three batches cut in two, of one example each, so that one process goes empty.
STEPS: dict[str, list[list[int]]] = {
    "dealt": [[0, 1], [2, 3], [4], [5, 6, 7]],
    "cut": [[0, 1, 2, 3, 4, 5, 6, 7]],
    "empty": [[1], [0], [3]],
}


def one_step(ranks: Ranks, batches: list[list[int]], clip: float = 0.0) -> tuple[StepResult, dict[str, Tensor]]:
    """What the step found, and the gradients."""
    model = small_model(dtype=torch.float32)
    trained = ranks.wrap(model)
    optimizer = make_optimizer(model, OptimizerConfig())
    result = train_step(
        Copying(rows()), trained, optimizer, batches, rate=1e-3, clip=clip, precision="float32", device="cpu", ranks=ranks
    )
    gradients = {name: ranks.gathered(p.grad) for name, p in model.named_parameters() if p.grad is not None}
    return result, gradients


def poisoned(ranks: Ranks) -> dict[str, object]:
    """A step in which the loss of one process is not a number."""
    model = small_model(dtype=torch.float32)
    trained = ranks.wrap(model)
    before = {name: ranks.gathered(weight).clone() for name, weight in model.state_dict().items()}
    optimizer = make_optimizer(model, OptimizerConfig())
    task, message = Copying(rows(), poison=3), ""
    try:
        train_step(
            task,
            trained,
            optimizer,
            [[0, 1], [2, 3]],
            rate=0.1,
            clip=0.0,
            precision="float32",
            device="cpu",
            ranks=ranks,
        )
    except DivergedError as error:
        message = str(error)
    same = all(torch.equal(before[name], ranks.gathered(weight)) for name, weight in model.state_dict().items())
    return {"message": message, "same": same}


def saved(ranks: Ranks, directory: Path) -> dict[str, object]:
    """The moments after a step, written by all and read again, each rank its part; and a directory that can't be."""
    model = small_model(dtype=torch.float32)
    trained = ranks.wrap(model)
    optimizer = make_optimizer(model, OptimizerConfig())
    train_step(
        Copying(rows()), trained, optimizer, [[0, 1]], rate=0.1, clip=0.0, precision="float32", device="cpu", ranks=ranks
    )
    moments = moments_of(model, optimizer)
    whole = {name: ranks.gathered(value) for name, value in moments.items()}
    if ranks.first:
        save_file(whole, directory / "moments.safetensors")
        (directory / "a file").touch()
    written = ranks.write_parts(moments, directory / "optimizer" if ranks.first else None)
    if not written:
        return {"written": False}
    read = read_moments(directory, model.state_dict())
    same = all(torch.equal(local(read[name]), local(moments[name])) for name in moments)
    less = sum(local(value).numel() for value in read.values()) < sum(value.numel() for value in whole.values())
    refused = ""
    try:
        ranks.write_parts(moments, directory / "a file" / "optimizer" if ranks.first else None)
    except (OSError, StorageError) as error:
        refused = f"{type(error).__name__}: {error}"
    return {"written": True, "same": same and read.keys() == moments.keys(), "less": less, "refused": refused}


def local(value: Tensor) -> Tensor:
    """What this rank holds of it."""
    return value.to_local() if isinstance(value, DTensor) else value


def main(shard: str, directory: Path) -> None:
    """Every step, and what this process alone knows of it."""
    config = RuntimeConfig(device="cpu", precision="float32", shard=shard, timeout=60)  # type: ignore[arg-type]
    with together(config) as ranks:
        assert ranks is not ALONE
        found: dict[str, object] = {}
        for name, batches in STEPS.items():
            result, gradients = one_step(ranks, batches)
            found[name] = [result.loss, result.tokens, result.gradient_norm]
            if ranks.first:
                save_file(gradients, directory / f"{name}.gradients.safetensors")
        _, clipped = one_step(ranks, STEPS["dealt"], clip=0.5)
        found["clipped"] = float(torch.nn.utils.get_total_norm(clipped.values()))
        found["poisoned"] = poisoned(ranks)
        found["joined"] = ranks.joined(list(ranks.mine(range(7))))
        found["saved"] = saved(ranks, directory)
        found["sum"] = ranks.sum(1.0, ranks.rank)
        (directory / f"rank-{ranks.rank}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
