"""Public sets: finding their files, and fetching them, with or without a network. The table is in ``known_sets.py``.

Checksums are of the decompressed content, so that a copy compressed anew, or not at all, is recognised as the same.
"""

from __future__ import annotations

import difflib
import os
import shutil
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pellucid.base.errors import DataError, StorageError, UsageError
from pellucid.base.progress import say
from pellucid.data.known_sets import PUBLIC_SETS, PublicFile, PublicFolder, PublicSet
from pellucid.data.lines import plain_or_compressed, survey

__all__ = ["PUBLIC_SETS", "Located", "PublicFile", "PublicFolder", "PublicSet", "data_home", "fetch", "locate", "public_set"]


class Located(NamedTuple):
    """The files of a split in the data home."""

    files: tuple[Path, ...]
    swapped: bool  # the target is in the first column


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


def locate(name: str, split: str, source: str | None = None, target: str | None = None, home: Path | None = None) -> Located:
    """The files of one split of a set that has been fetched.

    Args:
        name: of the set.
        split: of its splits.
        source, target: languages, for sets of translations; None: not needed.
        home: the data home; by default :func:`data_home`.

    Raises:
        UsageError: no such set, split or language.
        DataError: it has not been fetched.
    """
    wanted = public_set(name)
    if split not in wanted.splits:
        raise UsageError(f"{name} has no split {split}", where="data", expected=", ".join(wanted.splits))
    for key, language in (("data.source", source), ("data.target", target)):
        if wanted.languages and language is not None and language not in wanted.languages:
            languages = ", ".join(wanted.languages)
            raise UsageError(f"{name} has no such language", where=key, expected=languages, found=language)
    stem, folder = wanted.splits[split], (home or data_home()) / name
    endings = [wanted.ending] if wanted.ending else [ending for ending in (source, target) if ending] or wanted.languages
    names = [f"{stem}.{ending}" for ending in endings]
    files = tuple(path for file in names if (path := plain_or_compressed(folder / file)))
    if len(files) < len(names):
        advice = f"fetch it first: pellucid data {name}" + ("" if wanted.address else " --from DIR")
        raise DataError(f"{name} is not there yet", where=folder, expected=", ".join(names) + " (or .gz)", advice=advice)
    return Located(files, swapped=wanted.ending == "tsv" and source in wanted.languages[1:])


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
        names = [file.name for file in wanted.files] + ([f"{wanted.folder.name}/"] if wanted.folder else [])
        advice = f"pellucid data {name} --from DIR, where DIR holds {', '.join(names)}"
        raise DataError(f"{name} cannot be downloaded", where=name, advice=advice)
    folder = (home or data_home()) / name
    try:
        for file in wanted.files:
            if not _is_there(folder, file):
                _bring(wanted, file, folder, source)
                say(f"{name}: {file.name}")
        if wanted.folder and not _is_same(folder / wanted.folder.name, wanted.folder):
            _bring_folder(wanted, wanted.folder, folder, source)
            say(f"{name}: {wanted.folder.name}/")
    except OSError as error:
        raise StorageError("cannot be read or written", where=error.filename or folder, found=error.strerror) from error
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
    _remove_when_empty(unfinished)


def _remove_when_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()


def _is_same(there: Path, folder: PublicFolder) -> bool:
    """Whether a folder is there and holds what it should, and nothing else."""
    if not there.is_dir():
        return False
    listing = "".join(f"{survey(there / name).sha256}  {name}\n" for name in sorted(os.listdir(there)))
    return sha256(listing.encode()).hexdigest() == folder.sha256


def _bring_folder(wanted: PublicSet, folder: PublicFolder, home: Path, source: Path | None) -> None:
    """A folder copied into the folder of the set; from the web only single files come."""
    original = source.expanduser() / folder.name if source else None
    if original is None or not original.is_dir():
        advice = f"pellucid data {wanted.name} --from DIR, where DIR holds it"
        raise DataError(
            "a folder of the set is missing", where=source or wanted.name, expected=f"{folder.name}/", advice=advice
        )
    part = home / ".part" / folder.name
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for file in original.iterdir():
        shutil.copyfile(file, part / file.name)
    if not _is_same(part, folder):
        shutil.rmtree(part)
        advice = "take another copy, with nothing else in the folder"
        raise DataError("the content is not the known one", where=original, expected=f"SHA-256 {folder.sha256}", advice=advice)
    shutil.rmtree(home / folder.name, ignore_errors=True)
    part.replace(home / folder.name)
    _remove_when_empty(part.parent)


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
            expected=f"SHA-256 {file.sha256} of the decompressed content",
            found=found,
            advice="try again, or take another copy",
        )
