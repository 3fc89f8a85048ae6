"""The named shapes, and the recipes of the paper."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pellucid.base.config import ModelConfig, RunConfig, StackConfig
from pellucid.base.errors import UsageError
from pellucid.base.presets import MODEL_PRESETS
from pellucid.base.published import PUBLISHED
from pellucid.base.recipe import from_dict, read

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        # Table 3 of the paper: N, d_model, d_ff, h, P_drop
        ("paper-base", (6, 512, 2048, 8, 0.1)),
        ("paper-big", (6, 1024, 4096, 16, 0.3)),
        ("small", (3, 256, 1024, 4, 0.1)),
        ("tiny", (4, 128, 256, 4, 0.1)),
    ],
)
def test_shapes(name: str, shape: tuple[int, int, int, int, float]) -> None:
    n_layers, d_model, d_ff, n_heads, dropout = shape
    stack = StackConfig(n_layers=n_layers, n_heads=n_heads, d_ff=d_ff)
    expected = ModelConfig(d_model=d_model, encoder=stack, decoder=stack, dropout=dropout)
    assert from_dict(ModelConfig, MODEL_PRESETS[name], "presets") == expected


def test_there_are_no_others_but_the_published_ones() -> None:
    assert sorted(MODEL_PRESETS.keys() - PUBLISHED.keys()) == ["small", "tiny"]
    assert PUBLISHED.keys() < MODEL_PRESETS.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_recipe_names_a_published_model(name: str, tmp_path: Path) -> None:
    """Its shape is taken, and the vocabulary left to the tokenizer."""
    published = PUBLISHED[name].config
    task = {"encoder-decoder": "translation", "encoder": "masked_lm", "decoder": "language_modelling"}[published.architecture]
    task = "picture_classification" if published.picture.patch else task
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"task: {task}\nmodel:\n  preset: {name}\n", encoding="utf-8")
    assert read(recipe).model == replace(published, source_vocabulary=0, target_vocabulary=0)


def test_what_is_said_beside_a_published_model_wins(tmp_path: Path) -> None:
    """BERT's shape for classes of texts, with half of its layers."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("task: classification\nmodel: {preset: bert-base}\n", encoding="utf-8")
    model = read(recipe, ["model.encoder.n_layers=6", "model.head.pool=class", "model.tie=none"]).model
    bert = PUBLISHED["bert-base"].config
    assert model.encoder == replace(bert.encoder, n_layers=6)
    assert model.head == replace(bert.head, pool="class")
    assert (model.norm_epsilon, model.embedding) == (1e-12, bert.embedding)


def test_a_published_model_that_does_not_fit_the_task_is_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("task: language_modelling\nmodel:\n  preset: bert-base\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"recipe.yaml:3: model.architecture: .*needs \"decoder\""):
        read(recipe)


def test_the_paper_is_the_default() -> None:
    assert from_dict(ModelConfig, MODEL_PRESETS["paper-base"], "presets") == ModelConfig()


@pytest.mark.parametrize(
    ("name", "steps", "minutes", "averaged"),
    [
        ("paper-base", 100_000, 0.4 / 60, 5),  # section 5.2: 0.4 seconds a step, 100,000 steps
        ("paper-big", 300_000, 1.0 / 60, 20),  # 1.0 seconds a step, 300,000 steps
    ],
)
def test_recipes_of_the_paper(name: str, steps: int, minutes: float, averaged: int) -> None:
    run = read(RECIPES / f"{name}.yaml")
    assert run.model == from_dict(ModelConfig, MODEL_PRESETS[name], "presets")
    assert (run.text.tokenizer, run.text.vocabulary, run.text.joint) == ("bpe", 37_000, True)  # 5.1
    assert run.training.batch_tokens * run.training.accumulate == 25_000  # 5.1
    assert run.training.steps == steps
    adam = run.optimizer
    assert (adam.schedule, adam.learning_rate, adam.warmup) == ("paper", 1.0, 4000)  # 5.3
    assert (adam.beta1, adam.beta2, adam.epsilon, adam.weight_decay, adam.clip) == (0.9, 0.98, 1e-9, 0.0, 0.0)  # 5.3
    assert run.training.label_smoothing == 0.1  # 5.4
    search = run.decoding
    assert (search.beams, search.length_penalty, search.alpha, search.max_extra) == (4, "gnmt", 0.6, 50)  # 6.1
    assert run.checkpoints.every * minutes == pytest.approx(10)  # 6.1: written at 10-minute intervals
    assert (run.checkpoints.average, run.checkpoints.average_of) == (averaged, "last")  # 6.1
    assert (run.data.source, run.data.target) == ("en", "de")


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_is_valid_and_says_what_to_expect(path: Path) -> None:
    assert isinstance(read(path), RunConfig)
    assert "expect" in path.read_text(encoding="utf-8").lower()
