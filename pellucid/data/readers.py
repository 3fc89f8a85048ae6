"""Where sentence pairs come from: files, a directory, the built-in corpus, public sets. One entry: :func:`open_split`.

The places that the configuration may name, in the order in which they are tried for a split:

- ``train``, ``dev``, ``test``: one file, or two aligned ones;
- ``corpus: builtin``, or a public set by name;
- ``directory``: ``train.fr`` with ``train.en``, ``train.tsv`` or ``train.jsonl``; dev may also be called ``val`` or ``valid``.

Every file may be plain or, when its name ends in ``.gz``, gzip. Two files are aligned line by line. One file whose name ends in
``.jsonl`` holds one JSON object a line, with the texts at the keys ``data.source`` and ``data.target``; any other single file
is tab-separated, source in the first column, target in the second.
"""

from __future__ import annotations

import os
from pathlib import Path

from pellucid.base.config import DataConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.data import public_sets
from pellucid.data.formats import Example, PairsInMemory, Record, Split
from pellucid.data.lines import close_names, is_file, plain_or_compressed

__all__ = ["Example", "PairsInMemory", "Record", "Split", "open_split", "splits_of"]

_NAMED = ("train", "dev", "test")  # the splits that the configuration has a field for
_OTHER_NAMES = {"dev": ("dev", "val", "valid")}  # of files in a directory


def open_split(config: DataConfig, split: str, *, home: Path | None = None) -> Split:
    """The pairs of a split: ``train``, ``dev``, ``test``, or another one that the corpus or directory has.

    Args:
        config: where the data are; relative paths start at the current directory.
        split: its name.
        home: the folder of public sets; by default :func:`pellucid.data.public_sets.data_home`.

    Raises:
        UsageError: the configuration offers no such split, or the corpus is not known.
        DataError: a file is missing, or cannot be read more than once.
    """
    if given := _given(config, split):
        return _from_files(split, given, config)
    if config.corpus == "builtin":
        return _built_in(split, config)
    if config.corpus is not None:
        found = public_sets.locate(config.corpus, split, config.source, config.target, home)
        return _from_files(split, found.files, config, swapped=found.swapped)
    if config.directory is not None:
        return _from_files(split, _in_directory(Path(config.directory).expanduser(), split, config), config)
    advice = "set data.corpus, data.directory or " + (f"data.{split}" if split in _NAMED else "data.train")
    raise UsageError(f"no data given for the split {split}", where="data", advice=advice)


def splits_of(config: DataConfig) -> tuple[str, ...]:
    """Names of the splits that :func:`open_split` would find a place for; not whether the files there are good.

    Raises:
        UsageError: the corpus is not known.
    """
    names = [split for split in _NAMED if _given(config, split)]
    if config.corpus == "builtin":
        from pellucid.data import corpus

        names += corpus.SPLITS
    elif config.corpus is not None:
        names += public_sets.public_set(config.corpus).splits
    elif config.directory is not None:
        directory = Path(config.directory).expanduser()
        names += [split for split in _NAMED if _candidates(directory, split, config)]
    return tuple(dict.fromkeys(names))


def _given(config: DataConfig, split: str) -> tuple[Path, ...]:
    names: tuple[str, ...] = getattr(config, split) if split in _NAMED else ()
    return tuple(Path(name).expanduser() for name in names)


def _from_files(split: str, paths: tuple[Path, ...], config: DataConfig, *, swapped: bool = False) -> Split:
    for path in paths:
        if os.path.isdir(path):
            raise DataError("a directory instead of a file", where=path, advice="give it as data.directory")
        if not is_file(path):
            what = "not a file that can be read more than once" if os.path.exists(path) else "no such file"
            raise DataError(what, where=path, advice=close_names(path))
    if len(paths) == 2:
        return Split(split, paths, "aligned files", config)
    if paths[0].name.removesuffix(".gz").endswith(".jsonl"):
        return Split(split, paths, "JSON Lines", config)
    return Split(split, paths, "tab-separated, target first" if swapped else "tab-separated", config)


def _in_directory(directory: Path, split: str, config: DataConfig) -> tuple[Path, ...]:
    if not directory.is_dir():
        raise DataError("no such directory", where=directory, advice=close_names(directory))
    found = _candidates(directory, split, config)
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(" with ".join(path.name for path in paths) for paths in found)
        advice = f"keep one of them, or name the files in data.{split}"
        raise DataError(f"several files for the split {split}", where=directory, found=several, advice=advice)
    there = sorted(os.listdir(directory))
    raise DataError(
        f"no files of the split {split}",
        where=directory,
        expected=", ".join(" with ".join(form) for form in _forms(split, config)) + "; each plain or with .gz",
        found=", ".join(there[:12]) + (", ..." if len(there) > 12 else "") if there else "an empty directory",
        advice="data.source and data.target are the endings of aligned files",
    )


def _candidates(directory: Path, split: str, config: DataConfig) -> list[tuple[Path, ...]]:
    """Every complete set of files that could be the split."""
    forms = [[plain_or_compressed(directory / name) for name in form] for form in _forms(split, config)]
    return [tuple(path for path in form if path) for form in forms if all(form)]


def _forms(split: str, config: DataConfig) -> list[tuple[str, ...]]:
    """File names that a split may have in a directory."""
    names = _OTHER_NAMES.get(split, (split,))
    endings = [(config.source, config.target), ("tsv",), ("jsonl",)]
    return [tuple(f"{name}.{ending}" for ending in form) for name in names for form in endings]


def _built_in(split: str, config: DataConfig) -> Split:
    from pellucid.data import corpus  # its grammar and lexicon are only loaded where they are used

    if split not in corpus.SPLITS:
        raise UsageError(f"the built-in corpus has no split {split}", where="data", expected=", ".join(corpus.SPLITS))
    if {config.source, config.target} != {"fr", "en"}:
        found = f"data.source: {config.source}, data.target: {config.target}"
        raise UsageError("the built-in corpus is French and English", where="data", expected="fr and en", found=found)
    sides = [(pair.french, pair.english) for pair in corpus.pairs(split)]
    return PairsInMemory(split, sides if config.source == "fr" else [pair[::-1] for pair in sides], config)
