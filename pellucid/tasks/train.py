"""Training a task in a run directory: from a configuration to a finished run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pellucid.base import runtime
from pellucid.base.config import KINDS, RunConfig
from pellucid.base.errors import UsageError
from pellucid.base.files import locked, sweep, write_atomically
from pellucid.base.progress import say
from pellucid.base.recipe import read, to_dict, to_yaml
from pellucid.model.build import build_any, initialise
from pellucid.model.lora import lora
from pellucid.model.transformer import Transformer
from pellucid.tasks.history import add_call
from pellucid.tasks.model_directory import has_begun
from pellucid.tasks.registry import training_side
from pellucid.tasks.start import n_learning, take_weights, with_its_shape
from pellucid.tasks.start_vectors import take_vectors
from pellucid.training.checkpoints import newest_progress
from pellucid.training.loop import Trainer
from pellucid.training.memory import checkpoint_bytes, largest_batch, needed
from pellucid.training.outlook import look_ahead
from pellucid.training.parallel import Ranks, together

RESOLVED = "config.yaml"

# Sections and keys that may differ when a run goes on: they do not change what was trained so far.
MAY_CHANGE = frozenset({"checkpoints", "decoding", "runtime"}) | {
    f"training.{key}"
    for key in ("steps", "log_every", "validate_every", "validate_sentences", "patience", "skip_bad_steps", "divergence")
}
# Where texts lie may change too: what they say is known by the fingerprint of the prepared tokens, and is not let change.
PLACES = frozenset({"data.directory", "data.train", "data.dev", "data.test"})


def train(config: RunConfig, directory: Path, *, profile: bool = False, command: Sequence[str] = ()) -> None:
    """Train in ``directory``, from nothing or from where an earlier call stopped.

    Args:
        config: as the recipe says it; what is "auto" in it is settled now, or was when the run began.
        directory: of the run; made when missing.
        profile: whether some steps are recorded, see :mod:`pellucid.training.profiling`.
        command: that began this call, to be kept in the run's history.

    Raises:
        UsageError: the run in this directory was begun with other settings.
        ModelError: another process is training here, or its checkpoints are damaged.
        DataError, DivergedError, MemoryLimitError, Interrupted: as :class:`pellucid.training.loop.Trainer` says.
        RankError: another process of the run is gone or hangs.
    """
    with together(config.runtime) as ranks, _held(directory, ranks):
        with ranks.in_turn():
            config = _settled(config, directory) if ranks.first else read(directory / RESOLVED)
        runtime.keep_memory()
        runtime.apply(config.runtime)
        say(runtime.describe(config.runtime) + (f"; {ranks.size} processes" if ranks.size > 1 else ""))
        with ranks.in_turn():
            task = training_side(config.task)(config, directory)
            _look_ahead(task, directory, ranks)
            model = build_any(task.config.model, lora(config.start.lora_rank, config.start.lora_alpha))
            initialise(model, config.seed)
            if isinstance(model, Transformer):
                take_weights(model, config, directory)
                take_vectors(model, config, directory)
        if ranks.first:
            add_call(directory, command, task.config.runtime)
        Trainer(task, model, task.config, directory, ranks, profile=profile).run()


def _look_ahead(task: Any, directory: Path, ranks: Ranks) -> None:
    """Say what is to be trained and what it will take; before a weight is made, since there may be too many."""
    config: RunConfig = task.config
    with torch.device("meta"):  # counted without memory
        model = build_any(config.model, lora(config.start.lora_rank, config.start.lora_alpha))
    n_weights = sum(weight.numel() for weight in model.parameters())
    say(f"{n_weights:,} parameters")
    stands = newest_progress(directory)
    if stands is not None and stands.finished and stands.step >= config.training.steps:
        return
    share = ranks.share([task.worst()] * config.training.accumulate)[0]
    learning, sharers = n_learning(model, config.start), 1 if config.runtime.shard == "none" else ranks.size
    memory = needed(config, n_weights, largest_batch(config, len(share.examples)), learning=learning, sharers=sharers)
    look_ahead(config, memory, checkpoint_bytes(config, n_weights, learning), len(task.plan(0)), directory)


@contextmanager
def _held(directory: Path, ranks: Ranks) -> Iterator[None]:
    """The directory, made when missing, for this run alone: the first rank holds it for all."""
    if not ranks.first:
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    with locked(directory):
        for place in (directory, directory / "data", directory / "model"):
            if place.is_dir():
                sweep(place)  # what a killed process left half-written
        yield


def _settled(config: RunConfig, directory: Path) -> RunConfig:
    """The configuration with the machine's part settled; as it was when the run began, if it has.

    A run begins when its tokenizers are there. A call that failed before that, on data that were not found, binds nobody.
    """
    path = directory / RESOLVED
    earlier = read(path) if path.exists() else None
    if earlier is not None and has_begun(directory / "data", earlier):
        if config.start.model is not None and config.start == earlier.start:
            config = replace(config, model=earlier.model, text=earlier.text)  # what it started from may have changed since
        _check_same(earlier, config, path)
        now = config.runtime  # how many processes there are, and how they share the work, may be another every time
        config = replace(config, runtime=replace(earlier.runtime, shard=now.shard, timeout=now.timeout))
    else:
        config = replace(with_its_shape(config), runtime=runtime.settle(config.runtime))
    write_atomically(path, to_yaml(config).encode())
    return config


def _check_same(earlier: RunConfig, config: RunConfig, path: Path) -> None:
    """Refuse settings that would make the rest of a run another run than its beginning."""
    before, now = _flat(to_dict(earlier)), _flat(to_dict(config))
    changed = [
        f"{key}: {before.get(key)} -> {now.get(key)}"
        for key in before
        if before[key] != now.get(key) and not _may_change(key, earlier.task)
    ]
    if changed:
        raise UsageError(
            "the run in this directory was begun with other settings",
            where=path,
            found="; ".join(changed),
            advice="train into another directory, or give the settings that this run was begun with",
        )


def _may_change(key: str, task: str) -> bool:
    moves = key in PLACES and not KINDS[task].pictures  # pictures have no fingerprint
    return moves or key in MAY_CHANGE or key.split(".")[0] in MAY_CHANGE


def _flat(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
