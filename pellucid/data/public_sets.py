"""Known public sets by name: where they come from, their licence and checksums; fetching them, with or without a network.

Checksums are of the decompressed text, so that a copy compressed anew, or not at all, is recognised as the same.
"""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pellucid.base.errors import DataError, StorageError, UsageError
from pellucid.base.progress import say
from pellucid.data.lines import plain_or_compressed, survey


@dataclass(frozen=True)
class PublicFile:
    """One file of a set."""

    name: str
    sha256: str  # of the decompressed content
    size: int  # bytes to download


@dataclass(frozen=True)
class PublicSet:
    """A corpus that others publish."""

    name: str
    what: str
    licence: str
    languages: tuple[str, ...]
    splits: Mapping[str, str]  # our name of a split to the beginning of its file names
    files: tuple[PublicFile, ...]
    address: str | None  # folder on the web that holds the files; None: only from a local copy
    columns: tuple[str, str] | None = None  # languages of tab-separated files; None: one file a language

    @property
    def size(self) -> int:
        """Bytes to download."""
        return sum(file.size for file in self.files)


class Located(NamedTuple):
    """The files of a split in the data home."""

    files: tuple[Path, ...]
    swapped: bool  # the target is in the first column


MULTI30K = PublicSet(
    name="multi30k",
    what="descriptions of photographs, English with German and French translations, raw text (Elliott et al. 2016, task 1)",
    licence="for research and education, not for commercial use",
    languages=("en", "de", "fr"),
    splits={"train": "train", "dev": "val", "test": "test_2016_flickr"},
    files=(
        PublicFile("train.en.gz", "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6", 568929),
        PublicFile("train.de.gz", "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72", 637044),
        PublicFile("train.fr.gz", "5925a3c18f1587b6b54b87743106e6e8ab93618edb6f65d19eac0621f853a10d", 604242),
        PublicFile("val.en.gz", "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227", 21650),
        PublicFile("val.de.gz", "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660", 24681),
        PublicFile("val.fr.gz", "5304e444d842e962b2dda4d816b70b22a1765b15401642b7ca37a67477e708dc", 23001),
        PublicFile("test_2016_flickr.en.gz", "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182", 21077),
        PublicFile("test_2016_flickr.de.gz", "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16", 22890),
        PublicFile("test_2016_flickr.fr.gz", "cb3160d69b002bb638e66cc7612fcd56cb0af82eadc9c142dedc438afb885ef6", 22310),
    ),
    address="https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw",
)

# manythings.org/anki replaces its export of Tatoeba from time to time and keeps none of the old ones, so that the one of 2019,
# shuffled and split so that no English sentence is in both parts, exists as local copies only.
TATOEBA = PublicSet(
    name="tatoeba-fra-eng",
    what="short everyday sentences, French and English (Tatoeba, export of 2019)",
    licence="CC-BY 2.0 FR, attribution: tatoeba.org",
    languages=("fr", "en"),
    splits={"train": "train", "dev": "dev"},
    files=(
        PublicFile("train.tsv.gz", "a36e5d9c74c51eab2b02fd3bbdd4c5207e28d7cbbd264dd0b61e7297d50aea8b", 4382737),
        PublicFile("dev.tsv.gz", "095e08a04dad8b7393848c3fa3bdea8dd130821ab82a3c3dbb38d932ed40bb6a", 36560),
    ),
    address=None,
    columns=("fr", "en"),
)

PUBLIC_SETS: dict[str, PublicSet] = {known.name: known for known in (MULTI30K, TATOEBA)}


def public_set(name: str) -> PublicSet:
    """The set of that name.

    Raises:
        UsageError: there is none; the message gives the names that exist.
    """
    if name in PUBLIC_SETS:
        return PUBLIC_SETS[name]
    names = ["builtin", *PUBLIC_SETS]
    close = difflib.get_close_matches(name, names, n=1)
    advice = f"did you mean {close[0]}?" if close else None
    raise UsageError("no such corpus", where="data.corpus", expected=", ".join(names), found=name, advice=advice)


def data_home() -> Path:
    """Where public sets are kept: ``$PELLUCID_DATA``, else ``pellucid`` in the user's data folder (XDG)."""
    if own := os.environ.get("PELLUCID_DATA"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_DATA_HOME", "")
    # The XDG specification: a path that is not absolute is to be ignored.
    return (Path(shared) if os.path.isabs(shared) else Path.home() / ".local" / "share") / "pellucid"


def locate(name: str, split: str, source: str, target: str, home: Path | None = None) -> Located:
    """The files of one split of a set that has been fetched.

    Raises:
        UsageError: no such set, split or language.
        DataError: it has not been fetched.
    """
    wanted = public_set(name)
    if split not in wanted.splits:
        raise UsageError(f"{name} has no split {split}", where="data", expected=", ".join(wanted.splits))
    for key, language in (("data.source", source), ("data.target", target)):
        if language not in wanted.languages:
            languages = ", ".join(wanted.languages)
            raise UsageError(f"{name} has no such language", where=key, expected=languages, found=language)
    stem, folder = wanted.splits[split], (home or data_home()) / name
    endings = ("tsv",) if wanted.columns else (source, target)
    names = [f"{stem}.{ending}" for ending in endings]
    files = tuple(path for file in names if (path := plain_or_compressed(folder / file)))
    if len(files) < len(names):
        advice = f"fetch it first: pellucid data {name}" + ("" if wanted.address else " --from DIR")
        raise DataError(f"{name} is not there yet", where=folder, expected=", ".join(names) + " (or .gz)", advice=advice)
    return Located(files, swapped=wanted.columns is not None and wanted.columns != (source, target))


def fetch(name: str, home: Path | None = None, source: Path | None = None) -> Path:
    """Brings every file of a set into the data home and checks it. What is there already is checked and kept.

    Args:
        name: of the set.
        home: the data home; by default :func:`data_home`.
        source: a local folder to copy from, compressed or not; None: from the web.

    Returns:
        The folder of the set.

    Raises:
        UsageError: no such set.
        DataError: no network, a file missing in ``source``, a wrong checksum.
        StorageError: no room, or no right to write.
    """
    if name == "builtin":
        raise UsageError("the built-in corpus is part of the package", where=name, advice="nothing has to be fetched")
    wanted = public_set(name)
    if source is None and wanted.address is None:
        advice = f"pellucid data {name} --from DIR, where DIR holds {', '.join(file.name for file in wanted.files)}"
        raise DataError(f"{name} can no longer be downloaded", where=name, advice=advice)
    folder = (home or data_home()) / name
    for file in wanted.files:
        if _is_there(folder, file):
            continue
        try:
            _bring(wanted, file, folder, source)
        except OSError as error:
            raise StorageError("cannot be read or written", where=error.filename or folder, found=error.strerror) from error
        say(f"{name}: {file.name}")
    return folder


def _is_there(folder: Path, file: PublicFile) -> bool:
    there = plain_or_compressed(folder / file.name.removesuffix(".gz"))
    try:
        return there is not None and survey(there).sha256 == file.sha256
    except DataError:  # damaged
        return False


def _bring(wanted: PublicSet, file: PublicFile, folder: Path, source: Path | None) -> None:
    """One file into the folder, by way of a folder of unfinished ones, where an interrupted download waits."""
    unfinished = folder / ".part"
    unfinished.mkdir(parents=True, exist_ok=True)
    if source is None:
        from pellucid.data.download import download  # the network's modules, which take longer to load than all the rest

        part = unfinished / file.name
        advice = f"get the files in another way and run: pellucid data {wanted.name} --from DIR"
        download(f"{wanted.address}/{file.name}", part, size=file.size, advice=advice)
    else:
        original = plain_or_compressed(source.expanduser() / file.name.removesuffix(".gz"))
        if original is None:
            expected = f"{file.name}, or the same without .gz"
            raise DataError("a file of the set is missing", where=source, expected=expected)
        part = unfinished / original.name
        shutil.copyfile(original, part)
    _verify(part, file, original if source else f"{wanted.address}/{file.name}")
    for name in (file.name, file.name.removesuffix(".gz")):
        (folder / name).unlink(missing_ok=True)  # a damaged copy under the other name would be found first
    part.replace(folder / part.name)
    if not any(unfinished.iterdir()):
        unfinished.rmdir()


def _verify(part: Path, file: PublicFile, origin: object) -> None:
    """Removes a file that is not what it should be: going on from a wrong beginning would never end well."""
    try:
        found = survey(part).sha256
    except DataError as error:
        part.unlink()
        raise DataError(error.what, where=origin, found=error.found, advice="try again, or take another copy") from None
    if found != file.sha256:
        part.unlink()
        raise DataError(
            "the content is not the known one",
            where=origin,
            expected=f"SHA-256 {file.sha256} of the decompressed text",
            found=found,
            advice="try again, or take another copy",
        )
