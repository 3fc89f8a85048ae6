"""The trained models of a study: those that were named, or those that it trains itself; and what training kept of them."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

import pellucid
from pellucid.base.errors import ModelError
from pellucid.model.build import build, initialise

ROOT = Path(__file__).parents[2]
PLACE = Path("runs") / "studies"
OVERRIDES = ("checkpoints.every=100", "checkpoints.keep_every=100", "runtime.threads=1")


def arguments(name: str, doc: str | None, recipe: str, seeds: Sequence[int]) -> argparse.Namespace:
    """What the command line of a study says."""
    trained = f"default: recipes/{recipe}.yaml, trained here with the seeds {', '.join(map(str, seeds))}, into {PLACE}"
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.studies.{name}", description=(doc or "").split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN", help=f"directory of a run; {trained}")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "studies", help="where page, pictures and figures go")
    given = parser.parse_args()
    given.runs = given.runs or [trained_run(recipe, seed) for seed in seeds]
    given.out.mkdir(parents=True, exist_ok=True)
    return given


def trained_run(recipe: str, seed: int) -> Path:
    """The run of a recipe with a seed, trained unless it is there. One thread: another number of them rounds differently."""
    run = PLACE / f"{recipe}-{seed}"
    command = [sys.executable, "-m", "pellucid", "train", str(ROOT / "recipes" / f"{recipe}.yaml"), "--out", str(run)]
    subprocess.run([*command, f"seed={seed}", *OVERRIDES], check=True)
    return run


def kept(run: Path) -> list[tuple[int, Path]]:
    """Step and file of the weights that training kept, in order.

    Raises:
        ModelError: it kept none.
    """
    files = sorted((run / "checkpoints").glob("weights-*.safetensors"))
    if not files:
        advice = f"train with {' '.join(OVERRIDES[:2])}"
        raise ModelError("the run kept no weights on the way", where=run, expected="checkpoints/weights-*", advice=advice)
    return [(int(path.stem.rpartition("-")[2]), path) for path in files]


def with_weights(loaded: Any, path: Path) -> Any:
    """The same object with the weights of another step."""
    loaded.model.load_state_dict(load_file(path))
    return loaded


def untrained(run: Path) -> Any:
    """The model of a run as it was before the first step: what its shape alone does."""
    loaded = pellucid.load(run)
    loaded.model = build(loaded.config.model)
    initialise(loaded.model, loaded.config.seed)
    loaded.model.eval()
    return loaded


def titles(loaded: Mapping[Path, Any]) -> dict[Path, str]:
    """What the runs are called: by seed, or where two have the same, by directory."""
    seeds = [one.config.seed for one in loaded.values()]
    return {run: f"seed {one.config.seed}" if seeds.count(one.config.seed) == 1 else run.name for run, one in loaded.items()}


def about(loaded: Any) -> dict[str, Any]:
    """What decides the figures of a model, for the record."""
    config = loaded.config
    runtime = config.runtime
    return {"seed": config.seed, "steps": config.training.steps, "precision": runtime.precision, "threads": runtime.threads}
