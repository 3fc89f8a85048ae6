"""Captions of pictures: training, use, scores, the command."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    CorruptionConfig,
    DataConfig,
    DecodingConfig,
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    PictureConfig,
    RunConfig,
    RuntimeConfig,
    StackConfig,
    TextConfig,
    TrainingConfig,
)
from pellucid.base.errors import DataError, UsageError
from pellucid.cli.main import main
from pellucid.data.pictures import Pictures
from pellucid.data.report import Report
from pellucid.decoding.minimum_bayes_risk import least_risk
from pellucid.tasks.captioning import Captioner, Captioning, others, scores
from pellucid.tasks.train import train
from pellucid.text.tokenizer import END, START, UNKNOWN

ROWS = ("top", "middle", "low")
COLUMNS = ("first", "second", "third", "last")


def drawn(count: int, seed: int) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Dim noise with one bright square or two side by side, and where these are: (N, 6, 8) and N captions of 2 or 4 words."""
    chooser = np.random.default_rng(seed)
    images = chooser.integers(0, 60, (count, 6, 8)).astype(np.uint8)
    captions = []
    for image in images:
        row, column, wide = chooser.integers(0, 3), chooser.integers(0, 3), chooser.integers(0, 2)
        image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2 + 2 * wide] += 180
        captions.append(f"{ROWS[row]} {COLUMNS[column]}" + (f" and {COLUMNS[column + 1]}" if wide else ""))
    return images, captions


def run_config(corpus: Path, **sections: Any) -> RunConfig:
    defaults: dict[str, Any] = {
        "model": ModelConfig(
            d_model=16,
            encoder=StackConfig(n_layers=2, n_heads=4, d_ff=24),
            decoder=StackConfig(n_layers=1, n_heads=2, d_ff=20),
            dropout=0.0,
            norm="pre",
            positions="learned",
            picture=GREY,
            max_length=13,
        ),
        "text": TextConfig(tokenizer="word", vocabulary=30, min_frequency=1),
        "data": DataConfig(train=(str(corpus),)),
        "training": TrainingConfig(steps=250, batch_tokens=13 * 32, validate_every=125, label_smoothing=0.0),
        "optimizer": OptimizerConfig(schedule="cosine", learning_rate=0.02, warmup=10, clip=1.0),
        "checkpoints": CheckpointConfig(every=125),
        "decoding": DecodingConfig(beams=1),
        "runtime": RuntimeConfig(precision="float32", device="cpu", threads=1),
    }
    return RunConfig(task="captioning", **{**defaults, **sections})


def pictures_of(images: Sequence[npt.NDArray[np.uint8]]) -> Pictures:
    """One picture for each text."""
    shown = np.stack(images)[:, None]
    count = len(images)
    return Pictures(shown.__getitem__, np.arange(count), (1, *shown.shape[2:]), "", Report(count, count))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that says where the bright squares are; for reading only."""
    directory = tmp_path_factory.mktemp("squares")
    train(run_config(archive(directory / "squares.npz", drawn, train=600, test=60)), directory / "run")
    return directory / "run"


@pytest.fixture(scope="module")
def captioner(trained: Path) -> Captioner:
    found = pellucid.load(trained)
    assert isinstance(found, Captioner)
    return found


class TestTraining:
    def test_it_learns_to_say_what_is_seen(self, captioner: Captioner) -> None:
        found = captioner.evaluate_split("test")
        assert found.values["exact"] >= 90.0
        captions = drawn(60, seed=1)[1]
        right = sum(output == caption for output, caption in zip(found.outputs, captions, strict=True))
        assert found.values["exact"] == pytest.approx(100 * right / 60)
        assert found.count == 60

    def test_a_batch_holds_pictures_and_shifted_captions(self, tmp_path: Path) -> None:
        task = Captioning(run_config(archive(tmp_path / "a.npz", drawn, train=36)), tmp_path / "run")
        captions = drawn(36, seed=0)[1]
        short = next(number for number, caption in enumerate(captions) if len(caption.split()) == 2)
        long = next(number for number, caption in enumerate(captions) if len(caption.split()) == 4)
        batch = task.batch(np.array([short, long]))
        first, second = (task.tokenizer.encode(captions[number]) for number in (short, long))
        assert batch.source.shape == (2, 1, 6, 8)
        assert batch.source_mask is None
        assert batch.wanted.tolist() == [[True, True, True, False, False], [True] * 5]
        assert batch.target_output.tolist() == [*first, END, *second, END]
        assert batch.target_input[1].tolist() == [START, *second]
        assert batch.target_input[0, :3].tolist() == [START, *first]
        assert task.count(batch) == 8
        assert task.config.model.target_vocabulary == task.tokenizer.vocabulary_size == 4 + 8  # the controls and the words

    def test_words_that_the_decoder_reads_are_dropped_while_training(self, tmp_path: Path) -> None:
        corpus = archive(tmp_path / "a.npz", drawn, train=120)
        plain = Captioning(run_config(corpus), tmp_path / "plain")
        task = Captioning(run_config(corpus, corruption=CorruptionConfig(drop=0.25)), tmp_path / "dropped")
        whole = plain.batch(np.arange(110))
        torch.manual_seed(3)
        batch = task.batch(np.arange(110))
        torch.manual_seed(3)
        assert torch.equal(task.batch(np.arange(110)).target_input, batch.target_input)
        gone = batch.target_input != whole.target_input
        assert (batch.target_input[gone] == UNKNOWN).all()
        assert not gone[:, 0].any()  # the start
        assert not gone[~whole.wanted].any()  # padding
        words = int(whole.wanted[:, 1:].sum())
        assert 0.18 < int(gone.sum()) / words < 0.32
        assert torch.equal(batch.target_output, whole.target_output)
        assert torch.equal(task.batch(np.arange(5), "dev").target_input, plain.batch(np.arange(5), "dev").target_input)

    def test_the_worst_batch_is_of_the_longest_captions(self, tmp_path: Path) -> None:
        config = run_config(archive(tmp_path / "a.npz", drawn, train=60), training=TrainingConfig(batch_tokens=5 * 13))
        task = Captioning(config, tmp_path / "run")
        assert [len(task.ids["train"][number]) for number in task.worst()] == [5] * 5

    def test_a_picture_with_several_captions_is_several_examples(self, tmp_path: Path) -> None:
        images, _ = drawn(2, seed=0)
        for name, image in zip("ab", images, strict=True):
            Image.fromarray(image).save(tmp_path / f"{name}.png")
        (tmp_path / "train.tsv").write_text("a.png\tone two\nb.png\tthree\na.png\tfour\n", encoding="utf-8")
        (tmp_path / "dev.tsv").write_text("b.png\tone\n", encoding="utf-8")
        task = Captioning(run_config(tmp_path, data=DataConfig(directory=str(tmp_path))), tmp_path / "run")
        pixels = task.batch(np.array([2, 1, 0])).source
        assert torch.equal(pixels[0], pixels[2])
        assert not torch.equal(pixels[0], pixels[1])
        assert task.describe([2]) == ["picture 2: four"]

    def test_too_long_captions_are_refused_skipped_or_cropped(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        corpus = archive(tmp_path / "a.npz", drawn, train=60)
        captions = drawn(60, seed=0)[1][:55]  # the five others are held out
        short = [number for number, caption in enumerate(captions) if len(caption.split()) == 2]
        data = DataConfig(train=(str(corpus),), max_length=3)
        with pytest.raises(DataError, match="a caption is too long") as caught:
            Captioning(run_config(corpus, data=replace(data, on_long="error")), tmp_path / "error")
        assert "at most 3" in str(caught.value)
        assert "4 tokens" in str(caught.value)
        skipped = Captioning(run_config(corpus, data=data), tmp_path / "skip")
        assert f"{55 - len(short)} x a caption of more than 3 tokens, skipped" in capsys.readouterr().err
        assert skipped.texts["train"] == [captions[number] for number in short]
        cropped = Captioning(run_config(corpus, data=replace(data, on_long="crop")), tmp_path / "crop")
        assert torch.equal(skipped.pixels(np.arange(len(short)), "train"), cropped.pixels(np.array(short), "train"))
        assert {len(row) for row in cropped.ids["train"]} == {3, 4}
        assert all(row[-1] == END for row in cropped.ids["train"])

    def test_no_caption_left_is_refused(self, tmp_path: Path) -> None:
        corpus = archive(tmp_path / "a.npz", drawn, train=24)
        with pytest.raises(DataError, match="no caption left in the split train"):
            Captioning(run_config(corpus, data=DataConfig(train=(str(corpus),), max_length=1)), tmp_path / "run")

    def test_going_on_gives_the_same_bits(self, tmp_path: Path) -> None:
        corpus = archive(tmp_path / "a.npz", drawn, train=60)
        data = DataConfig(train=(str(corpus),), shift=1)
        config = run_config(corpus, data=data, training=TrainingConfig(steps=12, batch_tokens=13 * 8, metric="loss"))
        config = replace(
            config, optimizer=replace(config.optimizer, schedule="constant"), checkpoints=CheckpointConfig(every=6)
        )
        train(config, tmp_path / "whole")
        train(replace(config, training=replace(config.training, steps=6)), tmp_path / "halves")
        train(config, tmp_path / "halves")
        whole, halves = (pellucid.load(tmp_path / name).model.state_dict() for name in ("whole", "halves"))
        assert all(torch.equal(weight, halves[name]) for name, weight in whole.items())

    def test_a_validation_scores_and_shows(self, trained: Path) -> None:
        samples = (trained / "samples.txt").read_text(encoding="utf-8")
        assert re.search(r"picture 3 -> (top|middle|low) \w+( and \w+)?  \(caption: ", samples)
        card = (trained / "model" / "README.md").read_text(encoding="utf-8")
        assert "exact" in card


class TestUse:
    def test_the_loaded_model_is_the_trained_one(self, tmp_path: Path) -> None:
        """What training itself wrote at its last validation, the loaded model writes too, with the same loss."""
        corpus = archive(tmp_path / "a.npz", drawn, train=132)
        train(run_config(corpus, training=TrainingConfig(steps=30, batch_tokens=13 * 16, validate_every=30)), tmp_path / "run")
        samples = (tmp_path / "run" / "samples.txt").read_text(encoding="utf-8")
        captions = drawn(132, seed=0)[1][121:]  # the twelfth that is held out
        found = pellucid.load(tmp_path / "run").evaluate_split("dev")
        assert len(found.outputs) == 11
        for number in range(4):
            assert f"picture {number} -> {found.outputs[number]}  (caption: {captions[number]})" in samples

    def test_a_whole_greedy_caption_equals_one_without_a_cache(self, captioner: Captioner) -> None:
        images, _ = drawn(9, seed=4)
        pixels = captioner.pixels(list(images))
        written = torch.full((9, 1), START)
        for _ in range(6):
            logits = captioner.logits(pixels, target_ids=written)[:, -1].clone()
            logits[:, [0, 1, 2]] = -torch.inf  # padding, unknown, start
            written = torch.cat((written, logits.argmax(-1, keepdim=True)), dim=1)
        expected = []
        for row in written[:, 1:].tolist():
            assert END in row
            expected.append(captioner.tokenizer.decode(row[: row.index(END)]))
        assert captioner.caption(list(images)) == expected
        assert {len(text.split()) for text in expected} == {2, 4}

    def test_files_arrays_and_batches_agree(self, captioner: Captioner, tmp_path: Path) -> None:
        images, _ = drawn(70, seed=9)  # more than a batch
        together = captioner.caption(list(images))
        assert len(together) == 70
        for number in (0, 66):
            Image.fromarray(images[number]).save(tmp_path / "a.png")
            for given in (tmp_path / "a.png", str(tmp_path / "a.png"), images[number], images[number][None]):
                assert captioner.caption(given) == [together[number]]
        assert captioner.caption([]) == []

    def test_a_caption_ends_at_its_limit(self, captioner: Captioner) -> None:
        images, _ = drawn(12, seed=2)
        short = Captioner(
            captioner.model, replace(captioner.config, decoding=DecodingConfig(beams=1, max_extra=1)), captioner.preprocessor,
            captioner.tokenizer,
        )  # fmt: skip
        assert short.caption(list(images)) == [text.split()[0] for text in captioner.caption(list(images))]

    def test_several_beams_and_lower_precision_agree(self, trained: Path, captioner: Captioner) -> None:
        images, captions = drawn(20, seed=3)
        greedy = captioner.caption(list(images))
        assert sum(text == caption for text, caption in zip(greedy, captions, strict=True)) >= 18
        for found in (captioner.caption(list(images), beams=3), pellucid.load(trained, "bfloat16").caption(list(images))):
            assert sum(text == other for text, other in zip(greedy, found, strict=True)) >= 18
        with pytest.raises(UsageError, match="beams"):
            captioner.caption(list(images), beams=0)

    def test_what_is_asked_for_holds(self, captioner: Captioner) -> None:
        images = list(drawn(12, seed=4)[0])
        plain = captioner.caption(images)
        word = plain[0].split()[0]
        assert not any(word in text.split() for text in captioner.caption(images, ban=[word]))
        assert all(word in text.split() for text in captioner.caption(images, glossary=[word], beams=2))
        assert all(text.startswith(word) for text in captioner.caption(images, prefix=word))
        drawn_five = [captioner.caption(images, temperature=3.0, seed=seed) for seed in range(3, 8)]
        expected = [some[least_risk(some)] for some in zip(*drawn_five, strict=True)]
        assert captioner.caption(images, samples=5, temperature=3.0, seed=3) == expected

    @pytest.mark.parametrize(
        "options", [{"n_best": 2, "beams": 2}, {"glossary": {"a": "top"}}, {"scores": True}, {"align": (0, 0)}, {"draft": "x"}]
    )
    def test_what_a_picture_has_no_use_for(self, captioner: Captioner, options: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match=r"has no use for it|one caption"):
            captioner.caption(drawn(1, seed=4)[0][0], **options)

    def test_an_array_of_another_size_is_refused(self, captioner: Captioner) -> None:
        with pytest.raises(DataError, match="another size or type"):
            captioner.caption(np.zeros((8, 6), np.uint8))


class TestScores:
    def test_exact_is_the_share_of_whole_captions(self, captioner: Captioner) -> None:
        images, _ = drawn(8, seed=5)
        outputs = captioner.caption(list(images))
        wrong = [*outputs[:6], "top", f"{outputs[7]} and"]
        found = captioner.evaluate(pictures_of(images), wrong)
        assert found.outputs == outputs
        assert found.values["exact"] == 75.0
        assert captioner.evaluate(pictures_of(images), outputs).values["bleu"] == pytest.approx(100.0)

    def test_the_loss_is_that_of_the_logits_and_larger_beside_another_picture(self, captioner: Captioner) -> None:
        images, captions = drawn(5, seed=2)
        assert len(set(captions)) == 5
        found = captioner.evaluate(pictures_of(images), captions).values
        for name, shown in (("loss", images), ("loss_other_picture", np.roll(images, -1, axis=0))):
            total, count = 0.0, 0
            for picture, caption in zip(shown, captions, strict=True):
                ids = [*captioner.tokenizer.encode(caption), END]
                fed = torch.tensor([[START, *ids[:-1]]])
                with torch.inference_mode():
                    logits = captioner.logits(captioner.pixels([picture]), target_ids=fed)[0]
                total -= logits.double().log_softmax(-1)[torch.arange(len(ids)), ids].sum().item()
                count += len(ids)
            assert found[name] == pytest.approx(total / count, abs=1e-5)
        assert found["loss_other_picture"] > found["loss"] + 1.0

    def test_the_other_picture_is_the_next_that_differs(self) -> None:
        black, grey, white = (np.full((6, 8), shade, np.uint8) for shade in (0, 90, 255))
        assert others(pictures_of([black, black, grey, white, white])).tolist() == [2, 2, 3, 0, 0]
        assert others(pictures_of([black, grey, black, black])).tolist() == [1, 2, 1, 1]
        with pytest.raises(UsageError, match="no other picture"):
            others(pictures_of([grey, grey]))

    def test_case_counts_unless_it_is_folded(self, tmp_path: Path) -> None:
        config = run_config(tmp_path)
        assert scores(["A b", "c"], ["a b", "c"], config)["exact"] == 50.0
        assert scores(["A b", "c"], ["a b", "c"], replace(config, text=TextConfig(lowercase=True)))["exact"] == 100.0
        assert set(scores(["a"], ["b"], config)) == {"exact"}
        assert set(scores(["a"], ["b c"], config)) == {"exact", "bleu"}


class TestCommand:
    def call(self, *arguments: object) -> int:
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        assert isinstance(left.value.code, int)
        return left.value.code

    def test_one_line_for_each_picture(
        self, trained: Path, captioner: Captioner, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        images, _ = drawn(3, seed=8)
        paths = [tmp_path / f"{number}.png" for number in range(3)]
        for path, image in zip(paths, images, strict=True):
            Image.fromarray(image).save(path)
        assert self.call("caption", trained, *paths) == 0
        assert capsys.readouterr().out.splitlines() == captioner.caption(list(images))
        assert self.call("caption", trained / "model", paths[1], "--beams", 2) == 0
        assert capsys.readouterr().out.splitlines() == captioner.caption(images[1], beams=2)

    def test_what_is_no_picture_is_refused(self, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "a.png").write_text("no picture", encoding="utf-8")
        assert self.call("caption", trained, tmp_path / "a.png") == 3
        out, err = capsys.readouterr()
        assert out == ""
        assert "not a picture, or damaged" in err
        assert "a.png" in err
        assert self.call("caption", trained, tmp_path / "none.png") == 3
        assert "none.png" in capsys.readouterr().err
        assert self.call("caption", trained) == 2

    def test_a_model_of_another_task_is_refused_by_its_verb(self, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.call("translate", trained) == 2
        assert f"pellucid caption {trained}" in capsys.readouterr().err

    def test_evaluation(self, trained: Path, captioner: Captioner, capsys: pytest.CaptureFixture[str]) -> None:
        assert self.call("evaluate", trained) == 0
        lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
        expected = captioner.evaluate_split("test").values
        assert {name: float(lines[name]) for name in expected} == pytest.approx(expected, abs=1e-4)
        assert list(lines) == ["exact", "bleu", "loss", "loss_other_picture", "examples"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"picture": PictureConfig()}, "reads pictures"),
        ({"head": HeadConfig(pool="class")}, "head.pool"),
        ({"max_length": 11}, "at least 12"),
    ],
)
def test_a_model_that_cannot_caption_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigProblems, match=words):
        run_config(tmp_path, model=replace(run_config(tmp_path).model, **changes))
