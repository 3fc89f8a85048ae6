"""Everything that the page on recurrent networks shows, run as it stands there; only the training is shorter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from shown import blocks_of, run

from pellucid.base.recipe import read

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "recurrent-networks.md"
BLOCKS = blocks_of(PAGE)
SHORT = "training.steps=4 training.validate_every=2 training.validate_sentences=2 checkpoints.every=2 --quiet"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's recipe has been trained, for four steps."""
    directory = tmp_path_factory.mktemp("reader")
    (directory / "gru.yaml").write_text(BLOCKS["gru.yaml"], encoding="utf-8")
    run(BLOCKS["translate"].splitlines()[0] + f" {SHORT}", directory)
    return directory


def test_it_translates(directory: Path) -> None:
    assert run(BLOCKS["translate"].splitlines()[1], directory).count("\n") == 1


def test_it_is_looked_into(directory: Path) -> None:
    out = run(BLOCKS["explain"], directory)
    for name in ("decoder.layers.0.cross_attn.weights", "encoder.layers.0.forward.gates", "decoder.attentional"):
        assert name in out
    assert "taps computed anew in float64" in out
    assert (directory / "attention.png").read_bytes().startswith(b"\x89PNG")


def test_every_block_is_run() -> None:
    assert set(BLOCKS) == {"gru.yaml", "translate", "explain"}
    assert PAGE.read_text(encoding="utf-8").count("```") // 2 == len(BLOCKS)


def test_the_recipes_are_what_the_page_says() -> None:
    names = re.findall(r"\[([\w-]+)\]\(../../recipes/", PAGE.read_text(encoding="utf-8"))
    found = {name: read(ROOT / "recipes" / f"{name}.yaml") for name in names}
    tasks = {
        name: (config.task, config.model.recurrent.cell, config.model.recurrent.attention) for name, config in found.items()
    }
    assert tasks == {
        "shakespeare-char-lstm": ("language_modelling", "lstm", "none"),
        "sst2-lstm": ("classification", "lstm", "none"),
        "scenes-lstm": ("captioning", "lstm", "none"),
        "demo-lstm": ("translation", "lstm", "none"),
        "demo-gru": ("translation", "gru", "additive"),
        "multi30k-de-en-gru": ("translation", "gru", "additive"),
    }
