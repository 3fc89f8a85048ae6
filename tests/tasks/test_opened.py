"""Training steps of the tasks that read: the loss is the one that each task trains with, on the same targets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_pictures import GREY, archive

import pellucid
from pellucid.base.config import (
    CheckpointConfig,
    DataConfig,
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    RuntimeConfig,
    StackConfig,
    TextConfig,
    TrainingConfig,
)
from pellucid.base.errors import DataError, UsageError
from pellucid.tasks.on_encoder import EncoderBatch, target_loss
from pellucid.tasks.opened import open_step
from pellucid.tasks.train import train
from pellucid.training.checkpoints import kept_weights

HEADS = {
    "classification": HeadConfig(pool="mean", bias=True),
    "tagging": HeadConfig(bias=True),
    "masked_lm": HeadConfig(transform="norm", bias=True),
    "picture_classification": HeadConfig(pool="class"),
}
LINES = {
    "classification": ["a good film\tpos\n", "a dull plot\tneg\n"],
    "tagging": ["the dog barks\tDET NOUN VERB\n", "dogs bark\tNOUN VERB\n"],
    "masked_lm": ["the dog barks at the cat\n", "a cat sleeps\n"],
}
SMOOTHING = 0.1


def learnt(task: str, directory: Path, **model: Any) -> Path:
    """A run of four steps, with a checkpoint every two of them."""
    pictures = task == "picture_classification"
    if pictures:
        place = {"train": (str(archive(directory / "toy.npz", drawn, train=12, dev=4, test=4)),)}
    else:
        for split in ("train", "dev", "test"):
            (directory / f"{split}.tsv").write_text("".join(LINES[task] * 6), encoding="utf-8")
        place = {"directory": str(directory)}
    shape = ModelConfig(
        architecture="encoder",
        d_model=16,
        encoder=StackConfig(1, 2, 24),
        norm="pre",
        dropout=0.1,
        head=HEADS[task],
        max_length=24,
    )
    shape = replace(shape, tie="all" if task == "masked_lm" else "none", **({"picture": GREY} if pictures else {}))
    config = RunConfig(
        task=task,
        model=shape,
        text=TextConfig(tokenizer="word", vocabulary=40, min_frequency=1, mask=task == "masked_lm"),
        data=DataConfig(**place),  # type: ignore[arg-type]
        training=TrainingConfig(steps=4, batch_tokens=64, validate_every=0, label_smoothing=SMOOTHING),
        optimizer=OptimizerConfig(schedule="constant", learning_rate=0.01, warmup=0),
        checkpoints=CheckpointConfig(every=2, average=2),
        runtime=RuntimeConfig(precision="float32", device="cpu", threads=1),
    )
    train(config, directory / "run")
    return directory / "run"


def drawn(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    chooser = np.random.default_rng(seed)
    return chooser.integers(0, 255, (count, 6, 8)).astype(np.uint8), np.array(["low", "high"])[np.arange(count) % 2]


def as_trained(loaded: Any, source: torch.Tensor, target: list[int], places: tuple[int, ...] = ()) -> float:
    """The mean loss of one example, by the loss of the task."""
    wanted = None
    if places:
        wanted = torch.zeros(source.shape[:2], dtype=torch.bool)
        wanted[0, list(places)] = True
    with torch.no_grad():
        batch = EncoderBatch(source, None, torch.tensor(target), wanted)
        return target_loss(loaded.model.eval(), batch, SMOOTHING).item() / len(target)


def test_each_word_is_asked_for_its_tag(tmp_path: Path) -> None:
    run = learnt("tagging", tmp_path)
    loaded = pellucid.load(run)
    step = open_step(loaded, None, "the dog barks", "DET NOUN VERB")
    assert step.wanted == ("DET", "NOUN", "VERB")
    assert [name.strip("▁") for name in step.fed] == ["the", "dog", "barks"]
    source = torch.from_numpy(step.trace.inputs["source"])[None]
    expected = as_trained(loaded, source, [loaded.labels.index(tag) for tag in step.wanted], (1, 2, 3))
    assert step.loss == pytest.approx(expected, rel=1e-5)
    assert not step.warm
    assert open_step(loaded, run).number == 5
    assert open_step(loaded, run, after=2).number == 3
    with pytest.raises(DataError, match="differ in length"):
        open_step(loaded, run, "the dog barks", "DET NOUN")


def test_tokens_are_hidden_and_wanted(tmp_path: Path) -> None:
    run = learnt("masked_lm", tmp_path)
    loaded = pellucid.load(run)
    text = "the dog barks at the cat"
    step = open_step(loaded, None, text)
    again = open_step(loaded, None, text)
    assert (step.fed, step.wanted, step.loss) == (again.fed, again.wanted, again.loss)
    hidden = step.trace.inputs["source"]
    original = np.array([loaded.tokenizer.start, *loaded.tokenizer.encode(text), loaded.tokenizer.end])
    assert len(hidden) == len(original)
    names = loaded.tokenizer.tokens(original.tolist())
    places = [place for place, name in enumerate(names) if name in step.wanted and hidden[place] != original[place]]
    assert set(np.flatnonzero(hidden != original)) <= set(places)
    assert open_step(loaded, run).number == 5
    for refused in ({"given": "a [MASK] cat"}, {"given": "a cat", "output": "a cat"}):
        with pytest.raises(UsageError):
            open_step(loaded, run, **refused)  # type: ignore[arg-type]
    with pytest.raises(DataError):
        open_step(loaded, run, " ")


def test_the_loss_of_hidden_tokens_is_that_of_training(tmp_path: Path) -> None:
    from pellucid.tasks.wanted import hidden_text

    loaded = pellucid.load(learnt("masked_lm", tmp_path))
    subject, wanted = hidden_text(loaded, "the dog barks at the cat", 1)
    step = open_step(loaded, None, "the dog barks at the cat")
    assert subject.source is not None
    assert step.loss == pytest.approx(as_trained(loaded, subject.source, list(wanted), subject.asked), rel=1e-5)
    assert len(wanted) == len(subject.asked) > 0
    many = {hidden_text(loaded, "the dog barks at the cat", number)[0].asked for number in range(12)}
    assert len(many) > 3


def test_a_picture_has_its_class(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    run = learnt("picture_classification", tmp_path)
    loaded = pellucid.load(run)
    step = open_step(loaded, run)
    assert step.trace.text == "picture 0 of the training data: low"
    assert (step.wanted, step.number, step.warm) == (("low",), 5, True)
    step = open_step(loaded, None, None, None)
    pictures, _ = loaded.open_split("train")
    expected = as_trained(loaded, loaded.pixels([pictures[0]]), [loaded.labels.index("low")])
    assert step.loss == pytest.approx(expected, rel=1e-5)
    assert step.trace["logits"].array.shape == (2,)


def test_a_class_is_wanted_once(tmp_path: Path) -> None:
    loaded = pellucid.load(learnt("classification", tmp_path))
    step = open_step(loaded, None, "a dull film", "neg")
    source = torch.from_numpy(step.trace.inputs["source"])[None]
    assert step.loss == pytest.approx(as_trained(loaded, source, [loaded.labels.index("neg")]), rel=1e-5)
    assert step.wanted == ("neg",)


def test_the_weights_that_are_kept(tmp_path: Path) -> None:
    run = learnt("tagging", tmp_path)
    found = kept_weights(run)
    assert list(found) == [2, 4]
    assert all(path.name == "model.safetensors" for path in found.values())
    (run / "checkpoints" / "weights-00000001.safetensors").write_bytes(b"")
    assert list(kept_weights(run)) == [1, 2, 4]
    (run / "checkpoints" / "step-00000004" / "average.safetensors").write_bytes(b"")
    assert kept_weights(run)[4].name == "average.safetensors"
    loaded = pellucid.load(run)
    before = loaded.model.weight("output").clone()
    other = loaded.with_weights(run / "checkpoints" / "step-00000002" / "model.safetensors")
    assert torch.equal(loaded.model.weight("output"), before)
    assert not torch.equal(other.model.weight("output"), before)
