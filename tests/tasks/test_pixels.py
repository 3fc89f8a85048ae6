"""Pictures as text: what a language model reads of them, what it draws, and where they end up."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from toy_pictures import archive

import pellucid
from pellucid.base.config import (
    CheckpointConfig,
    DataConfig,
    DecodingConfig,
    EmbeddingConfig,
    ModelConfig,
    OptimizerConfig,
    PictureConfig,
    RunConfig,
    RuntimeConfig,
    StackConfig,
    TextConfig,
    TrainingConfig,
)
from pellucid.base.errors import UsageError
from pellucid.cli.generate import generate
from pellucid.tasks.language_model import LanguageModel
from pellucid.tasks.language_modelling import LanguageModelling
from pellucid.tasks.pixels import as_picture, as_text, open_texts, save_drawings
from pellucid.tasks.train import train

SIZE = PictureConfig(height=4, width=6, channels=1)  # half of it: 2 rows of 3
WEST, EAST = "west\n#  \n#  ", "east\n  #\n  #"
LENGTH = 13  # tokens: 4 letters, 2 rows with a new line before each, the end


def drawn(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Pictures with one white column, west and east in turn: (N, 4, 6) and N names."""
    images = np.zeros((count, 4, 6), np.uint8)
    images[::2, :, :2] = images[1::2, :, 4:] = 255
    return images, (["west", "east"] * count)[:count]


def run_config(corpus: Path, **sections: Any) -> RunConfig:
    defaults: dict[str, Any] = {
        "model": ModelConfig(
            architecture="decoder",
            d_model=16,
            decoder=StackConfig(n_layers=1, n_heads=2, d_ff=24),
            dropout=0.0,
            norm="pre",
            positions="learned",
            embedding=EmbeddingConfig(scale=False),
            picture=SIZE,
            max_length=LENGTH,
        ),
        "text": TextConfig(tokenizer="character", min_frequency=1),
        "data": DataConfig(train=(str(corpus),)),
        "training": TrainingConfig(steps=100, batch_tokens=LENGTH * 8, validate_every=50, label_smoothing=0.0),
        "optimizer": OptimizerConfig(schedule="cosine", learning_rate=0.02, warmup=5, clip=1.0),
        "checkpoints": CheckpointConfig(every=50),
        "decoding": DecodingConfig(beams=1),
        "runtime": RuntimeConfig(precision="float32", device="cpu", threads=1),
    }
    return RunConfig(task="language_modelling", **{**defaults, **sections})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that draws the column that it is asked for; for reading only."""
    directory = tmp_path_factory.mktemp("columns")
    train(run_config(archive(directory / "columns.npz", drawn, train=240, test=6)), directory / "run")
    return directory / "run"


@pytest.fixture(scope="module")
def writer(trained: Path) -> LanguageModel:
    found = pellucid.load(trained)
    assert isinstance(found, LanguageModel)
    return found


class TestText:
    def test_every_four_pixels_are_the_nearest_grey_of_their_mean(self) -> None:
        # Means 0, 42, 43 | 127, 128, 255 of 0 to 255: greys 0, 0.49, 0.51 | 1.49, 1.51, 3 of 0 to 3.
        picture = [
            [0, 0, 40, 44, 40, 44],
            [0, 0, 44, 40, 44, 44],
            [0, 255, 128, 128, 255, 255],
            [253, 0, 128, 128, 255, 255],
        ]
        assert as_text("7", np.array([picture], np.uint8)) == "7\n  .\n.+#"

    def test_colours_count_as_their_mean(self) -> None:
        picture = np.zeros((3, 2, 4), np.uint8)
        picture[0, :, :2] = 255  # red
        picture[:2, :, 2:] = 255  # yellow
        assert as_text("two words", picture) == "two words\n.+"

    def test_what_was_read_is_drawn_again(self) -> None:
        greys = np.array([[0, 85, 170], [255, 0, 85]], np.uint8)
        text = as_text("1", greys.repeat(2, 0).repeat(2, 1)[None])
        assert np.array_equal(as_picture(text, SIZE), greys)

    @pytest.mark.parametrize(
        ("text", "rows"),
        [
            ("1\n#.", [[255, 85, 0], [0, 0, 0]]),
            ("1\n####\n.\n###", [[255, 255, 255], [85, 0, 0]]),
            ("1\n#1+\n\n", [[255, 0, 170], [0, 0, 0]]),
            ("", [[0, 0, 0], [0, 0, 0]]),
        ],
    )
    def test_a_text_that_is_no_whole_picture_is_drawn_as_far_as_it_goes(self, text: str, rows: list[list[int]]) -> None:
        assert as_picture(text, SIZE).tolist() == rows


class TestTraining:
    def test_texts_are_documents_of_each_split(self, tmp_path: Path) -> None:
        config = run_config(archive(tmp_path / "a.npz", drawn, train=24, test=3))
        found = {name: open_texts(config, name) for name in ("train", "dev", "test")}
        assert [len(list(split)) for split in found.values()] == [22, 2, 3]
        assert list(found["test"]) == [(WEST,), (EAST,), (WEST,)]
        assert found["train"].documents
        assert found["train"].unit == "document"

    def test_windows_begin_where_pictures_of_their_length_do(self, tmp_path: Path) -> None:
        config = run_config(archive(tmp_path / "a.npz", drawn, train=48))
        task = LanguageModelling(config, tmp_path / "run")
        for epoch in range(4):
            plan = task.plan(epoch)
            starts = np.concatenate([plan[number] for number in range(len(plan))])
            assert (starts % LENGTH == 0).all()
            assert len(set(starts.tolist())) == len(starts) == 40  # 44 to train on, the last one has no token after it
        batch = task.batch(np.array([3 * LENGTH]))
        assert task.tokenizer.decode(batch.ids[0].tolist()[:-1]) == EAST
        assert batch.ids[0, -1] == task.tokenizer.end
        # Texts of another length than the window have no such places.
        shorter = replace(config, model=replace(config.model, max_length=LENGTH - 1))
        other = LanguageModelling(shorter, tmp_path / "other")
        assert len({int(other.plan(epoch)[0][0]) % (LENGTH - 1) for epoch in range(8)}) > 1

    def test_an_odd_size_is_refused(self, tmp_path: Path) -> None:
        config = run_config(archive(tmp_path / "a.npz", drawn, train=24))
        odd = replace(config, model=replace(config.model, picture=PictureConfig(height=5, width=6, channels=1)))
        with pytest.raises(UsageError, match="halved"):
            open_texts(odd, "train")


class TestUse:
    def test_it_draws_what_it_is_asked_for(self, writer: LanguageModel) -> None:
        assert writer.generate(["east", "west", "w"]) == [EAST, WEST, WEST]
        assert writer.continuations(["west"])[0].reason == "end"

    def test_it_is_scored_on_pictures(self, writer: LanguageModel) -> None:
        found = writer.evaluate_split("test")
        assert found.count == 6
        assert found.values["loss"] < 0.1  # the first letter tells all the others; an even chance among the 10: ln 10 = 2.3

    def test_the_same_model_is_loaded_as_was_trained(self, trained: Path, writer: LanguageModel) -> None:
        again = pellucid.load(trained / "model")
        ids = torch.tensor([writer.tokenizer.encode(WEST)])
        assert torch.equal(again.logits(ids), writer.logits(ids))


class TestDrawing:
    def test_a_grid_row_by_row(self, tmp_path: Path) -> None:
        pictures = [np.full((2, 3), shade, np.uint8) for shade in (10, 20, 30)]
        save_drawings(pictures, tmp_path / "a.png", columns=2)
        with Image.open(tmp_path / "a.png") as image:
            drawn = np.asarray(image)
        assert drawn.shape == (
            2 * 4 * 8,
            2 * 5 * 8,
        )  # two rows and columns of pictures in frames of one pixel, 8 times as large
        frame = np.full((8, 10), 128, np.uint8)
        frame[1:3, 1:4], frame[1:3, 6:9], frame[5:7, 1:4] = 10, 20, 30
        assert np.array_equal(drawn, frame.repeat(8, 0).repeat(8, 1))

    def test_an_unknown_ending_is_refused(self, tmp_path: Path) -> None:
        for name in ("a.text", "a"):
            with pytest.raises(UsageError, match="no such format"):
                save_drawings([np.zeros((2, 3), np.uint8)], tmp_path / name, columns=1)

    def test_generate_writes_it(self, trained: Path, tmp_path: Path) -> None:
        drawing = tmp_path / "a.png"
        result = CliRunner().invoke(generate, [str(trained), "west", "east", "--picture", str(drawing)])
        assert result.exit_code == 0, result.output
        assert result.stdout == f"{WEST}\n---\n{EAST}\n"
        with Image.open(drawing) as image:
            small = np.asarray(image)[4::8, 4::8]
        assert small.shape == (4, 10)
        assert small[1:3, 1:4].tolist() == [[255, 0, 0]] * 2
        assert small[1:3, 6:9].tolist() == [[0, 0, 255]] * 2

    def test_a_model_of_plain_text_draws_nothing(self, trained: Path, tmp_path: Path) -> None:
        settings = json.loads((trained / "model" / "config.json").read_text(encoding="utf-8"))
        settings["model"]["picture"] |= {"height": 0, "width": 0}
        directory = shutil.copytree(trained / "model", tmp_path / "model")
        (directory / "config.json").write_text(json.dumps(settings), encoding="utf-8")
        result = CliRunner().invoke(generate, [str(directory), "west", "--picture", str(tmp_path / "a.png")])
        assert result.exit_code == 2
        assert "this model writes text" in result.output
        assert not (tmp_path / "a.png").exists()

    def test_a_row_a_prompt(self, trained: Path, tmp_path: Path) -> None:
        drawing = tmp_path / "a.png"
        given = [str(trained), "west", "east", "--n", "3", "--temperature", "1", "--picture", str(drawing)]
        result = CliRunner().invoke(generate, given)
        assert result.exit_code == 0, result.output
        with Image.open(drawing) as image:
            assert image.size == (3 * 5 * 8, 2 * 4 * 8)
