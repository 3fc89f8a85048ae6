"""Pictures classified: where they come from, how they become numbers, training, use, the attention of the class token."""

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
from PIL import Image
from toy_pictures import GREY, archive

import pellucid
from pellucid.base.config import (
    CheckpointConfig,
    ConfigProblems,
    DataConfig,
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    PictureConfig,
    RunConfig,
    RuntimeConfig,
    StackConfig,
    StartConfig,
    TrainingConfig,
)
from pellucid.base.errors import DataError, ModelError, UsageError
from pellucid.data.picture_splits import open_picture_split
from pellucid.tasks.labels import Labels
from pellucid.tasks.picture_classification import PictureClassification, PictureClassifier
from pellucid.tasks.preprocessor import PREPROCESSOR, Preprocessor
from pellucid.tasks.train import train

NAMES = np.array(["low", "middle", "top"])  # not in the order in which they lie


def drawn(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.str_]]:
    """Dim noise with one bright square, and the name of the row that it lies in: (N, 6, 8) and (N,)."""
    chooser = np.random.default_rng(seed)
    images = chooser.integers(0, 60, (count, 6, 8)).astype(np.uint8)
    rows, columns = chooser.integers(0, 3, count), chooser.integers(0, 4, count)
    for image, row, column in zip(images, rows, columns, strict=True):
        image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2] += 180
    return images, NAMES[2 - rows]


def run_config(corpus: Path, **sections: Any) -> RunConfig:
    defaults: dict[str, Any] = {
        "model": ModelConfig(
            architecture="encoder",
            d_model=16,
            encoder=StackConfig(n_layers=2, n_heads=4, d_ff=24),
            dropout=0.0,
            norm="pre",
            positions="learned",
            picture=GREY,
            head=HeadConfig(pool="class", bias=True),
            tie="none",
            max_length=13,
        ),
        "data": DataConfig(train=(str(corpus),)),
        "training": TrainingConfig(steps=200, batch_tokens=13 * 32, validate_every=50, label_smoothing=0.0),
        "optimizer": OptimizerConfig(schedule="cosine", learning_rate=0.02, warmup=10),
        "checkpoints": CheckpointConfig(every=50),
        "runtime": RuntimeConfig(precision="float32", device="cpu", threads=1),
    }
    return RunConfig(task="picture_classification", **{**defaults, **sections})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows in which row the bright square lies; for reading only."""
    directory = tmp_path_factory.mktemp("rows")
    train(run_config(archive(directory / "rows.npz", drawn, train=480, test=60)), directory / "run")
    return directory / "run"


@pytest.fixture(scope="module")
def classifier(trained: Path) -> PictureClassifier:
    found = pellucid.load(trained)
    assert isinstance(found, PictureClassifier)
    return found


class TestWhereTheyAre:
    def test_arrays_without_a_dev_split_give_the_last_twelfth_of_train(self, tmp_path: Path) -> None:
        images, labels = drawn(24, seed=0)
        data = DataConfig(train=(str(archive(tmp_path / "a.npz", drawn, train=24, test=5)),))
        for split, expected in (("train", slice(0, 22)), ("dev", slice(22, 24))):
            pictures, texts = open_picture_split(data, split, GREY)
            assert texts == labels[expected].tolist()
            assert np.array_equal(np.stack([pictures[i][0] for i in range(len(pictures))]), images[expected])
        assert len(open_picture_split(data, "test", GREY)[1]) == 5
        assert len(open_picture_split(replace(data, holdout=0.25), "dev", GREY)[1]) == 6

    def test_a_dev_split_of_their_own_is_taken(self, tmp_path: Path) -> None:
        data = DataConfig(train=(str(archive(tmp_path / "a.npz", drawn, train=9, dev=4)),))
        assert [len(open_picture_split(data, split, GREY)[1]) for split in ("train", "dev")] == [9, 4]
        other = replace(data, dev=(str(archive(tmp_path / "b.npz", drawn, train=3, dev=2)),))
        assert [len(open_picture_split(other, split, GREY)[1]) for split in ("train", "dev")] == [9, 2]

    def test_the_public_set_of_digits_is_read_from_its_one_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PELLUCID_DATA", str(tmp_path))
        (tmp_path / "mnist").mkdir()
        archive(tmp_path / "mnist" / "mnist.npz", drawn, train=12, test=5)
        counts = [len(open_picture_split(DataConfig(corpus="mnist"), split, GREY)[1]) for split in ("train", "dev", "test")]
        assert counts == [11, 1, 5]

    def test_the_scenes_and_a_folder(self, tmp_path: Path) -> None:
        scenes = PictureConfig(patch=8, height=32, width=32)
        assert len(open_picture_split(DataConfig(corpus="scenes"), "compositional", scenes)[1]) == 500
        Image.fromarray(drawn(1, 0)[0][0]).save(tmp_path / "a.png")
        (tmp_path / "train.tsv").write_text("a.png\ttop\nb.png\tlow\n", encoding="utf-8")
        data = DataConfig(directory=str(tmp_path))
        with pytest.raises(DataError, match=r"b\.png"):
            open_picture_split(data, "train", GREY)
        assert open_picture_split(replace(data, on_bad_picture="skip"), "train", GREY)[1] == ["top"]

    def test_a_folder_for_each_label(self, tmp_path: Path) -> None:
        images, labels = drawn(6, seed=0)
        for split in ("train", "val"):
            for number, (image, label) in enumerate(zip(images, labels, strict=True)):
                (tmp_path / split / label).mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(tmp_path / split / label / f"{number}.png")
        (tmp_path / "train" / labels[0] / ".hidden").write_text("no picture", encoding="utf-8")
        (tmp_path / "train" / "list.txt").write_text("no folder", encoding="utf-8")
        data = DataConfig(directory=str(tmp_path))
        order = sorted(range(6), key=lambda number: (labels[number], number))
        for split in ("train", "dev"):
            pictures, texts = open_picture_split(data, split, GREY)
            assert texts == labels[order].tolist()
            assert np.array_equal(np.stack([pictures[number][0] for number in range(6)]), images[order])
        (tmp_path / "train" / "low" / "x.png").write_text("no picture", encoding="utf-8")
        with pytest.raises(DataError, match=r"x\.png: not a picture"):
            open_picture_split(data, "train", GREY)
        with pytest.raises(DataError, match="a folder test with one folder for each label"):
            open_picture_split(data, "test", GREY)

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (DataConfig(corpus="multi30k"), ["no such corpus of pictures", "scenes, mnist", "multi30k"]),
            (DataConfig(), ["no data given for the split dev"]),
            (DataConfig(train=("a.tsv",), dev=("a.en", "a.fr")), ["one file", "data.dev", "a.en, a.fr"]),
        ],
    )
    def test_what_holds_no_pictures_is_refused(self, data: DataConfig, words: list[str]) -> None:
        with pytest.raises(UsageError) as caught:
            open_picture_split(data, "dev", GREY)
        assert all(word in str(caught.value) for word in words)

    def test_too_few_to_hold_some_out(self, tmp_path: Path) -> None:
        data = DataConfig(train=(str(archive(tmp_path / "a.npz", drawn, train=3)),))
        with pytest.raises(DataError, match="too few pictures"):
            open_picture_split(data, "dev", GREY)

    def test_damaged_arrays_are_named_as_such(self, tmp_path: Path) -> None:
        (tmp_path / "a.npz").write_bytes(b"no archive")
        with pytest.raises(DataError, match="damaged"):
            open_picture_split(DataConfig(train=(str(tmp_path / "a.npz"),)), "dev", GREY)


class TestTraining:
    def test_it_learns_where_the_square_lies(self, classifier: PictureClassifier) -> None:
        found = classifier.evaluate_split("test")
        assert found.values["accuracy"] >= 95.0
        assert found.values["loss"] <= 0.3
        assert found.count == 60
        wrong = sum(output != label for output, label in zip(found.outputs, drawn(60, seed=1)[1], strict=True))
        assert found.values["accuracy"] == pytest.approx(100 * (60 - wrong) / 60)

    def test_a_batch_is_a_fixed_number_of_pictures(self, tmp_path: Path) -> None:
        config = run_config(archive(tmp_path / "a.npz", drawn, train=96))  # 88 to train on, 12 squares and one place more each
        task = PictureClassification(replace(config, training=TrainingConfig(batch_tokens=7 * 13 + 12)), tmp_path / "run")
        plan = task.plan(3)
        assert sorted(len(plan[index]) for index in range(len(plan))) == [4] + 12 * [7]
        assert sorted(np.concatenate([plan[index] for index in range(len(plan))])) == list(range(88))
        assert len(task.worst()) == 7

    def test_pixels_are_those_of_the_archive_normalised(self, tmp_path: Path) -> None:
        images, labels = drawn(36, seed=0)
        task = PictureClassification(run_config(archive(tmp_path / "a.npz", drawn, train=36)), tmp_path / "run")
        own = images[:33].astype(np.float64) / 255  # the three others are held out
        batch = task.batch(np.array([30, 2]))
        expected = (own[[30, 2], None] - own.mean()) / own.std()
        np.testing.assert_allclose(batch.source.numpy(), expected, rtol=0, atol=1e-6)
        assert [task.labels.names[number] for number in batch.target] == labels[[30, 2]].tolist()
        assert task.describe([30]) == [f"picture 30: {labels[30]}"]

    def test_moving_and_mirroring_depend_on_the_seed_and_spare_the_dev_split(self, tmp_path: Path) -> None:
        corpus = archive(tmp_path / "a.npz", drawn, train=60)
        plain = PictureClassification(run_config(corpus), tmp_path / "plain")
        data = DataConfig(train=(str(corpus),), shift=1, flip=True)
        task = PictureClassification(run_config(corpus, data=data), tmp_path / "moved")
        examples = np.arange(50)
        torch.manual_seed(4)
        first, second = task.pixels(examples, "train"), task.pixels(examples, "train")
        torch.manual_seed(4)
        assert torch.equal(task.pixels(examples, "train"), first)
        assert not torch.equal(first, second)
        assert torch.equal(task.pixels(examples[:5], "dev"), plain.pixels(examples[:5], "dev"))
        # Every one is what moving by -1, 0 or 1 each way, mirrored or not, makes of the picture, and all of these occur.
        black = plain.preprocessor.pixels(np.zeros((1, 1, 1, 1), np.uint8)).item()
        around = torch.nn.functional.pad(plain.pixels(examples, "train"), (1, 1, 1, 1), value=black)
        seen = set()
        for before, after in zip(around, first, strict=True):
            moves = {
                (down, right, mirrored): before[:, 1 - down : 7 - down, 1 - right : 9 - right]
                for down in (-1, 0, 1)
                for right in (-1, 0, 1)
                for mirrored in (False, True)
            }
            fitting = [move for move, moved in moves.items() if torch.equal(moved.flip(2) if move[2] else moved, after)]
            assert fitting
            seen |= set(fitting)
        assert len(seen) == 18

    def test_going_on_gives_the_same_bits(self, tmp_path: Path) -> None:
        corpus = archive(tmp_path / "a.npz", drawn, train=60)
        data = DataConfig(train=(str(corpus),), shift=1, flip=True)
        optimizer = OptimizerConfig(schedule="constant", learning_rate=0.01, warmup=1)
        config = run_config(corpus, data=data, optimizer=optimizer, training=TrainingConfig(steps=12, batch_tokens=13 * 8))
        config = replace(config, checkpoints=CheckpointConfig(every=6))
        train(config, tmp_path / "whole")
        train(replace(config, training=replace(config.training, steps=6)), tmp_path / "halves")
        train(config, tmp_path / "halves")
        whole, halves = (pellucid.load(tmp_path / name).model.state_dict() for name in ("whole", "halves"))
        assert all(torch.equal(weight, halves[name]) for name, weight in whole.items())

    def test_a_model_that_it_starts_from_brings_how_pictures_become_numbers(self, trained: Path, tmp_path: Path) -> None:
        corpus = archive(tmp_path / "a.npz", drawn, train=60)
        start = StartConfig(model=str(trained), freeze=("encoder.*",))
        train(run_config(corpus, start=start, training=TrainingConfig(steps=2, batch_tokens=104)), tmp_path / "run")
        before, after = (json.loads((run / "model" / PREPROCESSOR).read_text()) for run in (trained, tmp_path / "run"))
        assert after == before

    def test_a_label_that_train_lacks_is_named(self, tmp_path: Path) -> None:
        images, labels = drawn(12, seed=0)
        labels = labels.astype("U9")
        labels[-1] = "elsewhere"
        np.savez(tmp_path / "a.npz", train_images=images, train_labels=labels)
        with pytest.raises(DataError, match="no such class"):
            PictureClassification(run_config(tmp_path / "a.npz"), tmp_path / "run")

    def test_positions_must_reach_over_all_squares(self) -> None:
        with pytest.raises(ConfigProblems, match="must be at least 13"):
            ModelConfig(architecture="encoder", picture=GREY, head=HeadConfig(pool="class"), tie="none", max_length=12)
        assert ModelConfig(architecture="encoder", picture=GREY, head=HeadConfig(pool="mean"), tie="none", max_length=12)


class TestUse:
    def test_files_arrays_and_batches_agree(self, classifier: PictureClassifier, tmp_path: Path) -> None:
        images, _ = drawn(70, seed=9)
        together = classifier.classify(list(images))
        assert len(together) == 70
        for number in (0, 66):
            Image.fromarray(images[number]).save(tmp_path / "a.png")
            for given in (tmp_path / "a.png", str(tmp_path / "a.png"), images[number], images[number][None]):
                [alone] = classifier.classify(given)
                assert alone.probabilities == pytest.approx(together[number].probabilities, abs=1e-6)
        assert set(together[0].probabilities) == {"low", "middle", "top"} == set(classifier.labels)
        assert sum(together[0].probabilities.values()) == pytest.approx(1.0, abs=1e-6)
        assert together[0].probabilities[together[0].label] == max(together[0].probabilities.values())
        assert classifier.classify([]) == []

    def test_several_models_vote(self, trained: Path, classifier: PictureClassifier) -> None:
        other = pellucid.load(trained)
        with torch.no_grad():
            other.model.head.bias += torch.tensor([6.0, 0.0, -6.0])
        images, labels = drawn(40, seed=4)
        both = classifier.classify(list(images), [other])
        for found, first, second in zip(both, classifier.classify(list(images)), other.classify(list(images)), strict=True):
            mean = {name: (share + second.probabilities[name]) / 2 for name, share in first.probabilities.items()}
            assert found.probabilities == pytest.approx(mean, abs=1e-12)
        pictures, labels = classifier.open_split("test")
        found = classifier.evaluate(pictures, labels, [other])
        answers = classifier.classify([pictures[number] for number in range(len(labels))], [other])
        assert found.outputs == [answer.label for answer in answers]
        nats = [-np.log(answer.probabilities[label]) for answer, label in zip(answers, labels, strict=True)]
        assert found.values["loss"] == pytest.approx(np.mean(nats), rel=1e-5)

    def test_a_larger_file_is_brought_to_size(self, classifier: PictureClassifier, tmp_path: Path) -> None:
        [image], [label] = drawn(1, seed=12)
        large = Image.fromarray(image).resize((80, 60), Image.Resampling.NEAREST)
        wide = Image.new("L", (120, 60))
        wide.paste(large, (20, 0))
        wide.save(tmp_path / "a.png")
        assert classifier.classify(tmp_path / "a.png")[0].label == label

    def test_logits_are_the_models(self, classifier: PictureClassifier) -> None:
        pixels = classifier.pixels(list(drawn(3, seed=2)[0]))
        with torch.inference_mode():
            assert torch.equal(classifier.logits(pixels), classifier.model(pixels))

    def test_lower_precision_gives_nearly_the_same(self, trained: Path, classifier: PictureClassifier) -> None:
        images, _ = drawn(20, seed=3)
        expected, found = classifier.classify(list(images)), pellucid.load(trained, "bfloat16").classify(list(images))
        assert [answer.label for answer in found] == [answer.label for answer in expected]

    @pytest.mark.parametrize(
        "picture", [np.zeros((8, 6), np.uint8), np.zeros((6, 8, 3), np.uint8), np.zeros((6, 8), np.float32)]
    )
    def test_an_array_of_another_size_or_type_is_refused(self, classifier: PictureClassifier, picture: Any) -> None:
        with pytest.raises(DataError, match="another size or type") as caught:
            classifier.classify(picture)
        assert str(picture.shape) in str(caught.value)

    def test_an_unknown_label_is_named(self, classifier: PictureClassifier) -> None:
        pictures, _ = classifier.open_split("test")
        with pytest.raises(DataError, match="no such class"):
            classifier.evaluate(pictures, ["nowhere"] * len(pictures))


class TestAttention:
    def test_it_is_the_row_of_the_class_token(self, classifier: PictureClassifier) -> None:
        [image], _ = drawn(1, seed=5)
        found = classifier.attention(image)
        assert found.shape == (2, 4, 3, 4)  # layers, heads, rows, columns
        weights: dict[str, torch.Tensor] = {}

        def tap(name: str, tensor: torch.Tensor) -> torch.Tensor:
            weights[name] = tensor
            return tensor

        with torch.inference_mode():
            classifier.model(classifier.pixels([image]), tap=tap)
        for layer in (0, 1):
            whole = weights[f"encoder.layers.{layer}.self_attn.weights"]  # (1, 4, 13, 13)
            assert torch.equal(found[layer].flatten(1), whole[0, :, 0, 1:])
            torch.testing.assert_close(found[layer].sum((1, 2)) + whole[0, :, 0, 0], torch.ones(4), rtol=0, atol=1e-6)

    def test_the_square_is_looked_at(self, classifier: PictureClassifier) -> None:
        images, labels = drawn(30, seed=6)
        share = 0.0
        for image, label in zip(images, labels, strict=True):
            # Of what any head of any layer gives to the squares, the largest share that falls on the bright row.
            maps = classifier.attention(image)
            row = ["top", "middle", "low"].index(label)
            share += (maps.sum(3) / maps.sum((2, 3))[..., None])[:, :, row].max().item() / len(images)
        assert share > 0.5  # a third, if it did not look

    def test_it_is_drawn(self, classifier: PictureClassifier, tmp_path: Path) -> None:
        [image], _ = drawn(1, seed=5)
        for number, asked in enumerate(({}, {"layer": 0, "head": 3}, {"layer": -2})):
            path = tmp_path / f"{number}.png"
            classifier.plot_attention(image, path, **asked)  # type: ignore[arg-type]
            assert path.read_bytes().startswith(b"\x89PNG")
        for layer, head in ((2, None), (-3, None), (0, 4), (0, -1)):
            with pytest.raises(UsageError, match="no such layer or head"):
                classifier.plot_attention(image, tmp_path / "none.png", layer=layer, head=head)

    def test_a_model_without_a_class_token_has_none(self, classifier: PictureClassifier, tmp_path: Path) -> None:
        config = classifier.config
        mean = replace(config, model=replace(config.model, head=HeadConfig(pool="mean")))
        without = PictureClassifier(classifier.model, mean, classifier.preprocessor)
        with pytest.raises(UsageError, match="no class token"):
            without.attention(drawn(1, 5)[0][0])


class TestPreprocessor:
    def test_it_is_read_back_as_written(self, classifier: PictureClassifier, tmp_path: Path) -> None:
        classifier.preprocessor.save(tmp_path)
        assert Preprocessor.load(tmp_path, GREY) == classifier.preprocessor
        assert classifier.preprocessor.fit == "crop"

    def test_that_of_others_is_understood(self, tmp_path: Path) -> None:
        """The numbers of google/vit-base-patch16-224's file, but for the size; sides are resized each by its own factor."""
        said = {
            "do_normalize": True,
            "do_resize": True,
            "image_mean": [0.5, 0.25, 0.125],
            "image_std": [0.5, 0.75, 1.5],
            "resample": 2,
            "size": {"height": 6, "width": 8},
        }
        (tmp_path / PREPROCESSOR).write_text(json.dumps(said), encoding="utf-8")
        found = Preprocessor.load(tmp_path, replace(GREY, channels=3))
        assert found is not None
        assert (found.mean, found.std, found.fit) == ((0.5, 0.25, 0.125), (0.5, 0.75, 1.5), "stretch")
        picture = np.random.default_rng(0).integers(0, 256, (20, 10, 3)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / "a.png")
        expected = np.asarray(Image.fromarray(picture).resize((8, 6), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
        assert np.array_equal(found.read(tmp_path / "a.png"), expected)
        exact = (expected / 255 - np.array(said["image_mean"])[:, None, None]) / np.array(said["image_std"])[:, None, None]
        np.testing.assert_allclose(found.pixels(expected[None])[0].numpy(), exact, rtol=0, atol=1e-6)

    def test_a_picture_turned_by_a_quarter_is_stretched_upright(self, tmp_path: Path) -> None:
        picture = np.random.default_rng(1).integers(0, 256, (20, 10)).astype(np.uint8)
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise
        Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
        upright = Image.fromarray(np.rot90(picture, -1)).resize((8, 6), Image.Resampling.BILINEAR)
        found = Preprocessor(GREY, (0.0,), (1.0,), "stretch").read(tmp_path / "a.png")
        assert np.array_equal(found[0], np.asarray(upright))

    def test_neither_rescaled_nor_normalised(self, tmp_path: Path) -> None:
        (tmp_path / PREPROCESSOR).write_text('{"do_rescale": false, "image_mean": 100.0, "image_std": 50}', encoding="utf-8")
        found = Preprocessor.load(tmp_path, GREY)
        assert found is not None
        picture = np.arange(48, dtype=np.uint8).reshape(1, 1, 6, 8)
        np.testing.assert_allclose(found.pixels(picture).numpy(), (picture - 100.0) / 50, rtol=0, atol=1e-5)
        (tmp_path / PREPROCESSOR).write_text('{"do_normalize": false}', encoding="utf-8")
        found = Preprocessor.load(tmp_path, GREY)
        assert found is not None
        np.testing.assert_allclose(found.pixels(picture).numpy(), picture / 255, rtol=0, atol=1e-6)

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            ('{"size": {"height": 8, "width": 6}}', ["another size", "size"]),
            ('{"size": 224}', ["another size", "224"]),
            ('{"channels": 3}', ["channels"]),
            ('{"do_center_crop": true}', ["no part for", "do_center_crop"]),
            ('{"resample": 3}', ["no part for", "resample: 3"]),
            ('{"image_mean": [0.5, 0.5]}', ["1 numbers"]),
            ('{"image_mean": "much"}', ["a number"]),
            ('{"image_std": 0}', ["above 0"]),
            ("[1]", ["JSON object"]),
            ("{", ["cannot be read"]),
        ],
    )
    def test_what_is_damaged_or_not_understood_is_refused(self, said: str, words: list[str], tmp_path: Path) -> None:
        (tmp_path / PREPROCESSOR).write_text(said, encoding="utf-8")
        with pytest.raises(ModelError) as caught:
            Preprocessor.load(tmp_path, GREY)
        assert all(word in str(caught.value) for word in [PREPROCESSOR, *words])

    def test_a_model_without_one_still_gives_logits(self, trained: Path, tmp_path: Path) -> None:
        directory = shutil.copytree(trained / "model", tmp_path / "model")
        (directory / PREPROCESSOR).unlink()
        found = pellucid.load(directory)
        assert found.logits(torch.zeros(2, 1, 6, 8)).shape == (2, 3)
        with pytest.raises(ModelError, match="does not say how pictures become numbers"):
            found.classify(drawn(1, 0)[0][0])


def test_labels_are_saved_with_the_model(trained: Path) -> None:
    assert Labels.load(trained / "model").names == ("low", "middle", "top")
