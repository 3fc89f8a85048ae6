"""Checkpoints: everything that a run needs to go on as if it had never stopped.

``checkpoints/step-00001000/`` is written aside, checksummed, synced and renamed; it holds weights, moments of the optimizer,
averages and the position in the data. Ranks that share the moments out (:mod:`pellucid.training.sharding`) write a file each.
``checkpoints/weights-00001000.safetensors`` holds weights alone, for averaging or for looking at later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from safetensors.torch import save as save_weights
from torch import Tensor, nn
from torch.optim import Optimizer

from pellucid.base.config import FORMAT_VERSION, CheckpointConfig
from pellucid.base.errors import ModelError
from pellucid.base.files import publish_directory, remove_directory, sweep, verify_directory, write_atomically
from pellucid.base.progress import say
from pellucid.training.parallel import ALONE, Ranks

Weights = dict[str, Tensor]

_MOMENTS = "optimizer.safetensors"
_PARTS = "optimizer"  # the directory of those that ranks hold in parts


@dataclass
class Progress:
    """Where a run stands; saved as JSON."""

    step: int = 0
    epoch: int = 0
    batch: int = 0  # batches of this epoch already used
    tokens: int = 0  # real target tokens so far
    seconds: float = 0.0  # spent in steps so far
    best: float | None = None  # best validation so far, in the metric of the run
    best_step: int = 0
    worse: int = 0  # validations since the best one
    scores: dict[str, float] = field(default_factory=dict)  # validation by step, in the metric of the run
    finished: bool = False
    skipped: int = 0  # steps left out since loss or gradient was not finite
    first_loss: float | None = None  # a token, in the first step


@dataclass(frozen=True)
class Checkpoint:
    """What :meth:`Checkpoints.latest` found."""

    path: Path
    progress: Progress
    weights: Weights
    moments: Weights
    average: Weights | None


class Checkpoints:
    """The checkpoints of one run.

    Args:
        directory: of the run.
        config: what is kept.
        higher_is_better: whether a larger metric is the better one, for ``average_of: best``.
        ranks: that save together; the first one writes what all have.
    """

    def __init__(self, directory: Path, config: CheckpointConfig, higher_is_better: bool, ranks: Ranks = ALONE) -> None:
        self.directory = directory / "checkpoints"
        self.config, self.ranks = config, ranks
        self.sign = 1.0 if higher_is_better else -1.0
        if ranks.first:
            self.directory.mkdir(parents=True, exist_ok=True)
            sweep(self.directory)

    def save(
        self, progress: Progress, weights: Weights, moments: Weights, average: Weights | None, *, planned: bool = True
    ) -> None:
        """Write a checkpoint, then remove those that are no longer kept. For every rank to call.

        Args:
            progress, weights, average: what to save; whole.
            moments: as the rank holds them.
            planned: whether the step is one that every run with this configuration saves. One saved on a signal is not: it
                must not enter an average, or an interrupted run would end with other weights.
        """
        if not self.ranks.first:
            self.ranks.write_parts(moments)
            return
        target = self.directory / f"step-{progress.step:08d}"
        content = {"format_version": FORMAT_VERSION, **vars(progress)}

        def build(aside: Path) -> None:
            save_file(weights, aside / "model.safetensors")
            if not self.ranks.write_parts(moments, aside / _PARTS):
                save_file(moments, aside / _MOMENTS)
            if average is not None:
                save_file(average, aside / "average.safetensors")
            (aside / "progress.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

        kept_for_averaging = planned and self.config.average > 1
        kept_for_later = self.config.keep_every and progress.step % self.config.keep_every == 0
        if kept_for_averaging or kept_for_later:
            shown = weights if average is None else average
            # First, since a run that goes on from this checkpoint does not come by here again: it would average others.
            write_atomically(self._weights_file(progress.step), save_weights(shown))
        publish_directory(build, target)
        self._remove_old(progress)

    def latest(self, held: Mapping[str, Tensor] | None = None) -> Checkpoint | None:
        """The newest checkpoint that is whole; damaged ones are named and passed over. ``None``: there is none.

        Args:
            held: the weights as this rank holds them, see :func:`read_moments`.

        Raises:
            ModelError: there are checkpoints, and every one is damaged or of another format.
        """
        candidates = sorted(self.directory.glob("step-*"), reverse=True)
        for path in candidates:
            try:
                verify_directory(path)
                return self._load(path, held)
            except ModelError as error:
                say(f"warning: this checkpoint can't be used, trying the one before it: {error}")
        if candidates:
            raise ModelError(
                "no checkpoint of this run is whole",
                where=self.directory,
                advice="train into a new directory, or move the damaged checkpoints away to start from nothing",
            )
        return None

    def to_average(self) -> list[Path]:
        """The files whose mean becomes the model: the last, or the best, of those kept."""
        newest = newest_progress(self.directory.parent)
        assert newest is not None, "averages are of checkpoints that have been saved"
        return [self._weights_file(step) for step in self._averaged_steps(newest)]

    def _averaged_steps(self, progress: Progress) -> list[int]:
        """The steps that are averaged: the last ones, or those with the best validation."""
        steps = sorted(int(path.stem.split("-")[1]) for path in self.directory.glob("weights-*.safetensors"))
        steps = [step for step in steps if step <= progress.step]
        if self.config.average_of == "best":
            scored = [step for step in steps if str(step) in progress.scores]
            steps = sorted(scored, key=lambda step: self.sign * progress.scores[str(step)])
        return steps[-self.config.average :]

    def _remove_old(self, progress: Progress) -> None:
        for path in sorted(self.directory.glob("step-*"))[: -self.config.keep]:
            remove_directory(path)
        averaged = set(self._averaged_steps(progress))
        for path in self.directory.glob("weights-*.safetensors"):
            step = int(path.stem.split("-")[1])
            kept_for_later = self.config.keep_every and step % self.config.keep_every == 0
            if step not in averaged and not kept_for_later:
                path.unlink()

    def _weights_file(self, step: int) -> Path:
        return self.directory / f"weights-{step:08d}.safetensors"

    def _load(self, path: Path, held: Mapping[str, Tensor] | None) -> Checkpoint:
        average = path / "average.safetensors"
        return Checkpoint(
            path=path,
            progress=_read_progress(path),
            weights=load_file(path / "model.safetensors"),
            moments=read_moments(path, held),
            average=load_file(average) if average.exists() else None,
        )


def kept_weights(run: Path) -> dict[int, Path]:
    """The weights that a run keeps, by step: their running average where there is one, since that becomes the model."""
    checkpoints = run / "checkpoints"
    found = {int(path.stem.split("-")[1]): path for path in checkpoints.glob("weights-*.safetensors")}
    for path in checkpoints.glob("step-*"):
        average = path / "average.safetensors"
        found[int(path.name.split("-")[1])] = average if average.exists() else path / "model.safetensors"
    return dict(sorted(found.items()))


def has_checkpoints(run: Path) -> bool:
    """Whether a model has been trained in a run directory, damaged or not."""
    return any((run / "checkpoints").glob("step-*"))


def newest_progress(run: Path) -> Progress | None:
    """Where the run in a directory stands; ``None``: it has no checkpoint."""
    newest = max((run / "checkpoints").glob("step-*"), default=None)
    return None if newest is None else _read_progress(newest)


def _read_progress(path: Path) -> Progress:
    """Where the run stood at a checkpoint.

    Raises:
        ModelError: ``progress.json`` is damaged or of another format.
    """
    file = path / "progress.json"
    advice = "move this checkpoint away: the run goes on from the one before it"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        version = content.pop("format_version", None)
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ModelError("the position of the run cannot be read", where=file, found=error, advice=advice) from None
    if version != FORMAT_VERSION:
        raise ModelError(
            "the checkpoint has another format",
            where=path,
            expected=f"format version {FORMAT_VERSION}",
            found=version,
            advice="go on with the version of pellucid that wrote it",
        )
    fresh = vars(Progress())
    for name, value in content.items():
        if name not in fresh or (fresh[name] is not None and type(value) is not type(fresh[name])):
            raise ModelError("the position of the run is damaged", where=file, found=f"{name}: {value!r:.60}", advice=advice)
    return Progress(**content)


def moments_of(model: nn.Module, optimizer: Optimizer) -> Weights:
    """The state of the optimizer by the name of the parameter: ``"NAME/exp_avg"`` and the like."""
    return {
        f"{name}/{key}": value.contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def read_moments(checkpoint: Path, held: Mapping[str, Tensor] | None = None) -> Weights:
    """The state of the optimizer in a checkpoint, by the names of :func:`moments_of`.

    Args:
        checkpoint: its directory.
        held: the weights as this rank holds them. Of moments that were saved in parts it reads its own part alone, also where
            other ranks wrote them; ``None``: all of them.
    """
    if not (checkpoint / _PARTS).is_dir():
        return load_file(checkpoint / _MOMENTS)
    from pellucid.training.sharding import read_parts

    return read_parts(checkpoint / _PARTS, held or {})


def restore_moments(model: nn.Module, optimizer: Optimizer, moments: Weights, ranks: Ranks = ALONE) -> None:
    """Put the state of the optimizer back, of each rank its part; the counterpart of :func:`moments_of`."""
    states: dict[str, dict[str, Any]] = {}
    for key, value in moments.items():
        name, _, part = key.rpartition("/")
        states.setdefault(name, {})[part] = value
    for name, parameter in model.named_parameters():
        if name in states:
            here = {part: value.to(parameter.device) for part, value in states[name].items()}
            optimizer.state[parameter] = {part: ranks.spread(value, parameter) for part, value in here.items()}
