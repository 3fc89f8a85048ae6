"""Public models into our model directory, and our models into the layout of others: ``pellucid import`` and ``export``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pellucid import __version__
from pellucid.base.config import FORMAT_VERSION, ConfigProblems, RunConfig, TextConfig
from pellucid.base.errors import ModelError, UsageError
from pellucid.base.files import sweep, write_atomically
from pellucid.base.progress import say
from pellucid.base.recipe import to_dict
from pellucid.exchange.checkpoint import WEIGHTS, open_checkpoint, write_checkpoint
from pellucid.exchange.convert import CONFIG, Source, find_target, open_source, write_target
from pellucid.exchange.directory import read, read_json
from pellucid.exchange.family import Described
from pellucid.exchange.vocabularies import read_vocabulary, write_vocabulary
from pellucid.tasks.labels import LABELS, Labels
from pellucid.tasks.model_directory import Tokenizers, check_vocabularies, find, load_tokenizers, read_config, save_tokenizers
from pellucid.text.tokenizer import Tokenizer

_PICTURES = "preprocessor_config.json"  # how pictures are made ready: taken along as it is
_SMALLEST = 5  # entries that a text configuration may name


def import_model(source: Path, out: Path) -> RunConfig:
    """Make a model directory of ours from a public model, its numbers kept in the type in which they were.

    Args:
        source: a directory in the Hugging Face layout. Nothing in it is executed.
        out: the new directory.

    Returns:
        The configuration that stands in it.

    Raises:
        ModelError: see :func:`pellucid.exchange.convert.open_source`.
        UsageError: there is a model in ``out``.
        StorageError: a file cannot be written.
    """
    source = Path(source)
    _prepare(out)
    model = open_source(source)
    tokenizers = _vocabulary(source, model)
    config = _config(model, tokenizers, source)
    if tokenizers is not None:
        check_vocabularies(out, config, tokenizers)
        save_tokenizers(out, config, tokenizers)
    if model.described.labels:
        Labels(model.described.labels).save(out)
    _copy_pictures(source, out, config)
    write_checkpoint(out / WEIGHTS, model.parts, "importing")
    write_atomically(out / "README.md", _card(model, config).encode())
    content = {"format_version": FORMAT_VERSION, **to_dict(config)}
    write_atomically(out / CONFIG, (json.dumps(content, indent=2) + "\n").encode())
    return config


def _prepare(out: Path) -> None:
    """See that there is no model yet. The settings are written last: without them there is none."""
    if (out / CONFIG).exists():
        advice = "choose another directory, or remove this one"
        raise UsageError("there is a model in this directory", where=out, advice=advice)
    out.mkdir(parents=True, exist_ok=True)
    sweep(out)


def _vocabulary(source: Path, model: Source) -> Tokenizers | None:
    found = read_vocabulary(source, model.family.name)
    if found is None or isinstance(found, tuple):
        return found
    return found, found


def _config(model: Source, tokenizers: Tokenizers | None, source: Path) -> RunConfig:
    size = max(_SMALLEST, *(tokenizer.vocabulary_size for tokenizer in tokenizers or ()), 0)
    joint = tokenizers is None or tokenizers[0] is tokenizers[1]
    try:
        text = TextConfig(tokenizer="imported", vocabulary=size, joint=joint)
        return RunConfig(task=model.described.task, model=model.described.model, text=text)
    except ConfigProblems as error:
        raise ModelError("the model does not fit its task", where=source / CONFIG, found=error) from None


def _copy_pictures(source: Path, out: Path, config: RunConfig) -> None:
    content = read(source, _PICTURES) if config.model.picture.patch else None
    if content is not None:
        write_atomically(out / _PICTURES, content)


def _card(model: Source, config: RunConfig) -> str:
    return f"""# {config.task.replace("_", " ").capitalize()}, imported

A {model.architecture} ({model.family.name}), made into a model of pellucid {__version__} by `pellucid import`. Its numbers are
those that they were. Its licence is that of the model it came from; look it up there before you pass it on.
"""


def export_model(run: Path, out: Path, family: str | None = None) -> str:
    """Write a model as one of a public family, to be loaded by Hugging Face transformers.

    Args:
        run: the directory of a model or of a run.
        out: the new directory.
        family: ``model_type`` of the family; ``None``: the first that can express the model exactly.

    Returns:
        The class that it is there.

    Raises:
        ModelError: the model is damaged or not there.
        UsageError: no family can express it, with what differs from the nearest; there is a model in ``out``.
        StorageError: a file cannot be written.
    """
    directory = find(run)
    config = read_config(directory)
    tokenizers = load_tokenizers(directory, config)
    labels = Labels.load(directory).names if (directory / LABELS).is_file() else ()
    described = Described(config.task, config.model, labels, _controls(tokenizers))
    target = find_target(described, family, directory)
    _prepare(out)
    if tokenizers is not None:
        before, after = _around(config, tokenizers)
        both = tokenizers[0] if tokenizers[0] is tokenizers[1] else tokenizers
        write_vocabulary(both, out, target.family.name, prefix=before, suffix=after)
    _copy_pictures(directory, out, config)
    if read_json(directory, _PICTURES).get("fit") == "crop":
        say("warning: pictures of another shape than the model's are cut here, and stretched there")
    write_target(target, config.model, open_checkpoint(directory), out)
    say(f"written as {target.architecture}")
    return target.architecture


def _controls(tokenizers: Tokenizers | None) -> dict[str, int | None]:
    """The control tokens of the side that is written."""
    if tokenizers is None:
        return {}
    target = tokenizers[1]
    return {"pad": target.pad, "start": target.start, "end": target.end}


def _around(config: RunConfig, tokenizers: Tokenizers) -> tuple[Sequence[int], Sequence[int]]:
    """What stands around a source text of a tokenizer of ours; an imported one knows it."""
    tokenizer = tokenizers[0]
    if not isinstance(tokenizer, Tokenizer):
        return (), ()
    if config.model.architecture == "encoder":
        return (tokenizer.start,), (tokenizer.end,)
    return ((), (tokenizer.end,)) if config.model.architecture == "encoder-decoder" else ((tokenizer.start,), ())
