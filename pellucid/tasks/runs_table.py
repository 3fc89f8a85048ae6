"""The runs of a folder side by side: which is best, which is not finished, which is damaged. No weights are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from safetensors import SafetensorError, safe_open

from pellucid.base.config import RunConfig
from pellucid.base.errors import ModelError, PellucidError
from pellucid.base.recipe import read
from pellucid.tasks.model_directory import WEIGHTS, find, read_config
from pellucid.tasks.train import RESOLVED
from pellucid.training.checkpoints import newest_progress
from pellucid.training.loop import LOWER_IS_BETTER

HEADINGS = ("run", "task", "best on dev", "at step", "steps", "state", "last change")


@dataclass(frozen=True)
class _Row:
    config: RunConfig
    best: float | None
    cells: tuple[str, ...]

    @property
    def place(self) -> tuple[str, str, bool, float, str]:
        """Where it stands: by task and metric, the best first, those without a score last."""
        sign = 1.0 if self.config.metric in LOWER_IS_BETTER else -1.0
        return self.config.task, self.config.metric, self.best is None, sign * (self.best or 0.0), self.cells[0]


def table_of(runs: Sequence[Path]) -> list[str]:
    """Lines: headings, a row for each run, the best first within each task; then those that are damaged, and why.

    Args:
        runs: directories of runs or models.
    """
    rows: list[_Row] = []
    damaged: list[str] = []
    for run in runs:
        try:
            rows.append(_row(run))
        except PellucidError as error:
            where = "" if error.where is None else f" ({error.where})"
            damaged.append(f"damaged: {run.name}: {error.what.splitlines()[0]}{where}")
        except OSError as error:
            damaged.append(f"damaged: {run.name}: {error.strerror or error} ({error.filename})")
    cells = [HEADINGS, *(row.cells for row in sorted(rows, key=lambda row: row.place))] if rows else []
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return lines + damaged


def _row(run: Path) -> _Row:
    config, progress = _config(run), newest_progress(run)
    newest = max(file.stat().st_mtime for file in (run, *run.glob("metrics.jsonl"), *run.glob("checkpoints/step-*")))
    change = datetime.fromtimestamp(newest).strftime("%Y-%m-%d %H:%M")
    if progress is None:
        begun = (run / RESOLVED).is_file()
        return _Row(config, None, (run.name, config.task, "", "", "", "no checkpoint" if begun else "model", change))
    best = "" if progress.best is None else f"{config.metric} {progress.best:.4g}"
    at = "" if progress.best is None else f"{progress.best_step:,}"
    state = "finished" if progress.finished else f"stopped or running, of {config.training.steps:,}"
    return _Row(config, progress.best, (run.name, config.task, best, at, f"{progress.step:,}", state, change))


def _config(run: Path) -> RunConfig:
    """Its configuration, from the run or from its model, whose weights must be whole as far as their headings tell."""
    begun = (run / RESOLVED).is_file()
    if not begun or (run / "model").is_dir():
        weights = find(run) / WEIGHTS
        try:
            with safe_open(weights, framework="pt"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError("the weights are missing or damaged", where=weights, found=error) from None
    return read(run / RESOLVED) if begun else read_config(find(run))
