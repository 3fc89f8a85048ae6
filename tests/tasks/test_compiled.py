"""``training.compile``: the same numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pellucid.base.config import RunConfig
from pellucid.tasks.train import train


# torch's compiler meets warnings in itself and hides them, which is too late where they are errors.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.slow
def test_a_compiled_run_has_the_losses_of_a_plain_one(config: RunConfig, tmp_path: Path) -> None:
    """Without dropout, whose random numbers compiled code draws in another order."""
    model = replace(config.model, dropout=0.0)
    plain = replace(config, model=model, training=replace(config.training, steps=8, log_every=1, validate_every=0))
    compiled = replace(plain, training=replace(plain.training, compile=True))
    torch._dynamo.reset()
    counted = torch._dynamo.utils.counters
    counted.clear()
    train(compiled, tmp_path / "compiled")
    assert counted["stats"]["unique_graphs"] > 0
    train(plain, tmp_path / "plain")
    losses = [
        [json.loads(line)["train_loss"] for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()[:8]]
        for run in ("compiled", "plain")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert losses[0][-1] < losses[0][0] - 0.1
