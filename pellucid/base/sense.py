"""Settings that are allowed and make no sense: each is said before a run begins, with the key to change. Nothing is refused."""

from __future__ import annotations

from pellucid.base.config import RunConfig
from pellucid.base.runtime import available_cores

SEEN_AT_LEAST = 10  # times that an entry of the vocabulary should be met on average, to be learnt


def odd_settings(config: RunConfig) -> list[str]:
    """What in a settled configuration does not do what it seems to be there for, one line each: ``"key: why; what to do"``."""
    steps = config.training.steps
    return [*_schedule(config, steps), *_watching(config, steps), *_keeping(config, steps), *_machine(config)]


def _schedule(config: RunConfig, steps: int) -> list[str]:
    warmup = config.optimizer.warmup
    if warmup < steps:
        return []
    advice = f"set it to {max(1, steps // 10):,} or so, or raise training.steps"
    return [f"optimizer.warmup: {warmup:,} is not over when the run ends at step {steps:,}; {advice}"]


def _watching(config: RunConfig, steps: int) -> list[str]:
    training, lines = config.training, []
    if training.validate_every > steps:
        advice = "set it lower to see the scores grow and keep the best model, or to 0 if this is meant"
        lines.append(f"training.validate_every: {training.validate_every:,} of {steps:,} steps is only the end; {advice}")
    if training.log_every > steps:
        lines.append(
            f"training.log_every: {training.log_every:,} of {steps:,} steps leaves no row in metrics.jsonl; set it lower"
        )
    if training.patience and (training.validate_every == 0 or training.patience * training.validate_every >= steps):
        advice = "lower it or training.validate_every"
        lines.append(f"training.patience: {training.patience} validations without gain do not fit into the run; {advice}")
    return lines


def _keeping(config: RunConfig, steps: int) -> list[str]:
    kept, lines = config.checkpoints, []
    saved = -(-steps // kept.every)
    if kept.average > saved:
        advice = "lower checkpoints.every"
        lines.append(f"checkpoints.average: {kept.average} checkpoints are wanted and the run saves {saved}; {advice}")
    if kept.keep_every > steps:
        lines.append(f"checkpoints.keep_every: {kept.keep_every:,} of {steps:,} steps keeps nothing; set it lower")
    return lines


def _machine(config: RunConfig) -> list[str]:
    threads, cores = config.runtime.threads, available_cores()
    if threads <= cores:
        return []
    return [f"runtime.threads: {threads} threads share {cores} cores and hinder each other; set it to {cores}, or to 0"]


def odd_vocabulary(config: RunConfig, entries: int, tokens: int) -> list[str]:
    """Lines where a vocabulary of pieces that a run has learnt does not fit its text.

    Args:
        config: of the run.
        entries: of the vocabulary.
        tokens: of the training text, in this vocabulary.
    """
    wanted, lines = config.text.vocabulary, []
    if config.text.tokenizer not in ("bpe", "unigram") or config.start.model is not None:
        return []
    if entries < wanted:
        lines.append(
            f"text.vocabulary: the training split has {entries:,} pieces to offer, not {wanted:,}; nothing is wrong with fewer"
        )
    if tokens < SEEN_AT_LEAST * entries:
        seen, advice = tokens / entries, "lower it for another run, or give more text"
        lines.append(f"text.vocabulary: each of {entries:,} pieces is met {seen:.1f} times on average, too rarely; {advice}")
    return lines
