"""Beginning from a model that has been trained or imported: its shape, its weights, what of it may learn."""

from __future__ import annotations

import json
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from torch import nn

from pellucid.base.config import RunConfig, StartConfig
from pellucid.base.errors import ModelError, UsageError
from pellucid.base.files import write_atomically
from pellucid.base.progress import say
from pellucid.model.lora import ADDED, plain_weights
from pellucid.model.transformer import Transformer
from pellucid.tasks.model_directory import find, load_model, read_config
from pellucid.training.checkpoints import has_checkpoints

RECORD = "start.json"


def with_its_shape(config: RunConfig) -> RunConfig:
    """The configuration with the shape and the vocabulary of ``start.model``; without one, as it is.

    For the same task the model is as it was; for another one the recipe says head, ties and dropout.

    Raises:
        ModelError: there is no model, or it is damaged.
        UsageError: it has another architecture than the task needs.
    """
    if config.start.model is None:
        return config
    before = read_config(find(config.start.model))
    shape = before.model
    kinds = [(one.architecture, one.recurrent.cell) for one in (shape, config.model)]
    if kinds[0] != kinds[1]:
        names = [" ".join(part for part in (cell, architecture) if part != "none") for architecture, cell in kinds]
        raise UsageError(
            "the model to start from has another architecture",
            where="start.model",
            expected=names[1],
            found=f"{names[0]} ({before.task})",
        )
    if before.task != config.task:
        ours = config.model
        dropouts = {name: getattr(ours, name) for name in ("dropout", "attention_dropout", "activation_dropout")}
        shape = replace(shape, head=ours.head, tie=ours.tie, **dropouts)
    return replace(config, model=shape, text=before.text)


def take_weights(model: Transformer, config: RunConfig, run: Path) -> None:
    """Put the weights of ``start.model`` into a model that has been initialised, and freeze what is to stay.

    Weights that have no match there, such as the head of another task, keep their first values.

    Args:
        model: initialised.
        config: of the run.
        run: its directory, where ``start.json`` says which weights had no match. A run that goes on has all its weights, and
            needs the model that it started from no more.

    Raises:
        ModelError: the model to start from is gone or damaged.
        UsageError: a pattern of ``start.freeze`` fits no weight.
    """
    start = config.start
    if start.model is None:
        return
    record = run / RECORD
    if has_checkpoints(run) and record.is_file():
        _freeze(model, config, set(_new_weights(record)))
        return
    directory = find(start.model)
    trained = load_model(directory, read_config(directory))
    before, own = trained.state_dict(), model.state_dict()
    for role in ("source", "target"):  # an embedding has another name where it was, or is, the output's matrix as well
        if role in model.roles and role in trained.roles:
            before.setdefault(f"weights.{model.roles[role]}", before[f"weights.{trained.roles[role]}"])
    new = []
    for name in plain_weights(model):
        if name in before and before[name].shape == own[name].shape:
            own[name].copy_(before[name])
        else:
            new.append(name)
    say(f"{len(own) - len(new)} of {len(own)} weights from {directory}" + (f"; new: {', '.join(new)}" if new else ""))
    write_atomically(record, (json.dumps({"model": str(directory), "new": new}, indent=2) + "\n").encode())
    _freeze(model, config, set(new))


def _new_weights(record: Path) -> list[str]:
    try:
        found: list[str] = json.loads(record.read_text(encoding="utf-8"))["new"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        advice = "delete the file: the model that the run started from is looked at again"
        raise ModelError("what the run started with is damaged", where=record, found=error, advice=advice) from None
    return found


def n_learning(model: nn.Module, start: StartConfig) -> int:
    """How many numbers of a model learn, as far as that can be told before it has its weights."""

    def learns(name: str) -> bool:
        if start.lora_rank:
            return name.rpartition(".")[2] in ADDED
        return not any(fnmatchcase(name, pattern) for pattern in start.freeze)

    return sum(parameter.numel() for name, parameter in model.named_parameters() if learns(name))


def _freeze(model: nn.Module, config: RunConfig, new: set[str]) -> None:
    start = config.start
    parameters = dict(model.named_parameters())
    for pattern in start.freeze:
        fitting = [name for name in parameters if fnmatchcase(name, pattern)]
        if not fitting:
            advice = "pellucid.load(DIRECTORY).model.state_dict() has their names"
            raise UsageError("no weight has such a name", where="start.freeze", found=pattern, advice=advice)
        for name in fitting:
            parameters[name].requires_grad_(False)
    if start.lora_rank:
        for name, parameter in parameters.items():
            parameter.requires_grad_(name.rpartition(".")[2] in ADDED or name in new)
    learning = sum(parameter.numel() for parameter in parameters.values() if parameter.requires_grad)
    if learning < sum(parameter.numel() for parameter in parameters.values()):
        say(f"{learning:,} of them learn")
    if not learning:
        raise UsageError("every weight is frozen", where="start.freeze", found=", ".join(start.freeze))
