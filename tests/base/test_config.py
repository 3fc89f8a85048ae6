"""The rules of the configuration dataclasses: every broken one is reported, and under its own name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from pellucid.base import config as c


def broken(make: Callable[[], Any]) -> list[str]:
    with pytest.raises(c.ConfigProblems) as caught:
        make()
    return [name for name, _ in caught.value.problems]


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (c.StackConfig, {"n_layers": 0}),
        (c.StackConfig, {"n_heads": 0}),
        (c.StackConfig, {"n_heads": (8, 8)}),
        (c.StackConfig, {"n_layers": 2, "d_ff": (5, 0)}),
        (c.StackConfig, {"reads": (5,)}),
        (c.ModelConfig, {"d_model": 0}),
        (c.ModelConfig, {"dropout": 1.0}),
        (c.ModelConfig, {"attention_dropout": -0.1}),
        (c.ModelConfig, {"activation_dropout": float("nan")}),
        (c.ModelConfig, {"norm_epsilon": 0.0}),
        (c.ModelConfig, {"max_length": 0}),
        (c.ModelConfig, {"source_vocabulary": -1, "tie": "none"}),
        (c.ModelConfig, {"tie": "all", "source_vocabulary": 7, "target_vocabulary": 8}),
        (c.TextConfig, {"vocabulary": 4, "tokenizer": "word"}),
        (c.TextConfig, {"vocabulary": 259}),
        (c.TextConfig, {"min_frequency": 0}),
        (c.DataConfig, {"corpus": "builtin", "train": ("a",)}),
        (c.DataConfig, {"train": ("a", "b", "c")}),
        (c.DataConfig, {"target": "source"}),
        (c.DataConfig, {"max_length": 0}),
        (c.OptimizerConfig, {"learning_rate": 0.0}),
        (c.OptimizerConfig, {"warmup": 0}),
        (c.OptimizerConfig, {"warmup": -1, "schedule": "constant"}),
        (c.OptimizerConfig, {"beta2": 1.0}),
        (c.OptimizerConfig, {"epsilon": -1e-9}),
        (c.OptimizerConfig, {"clip": -1.0}),
        (c.TrainingConfig, {"steps": 0}),
        (c.TrainingConfig, {"label_smoothing": 1.0}),
        (c.TrainingConfig, {"patience": -1}),
        (c.CheckpointConfig, {"keep": 1}),
        (c.CheckpointConfig, {"average": 0}),
        (c.CheckpointConfig, {"keep_every": -1}),
        (c.DecodingConfig, {"beams": 0}),
        (c.DecodingConfig, {"beams": 1001}),
        (c.DecodingConfig, {"alpha": -0.1}),
        (c.DecodingConfig, {"max_extra": 0}),
        (c.DecodingConfig, {"min_p": 1.1}),
        (c.DecodingConfig, {"repetition_penalty": 0.0}),
        (c.DecodingConfig, {"no_repeat_ngram": -1}),
        (c.DecodingConfig, {"min_length": -1}),
        (c.RuntimeConfig, {"threads": -1}),
        (c.RunConfig, {"seed": -1}),
    ],
)
def test_one_broken_rule_is_reported_under_its_field(cls: Any, values: dict[str, Any]) -> None:
    assert set(broken(lambda: cls(**values))) <= set(values)


def test_all_broken_rules_are_reported_together() -> None:
    names = broken(lambda: c.TrainingConfig(steps=0, accumulate=0, ema=2.0, patience=-1))
    assert sorted(names) == ["accumulate", "ema", "patience", "steps"]


def test_heads_must_divide_the_width() -> None:
    stack = c.StackConfig(n_layers=2, n_heads=(4, 7))
    assert broken(lambda: c.ModelConfig(d_model=28, encoder=stack)) == ["decoder.n_heads"] * 6  # 8 does not divide 28
    assert broken(lambda: c.ModelConfig(d_model=32, encoder=stack)) == ["encoder.n_heads"]


def test_only_the_decoder_reads_and_only_layers_that_are_there() -> None:
    reading = c.StackConfig(n_layers=2, reads=(0, 6))
    assert broken(lambda: c.ModelConfig(decoder=reading)) == ["decoder.reads"]
    assert broken(lambda: c.ModelConfig(encoder=c.StackConfig(n_layers=2, reads=(0, 1)))) == ["encoder.reads"]


def test_sinusoids_need_an_even_width() -> None:
    stack = c.StackConfig(n_heads=3)
    assert broken(lambda: c.ModelConfig(d_model=15, encoder=stack, decoder=stack)) == ["d_model"]
    assert c.ModelConfig(d_model=15, encoder=stack, decoder=stack, positions="learned").d_model == 15


def test_tying_all_needs_a_joint_vocabulary() -> None:
    assert broken(lambda: c.RunConfig(text=c.TextConfig(joint=False))) == ["model.tie"]
    assert not c.RunConfig(text=c.TextConfig(joint=False), model=c.ModelConfig(tie="decoder")).text.joint


def test_a_single_number_means_all_layers() -> None:
    assert c.per_layer(5, 3) == (5, 5, 5)
    assert c.per_layer((5, 6), 2) == (5, 6)


@pytest.mark.parametrize("field", dataclasses.fields(c.RunConfig), ids=lambda field: field.name)
def test_configurations_cannot_be_changed(field: dataclasses.Field[Any]) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(c.RunConfig(), field.name, None)


@pytest.mark.parametrize("cls", [value for value in vars(c).values() if dataclasses.is_dataclass(value)])
def test_no_dataclass_is_large(cls: Any) -> None:
    assert len(dataclasses.fields(cls)) <= 23  # past about twenty fields a concern has become two
