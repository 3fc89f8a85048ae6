"""Training a task in a run directory: from a configuration to a finished run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pellucid.base import runtime
from pellucid.base.config import RunConfig
from pellucid.base.errors import UsageError
from pellucid.base.files import locked, sweep, write_atomically
from pellucid.base.progress import say
from pellucid.base.recipe import read, to_dict, to_yaml
from pellucid.model.build import build_any, initialise
from pellucid.model.lora import lora
from pellucid.model.transformer import Transformer
from pellucid.tasks.model_directory import has_begun
from pellucid.tasks.registry import training_side
from pellucid.tasks.start import take_weights, with_its_shape
from pellucid.tasks.start_vectors import take_vectors
from pellucid.training.loop import Trainer
from pellucid.training.parallel import Ranks, together

RESOLVED = "config.yaml"

# Sections and keys that may differ when a run goes on: they do not change what was trained so far.
MAY_CHANGE = frozenset({"checkpoints", "decoding", "runtime"}) | {
    f"training.{key}"
    for key in ("steps", "log_every", "validate_every", "validate_sentences", "patience", "skip_bad_steps", "divergence")
}


def train(config: RunConfig, directory: Path) -> None:
    """Train in ``directory``, from nothing or from where an earlier call stopped.

    Args:
        config: as the recipe says it; what is "auto" in it is settled now, or was when the run began.
        directory: of the run; made when missing.

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
            model = build_any(task.config.model, lora(config.start.lora_rank, config.start.lora_alpha))
            initialise(model, config.seed)
            say(f"{sum(weight.numel() for weight in model.parameters()):,} parameters")
            if isinstance(model, Transformer):
                take_weights(model, config)
                take_vectors(model, config, directory)
        Trainer(task, model, task.config, directory, ranks).run()


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
        if before[key] != now.get(key) and key.split(".")[0] not in MAY_CHANGE and key not in MAY_CHANGE
    ]
    if changed:
        raise UsageError(
            "the run in this directory was begun with other settings",
            where=path,
            found="; ".join(changed),
            advice="train into another directory, or give the settings that this run was begun with",
        )


def _flat(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    """``{"a": {"b": 1}}`` as ``{"a.b": 1}``."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
