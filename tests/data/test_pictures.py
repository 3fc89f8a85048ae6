"""Pictures with their texts: three forms behind one interface, and what becomes of bad ones."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pellucid.base.errors import DataError, UsageError
from pellucid.data import pictures as module
from pellucid.data.pictures import Pictures, flipped, normalised, open_pictures, shifted, statistics
from pellucid.data.report import Report
from pellucid.data.scenes import scenes

GREY = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)  # (N, H, W)
COLOUR = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)  # (N, H, W, C)


def archive(path: Path, images: Any, labels: Any, split: str = "train") -> Path:
    np.savez(path, **{f"{split}_images": images, f"{split}_labels": labels})
    return path


def open_archive(path: Path, channels: int = 1, split: str = "train") -> tuple[Pictures, list[str]]:
    return open_pictures(path, split, height=4, width=5, channels=channels)


def refusal(path: Path, split: str = "train") -> str:
    with pytest.raises(DataError) as caught:
        open_archive(path, split=split)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of two lines each: one below images/, one beside the list."""
    (tmp_path / "images").mkdir()
    Image.fromarray(COLOUR[0]).save(tmp_path / "images" / "a.png")
    Image.fromarray(COLOUR[1]).save(tmp_path / "b.png")
    (tmp_path / "train.tsv").write_text("a.png\ta dog\nb.png\ta cat\na.png\tthe dog\nb.png\tthe cat\n")
    return tmp_path


def open_folder(folder: Path, **settings: Any) -> tuple[Pictures, list[str]]:
    return open_pictures(folder, "train", height=4, width=5, channels=3, **settings)


class TestScenes:
    def test_are_those_of_the_generator(self) -> None:
        pictures, texts = open_pictures("builtin", "dev", height=32, width=32, channels=3, seed=3)
        expected = scenes("dev", 3)
        assert texts == expected.sentences
        assert (len(pictures), pictures.shape) == (500, (3, 32, 32))
        assert (pictures[7] == expected.pictures[7]).all()
        assert pictures.report == Report(500, 500)

    def test_are_told_apart_by_split_and_seed(self) -> None:
        def fingerprint(split: str, seed: int) -> str:
            return open_pictures("builtin", split, height=32, width=32, channels=3, seed=seed)[0].fingerprint

        assert fingerprint("dev", 1) == fingerprint("dev", 1)
        assert len({fingerprint("dev", 1), fingerprint("dev", 2), fingerprint("test", 1)}) == 3

    def test_another_split_is_refused(self) -> None:
        with pytest.raises(UsageError, match="expected: train, dev, test, compositional"):
            open_pictures("builtin", "valid", height=32, width=32, channels=3)

    def test_another_size_is_refused(self) -> None:
        with pytest.raises(DataError, match=r"(?s)64 x 64 .* 1 channel\n.*32 x 32 .* 3 channels\n"):
            open_pictures("builtin", "dev", height=64, width=64, channels=1)


class TestArrays:
    def test_of_grey_pictures(self, tmp_path: Path) -> None:
        pictures, texts = open_archive(archive(tmp_path / "a.npz", GREY, np.array([7, 0, 12], np.uint8)))
        assert texts == ["7", "0", "12"]
        assert (len(pictures), pictures.shape) == (3, (1, 4, 5))
        assert (np.stack([pictures[index] for index in range(3)]) == GREY[:, None]).all()
        assert (pictures[-1] == GREY[2][None]).all()
        with pytest.raises(IndexError):
            pictures[3]

    def test_of_colour_pictures_and_texts(self, tmp_path: Path) -> None:
        pictures, texts = open_archive(archive(tmp_path / "a.npz", COLOUR, ["a dog", "a cat"]), channels=3)
        assert texts == ["a dog", "a cat"]
        assert (pictures[1] == COLOUR[1].transpose(2, 0, 1)).all()

    def test_are_read_only(self, tmp_path: Path) -> None:
        pictures, _ = open_archive(archive(tmp_path / "a.npz", GREY, [1, 2, 3]))
        with pytest.raises(ValueError, match="read-only"):
            pictures[0][:] = 0

    def test_are_told_apart_by_content_not_by_name(self, tmp_path: Path) -> None:
        files = [
            archive(tmp_path / "a.npz", GREY, [1, 2, 3]),
            archive(tmp_path / "b.npz", GREY, [1, 2, 3]),
            archive(tmp_path / "c.npz", GREY, [1, 2, 4]),
            archive(tmp_path / "d.npz", GREY + np.uint8(1), [1, 2, 3]),
        ]
        first, second, *others = (open_archive(path)[0].fingerprint for path in files)
        assert first == second
        assert len({first, *others}) == 3

    @pytest.mark.parametrize(
        ("images", "labels", "message"),
        [
            (GREY.astype(float), [1, 2, 3], "not an array of pictures"),
            (GREY[0], [1, 2, 3, 4], "not an array of pictures"),
            (GREY[:0], [], "not an array of pictures"),
            (GREY, [1, 2], "not an array of labels"),
            (GREY, [[1], [2], [3]], "not an array of labels"),
            (GREY, [0.5, 1.0, 2.0], "not an array of labels"),
            (GREY[:, :3], [1, 2, 3], "pictures of another size"),
            (COLOUR, [1, 2], "pictures of another size"),
        ],
    )
    def test_of_another_kind_are_refused(self, tmp_path: Path, images: npt.NDArray[Any], labels: Any, message: str) -> None:
        assert message in refusal(archive(tmp_path / "a.npz", images, labels))

    def test_for_another_split_are_refused(self, tmp_path: Path) -> None:
        path = archive(tmp_path / "a.npz", GREY, [1, 2, 3])
        message = refusal(path, split="dev")
        assert "expected: dev_images and dev_labels" in message
        assert "found:    train_images, train_labels" in message

    def test_of_objects_are_never_loaded(self, tmp_path: Path) -> None:
        class Harm:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (tmp_path / "harm",))

        assert "never loaded" in refusal(archive(tmp_path / "a.npz", GREY, np.array([Harm(), 2, 3], object)))
        (tmp_path / "b.npz").write_bytes(pickle.dumps(Harm()))
        assert "not an archive of arrays" in refusal(tmp_path / "b.npz")
        assert not (tmp_path / "harm").exists()

    def test_cut_short_or_absent_are_refused(self, tmp_path: Path) -> None:
        path = archive(tmp_path / "a.npz", GREY, [1, 2, 3])
        data = path.read_bytes()
        for length in range(0, len(data), 50):
            path.write_bytes(data[:length])
            assert "not an archive of arrays, or damaged" in refusal(path)
        assert "no such file" in refusal(tmp_path / "b.npz")

    def test_one_array_in_a_file_of_that_name_is_refused(self, tmp_path: Path) -> None:
        with (tmp_path / "a.npz").open("wb") as file:
            np.save(file, GREY)
        assert "not an archive of arrays" in refusal(tmp_path / "a.npz")


class TestFiles:
    @pytest.mark.parametrize("memory", [2 * 3 * 4 * 5, 2 * 3 * 4 * 5 - 1])
    def test_each_line_is_a_picture_and_its_text(self, folder: Path, memory: int) -> None:
        pictures, texts = open_folder(folder, memory=memory)
        assert texts == ["a dog", "a cat", "the dog", "the cat"]
        assert (len(pictures), pictures.shape) == (4, (3, 4, 5))
        found = np.stack([pictures[index] for index in range(4)])
        assert (found == COLOUR[[0, 1, 0, 1]].transpose(0, 3, 1, 2)).all()
        assert pictures.report.lines() == ["4 pairs"]

    @pytest.mark.parametrize(("memory", "expected"), [(120, ["a", "b"]), (119, ["a", "b", "a", "b", "a", "b"])])
    def test_a_picture_is_decoded_once_when_memory_allows(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, memory: int, expected: list[str]
    ) -> None:
        read, names = module.read_picture, []
        monkeypatch.setattr(module, "read_picture", lambda path, **size: (names.append(path.stem), read(path, **size))[1])
        pictures, _ = open_folder(folder, memory=memory)
        for index in range(4):
            pictures[index]
        assert names == expected

    def test_the_list_may_be_named_itself_and_compressed(self, folder: Path) -> None:
        (folder / "any.tsv.gz").write_bytes(gzip.compress((folder / "train.tsv").read_bytes()))
        pictures, texts = open_pictures(folder / "any.tsv.gz", "dev", height=4, width=5, channels=3)
        assert texts == ["a dog", "a cat", "the dog", "the cat"]
        assert pictures.fingerprint == open_folder(folder)[0].fingerprint

    def test_dev_has_other_names(self, folder: Path) -> None:
        (folder / "train.tsv").rename(folder / "val.tsv")
        assert len(open_pictures(folder, "dev", height=4, width=5, channels=3)[0]) == 4

    def test_no_list_for_the_split_or_two(self, folder: Path) -> None:
        (folder / "val.tsv").write_text("a.png\ta dog\n")
        (folder / "dev.tsv").write_text("a.png\ta dog\n")
        for split, found in (("test", "no such file"), ("dev", "dev.tsv, val.tsv")):
            with pytest.raises(DataError, match=f"(?s)not one list .* {split}.*found:    {found}"):
                open_pictures(folder, split, height=4, width=5, channels=3)
        with pytest.raises(DataError, match="no such file"):
            open_pictures(folder / "train.csv", "train", height=4, width=5, channels=3)

    def test_the_fingerprint_follows_content_texts_and_size_not_memory(self, folder: Path) -> None:
        first = open_folder(folder)[0].fingerprint
        assert open_folder(folder, memory=0)[0].fingerprint == first
        found = {first, open_pictures(folder, "train", height=4, width=4, channels=3)[0].fingerprint}
        (folder / "train.tsv").write_text((folder / "train.tsv").read_text().replace("the cat", "one cat"))
        found.add(open_folder(folder)[0].fingerprint)
        Image.fromarray(COLOUR[0]).save(folder / "b.png")
        found.add(open_folder(folder)[0].fingerprint)
        assert len(found) == 4

    def test_a_bad_picture_is_an_error_with_file_and_line(self, folder: Path) -> None:
        (folder / "b.png").write_bytes(b"damaged")
        with pytest.raises(DataError) as caught:
            open_folder(folder)
        assert str(caught.value).startswith(f"{folder}/train.tsv:2: {folder}/b.png: not a picture, or damaged\n")
        assert str(caught.value).endswith("or leave such lines out with on_bad: skip")

    @pytest.mark.parametrize("memory", [0, 1000])
    def test_or_its_lines_are_left_out_and_counted(self, folder: Path, memory: int) -> None:
        (folder / "images" / "a.png").unlink()
        pictures, texts = open_folder(folder, on_bad="skip", memory=memory)
        assert texts == ["a cat", "the cat"]
        assert (pictures[0] == COLOUR[1].transpose(2, 0, 1)).all()
        assert pictures.report.lines() == [
            "2 of 4 pairs kept",
            f"2 x picture cannot be read, skipped (first: {folder}/train.tsv:1)",
        ]

    def test_no_picture_left_is_an_error(self, folder: Path) -> None:
        (folder / "train.tsv").write_text("c.png\ta dog\n")
        with pytest.raises(DataError, match=r"(?s)no picture left.*0 of 1 pair kept"):
            open_folder(folder, on_bad="skip")

    @pytest.mark.parametrize("line", [b"a.png", b"a.png\t ", b"\ta dog", b"", b"a.png\ta \xff dog"])
    def test_a_line_that_is_no_picture_and_text_is_refused(self, folder: Path, line: bytes) -> None:
        (folder / "train.tsv").write_bytes(b"b.png\ta cat\n" + line + b"\n")
        with pytest.raises(DataError, match=r"train\.tsv:2: not "):
            open_folder(folder, on_bad="skip")

    def test_further_columns_are_counted_and_not_read(self, folder: Path) -> None:
        (folder / "train.tsv").write_text("a.png\ta dog\t0.7\n")
        pictures, texts = open_folder(folder)
        assert texts == ["a dog"]
        assert pictures.report.notes["more than two columns, only the first two read"].count == 1

    def test_are_read_only(self, folder: Path) -> None:
        with pytest.raises(ValueError, match="read-only"):
            open_folder(folder)[0][0][:] = 0


def in_memory(array: npt.NDArray[np.uint8]) -> Pictures:
    channels, height, width = array.shape[1:]
    return Pictures(array.__getitem__, np.arange(len(array)), (channels, height, width), "", Report())


class TestNumbers:
    def test_normalised_by_hand(self) -> None:
        batch = np.array([[[[0, 255]], [[51, 102]]]], np.uint8)  # (1, 2, 1, 2)
        found = normalised(batch, (0.5, 0.2), (0.25, 0.1))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, [[[[-2, 2]], [[0, 2]]]], atol=1e-6)

    def test_statistics_by_hand(self) -> None:
        array = np.array([[[[0, 255]], [[51, 51]]], [[[0, 255]], [[51, 51]]]], np.uint8)  # (2, 2, 1, 2)
        mean, std = statistics(in_memory(array))
        assert mean == (0.5, 0.2)
        assert std == (0.5, 1.0), "of a channel that never changes 1, to divide by"

    def test_statistics_of_all_are_those_of_numpy(self) -> None:
        array = np.random.default_rng(1).integers(0, 256, (7, 3, 4, 5), np.uint8)
        mean, std = statistics(in_memory(array))
        np.testing.assert_allclose(mean, (array / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
        np.testing.assert_allclose(std, (array / 255).std(axis=(0, 2, 3)), rtol=1e-12)

    def test_statistics_of_some_are_close_and_always_the_same(self) -> None:
        array = np.zeros((1200, 1, 1, 1), np.uint8)
        array[::6] = 255  # every sixth, which an even spacing would take for all
        (mean,), (std,) = statistics(in_memory(array), limit=200)
        assert mean == pytest.approx(1 / 6, abs=0.07)
        assert std == pytest.approx((mean * (1 - mean)) ** 0.5)
        assert statistics(in_memory(array), limit=200) == ((mean,), (std,))

    def test_statistics_do_not_overflow(self) -> None:
        """Pixels x sum of squares is 2.5e19 here, beyond 64 bits."""
        huge = np.full((1, 1000, 2000), 250, np.uint8)
        huge[0, 0] = 0
        many = Pictures(lambda index: huge, np.zeros(10, np.int64), (1, 1000, 2000), "", Report())
        (mean,), (std,) = statistics(many)
        assert mean == pytest.approx(250 / 255 * 0.999, rel=1e-12)
        assert std == pytest.approx(250 / 255 * (0.999 * 0.001) ** 0.5, rel=1e-9)

    def test_shifted_by_hand(self) -> None:
        picture = np.arange(1, 7, dtype=np.uint8).reshape(1, 1, 2, 3)
        batch = np.repeat(picture, 5, axis=0)
        found = shifted(batch, np.array([[0, 0], [1, 0], [0, -1], [-1, 2], [9, -9]]), fill=8)
        assert found[:, 0].tolist() == [
            [[1, 2, 3], [4, 5, 6]],
            [[8, 8, 8], [1, 2, 3]],
            [[2, 3, 8], [5, 6, 8]],
            [[8, 8, 4], [8, 8, 8]],
            [[8, 8, 8], [8, 8, 8]],
        ]

    def test_shifted_moves_all_channels_alike(self) -> None:
        batch = np.random.default_rng(2).integers(1, 256, (4, 3, 5, 6), np.uint8)
        offsets = np.array([[1, 2], [-2, 0], [0, 0], [3, -1]])
        found = shifted(batch, offsets)
        assert (found.dtype, found.shape) == (np.uint8, batch.shape)
        for row, (down, right) in enumerate(offsets):
            expected = np.zeros_like(batch[row])
            for y in range(5):
                for x in range(6):
                    if 0 <= y - down < 5 and 0 <= x - right < 6:
                        expected[:, y, x] = batch[row, :, y - down, x - right]
            assert (found[row] == expected).all()

    def test_flipped_mirrors_the_chosen(self) -> None:
        batch = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
        found = flipped(batch, np.array([False, True]))
        assert (found[0] == batch[0]).all()
        assert (found[1] == np.flip(batch[1], axis=2)).all()
