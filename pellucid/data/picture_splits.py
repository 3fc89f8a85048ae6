"""Where the pictures of a split are: a public set, a folder, a file of arrays, or the scenes that pellucid draws."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pellucid.base.config import DataConfig, PictureConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.data.pictures import Pictures, open_pictures
from pellucid.data.public_sets import PUBLIC_SETS, locate
from pellucid.data.report import Report

SCENES = "scenes"  # the corpus that pellucid draws
HOLDOUT = 1 / 12  # of a train split in arrays without a dev split, unless data.holdout says another share; of MNIST 5,000


def open_picture_split(data: DataConfig, split: str, picture: PictureConfig) -> tuple[Pictures, list[str]]:
    """The pictures of a split, and the label or caption of each.

    Arrays without a dev split have the last share of their train split for it.

    Raises:
        UsageError: the configuration offers no such split, or a corpus without pictures.
        DataError: files are missing, damaged, or of another size.
    """
    place = _place(data, split)
    held_out = split in ("train", "dev") and not data.dev and _lacks_dev(place)
    pictures, texts = open_pictures(
        place,
        "train" if held_out else split,
        height=picture.height,
        width=picture.width,
        channels=picture.channels,
        on_bad=data.on_bad_picture,
    )
    if not held_out:
        return pictures, texts
    first = len(texts) - round(len(texts) * (data.holdout or HOLDOUT))
    if not 0 < first < len(texts):
        found = f"{len(texts)} pictures in the train split"
        raise DataError("too few pictures to hold some out", where=place, found=found, advice="give a dev split")
    kept = np.arange(first) if split == "train" else np.arange(first, len(texts))
    return chosen(pictures, kept), [texts[int(index)] for index in kept]


def chosen(pictures: Pictures, which: npt.NDArray[np.int64]) -> Pictures:
    """Some pictures of a split, in the order of their numbers in ``which``."""
    report = Report(len(which), len(which), unit="picture")
    return Pictures(pictures.__getitem__, which, pictures.shape, pictures.fingerprint, report)


def _place(data: DataConfig, split: str) -> str | Path:
    """The file or folder that the split is in, or "builtin"."""
    given: tuple[str, ...] = getattr(data, split, ()) if split in ("train", "dev", "test") else ()
    if not given and data.train and data.train[0].endswith(".npz"):
        given = data.train  # one file holds all splits
    if len(given) > 1:
        found, advice = ", ".join(given), "give arrays (.npz), or a tab-separated file: picture, tab, text"
        raise UsageError("a split of pictures is one file", where=f"data.{split}", found=found, advice=advice)
    if given:
        return Path(given[0]).expanduser()
    if data.corpus is not None:
        return "builtin" if data.corpus == SCENES else _public(data.corpus, split)
    if data.directory is not None:
        return Path(data.directory).expanduser()
    raise UsageError(
        f"no data given for the split {split}", where="data", advice="set data.corpus, data.directory or data.train"
    )


def _public(corpus: str, split: str) -> Path:
    """The file of a public set."""
    known = [name for name, each in PUBLIC_SETS.items() if each.ending == "npz" or each.folder]
    if corpus not in known:
        expected = ", ".join([SCENES, *known])
        raise UsageError("no such corpus of pictures", where="data.corpus", expected=expected, found=corpus)
    public = PUBLIC_SETS[corpus]
    in_arrays = public.ending == "npz" and split == "dev" and "dev" not in public.splits
    [path] = locate(corpus, "train" if in_arrays else split).files
    return path


def _lacks_dev(place: str | Path) -> bool:
    """Whether these are arrays without a dev split. What cannot be read at all is left to the reader to name."""
    if not isinstance(place, Path) or place.suffix != ".npz":
        return False
    try:
        with zipfile.ZipFile(place) as archive:
            return "dev_images.npy" not in archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
