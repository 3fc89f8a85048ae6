"""Settings that make no sense are named, and sensible ones pass in silence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pellucid.base import sense
from pellucid.base.config import RunConfig, StartConfig, TextConfig
from pellucid.base.recipe import read
from pellucid.base.sense import odd_settings, odd_vocabulary

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
PLAIN = replace(RunConfig(), training=replace(RunConfig().training, steps=10_000))


def with_(section: str, **values: Any) -> RunConfig:
    changed = replace(getattr(PLAIN, section), **values)
    return replace(PLAIN, **{section: changed})


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_our_own_recipes_make_sense(recipe: Path) -> None:
    assert odd_settings(read(recipe)) == []


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            with_("optimizer", warmup=10_000),
            "optimizer.warmup: 10,000 is not over when the run ends at step 10,000; set it to 1,000 or so",
        ),
        (
            with_("training", steps=10_000, validate_every=10_001),
            "training.validate_every: 10,001 of 10,000 steps is only the end",
        ),
        (with_("training", steps=10_000, log_every=20_000), "training.log_every: 20,000 of 10,000 steps leaves no row"),
        (with_("training", steps=10_000, patience=10), "training.patience: 10 validations without gain do not fit"),
        (with_("training", steps=10_000, patience=1, validate_every=0), "training.patience: 1 validations"),
        (with_("checkpoints", average=11), "checkpoints.average: 11 checkpoints are wanted and the run saves 10"),
        (with_("checkpoints", keep_every=20_000), "checkpoints.keep_every: 20,000 of 10,000 steps keeps nothing"),
    ],
)
def test_each_oddity_has_its_line(config: RunConfig, line: str) -> None:
    [found] = odd_settings(config)
    assert found.startswith(line)


def test_the_last_sensible_values_pass() -> None:
    config = with_("training", steps=10_000, validate_every=5_000, log_every=10_000, patience=1)
    config = replace(config, optimizer=replace(config.optimizer, warmup=9_999))
    assert odd_settings(replace(config, checkpoints=replace(config.checkpoints, average=10, keep_every=10_000))) == []


def test_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sense, "available_cores", lambda: 3)
    [line] = odd_settings(with_("runtime", threads=4))
    assert line.startswith("runtime.threads: 4 threads share 3 cores")
    assert odd_settings(with_("runtime", threads=3)) == []


class TestVocabulary:
    config = replace(RunConfig(), text=TextConfig(vocabulary=1000))

    def test_as_many_as_wanted_and_often_enough(self) -> None:
        assert odd_vocabulary(self.config, 1000, 10_000) == []

    def test_fewer_than_wanted(self) -> None:
        [line] = odd_vocabulary(self.config, 900, 10_000)
        assert line.startswith("text.vocabulary: the training split has 900 pieces to offer, not 1,000")

    def test_too_rare(self) -> None:
        [line] = odd_vocabulary(self.config, 1000, 2500)
        assert line.startswith("text.vocabulary: each of 1,000 pieces is met 2.5 times on average, too rarely")

    def test_only_of_pieces_that_were_learnt_here(self) -> None:
        words = replace(self.config, text=TextConfig(tokenizer="word", vocabulary=1000))
        begun = replace(self.config, start=StartConfig(model="models/other"))
        assert odd_vocabulary(words, 12, 24) == odd_vocabulary(begun, 12, 24) == []
