"""Pictures as text, for language models: the label, then the rows of the picture, each pixel a character.

A recipe for language modelling asks for it with a size of pictures (``model.picture.height`` and ``width``) and no squares
(``patch``). What is read and written is half as high and half as wide, in four greys. Each picture is a document.

Shapes: C channels, H height and W width of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pellucid.base.config import PictureConfig, RunConfig
from pellucid.base.errors import UsageError
from pellucid.data.formats import PairsInMemory, Split
from pellucid.data.picture_splits import open_picture_split
from pellucid.data.readers import open_text

GREYS = " .+#"  # from black to white: in a terminal of either colour a digit can be read
SCALE = 8  # pixels of a drawing for each pixel of a picture


def open_texts(config: RunConfig, split: str) -> Split:
    """What a language model learns from: running text, documents, or pictures as text.

    Raises:
        UsageError: the pictures cannot be halved, or as :func:`pellucid.data.readers.open_text` says.
        DataError: files are missing, damaged, or of another size.
    """
    picture = config.model.picture
    if not draws(config):
        return open_text(config.data, split)
    if picture.height % 2 or picture.width % 2:
        found = f"{picture.height} x {picture.width}"
        raise UsageError("pictures as text are halved", where="model.picture", expected="an even height and width", found=found)
    pictures, labels = open_picture_split(config.data, split, picture)
    texts = [(as_text(label, pictures[number]),) for number, label in enumerate(labels)]
    documents = PairsInMemory(split, texts, config.data)
    documents.documents = True
    return documents


def draws(config: RunConfig) -> bool:
    """Whether the texts of a language model are pictures."""
    return config.model.picture.height > 0


def as_text(label: str, picture: npt.NDArray[np.uint8]) -> str:
    """A label and, a line each, the rows of a picture (C, H, W): the mean of every 2 x 2 pixels, in the nearest grey."""
    channels, height, width = picture.shape
    means = picture.reshape(channels, height // 2, 2, width // 2, 2).mean((0, 2, 4))  # (H/2, W/2)
    greys = np.rint(means / 255 * (len(GREYS) - 1)).astype(np.int64).tolist()
    return "\n".join([label, *("".join(GREYS[grey] for grey in row) for row in greys)])


def as_picture(text: str, picture: PictureConfig) -> npt.NDArray[np.uint8]:
    """The picture that a text draws, (H/2, W/2). What is missing or no pixel is black, what is too much is left out."""
    drawn = np.zeros((picture.height // 2, picture.width // 2), np.uint8)
    for row, line in zip(drawn, text.split("\n")[1:], strict=False):
        shades = [max(GREYS.find(pixel), 0) * 255 // (len(GREYS) - 1) for pixel in line[: len(row)]]
        row[: len(shades)] = shades
    return drawn


def save_drawings(pictures: Sequence[npt.NDArray[np.uint8]], path: Path, columns: int) -> None:
    """Pictures of one size in a grid, row by row, as a file: its ending decides the format.

    Raises:
        UsageError: Pillow is not installed, or knows no such format.
    """
    if find_spec("PIL") is None:
        raise UsageError("writing pictures needs Pillow", advice='pip install "pellucid[pictures]"')
    from PIL import Image

    framed = [np.pad(picture, 1, constant_values=128) for picture in pictures]
    blank = np.full_like(framed[0], 128)
    rows = [framed[first : first + columns] for first in range(0, len(framed), columns)]
    grid = np.vstack([np.hstack([*row, *[blank] * (columns - len(row))]) for row in rows])
    image = Image.fromarray(grid)
    try:
        image.resize((image.width * SCALE, image.height * SCALE), Image.Resampling.NEAREST).save(path)
    except (ValueError, KeyError):
        raise UsageError("no such format of pictures", where=path, expected=".png", found=path.suffix or "nothing") from None
