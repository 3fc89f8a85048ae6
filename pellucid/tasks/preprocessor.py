"""How pictures become numbers: ``preprocessor_config.json`` of a model directory, in the words of Hugging Face's processors.

Shapes: B pictures, C channels, H height, W width.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pellucid.base.config import PictureConfig, RunConfig
from pellucid.base.errors import DataError, ModelError
from pellucid.base.files import write_atomically
from pellucid.data.pictures import Pictures, normalised, read_picture, statistics
from pellucid.tasks.model_directory import find

PREPROCESSOR = "preprocessor_config.json"
_BILINEAR = 2  # Pillow's number for the way of resizing
# Said by processors that do something else than resize, rescale and normalise.
_REFUSED = ("do_center_crop", "do_pad", "do_flip_channel_order")


@dataclass(frozen=True)
class Preprocessor:
    """Resize, scale to 0 ... 1, subtract the mean and divide by the deviation of each channel.

    Args:
        picture: size and channels of the model's pictures.
        mean, std: one number a channel, of pixels from 0 to 1.
        fit: of a file of another shape; crop: its longer side is cut, stretch: both sides are resized, each by its own factor.
    """

    picture: PictureConfig
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Literal["crop", "stretch"] = "crop"

    @classmethod
    def of(cls, pictures: Pictures, picture: PictureConfig) -> Preprocessor:
        """With the mean and deviation of a training split."""
        return cls(picture, *statistics(pictures))

    @classmethod
    def load(cls, directory: Path, picture: PictureConfig) -> Preprocessor | None:
        """Read from a model directory; ``None`` where there is none.

        Raises:
            ModelError: it is damaged, is for pictures of another size, or says something that pellucid has no part for.
        """
        path = directory / PREPROCESSOR
        if not path.is_file():
            return None
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError("how pictures become numbers cannot be read", where=path, found=error) from None
        if not isinstance(said, dict):
            raise ModelError("damaged", where=path, expected="a JSON object", found=type(said).__name__)
        _check(said, picture, path)
        # (factor x - mean) / std for pixels from 0 to 255, said of pixels from 0 to 1.
        unit = 255 * (_number(said.get("rescale_factor", 1 / 255), path) if said.get("do_rescale", True) else 1.0)
        if math.isclose(unit, 1.0, rel_tol=1e-12):
            unit = 1.0
        normalise = said.get("do_normalize", True)
        mean = _channels(said.get("image_mean", 0.5) if normalise else 0.0, picture.channels, path)
        std = _channels(said.get("image_std", 0.5) if normalise else 1.0, picture.channels, path)
        if unit <= 0 or min(std) <= 0:
            raise ModelError("damaged", where=path, expected="rescale_factor and image_std above 0")
        fit: Literal["crop", "stretch"] = "crop" if said.get("fit") == "crop" else "stretch"  # theirs know only the latter
        return cls(picture, tuple(m / unit for m in mean), tuple(s / unit for s in std), fit)

    def save(self, directory: Path) -> None:
        """Write ``preprocessor_config.json``."""
        directory.mkdir(parents=True, exist_ok=True)
        content = {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": self.picture.height, "width": self.picture.width},
            "resample": _BILINEAR,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
            "channels": self.picture.channels,
            "fit": self.fit,
        }
        write_atomically(directory / PREPROCESSOR, (json.dumps(content, indent=2) + "\n").encode())

    def pixels(self, pictures: npt.NDArray[np.uint8]) -> Tensor:
        """uint8 (B, C, H, W) as numbers of about mean 0 and deviation 1: float32 (B, C, H, W)."""
        return torch.from_numpy(normalised(pictures, self.mean, self.std))

    def read(self, picture: str | os.PathLike[str] | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """A file, or an array of the model's size: uint8 (C, H, W).

        Raises:
            DataError: the picture is missing, damaged, or an array of another size or type.
            UsageError: Pillow is not installed, which files need.
        """
        if isinstance(picture, np.ndarray):
            return self._array(picture)
        size = {"height": self.picture.height, "width": self.picture.width, "channels": self.picture.channels}
        fitted = read_picture(picture, **size)
        return fitted if self.fit == "crop" else _stretched(picture, self.picture)

    def _array(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        height, width, channels = self.picture.height, self.picture.width, self.picture.channels
        if picture.dtype == np.uint8:
            if picture.shape == (height, width) and channels == 1:
                return picture[None]
            if picture.shape == (height, width, channels):
                return picture.transpose(2, 0, 1)
            if picture.shape == (channels, height, width):
                return picture
        expected, found = f"uint8 ({height}, {width}, {channels})", f"{picture.dtype} {picture.shape}"
        raise DataError(
            "an array of another size or type", where="picture", expected=expected, found=found, advice="give a file instead"
        )


def run_preprocessor(config: RunConfig, directory: Path, train: Pictures) -> Preprocessor:
    """The one of a run, of the model that it starts from, or made from the training split when there is none yet."""
    picture = config.model.picture
    found = Preprocessor.load(directory, picture)
    if found is not None:
        return found
    if config.start.model is not None:
        found = Preprocessor.load(find(config.start.model), picture)
    found = found or Preprocessor.of(train, picture)
    found.save(directory)
    return found


def _stretched(path: str | os.PathLike[str], picture: PictureConfig) -> npt.NDArray[np.uint8]:
    """A good picture file, each side resized by its own factor."""
    from PIL import Image

    with Image.open(path) as image:
        width, height = image.size
        if image.getexif().get(0x0112, 1) >= 5:  # turned by a quarter
            width, height = height, width
    whole = read_picture(path, height=height, width=width, channels=picture.channels).transpose(1, 2, 0)  # (H, W, C)
    plain = Image.fromarray(whole[:, :, 0] if picture.channels == 1 else whole)
    resized = np.asarray(plain.resize((picture.width, picture.height), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(resized.reshape(picture.height, picture.width, picture.channels).transpose(2, 0, 1))


def _check(said: dict[str, Any], picture: PictureConfig, path: Path) -> None:
    """Refuse what would make other pictures of ours than of theirs."""
    size = said.get("size", {"height": picture.height, "width": picture.width})
    if isinstance(size, int):
        size = {"height": size, "width": size}
    expected = {"height": picture.height, "width": picture.width}
    if size != expected:
        raise ModelError("made for pictures of another size", where=f"{path}: size", expected=expected, found=size)
    if said.get("channels", picture.channels) != picture.channels:
        found = said["channels"]
        raise ModelError("made for other pictures", where=f"{path}: channels", expected=picture.channels, found=found)
    refused = {name: said[name] for name in _REFUSED if said.get(name)}
    if said.get("do_resize", True) and said.get("resample", _BILINEAR) != _BILINEAR:
        refused["resample"] = said["resample"]
    if refused:
        found = ", ".join(f"{name}: {value}" for name, value in refused.items())
        raise ModelError("pictures are made ready in a way that pellucid has no part for", where=path, found=found)


def _channels(said: object, channels: int, path: Path) -> tuple[float, ...]:
    """One number for each channel; a single one is for all."""
    numbers = said if isinstance(said, list) else [said] * channels
    if len(numbers) != channels:
        raise ModelError("damaged", where=path, expected=f"image_mean and image_std of {channels} numbers", found=said)
    return tuple(_number(number, path) for number in numbers)


def _number(said: object, path: Path) -> float:
    if not isinstance(said, (int, float)) or isinstance(said, bool) or not math.isfinite(said):
        raise ModelError("damaged", where=path, expected="a number", found=repr(said))
    return float(said)
