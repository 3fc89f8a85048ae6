"""One picture file as an array. Pillow, an extra, is imported when a file is read."""

from __future__ import annotations

import os
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pellucid.base.errors import DataError, UsageError
from pellucid.data.lines import close_names, is_file

if TYPE_CHECKING:
    from PIL.Image import Image

Picture = npt.NDArray[np.uint8]  # (C, H, W) channels, height, width

# The pixel formats that people keep pictures in. Not all that Pillow reads: for some (EPS) it runs another program.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
_MODES = {1: "L", 3: "RGB"}  # Pillow's name, by channels
_DAMAGED = "copy or download it again, or save it anew as PNG or JPEG"


def read_picture(path: str | os.PathLike[str], *, height: int, width: int, channels: int) -> Picture:
    """A picture file as an array: uint8 (C, H, W).

    Turned upright as its EXIF data say, transparent parts over white, the first frame of several. Brought to the size by
    resizing the shorter side and cutting the middle out of the longer one; a picture of that size already keeps every bit.

    Args:
        path: a PNG, JPEG, GIF, BMP, WEBP, TIFF or PPM file.
        height, width: in pixels.
        channels: 1 for grey, 3 for red, green and blue.

    Raises:
        DataError: no such file, not such a picture, damaged, or too many pixels.
        UsageError: Pillow is not installed.
    """
    if find_spec("PIL") is None:
        raise UsageError("reading pictures needs Pillow", advice='pip install "pellucid[pictures]"')
    from PIL import Image, ImageOps, UnidentifiedImageError

    path, mode = Path(path), _MODES[channels]
    check_file(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # remarks on odd metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
                plain = _plain(ImageOps.exif_transpose(image), mode)
                fitted = ImageOps.fit(plain, (width, height), Image.Resampling.BILINEAR)
    except UnidentifiedImageError:
        raise DataError("not a picture, or damaged", where=path, expected=", ".join(_FORMATS), advice=_DAMAGED) from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        expected = f"at most {Image.MAX_IMAGE_PIXELS:,}"
        raise DataError("too many pixels", where=path, expected=expected, advice="scale the picture down") from None
    except Exception as error:  # whatever a decoder stumbles over in a damaged file
        found = str(error) or type(error).__name__
        raise DataError("a picture that cannot be decoded", where=path, found=found, advice=_DAMAGED) from None
    return np.ascontiguousarray(np.asarray(fitted).reshape(height, width, channels).transpose(2, 0, 1))


def _plain(image: Image, mode: str) -> Image:
    """The picture in grey or colour, 8 bits, nothing transparent."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("pixels are fractions, of no known range")
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow would cut off at 255
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if "transparency" in image.info or image.getbands()[-1] in "Aa":
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert(mode)


def check_file(path: Path) -> None:
    """Raises :class:`DataError` unless this is a regular file."""
    if not is_file(path):
        what = "not a regular file" if os.path.exists(path) else "no such file"
        raise DataError(what, where=path, advice=close_names(path))
