"""`model.architecture: lstm`: what it stands for in each task, and what contradicts it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.base.config import KINDS, ConfigProblems, HeadConfig, ModelConfig, RunConfig, StackConfig
from pellucid.base.errors import UsageError
from pellucid.base.recipe import from_dict, read, to_dict, to_yaml
from pellucid.base.recurrent import RecurrentConfig

LSTM = ModelConfig(architecture="lstm")


@pytest.mark.parametrize("task", ["translation", "language_modelling", "denoising"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_task_says_which_stacks_there_are(task: str, cell: str) -> None:
    config = from_dict(RunConfig, {"task": task, "model": {"architecture": cell}}, "here")
    assert config.model.architecture == KINDS[task].architecture
    assert config.model.recurrent == RecurrentConfig(cell=cell)  # type: ignore[arg-type]
    assert config.model.positions == "none"


def test_a_classifier_reads_with_an_encoder_alone() -> None:
    model = replace(LSTM, tie="none", head=HeadConfig(pool="last"))
    assert RunConfig(task="classification", model=model).model.architecture == "encoder"


def test_what_was_settled_is_read_again_as_it_is(tmp_path: Path) -> None:
    config = RunConfig(model=replace(LSTM, recurrent=RecurrentConfig(hidden=7, attention="dot"), tie="embeddings"))
    assert from_dict(RunConfig, to_dict(config), "here") == config
    (tmp_path / "recipe.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert read(tmp_path / "recipe.yaml") == config
    assert config.model.recurrent.cell == "lstm"


def test_widths_and_heads() -> None:
    own = RecurrentConfig(cell="gru", hidden=10, attention="dot")
    both = ModelConfig(d_model=6, recurrent=own, tie="none")
    assert (both.output_width, both.cross_heads) == (10, (1,))
    alone = replace(both, architecture="encoder", recurrent=replace(own, attention="none"))
    assert (alone.output_width, alone.cross_heads) == (20, ())
    one_way = replace(alone, recurrent=replace(alone.recurrent, bidirectional=False))
    assert one_way.output_width == 10
    assert replace(both, recurrent=replace(own, attention="none")).cross_heads == ()
    assert replace(both, recurrent=replace(own, hidden=None)).output_width == 6
    blocks = ModelConfig(decoder=StackConfig(n_layers=2, n_heads=(4, 2)))
    assert (blocks.output_width, blocks.cross_heads) == (512, (4, 2))


WRONG = {
    "model: {architecture: lstm, recurrent: {cell: gru}}": ("model.recurrent.cell", "contradicts architecture: lstm"),
    "model: {architecture: lstm, norm: pre}": ("model.norm", "leave it out"),
    "model: {architecture: gru, encoder: {n_layers: 2, n_heads: 4}}": ("model.encoder.n_heads", "leave it out"),
    "model: {architecture: rnn, decoder: {d_ff: 64}}": ("model.decoder.d_ff", "leave it out"),
    "model: {architecture: lstm, positions: rotary}": ("model.positions", "leave it out"),
    "model: {architecture: lstm, recurrent: {hidden: 0}}": ("model.recurrent.hidden", "at least 1"),
    "model: {architecture: lstm, recurrent: {hidden: 64}}": ("model.tie", "vectors of 64"),
    "model: {recurrent: {attention: dot}}": ("model.recurrent.attention", "set architecture to rnn, gru or lstm"),
    "model: {head: {pool: last}}": ("model.head.pool", "recurrent network"),
    "task: language_modelling\nmodel: {architecture: gru, recurrent: {attention: dot}}": (
        "model.recurrent.attention",
        "this model has a decoder alone",
    ),
    "task: classification\nmodel: {architecture: gru, tie: none, recurrent: {bridge: mean}, head: {pool: mean}}": (
        "model.recurrent.bridge",
        "this model has an encoder alone",
    ),
    "task: classification\nmodel: {architecture: gru, tie: none, head: {pool: class}}": ("model.head.pool", "no class token"),
    "task: classification\nmodel: {architecture: gru, tie: none}": ("model.head.pool", '"last" or "mean"'),
    "model: {architecture: LSTM}": ("model.architecture", "one of encoder-decoder, encoder, decoder, rnn, gru, lstm"),
}


@pytest.mark.parametrize("recipe", WRONG)
def test_a_contradiction_is_named_with_its_key(recipe: str, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe + "\n", encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        read(path)
    key, text = WRONG[recipe]
    assert f": {key}" in str(refused.value)
    assert text in str(refused.value)


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(ConfigProblems) as refused:
        replace(LSTM, norm="pre", activation="gelu", encoder=StackConfig(n_heads=4), attention="additive")
    assert [name for name, _ in refused.value.problems] == ["norm", "activation", "attention", "encoder.n_heads"]


def test_a_preset_of_blocks_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("model: {preset: tiny, architecture: lstm}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"model\.encoder\.n_heads"):
        read(path)
