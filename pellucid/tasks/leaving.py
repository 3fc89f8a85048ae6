"""Our models for other programs, which run them without this package: ``pellucid export --to``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers

from pellucid.base.config import RunConfig
from pellucid.base.errors import UsageError
from pellucid.base.files import publish_directory, write_atomically
from pellucid.base.progress import say
from pellucid.base.recipe import to_dict
from pellucid.exchange import to_ctranslate2, to_onnx, usage
from pellucid.tasks.framing import AnyTokenizer, around_side, surround, unwritable
from pellucid.tasks.imports import export_model
from pellucid.tasks.labels import LABELS
from pellucid.tasks.model_directory import JOINT, SEPARATE, Tokenizers, find, load_tokenizers, read_config
from pellucid.tasks.preprocessor import PREPROCESSOR
from pellucid.tasks.registry import using_side
from pellucid.text.imported import ImportedTokenizer, controls_file

PROGRAMS = ("huggingface", "ctranslate2", "onnx")
CONFIG = "pellucid.json"  # ours, under a name that no program has another use for


def leave(run: Path, out: Path, to: str = "huggingface", *, family: str | None = None, quantization: str | None = None) -> None:
    """Write a model for another program.

    Args:
        run: the directory of a model or of a run.
        out: the new directory.
        to: one of ``PROGRAMS``.
        family: see :func:`pellucid.tasks.imports.export_model`; for Hugging Face only.
        quantization: of the weights, one of :data:`pellucid.exchange.to_ctranslate2.QUANTIZATIONS`; for CTranslate2 only.

    Raises:
        ModelError: the model is damaged or not there.
        UsageError: the program cannot compute the same, with the reasons; what writes for it is not installed; there is
            something in ``out``; an option of another program. Nothing is written then.
        StorageError: a file cannot be written.
    """
    if to not in PROGRAMS:
        raise UsageError("no such program", where="--to", expected=", ".join(PROGRAMS), found=to)
    for option, value, owner in (("--family", family, "huggingface"), ("--quantization", quantization, "ctranslate2")):
        if value is not None and to != owner:
            raise UsageError("this option belongs to another program", where=option, expected=f"--to {owner}", found=to)
    config = read_config(find(run))
    if config.task == "word_vectors":
        advice = "pellucid vectors RUN --out vectors.txt writes them for any program that reads word vectors"
        raise UsageError("word vectors are no model that another program could run", where=run, advice=advice)
    cell = config.model.recurrent.cell
    if cell != "none":
        advice = "use it with pellucid, or train a Transformer"
        raise UsageError("recurrent networks cannot be written for other programs", where=run, found=cell, advice=advice)
    if to == "huggingface":
        export_model(run, out, family)
    elif to == "ctranslate2":
        _to_ctranslate2(find(run), Path(out), quantization or to_ctranslate2.QUANTIZATIONS[0])
    else:
        _to_onnx(find(run), Path(out))


def _to_ctranslate2(directory: Path, out: Path, quantization: str) -> None:
    known = to_ctranslate2.QUANTIZATIONS
    if quantization not in known:
        raise UsageError("no such quantization", where="--quantization", expected=" or ".join(known), found=quantization)
    config = read_config(directory)
    both = load_tokenizers(directory, config)
    reasons = to_ctranslate2.obstacles(config.model)
    if both is None:
        reasons.append("it came without a tokenizer: tokens are known by their names there")
    elif both[1].end is None:
        reasons.append("its vocabulary has no end token: one is needed there")
    elif config.model.architecture != "decoder" and not _said(both):
        reasons.append("what stands around its texts: one start token before them and the end token after them there")
    if reasons or both is None:
        what, advice = "CTranslate2 cannot express this model", "--to onnx writes any model"
        raise UsageError(what, where=directory, found="; ".join(reasons), advice=advice)
    to_ctranslate2.need_ctranslate2()
    _see_empty(out)
    loaded = using_side(config.task).open(directory, config)
    names, reading = _names(config, both), _reading(loaded, config, both)
    spec = to_ctranslate2.specification(loaded.model, config.model, names, quantization)

    def build(new: Path) -> None:
        to_ctranslate2.save(spec, new)
        _write_beside(new, directory, config, both)
        before, never = ([names.target[token] for token in some] for some in (reading.before, reading.never))
        alone = config.model.architecture == "decoder"
        _write_card(new, usage.for_ctranslate2(config.task, reading, before, never, alone=alone))

    _publish(build, out)


def _to_onnx(directory: Path, out: Path) -> None:
    config = read_config(directory)
    to_onnx.need_onnx()
    _see_empty(out)
    loaded = using_side(config.task).open(directory, config)
    both = load_tokenizers(directory, config)
    graphs, picture = to_onnx.graphs(loaded.model.eval(), config.model), config.model.picture
    sizes = (picture.channels, picture.height, picture.width) if picture.patch else None

    def build(new: Path) -> None:
        to_onnx.write_graphs(graphs, new)
        _write_beside(new, directory, config, both)
        reading = _reading(loaded, config, both)
        types = config.model.embedding.types > 0
        _write_card(new, usage.for_onnx(config.task, reading, config.model.architecture, sizes, types=types))

    _publish(build, out)


def _see_empty(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError("there is something here already", where=out, advice="choose a new directory, or empty this one")


def _publish(build: Callable[[Path], None], out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    publish_directory(build, out)
    say(f"written into {out}; its README.md shows how it is used")


def _write_beside(new: Path, directory: Path, config: RunConfig, both: Tokenizers | None) -> None:
    """Tokenizers, classes, how pictures are made ready, and our own configuration."""
    for name, tokenizer in zip(_files(config), both or (), strict=False):
        tokenizer.save(new / name)
    for name in (LABELS, PREPROCESSOR):
        if (directory / name).is_file():
            write_atomically(new / name, (directory / name).read_bytes())
    write_atomically(new / CONFIG, (json.dumps(to_dict(config), indent=2) + "\n").encode())


def _write_card(new: Path, text: str) -> None:
    write_atomically(new / "README.md", text.encode())


def _files(config: RunConfig) -> tuple[str, str]:
    return (JOINT, JOINT) if config.text.joint else SEPARATE


def _around(tokenizer: AnyTokenizer, config: RunConfig) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Control tokens before and after a text that this model reads."""
    if config.model.architecture == "decoder":
        return (tokenizer.prefix if isinstance(tokenizer, ImportedTokenizer) else ()), ()
    return surround(tokenizer) if config.model.architecture == "encoder" else around_side(tokenizer)


def _reading(loaded: Any, config: RunConfig, both: Tokenizers | None) -> usage.Reading:
    """How its texts are read and written, for the README."""
    model = config.model
    if both is None:
        return usage.Reading(None, start=0, longest=model.max_length, extra=config.decoding.max_extra)
    source, target = both
    before, after = _around(source, config)
    end, never = (loaded.end, loaded.never) if model.architecture == "decoder" else (target.end, unwritable(target))
    limited = model.architecture != "decoder" or model.positions in ("sinusoidal", "learned")
    return usage.Reading(
        _files(config),
        before,
        after,
        target.start,
        end,
        never,
        longest=model.max_length if limited else 0,
        extra=config.decoding.max_extra,
        special=isinstance(source, ImportedTokenizer),
        pieces=controls_file(Path(_files(config)[0])).name if isinstance(source, ImportedTokenizer) and source.pieces else None,
        unknown=source.unknown,
    )


def _said(both: Tokenizers) -> bool:
    """Whether its two settings, a start token before a source and the end token after it, say what stands around a text."""
    source, target = both
    before, after = around_side(source)
    return len(before) < 2 and after in ((), (target.end,))


def _names(config: RunConfig, both: Tokenizers) -> to_ctranslate2.Names:
    model = config.model
    source = _spelt(both[0], model.source_vocabulary if model.architecture != "decoder" else model.target_vocabulary)
    target = source if both[0] is both[1] else _spelt(both[1], model.target_vocabulary)
    tokenizer = both[1]
    assert tokenizer.end is not None
    unknown, start = (tokenizer.end if token is None else token for token in (tokenizer.unknown, tokenizer.start))
    before, after = _around(both[0], config)
    return to_ctranslate2.Names(
        source,
        target,
        target[unknown],
        target[start],
        target[tokenizer.end],
        source[before[0]] if before else None,
        bool(after),
    )


def _spelt(tokenizer: AnyTokenizer, size: int) -> list[str]:
    """The name of each id, as the tokenizer's file spells it; an id without one gets one that nothing else has."""
    pieces = tokenizer.pieces if isinstance(tokenizer, ImportedTokenizer) else None
    if pieces is None:
        pieces = tokenizers.Tokenizer.from_str(tokenizer.content).get_vocab(with_added_tokens=True)
    by_id = {index: name for name, index in pieces.items()}
    names = []
    for index in range(size):
        name = by_id.get(index, f"<unused_{index}>")
        while index not in by_id and name in pieces:
            name = f"<{name}>"
        names.append(name)
    return names
