"""The training loop: steps, validations, checkpoints, until the last step or a signal."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.base.config import RunConfig
from pellucid.base.errors import DivergedError
from pellucid.base.progress import Progress as Bar
from pellucid.base.progress import say
from pellucid.model.lora import plain_weights
from pellucid.training.averaging import MovingAverage, average
from pellucid.training.checkpoints import Checkpoints, Progress, moments_of, restore_moments
from pellucid.training.divergence import Watch
from pellucid.training.outlook import Forecast, memory_explained
from pellucid.training.parallel import ALONE, Ranks
from pellucid.training.profiling import profiler
from pellucid.training.protocol import Task, Validation
from pellucid.training.record import Record
from pellucid.training.schedule import learning_rate
from pellucid.training.signals import Interrupted, StopSignals
from pellucid.training.step import StepResult, arithmetic, make_optimizer, seed_step, set_up_blocks, train_step

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
        ranks: the processes that train it together.
        profile: whether the first of them records some steps, see :mod:`pellucid.training.profiling`.
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        config: RunConfig,
        directory: Path,
        ranks: Ranks = ALONE,
        *,
        profile: bool = False,
    ) -> None:
        self.task, self.model, self.config, self.directory = task, model.to(config.runtime.device), config, directory
        self.ranks, self.profile = ranks, profile and ranks.first
        set_up_blocks(model, config.training)
        self.trained = ranks.wrap(model)
        self.optimizer = make_optimizer(model, config.optimizer)
        self.sign = -1.0 if config.metric in LOWER_IS_BETTER else 1.0
        self.checkpoints = Checkpoints(directory, config.checkpoints, higher_is_better=self.sign > 0, ranks=ranks)
        self.progress = Progress()
        self.average: MovingAverage | None = None
        ranks.wait()  # until what an earlier process left is tidied up
        self._resume()
        self.record = Record(directory, self.progress.step, writes=ranks.first)
        self.window = _Window()
        self.watch = Watch(config, self.progress)
        self.forecast = Forecast(config.training.steps - self.progress.step)

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
        with StopSignals() as stop, memory_explained(self.config):
            self._try_worst_batch()
            if self._due(training.validate_every) and self._not_validated():
                self._validate(stop)  # the last call was stopped in it
            bar = Bar(training.steps, "steps", "training", start=self.progress.step)
            with bar, profiler(self.profile, self.directory, self.config.runtime.device, self.ranks.size) as profiled:
                while self.progress.step < training.steps and not self._asked(stop) and not self._lost_patience():
                    self._step(bar)
                    profiled.step()
                    if self._due(training.validate_every) and self.progress.step < training.steps:
                        self._validate(stop)
                    if self._due(self.config.checkpoints.every) and self.progress.step < training.steps:
                        self._save()
            if not self._asked(stop):
                self._finish(stop)
            if number := self._asked(stop):
                self._save()
                raise Interrupted(number)

    def _asked(self, stop: StopSignals) -> int:
        """The number of the signal by which a stop was asked for on any rank; 0: none was.

        Every decision of the loop asks this, never the flag itself, which a signal may raise on one rank before another.
        """
        return self.ranks.agreed(stop.number or 0)

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
        seed_step(self.config.seed, progress.step, self.ranks.rank)
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
                ranks=self.ranks,
            )
        except DivergedError as error:
            if self.watch.may_skip(error):
                return
            raise
        self.watch.look_at(result.loss / result.tokens)
        if self.average is not None:
            self.average.update(self.model.state_dict())
        self._count(result, time.perf_counter() - began)
        bar.update(1, loss=self.window.loss / self.window.tokens, rate=rate, tokens_per_second=self._speed())
        if self._due(self.config.training.log_every):
            self._log(result, rate)

    def _count(self, result: StepResult, seconds: float) -> None:
        self.progress.tokens += result.tokens
        self.progress.seconds += seconds
        self.window.loss += result.loss
        self.window.tokens += result.tokens
        self.window.seconds += seconds
        if line := self.forecast.after(seconds):
            say(line)

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
        share = self.ranks.share([self.task.worst()] * self.config.training.accumulate)[0]
        batch = self.task.batch(share.examples).to(runtime.device)
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
        with self._shown() as model:
            found = self.task.validate(model.eval(), stop, self.ranks)
            if not self._asked(stop):
                self._judge(found, model)

    @contextmanager
    def _shown(self, weights: dict[str, Tensor] | None = None) -> Iterator[nn.Module]:
        """The model as it will be used: with these weights, else the moving average where there is one."""
        if weights is None and self.average is not None:
            weights = self.average.weights
        # Decoding has another shape at every step, and would compile for each.
        plain = torch.compiler.set_stance("force_eager") if self.config.training.compile else nullcontext()
        with plain, self.ranks.whole(self.model, weights) as model:
            yield model

    def _judge(self, found: Validation, model: nn.Module) -> None:
        progress = self.progress
        score = found.metrics[self.config.metric]
        progress.scores[str(progress.step)] = score
        better = progress.best is None or self.sign * score > self.sign * progress.best
        if better:
            progress.best, progress.best_step, progress.worse = score, progress.step, 0
            self._write_model(model)
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
        if not self._asked(stop) and self.config.checkpoints.average > 1:
            self._save(last=True)
            self._write_average(stop)
        if not self._asked(stop):
            self.progress.finished = True
            self._save(last=True)

    def _write_average(self, stop: StopSignals) -> None:
        """Make the mean of several checkpoints the model, and say how it does."""
        files = self.checkpoints.to_average()
        with self._shown(average(files)) as model:
            found = self.task.validate(model.eval(), stop, self.ranks)
            if self._asked(stop):
                return
            self._write_model(model)
        self.record.add({"step": self.progress.step, "averaged": len(files), **_dev(found)})
        self.record.write_tables()
        say(f"the model is the average of {len(files)} checkpoints: {_in_words(found)}")

    def _write_model(self, model: nn.Module) -> None:
        if self.ranks.first:
            self.task.save_model(plain_weights(model), self.directory / "model")

    def _save(self, *, last: bool = False) -> None:
        weights, moments = self._gathered(self.model.state_dict()), moments_of(self.model, self.optimizer)
        average = None if self.average is None else self._gathered(self.average.weights)
        planned = last or self._due(self.config.checkpoints.every)
        self.checkpoints.save(self.progress, weights, moments, average, planned=planned)
        self.ranks.wait()

    def _gathered(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: self.ranks.gathered(value).contiguous() for name, value in values.items()}

    def _resume(self) -> None:
        """Take up the newest checkpoint: weights, moments, averages and the position in the data."""
        here = self.model.state_dict()
        found = self.checkpoints.latest(here)
        decay = self.config.training.ema
        if found is None:
            self.average = MovingAverage(here, decay) if decay else None
            return
        weights, means = (
            {name: self.ranks.spread(value, here[name]) for name, value in whole.items()}
            for whole in (found.weights, found.average or found.weights)
        )
        self.model.load_state_dict(weights)
        restore_moments(self.model, self.optimizer, found.moments, self.ranks)
        self.progress = found.progress
        if decay:
            self.average = MovingAverage(means, decay)
        say(f"going on from step {self.progress.step} ({found.path}), epoch {self.progress.epoch}, batch {self.progress.batch}")


def _dev(found: Validation) -> dict[str, float]:
    return {f"dev_{name}": round(value, 5) for name, value in found.metrics.items()}


def _in_words(found: Validation) -> str:
    return ", ".join(f"dev {name} {value:.2f}" for name, value in found.metrics.items())
