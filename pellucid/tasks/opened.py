"""A training step of a run, opened: the example, the weights and the state of the optimizer that it is taken with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pellucid.base.errors import UsageError
from pellucid.base.files import verify_directory
from pellucid.data.readers import open_split
from pellucid.explain.training_step import TrainingStep, training_step
from pellucid.tasks.wanted import Wanted, given_output, hidden_text, refuse_degrees
from pellucid.training.checkpoints import read_moments

ONE_TEXT = ("language_modelling", "masked_lm")  # tasks that learn from a text alone
PICTURES = ("picture_classification", "captioning")
LONGEST = 64  # tokens of a language model's example


def open_step(
    loaded: Any, path: Path | None, given: str | None = None, output: str | None = None, after: int | None = None
) -> TrainingStep:
    """The step that a run would take next on one example, or took after a checkpoint.

    Args:
        loaded: the using side of the run's model; it stays as it is: a copy takes on the weights of the checkpoint.
        path: of the run; of a model, or ``None``: then Adam begins anew.
        given, output: the text, or the path of a picture, and what is to be said of it; ``None``: the first example that the
            run was trained on.
        after: the step of a checkpoint with the state of Adam; ``None``: the newest.

    Raises:
        UsageError: half of an example is given, or the classes are degrees.
        DataError: the training data is not there, or a class is unknown.
    """
    refuse_degrees(loaded)
    config, moments, number = loaded.config, None, 1
    kept = sorted((path / "checkpoints").glob("step-*" if after is None else f"step-{after:08d}")) if path else []
    if kept and not config.start.lora_rank:
        verify_directory(kept[-1])
        loaded = loaded.with_weights(kept[-1] / "model.safetensors")
        moments, number = read_moments(kept[-1]), int(kept[-1].name.split("-")[1]) + 1
    subject, wanted = _example(loaded, given, output, number)
    return training_step(
        subject,
        config.optimizer,
        smoothing=config.training.label_smoothing,
        steps=config.training.steps,
        number=number,
        moments=moments,
        wanted=wanted,
    )


def _example(loaded: Any, given: str | None, output: str | None, number: int) -> Wanted:
    """What is read, and what is to be said."""
    config = loaded.config
    if config.task in ONE_TEXT:
        if output is not None:
            raise UsageError("such a model learns from one text: there is no output beside it", where="--output")
        text = given if given is not None else next(iter(open_split(config.data, "train", columns=1)))[0]
        if config.task == "masked_lm":
            return hidden_text(loaded, text, number)
        tokens = loaded.tokenizer.encode(text)[: min(loaded.context - 2, LONGEST)]
        return given_output(loaded, "", loaded.tokenizer.decode(tokens))
    if (given is None) != (output is None) or (given is None and config.task == "denoising"):
        raise UsageError("a training step needs a text and what is to be said of it", expected="TEXT and --output")
    if given is not None and output is not None:
        return given_output(loaded, given, output)
    if config.task in PICTURES:
        pictures, texts = loaded.open_split("train")
        subject, wanted = given_output(loaded, pictures[0], texts[0])
        return replace(subject, text=f"picture 0 of the training data: {texts[0]}"), wanted
    given, output = next(iter(open_split(config.data, "train")))
    return given_output(loaded, given, output)
