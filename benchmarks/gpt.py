"""What the contenders of ``benchmarks.gpt_training`` share: the settings, the text, and the way each is called and answers.

A contender is a module with a function ``make_step(setting, precision)``; what that returns trains on a batch of inputs and
targets, both ``(batch, context)``, and gives the loss per token. It is run as ``python -m benchmarks.peers.NAME SETTING TEXT
PRECISION``.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

LEARNING_RATE, BETAS, WEIGHT_DECAY, CLIP = 1e-3, (0.9, 0.99), 0.1, 1.0
VOCABULARY = 65

Step = Callable[[Tensor, Tensor], float]


@dataclass(frozen=True)
class Setting:
    """Shape of the model, of a batch, and how many steps are taken."""

    n_layers: int
    n_heads: int
    d_model: int
    context: int
    batch: int
    warm_up: int  # steps
    steps: int  # on the clock


SETTINGS = {
    "small": Setting(n_layers=4, n_heads=4, d_model=128, context=64, batch=12, warm_up=10, steps=150),
    "large": Setting(n_layers=6, n_heads=6, d_model=384, context=256, batch=64, warm_up=1, steps=2),
}


def run(make_step: Callable[[Setting, str], tuple[nn.Module, Step]]) -> None:
    """Warm up, then time the steps, and answer: tokens a second, parameters, and the loss of the last step."""
    setting = SETTINGS[sys.argv[1]]
    batches = _batches(Path(sys.argv[2]), setting)
    torch.manual_seed(1)
    model, step = make_step(setting, sys.argv[3])
    for inputs, targets in batches[: setting.warm_up]:
        step(inputs, targets)
    start = time.perf_counter()
    for inputs, targets in batches[setting.warm_up :]:
        loss = step(inputs, targets)
    seconds = time.perf_counter() - start
    rate = setting.steps * setting.batch * setting.context / seconds
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(json.dumps({"tokens a second": rate, "parameters": parameters, "loss": loss}))


def _batches(path: Path, setting: Setting) -> list[tuple[Tensor, Tensor]]:
    """Windows of the text, its characters as numbers; the same for all."""
    text = path.read_text(encoding="utf-8")
    number_of = {character: number for number, character in enumerate(sorted(set(text)))}
    if len(number_of) != VOCABULARY:
        raise SystemExit(f"{path} has {len(number_of)} different characters, not {VOCABULARY}: this is another text")
    ids = torch.tensor([number_of[character] for character in text])
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(setting.warm_up + setting.steps):
        starts = torch.randint(len(ids) - setting.context, (setting.batch, 1), generator=generator)
        windows = ids[starts + torch.arange(setting.context + 1)]
        found.append((windows[:, :-1].contiguous(), windows[:, 1:].contiguous()))
    return found


def plain_step(model: nn.Module, logits_of: Callable[[Tensor], Tensor], precision: str) -> Step:
    """The loop that people write: cross-entropy, gradients clipped, AdamW in its fused form with decay on matrices only."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, fused=True)

    def step(inputs: Tensor, targets: Tensor) -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            loss = nn.functional.cross_entropy(logits_of(inputs).flatten(0, 1), targets.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return loss.item()

    return step
