"""Runs that go wrong: a loss that climbs instead of falling, and batches that may be left out."""

from __future__ import annotations

from collections import deque

from pellucid.base.config import RunConfig
from pellucid.base.errors import DivergedError
from pellucid.base.progress import say
from pellucid.training.checkpoints import Progress

WINDOW = 10  # steps whose mean is looked at: single batches may be hard


class Watch:
    """Compares the loss of the last steps with that of the first one.

    A model that knows nothing has about the logarithm of its vocabulary as its loss, and training only lowers it. Far above
    that, the weights have been thrown somewhere from where they hardly come back, though every number is still finite.

    Args:
        config: of the run.
        progress: of the run; the loss of its first step is kept there.
    """

    def __init__(self, config: RunConfig, progress: Progress) -> None:
        self.config, self.progress = config, progress
        self.losses: deque[float] = deque(maxlen=WINDOW)

    def look_at(self, loss: float) -> None:
        """Take in the loss of a step, a token.

        Raises:
            DivergedError: the mean of the last steps is above ``training.divergence`` times the first loss.
        """
        if self.progress.first_loss is None:
            self.progress.first_loss = loss
        self.losses.append(loss)
        factor, mean = self.config.training.divergence, sum(self.losses) / len(self.losses)
        limit = factor * max(self.progress.first_loss, 1.0)  # a model that knows its task already may begin near 0
        if not factor or len(self.losses) < WINDOW or mean <= limit:
            return
        optimizer = self.config.optimizer
        raise DivergedError(
            f"the run diverges: the loss a token of the last {WINDOW} steps is far above what it began with",
            where=f"step {self.progress.step}",
            expected=f"at most {limit:.2f}, {factor:g} times the first loss (training.divergence)",
            found=f"{mean:.2f}",
            advice=f"begin in another directory with a learning rate ten times lower (optimizer.learning_rate, now "
            f"{optimizer.learning_rate:g}) or a longer warm-up (optimizer.warmup, now {optimizer.warmup})",
        )

    def may_skip(self, error: DivergedError) -> bool:
        """Whether a step without a finite loss or gradient is left out; it is then counted and named."""
        allowed = self.config.training.skip_bad_steps
        if self.progress.skipped >= allowed:
            return False
        self.progress.skipped += 1
        say(f"warning: step {self.progress.step} is left out, number {self.progress.skipped} of at most {allowed}: {error}")
        return True
