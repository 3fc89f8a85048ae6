"""Where texts come from: files, a directory, the built-in corpus, public sets. :func:`open_split` gives pairs or single texts,
:func:`open_text` running text for language models.

The places that the configuration may name, in the order in which they are tried for a split:

- ``train``, ``dev``, ``test``: one file, or two aligned ones (single texts are read from the first);
- ``corpus: builtin``, or a public set by name;
- ``directory``: ``train.fr`` with ``train.en``, ``train.tsv`` or ``train.jsonl``; for single texts also ``train.txt`` or
  ``train.fr``; dev may also be called ``val`` or ``valid``.

Every file may be plain or, when its name ends in ``.gz``, gzip. Two files are aligned line by line. One file whose name ends in
``.jsonl`` holds one JSON object a line, with the texts at the keys ``data.source`` and ``data.target``. Any other single file
is tab-separated, source (or text) in the first column, target (or label) in the second; where single texts are wanted it is so
only when its name ends in ``.tsv``, else each line is a text.
"""

from __future__ import annotations

import os
from pathlib import Path

from pellucid.base.config import DataConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.data import public_sets
from pellucid.data.formats import Example, PairsInMemory, Record, Split
from pellucid.data.lines import close_names, is_file, plain_or_compressed
from pellucid.data.running_text import WHOLE, Documents, Part, RunningText

__all__ = ["Example", "PairsInMemory", "Record", "Split", "open_split", "open_text", "splits_of"]

_NAMED = ("train", "dev", "test")  # the splits that the configuration has a field for
_OTHER_NAMES = {"dev": ("dev", "val", "valid")}  # of files in a directory


def open_split(config: DataConfig, split: str, *, columns: int = 2, home: Path | None = None) -> Split:
    """The examples of a split: ``train``, ``dev``, ``test``, or another one that the corpus or directory has.

    Args:
        config: where the data are; relative paths start at the current directory.
        split: its name.
        columns: texts of an example: 2 for pairs and labelled texts; 1 for single texts, for which ``data.target`` does not
            count: of a corpus of pairs they are the source side.
        home: the folder of public sets; by default :func:`pellucid.data.public_sets.data_home`.

    Raises:
        UsageError: the configuration offers no such split, or the corpus is not known or holds no such examples.
        DataError: a file is missing, or cannot be read more than once.
    """
    if given := _given(config, split):
        return _from_files(split, given, config, columns)
    if config.corpus == "builtin":
        return _built_in(split, config, columns)
    if config.corpus is not None:
        return _public(split, config, columns, home)
    if config.directory is not None:
        files = _in_directory(Path(config.directory).expanduser(), split, config, columns)
        return _from_files(split, files, config, columns)
    there = ", ".join(splits_of(config, columns=columns)) or None
    advice = "set data.corpus, data.directory or " + (f"data.{split}" if split in _NAMED else "data.train")
    if there and split not in _NAMED:
        advice = "ask for one of these"
    raise UsageError(f"no data given for the split {split}", where="data", expected=there, advice=advice)


def open_text(config: DataConfig, split: str, *, home: Path | None = None) -> Split:
    """The running text of a split, for language models: see :mod:`pellucid.data.running_text`.

    Without a dev split of its own, ``data.holdout`` (for a public set its own share, where that is 0) cuts it from the end of
    the training text. The built-in corpus gives its source sentences, one a line. A file of JSON Lines gives documents.

    Args:
        config: where the data are.
        split: its name.
        home: the folder of public sets; by default :func:`pellucid.data.public_sets.data_home`.

    Raises:
        UsageError: the configuration offers no such split, or what it offers is a table and no running text.
        DataError: a file is missing, or cannot be read more than once.
    """
    splits, share = splits_of(config, columns=1), _holdout(config)
    part, origin = WHOLE, split
    if "dev" not in splits and share:
        parts = {"train": Part(end=1.0 - share), "dev": Part(begin=1.0 - share)}
        part, origin = (parts[split], "train") if split in parts else (WHOLE, split)
    elif split == "dev" and splits and split not in splits:
        advice = "set data.dev, or data.holdout to the share of the training text to hold out, such as 0.1"
        raise UsageError("no data given for the split dev", where="data", expected=", ".join(splits), advice=advice)
    text = open_split(config, origin, columns=1, home=home)
    if text.form == "JSON Lines":
        return Documents(split, text, part)
    if text.form.startswith("tab-separated"):
        advice = "give a plain text or JSON Lines; to read a table as it stands, call the file .txt"
        raise UsageError("a table is no running text", where=text.files[0], advice=advice)
    return RunningText(split, text, part)


def _holdout(config: DataConfig) -> float:
    """The share of the training text that is the dev split when there is no other."""
    if config.holdout or config.train or config.corpus in (None, "builtin"):
        return config.holdout
    return public_sets.public_set(config.corpus).holdout


def splits_of(config: DataConfig, *, columns: int = 2) -> tuple[str, ...]:
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
        names += [split for split in _NAMED if _candidates(directory, split, config, columns)]
    return tuple(dict.fromkeys(names))


def _given(config: DataConfig, split: str) -> tuple[Path, ...]:
    names: tuple[str, ...] = getattr(config, split) if split in _NAMED else ()
    return tuple(Path(name).expanduser() for name in names)


def _from_files(split: str, paths: tuple[Path, ...], config: DataConfig, columns: int, *, swapped: bool = False) -> Split:
    paths = paths[:columns]
    for path in paths:
        if os.path.isdir(path):
            raise DataError("a directory instead of a file", where=path, advice="give it as data.directory")
        if not is_file(path):
            what = "not a file that can be read more than once" if os.path.exists(path) else "no such file"
            raise DataError(what, where=path, advice=close_names(path))
    name = paths[0].name.removesuffix(".gz")
    if len(paths) == 2:
        form = "aligned files"
    elif name.endswith(".jsonl"):
        form = "JSON Lines"
    elif columns == 1 and not name.endswith(".tsv"):
        form = "plain text"
    else:
        form = "tab-separated, target first" if swapped else "tab-separated"
    return Split(split, paths, form, config, columns)


def _public(split: str, config: DataConfig, columns: int, home: Path | None) -> Split:
    assert config.corpus is not None
    known = public_sets.public_set(config.corpus)
    if known.columns < columns:
        what = "this corpus holds no pairs" if known.columns else "this corpus holds no texts"
        raise UsageError(what, where="data.corpus", found=f"{known.name}: {known.what}")
    target = config.target if columns > 1 else None
    found = public_sets.locate(known.name, split, config.source, target, home)
    return _from_files(split, found.files, config, columns, swapped=found.swapped)


def _in_directory(directory: Path, split: str, config: DataConfig, columns: int) -> tuple[Path, ...]:
    if not directory.is_dir():
        raise DataError("no such directory", where=directory, advice=close_names(directory))
    found = _candidates(directory, split, config, columns)
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
        expected=", ".join(" with ".join(form) for form in _forms(split, config, columns)) + "; each plain or with .gz",
        found=", ".join(there[:12]) + (", ..." if len(there) > 12 else "") if there else "an empty directory",
        advice="data.source and data.target are the endings of aligned files" if columns > 1 else None,
    )


def _candidates(directory: Path, split: str, config: DataConfig, columns: int) -> list[tuple[Path, ...]]:
    """Every complete set of files that could be the split."""
    forms = [[plain_or_compressed(directory / name) for name in form] for form in _forms(split, config, columns)]
    return [tuple(path for path in form if path) for form in forms if all(form)]


def _forms(split: str, config: DataConfig, columns: int) -> list[tuple[str, ...]]:
    """File names that a split may have in a directory."""
    names = _OTHER_NAMES.get(split, (split,))
    plain = [(config.source, config.target)] if columns > 1 else [("txt",), (config.source,)]
    endings = dict.fromkeys([*plain, ("tsv",), ("jsonl",)])
    return [tuple(f"{name}.{ending}" for ending in form) for name in names for form in endings]


def _built_in(split: str, config: DataConfig, columns: int) -> Split:
    from pellucid.data import corpus  # its grammar and lexicon are only loaded where they are used

    if split not in corpus.SPLITS:
        raise UsageError(f"the built-in corpus has no split {split}", where="data", expected=", ".join(corpus.SPLITS))
    languages = (config.source, config.target)[:columns]
    if columns == 2 and config.target == "tags" and config.source in ("fr", "en"):
        return PairsInMemory(split, [corpus.tagged(pair, config.source) for pair in corpus.pairs(split)], config)
    if not set(languages) <= {"fr", "en"}:
        found = ", ".join(f"{key}: {value}" for key, value in zip(("data.source", "data.target"), languages, strict=False))
        expected = "fr and en" if columns > 1 else "fr or en"
        raise UsageError("the built-in corpus is French and English", where="data", expected=expected, found=found)
    sides = [(pair.french, pair.english) for pair in corpus.pairs(split)]
    if config.source == "en":
        sides = [pair[::-1] for pair in sides]
    return PairsInMemory(split, [pair[:columns] for pair in sides], config)
