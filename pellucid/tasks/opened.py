"""A training step of a run, opened: the example, the weights and the state of the optimizer that it is taken with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from pellucid.base.errors import UsageError
from pellucid.base.files import verify_directory
from pellucid.data.readers import open_split
from pellucid.explain.training_step import TrainingStep, training_step
from pellucid.tasks.explaining import subject_of
from pellucid.tasks.labels import Labels
from pellucid.training.checkpoints import newest_progress

PAIRS = ("translation", "classification")  # tasks whose examples are a text and what is to be said of it


def open_step(loaded: Any, path: Path, given: str | None, output: str | None) -> TrainingStep:
    """The step that a run would take next on one example.

    Args:
        loaded: the using side of the run's model; takes on the weights of the newest checkpoint, where there is one.
        path: of the run, or of a model: then Adam begins anew.
        given, output: the text and what is to be said; ``None``: the first example that the run was trained on.

    Raises:
        UsageError: the task has no such examples, or half of one is given.
        DataError: the training data is not there, or the class is unknown.
    """
    config = loaded.config
    given, output = _example(loaded, given, output)
    label = None
    if config.task == "classification":
        if config.data.labels == "degrees":
            raise UsageError("degrees are learnt by a loss of their own, which is not opened here", where=path)
        label = Labels(loaded.labels).id(output)
        subject = subject_of(loaded, given, output=None, tokens=None, seed=0)
    else:
        subject = subject_of(loaded, given, output=output, tokens=None, seed=0)
    progress, moments, number = newest_progress(path), None, 1
    if progress is not None and not config.start.lora_rank:
        checkpoint = max((path / "checkpoints").glob("step-*"))
        verify_directory(checkpoint)
        loaded.model.load_state_dict(load_file(checkpoint / "model.safetensors"))
        moments, number = load_file(checkpoint / "optimizer.safetensors"), progress.step + 1
    return training_step(
        subject,
        config.optimizer,
        smoothing=config.training.label_smoothing,
        steps=config.training.steps,
        number=number,
        moments=moments,
        label=label,
    )


def _example(loaded: Any, given: str | None, output: str | None) -> tuple[str, str]:
    """What is read, and what is to be said."""
    task = loaded.config.task
    if task == "language_modelling":
        if output is not None:
            raise UsageError("a language model learns from one text: there is no output beside it", where="--output")
        text = given if given is not None else next(iter(open_split(loaded.config.data, "train", columns=1)))[0]
        return "", loaded.tokenizer.decode(loaded.tokenizer.encode(text)[: min(loaded.context - 2, 64)])
    if task not in (*PAIRS, "denoising"):
        raise UsageError(
            "training steps of this task are not opened", found=task, expected=", ".join((*PAIRS, "language_modelling"))
        )
    if (given is None) != (output is None) or (given is None and task == "denoising"):
        raise UsageError("a training step needs a text and what is to be said of it", expected="TEXT and --output")
    if given is None or output is None:
        given, output = next(iter(open_split(loaded.config.data, "train")))
    return given, output
