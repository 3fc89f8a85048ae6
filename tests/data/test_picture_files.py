"""One picture file as an array: every mode, size and orientation, and what damaged files are told."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from pellucid.base.errors import DataError, UsageError
from pellucid.data import picture_files
from pellucid.data.picture_files import read_picture

RGB = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(4, 5, 3) * 4  # (H, W, C)


def save(path: Path, pixels: npt.NDArray[np.generic], mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def one_pixel(path: Path, image: Image.Image, channels: int = 3) -> list[int]:
    """The colour of a picture that is all of one."""
    image.save(path)
    pixels = read_picture(path, height=image.height, width=image.width, channels=channels)
    assert (pixels == pixels[:, :1, :1]).all()
    return [int(value) for value in pixels[:, 0, 0]]


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_picture(path, height=4, width=5, channels=3)
    assert str(path) in str(caught.value)
    return caught.value.what


class TestSize:
    def test_the_right_one_keeps_every_bit(self, tmp_path: Path) -> None:
        found = read_picture(save(tmp_path / "a.png", RGB), height=4, width=5, channels=3)
        assert (found.dtype, found.shape) == (np.uint8, (3, 4, 5))
        assert (found == RGB.transpose(2, 0, 1)).all()

    def test_grey_too(self, tmp_path: Path) -> None:
        grey = RGB[:, :, 0]
        assert (read_picture(save(tmp_path / "a.png", grey), height=4, width=5, channels=1) == grey[None]).all()

    def test_a_wide_picture_loses_its_sides(self, tmp_path: Path) -> None:
        columns = np.repeat(np.array([0, 10, 20, 30, 40, 50], np.uint8), 2)  # twelve wide, four high: halved to six by two
        path = save(tmp_path / "a.png", np.tile(columns, (4, 1)))
        found = read_picture(path, height=2, width=2, channels=1)
        # The middle two of the six, each from four columns with bilinear weights 1, 3, 3, 1, those beyond the cut included.
        expected = [(10 + 20 * 6 + 30) / 8, (20 + 30 * 6 + 40) / 8]
        assert found.tolist() == [[expected] * 2]

    def test_a_high_picture_loses_top_and_bottom(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", np.repeat(np.array([[9], [70], [70], [9]], np.uint8), 2, axis=1))
        found = read_picture(path, height=6, width=6, channels=1)
        # Three times as large, rows 3 to 8 of twelve; the middle of row 3 lies at 3.5 / 3, a third of the way from 70 to 9.
        edge = round(70 - 61 / 3)
        assert found.tolist() == [[[value] * 6 for value in (edge, 70, 70, 70, 70, edge)]]

    def test_a_strip_is_no_reason_to_fail(self, tmp_path: Path) -> None:
        path = save(tmp_path / "a.png", np.full((1, 3000), 7, np.uint8))
        assert read_picture(path, height=3, width=2, channels=1).tolist() == [[[7, 7]] * 3]


class TestModes:
    @pytest.mark.parametrize(
        ("mode", "colour", "expected"),
        [
            ("1", 1, [255, 255, 255]),
            ("L", 77, [77, 77, 77]),
            ("RGB", (10, 20, 30), [10, 20, 30]),
            ("RGBA", (10, 20, 30, 255), [10, 20, 30]),
            ("RGBA", (10, 20, 30, 0), [255, 255, 255]),
            ("RGBA", (0, 100, 255, 51), [204, 224, 255]),  # a fifth of the colour, four fifths of white
            ("LA", (100, 51), [224, 224, 224]),
            ("I;16", 0x4D12, [0x4D, 0x4D, 0x4D]),
        ],
    )
    def test_each_becomes_colour(self, tmp_path: Path, mode: str, colour: int | tuple[int, ...], expected: list[int]) -> None:
        assert one_pixel(tmp_path / "a.png", Image.new(mode, (3, 2), colour)) == expected

    def test_a_palette_with_a_transparent_entry(self, tmp_path: Path) -> None:
        image = Image.new("P", (2, 1))
        image.putpalette([1, 2, 3, 40, 50, 60])
        image.putpixel((1, 0), 1)
        image.save(tmp_path / "a.gif", transparency=0)
        found = read_picture(tmp_path / "a.gif", height=1, width=2, channels=3)
        assert found[:, 0].T.tolist() == [[255, 255, 255], [40, 50, 60]]

    def test_a_transparent_colour_of_a_picture_without_alpha(self, tmp_path: Path) -> None:
        image = Image.new("RGB", (2, 1), (5, 6, 7))
        image.putpixel((1, 0), (8, 9, 10))
        image.save(tmp_path / "a.png", transparency=(5, 6, 7))
        found = read_picture(tmp_path / "a.png", height=1, width=2, channels=3)
        assert found[:, 0].T.tolist() == [[255, 255, 255], [8, 9, 10]]

    def test_four_inks(self, tmp_path: Path) -> None:
        assert one_pixel(tmp_path / "a.tiff", Image.new("CMYK", (3, 2), (255, 0, 0, 0))) == [0, 255, 255]

    def test_colour_becomes_grey_by_luminance(self, tmp_path: Path) -> None:
        # ITU-R 601: 0.299 x 100 + 0.587 x 50 + 0.114 x 200 = 82.05
        assert one_pixel(tmp_path / "a.png", Image.new("RGB", (3, 2), (100, 50, 200)), channels=1) == [82]

    def test_fractions_are_refused(self, tmp_path: Path) -> None:
        Image.new("F", (5, 4), 0.5).save(tmp_path / "a.tiff")
        assert refusal(tmp_path / "a.tiff") == "a picture that cannot be decoded"

    def test_the_first_frame_of_several(self, tmp_path: Path) -> None:
        frames = [Image.new("L", (3, 2), grey) for grey in (30, 200)]
        frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
        assert read_picture(tmp_path / "a.gif", height=2, width=3, channels=1).tolist() == [[[30] * 3] * 2]


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [[1, 2, 3], [4, 5, 6]]),
        (2, [[3, 2, 1], [6, 5, 4]]),
        (3, [[6, 5, 4], [3, 2, 1]]),
        (6, [[4, 1], [5, 2], [6, 3]]),
        (8, [[3, 6], [2, 5], [1, 4]]),
    ],
)
def test_exif_orientation_is_followed(tmp_path: Path, orientation: int, expected: list[list[int]]) -> None:
    """As the standard defines tag 274: 6 is to be turned a quarter clockwise, 8 the other way."""
    exif = Image.Exif()
    exif[274] = orientation
    path = save(tmp_path / "a.png", np.array([[1, 2, 3], [4, 5, 6]], np.uint8), exif=exif)
    found = read_picture(path, height=len(expected), width=len(expected[0]), channels=1)
    assert found.tolist() == [expected]


class TestRefusals:
    @pytest.mark.parametrize("ending", ["png", "jpg", "gif", "bmp", "webp", "tiff", "ppm"])
    def test_every_format_cut_short_anywhere(self, tmp_path: Path, ending: str) -> None:
        whole = save(tmp_path / f"whole.{ending}", np.random.default_rng(3).integers(0, 256, (40, 50, 3), np.uint8))
        data = whole.read_bytes()
        path = tmp_path / f"cut.{ending}"
        refused = 0
        for length in range(0, len(data), max(1, len(data) // 40)):
            path.write_bytes(data[:length])
            try:
                read_picture(path, height=4, width=5, channels=3)
            except DataError:
                refused += 1
        assert refused >= 38  # the last bytes of some formats say nothing

    def test_noise_in_the_middle_is_an_error_or_a_picture(self, tmp_path: Path) -> None:
        buffer, random = io.BytesIO(), np.random.default_rng(5)
        Image.fromarray(random.integers(0, 256, (30, 30, 3), np.uint8)).save(buffer, "PNG")
        path, refused = tmp_path / "a.png", 0
        for _ in range(100):
            data = bytearray(buffer.getvalue())
            for place in random.integers(0, len(data), 4).tolist():
                data[place] ^= 0xFF
            path.write_bytes(data)
            try:
                assert read_picture(path, height=4, width=5, channels=3).shape == (3, 4, 5)
            except DataError:
                refused += 1
        assert refused > 50

    def test_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").write_text("not a picture")
        assert refusal(tmp_path / "a.jpg") == "not a picture, or damaged"

    def test_a_format_that_runs_a_program(self, tmp_path: Path) -> None:
        Image.new("RGB", (5, 4)).save(tmp_path / "a.eps")
        assert refusal(tmp_path / "a.eps") == "not a picture, or damaged"

    @pytest.mark.parametrize("side", [10_000, 60_000])  # Pillow warns of the first and refuses the second
    def test_a_small_file_of_very_many_pixels(self, tmp_path: Path, side: int) -> None:
        def chunk(name: bytes, content: bytes) -> bytes:
            return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        (tmp_path / "a.png").write_bytes(
            b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        )
        assert refusal(tmp_path / "a.png") == "too many pixels"

    def test_no_file(self, tmp_path: Path) -> None:
        save(tmp_path / "kitten.png", RGB)
        with pytest.raises(DataError, match=r"no such file\n.*did you mean kitten.png"):
            read_picture(tmp_path / "kiten.png", height=4, width=5, channels=3)

    def test_a_folder_or_a_pipe(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        assert refusal(tmp_path / "pipe") == refusal(tmp_path) == "not a regular file"

    def test_without_pillow_a_hint(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(picture_files, "find_spec", lambda name: None)
        with pytest.raises(UsageError, match=r"pip install .pellucid\[pictures\]"):
            read_picture(tmp_path / "a.png", height=4, width=5, channels=3)
