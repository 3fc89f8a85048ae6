"""Everything that the page on leaving shows, run as it stands there; and its table of what is refused, against the code."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from shown import blocks_of

import pellucid
from pellucid.base.config import (
    EmbeddingConfig,
    HeadConfig,
    ModelConfig,
    PictureConfig,
    PositionalConfig,
    RotaryConfig,
    RunConfig,
    StackConfig,
    TextConfig,
)
from pellucid.cli.main import main
from pellucid.exchange.to_ctranslate2 import obstacles
from pellucid.model.build import build, initialise
from pellucid.tasks.labels import Labels
from pellucid.tasks.model_directory import save_model
from pellucid.text.tokenizer import Tokenizer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "leave.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = blocks_of(PAGE)
PAIR = ModelConfig(d_model=12, encoder=StackConfig(2, 3, 16), decoder=StackConfig(2, 3, 16))
ALONE = replace(PAIR, architecture="decoder")
LLAMA3 = PositionalConfig(rotary=RotaryConfig(scaling="llama3"))
# What each row of the table says, as a model.
REFUSED = {
    "an encoder alone": replace(PAIR, architecture="encoder"),
    "a model of pictures": replace(PAIR, picture=PictureConfig(patch=4, height=8, width=8)),
    "`attention: additive`": replace(PAIR, attention="additive"),
    "`positions: none`": replace(PAIR, positions="none"),
    "`positions: alibi`": replace(PAIR, positions="alibi"),
    "`positions: relative`": replace(ALONE, positions="relative"),
    "`positional.rotary.scaling: llama3`": replace(PAIR, positions="rotary", positional=LLAMA3),
    "`n_heads`": replace(PAIR, decoder=StackConfig(2, (3, 2), 16)),
    "decoder layers": replace(PAIR, decoder=StackConfig(2, 3, 16, reads=(0, 1))),
    "`embedding.types`": replace(PAIR, embedding=EmbeddingConfig(types=2)),
}


def test_every_block_is_run() -> None:
    assert TEXT.count("```") // 2 == len(BLOCKS)
    assert set(BLOCKS) == {"ctranslate2", "translate", "onnx", "classify"}


@pytest.mark.parametrize("row", REFUSED)
def test_what_is_refused(row: str) -> None:
    assert f"\n| {row}" in TEXT
    assert len(obstacles(REFUSED[row])) == 1


def test_what_is_not() -> None:
    assert obstacles(PAIR) == obstacles(ALONE) == []


def save_reviews(directory: Path) -> None:
    """A classifier that has learnt nothing."""
    text = TextConfig(tokenizer="word", vocabulary=40, min_frequency=1)
    tokenizer = Tokenizer.train(["a good film", "a bad film"], text)
    model = replace(PAIR, architecture="encoder", head=HeadConfig(pool="mean"), tie="none", max_length=16, target_vocabulary=2)
    model = replace(model, source_vocabulary=tokenizer.vocabulary_size)
    built = build(model)
    initialise(built, seed=1)
    run, labels = RunConfig(task="classification", model=model, text=text), Labels(["bad", "good"])
    save_model(directory, run, (tokenizer, tokenizer), built.state_dict(), "", labels)


def commands(block: str) -> None:
    """Those of a block, in this process."""
    for line in BLOCKS[block].splitlines():
        program, *arguments = shlex.split(line)
        assert program == "pellucid"
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 0, line


def test_all_blocks_in_their_order(
    learnt: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(learnt / "model", "runs/mine")
    save_reviews(Path("runs/reviews"))
    commands("ctranslate2")
    capsys.readouterr()
    exec(BLOCKS["translate"], {})
    assert capsys.readouterr().out == f"{pellucid.load('runs/mine').translate('a b c', beams=1)[0]}\n"
    commands("onnx")
    capsys.readouterr()
    exec(BLOCKS["classify"], {})
    [answer] = pellucid.load("runs/reviews").classify("a good film")
    assert capsys.readouterr().out == f"{answer.label}\n"
