"""The training loop: steps, validations, checkpoints, until the last step or a signal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from pellucid.base.config import RunConfig
from pellucid.base.errors import DivergedError, MemoryLimitError
from pellucid.base.progress import Progress as Bar
from pellucid.base.progress import say
from pellucid.model.lora import plain_weights
from pellucid.training.averaging import MovingAverage, average
from pellucid.training.checkpoints import Checkpoints, Progress, moments_of, restore_moments
from pellucid.training.divergence import Watch
from pellucid.training.protocol import Task, Validation
from pellucid.training.record import Record
from pellucid.training.schedule import learning_rate
from pellucid.training.signals import Interrupted, StopSignals
from pellucid.training.step import StepResult, arithmetic, make_optimizer, seed_step, train_step

LOWER_IS_BETTER = frozenset({"loss", "error"})


@dataclass
class _Window:
    """Sums since the last row of the record."""

    loss: float = 0.0
    tokens: int = 0
    seconds: float = 0.0


class Trainer:
    """Trains one model in one run directory, from nothing or from its newest checkpoint.

    Args:
        task: examples, loss and metrics.
        model: initialised; trained in place.
        config: of the run, with precision, device and threads settled.
        directory: of the run; exists, and is locked by the caller.
    """

    def __init__(self, task: Task, model: nn.Module, config: RunConfig, directory: Path) -> None:
        self.task, self.model, self.config, self.directory = task, model.to(config.runtime.device), config, directory
        self.trained = model
        if config.training.compile:
            self.trained = cast("nn.Module", torch.compile(model, dynamic=True))
        self.optimizer = make_optimizer(model, config.optimizer)
        self.sign = -1.0 if config.metric in LOWER_IS_BETTER else 1.0
        self.checkpoints = Checkpoints(directory, config.checkpoints, higher_is_better=self.sign > 0)
        self.progress = Progress()
        self.average: MovingAverage | None = None
        self._resume()
        self.record = Record(directory, self.progress.step)
        self.window = _Window()
        self.watch = Watch(config, self.progress)

    def run(self) -> None:
        """Train until the last step, then write the model.

        Raises:
            DivergedError: a loss or gradient is not finite, or the loss climbs far above what it began with.
            MemoryLimitError: a batch does not fit.
            Interrupted: a signal asked for a stop; a checkpoint has been saved.
        """
        training = self.config.training
        if self.progress.finished and self.progress.step >= training.steps:
            say(f"this run is finished (step {self.progress.step}): nothing to do")
            return
        self.progress.finished = False
        with StopSignals() as stop, _explained(self.config):
            self._try_worst_batch()
            if self._due(training.validate_every) and self._not_validated():
                self._validate(stop)  # the last call was stopped in it
            with Bar(training.steps, "steps", "training", start=self.progress.step) as bar:
                while self.progress.step < training.steps and not stop() and not self._lost_patience():
                    self._step(bar)
                    if self._due(training.validate_every) and self.progress.step < training.steps:
                        self._validate(stop)
                    if self._due(self.config.checkpoints.every) and self.progress.step < training.steps:
                        self._save()
            if stop.number is None:
                self._finish(stop)
            if stop.number is not None:
                self._save()
                raise Interrupted(stop.number)

    def _due(self, every: int) -> bool:
        return every > 0 and self.progress.step > 0 and self.progress.step % every == 0

    def _not_validated(self) -> bool:
        return str(self.progress.step) not in self.progress.scores

    def _step(self, bar: Bar) -> None:
        """One step, and its row in the record when one is due."""
        began = time.perf_counter()
        progress, optimizer = self.progress, self.config.optimizer
        progress.step += 1
        rate = learning_rate(progress.step, optimizer, d_model=self.config.model.d_model, steps=self.config.training.steps)
        seed_step(self.config.seed, progress.step)
        self.model.train()
        try:
            result = train_step(
                self.task,
                self.trained,
                self.optimizer,
                [self._next_examples() for _ in range(self.config.training.accumulate)],
                rate=rate,
                clip=optimizer.clip,
                precision=self.config.runtime.precision,
                device=self.config.runtime.device,
            )
        except DivergedError as error:
            if self.watch.may_skip(error):
                return
            raise
        self.watch.look_at(result.loss / result.tokens)
        if self.average is not None:
            self.average.update(self.model.state_dict())
        self._count(result, time.perf_counter() - began, rate)
        bar.update(1, loss=self.window.loss / self.window.tokens, rate=rate, tokens_per_second=self._speed())
        if self._due(self.config.training.log_every):
            self._log(result, rate)

    def _count(self, result: StepResult, seconds: float, rate: float) -> None:
        self.progress.tokens += result.tokens
        self.progress.seconds += seconds
        self.window.loss += result.loss
        self.window.tokens += result.tokens
        self.window.seconds += seconds

    def _speed(self) -> float:
        return self.window.tokens / self.window.seconds

    def _log(self, result: StepResult, rate: float) -> None:
        self.record.add(
            {
                "step": self.progress.step,
                "epoch": self.progress.epoch,
                "train_loss": round(self.window.loss / self.window.tokens, 5),
                "learning_rate": rate,
                "gradient_norm": round(result.gradient_norm, 5),
                "tokens_per_second": round(self._speed(), 1),
                "seconds": round(self.progress.seconds, 2),
            }
        )
        self.window = _Window()

    def _next_examples(self) -> np.ndarray[Any, Any]:
        """The examples of the next batch; an epoch follows the one before without a gap."""
        progress = self.progress
        plan = self.task.plan(progress.epoch)
        if progress.batch >= len(plan):
            progress.epoch, progress.batch = progress.epoch + 1, 0
            plan = self.task.plan(progress.epoch)
        progress.batch += 1
        return plan[progress.batch - 1]

    def _try_worst_batch(self) -> None:
        """Run the largest batch once, without an update, so that memory runs out now or never."""
        runtime = self.config.runtime
        batch = self.task.batch(self.task.worst()).to(runtime.device)
        self.model.train()
        with arithmetic(runtime.precision, runtime.device):
            loss = self.task.loss(self.trained, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.zero_grad(set_to_none=True)

    def _lost_patience(self) -> bool:
        patience = self.config.training.patience
        if not patience or self.progress.worse < patience:
            return False
        say(f"stopping at step {self.progress.step}: no better validation since step {self.progress.best_step}")
        return True

    def _validate(self, stop: StopSignals) -> None:
        """Score the dev split, remember the best weights, write record and pictures."""
        live = None
        if self.average is not None:  # what is validated is what will be used
            live = {name: weight.clone() for name, weight in self.model.state_dict().items()}
            self.model.load_state_dict(self.average.weights)
        self.model.eval()
        found = self.task.validate(self.model, stop)
        if not stop():
            self._judge(found)
        if live is not None:
            self.model.load_state_dict(live)

    def _judge(self, found: Validation) -> None:
        progress = self.progress
        score = found.metrics[self.config.metric]
        progress.scores[str(progress.step)] = score
        better = progress.best is None or self.sign * score > self.sign * progress.best
        if better:
            progress.best, progress.best_step, progress.worse = score, progress.step, 0
            self.task.save_model(plain_weights(self.model), self.directory / "model")
        else:
            progress.worse += 1
        self.record.add({"step": progress.step, **_dev(found)})
        self.record.add_samples(progress.step, found.samples)
        self.record.write_tables()
        say(f"step {progress.step}: {_in_words(found)}")
        for line in found.samples:
            say(f"  {line}")

    def _finish(self, stop: StopSignals) -> None:
        """Validate once more, save, and write the averaged model where one is wanted (else the best one stands)."""
        if self._not_validated():
            self._validate(stop)
        if not stop() and self.config.checkpoints.average > 1:
            self._save(last=True)
            self._write_average(stop)
        if not stop():
            self.progress.finished = True
            self._save(last=True)

    def _write_average(self, stop: StopSignals) -> None:
        """Make the mean of several checkpoints the model, and say how it does."""
        files = self.checkpoints.to_average()
        live = {name: weight.clone() for name, weight in self.model.state_dict().items()}
        self.model.load_state_dict(average(files))
        found = self.task.validate(self.model.eval(), stop)
        if not stop():
            self.task.save_model(plain_weights(self.model), self.directory / "model")
            self.record.add({"step": self.progress.step, "averaged": len(files), **_dev(found)})
            self.record.write_tables()
            say(f"the model is the average of {len(files)} checkpoints: {_in_words(found)}")
        self.model.load_state_dict(live)

    def _save(self, *, last: bool = False) -> None:
        moving = None if self.average is None else self.average.weights
        weights = {name: weight.contiguous() for name, weight in self.model.state_dict().items()}
        planned = last or self._due(self.config.checkpoints.every)
        moments = moments_of(self.model, self.optimizer)
        self.checkpoints.save(self.progress, weights, moments, moving, planned=planned)

    def _resume(self) -> None:
        """Take up the newest checkpoint: weights, moments, averages and the position in the data."""
        found = self.checkpoints.latest()
        decay = self.config.training.ema
        if found is None:
            self.average = MovingAverage(self.model.state_dict(), decay) if decay else None
            return
        self.model.load_state_dict(found.weights)
        restore_moments(self.model, self.optimizer, found.moments)
        self.progress = found.progress
        if decay:
            self.average = MovingAverage(found.average or found.weights, decay)
        say(f"going on from step {self.progress.step} ({found.path}), epoch {self.progress.epoch}, batch {self.progress.batch}")


def _dev(found: Validation) -> dict[str, float]:
    return {f"dev_{name}": round(value, 5) for name, value in found.metrics.items()}


def _in_words(found: Validation) -> str:
    return ", ".join(f"dev {name} {value:.2f}" for name, value in found.metrics.items())


@contextmanager
def _explained(config: RunConfig) -> Iterator[None]:
    """Turn what the allocators raise when memory runs out into advice on the setting to change."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)):
            raise
        raise MemoryLimitError(
            "a batch does not fit into memory",
            where="training.batch_tokens",
            found=config.training.batch_tokens,
            advice="halve training.batch_tokens and double training.accumulate: the steps stay the same",
        ) from error
