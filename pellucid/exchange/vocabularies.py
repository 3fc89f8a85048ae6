"""Vocabularies in the Hugging Face layout, read and written: ``tokenizer.json`` or the files that a family had before it.

Nothing in them is executed. A file is read only where it lies: a link that leads out of the directory is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, processors

from pellucid.base.errors import UsageError
from pellucid.base.files import write_atomically
from pellucid.exchange import vocabulary_builders as builders
from pellucid.exchange.directory import damaged, read, read_json, read_text
from pellucid.exchange.sentencepiece_files import UNIGRAM, serialize
from pellucid.exchange.vocabulary_files import (
    PIECES,
    SETTINGS,
    SOURCE,
    TARGET,
    TARGET_PIECES,
    control_names,
    read_files,
    read_sentencepieces,
    read_settings,
)
from pellucid.text.imported import Controls, ImportedTokenizer
from pellucid.text.library import refusals
from pellucid.text.tokenizer import Tokenizer

AnyTokenizer = Tokenizer | ImportedTokenizer
ImportedPair = tuple[ImportedTokenizer, ImportedTokenizer]

_JSON, _CONFIG = "tokenizer.json", "config.json"
_IDS = {"pad": "pad_token_id", "start": "bos_token_id", "end": "eos_token_id"}  # in config.json
_STARTS_WITH = {"bart": "end", "t5": "pad", "marian": "pad"}  # what a decoder reads first, where config.json does not say
_ONLY_DECODERS = ("gpt2", "bloom", "llama")
_CLASSIFY = ("bert", "distilbert")  # call their start and end after what they are for: classes and separation


def read_vocabulary(directory: Path, family: str) -> ImportedTokenizer | ImportedPair | None:
    """The tokenizer of a model in the Hugging Face layout; None where the directory holds no vocabulary (pictures).

    Args:
        directory: of the model.
        family: as ``model_type`` in ``config.json``: bert, distilbert, roberta, bart, gpt2, bloom, llama, t5 or marian.

    Returns:
        One tokenizer; of Marian's own files those of source and target, which cut text differently.

    Raises:
        ModelError: a file is missing, damaged, not what its name says or a link out of the directory.
    """
    directory = Path(directory)
    settings, config = read_settings(directory), read_json(directory, _CONFIG)
    names = control_names(family, settings)
    content = read_text(directory, _JSON)
    if content is not None:
        where = directory / _JSON
        with refusals(lambda error: damaged(where, "the JSON of a tokenizer", error)):
            library = tokenizers.Tokenizer.from_str(content)
    elif family == "marian":
        return _read_marian(directory, settings, names, config)
    else:
        found = read_files(directory, family, settings)
        if found is None:
            return None
        library, where = found
    with refusals(lambda error: damaged(where, "a tokenizer with its control tokens", error)):
        _surround(library, family, settings, names, anew=content is None)
        controls = _controls(library, family, names, config)
        content = _with_special(library, controls)
    return ImportedTokenizer(content, controls, where=where)


def _surround(
    library: tokenizers.Tokenizer, family: str, settings: Mapping[str, Any], names: Mapping[str, str], *, anew: bool
) -> None:
    """Have the library put around a text what the model expects, unless its own file says so already."""
    if family in _ONLY_DECODERS:
        said = settings.keys() & {"add_bos_token", "add_eos_token"}
        if anew or said:
            before = settings.get("add_bos_token", family == "llama" and not said)
            _put_around(library, [names["start"]] if before else [], [names["end"]] if settings.get("add_eos_token") else [])
    elif anew:
        _put_around(library, [] if family == "t5" else [names["start"]], [names["end"]])


def _put_around(library: tokenizers.Tokenizer, before: Sequence[str], after: Sequence[str]) -> None:
    library.post_processor = processors.TemplateProcessing(
        single=[*before, "$A", *after],
        pair=[*before, "$A", *after, "$B", *after],
        special_tokens=[(name, library.token_to_id(name)) for name in sorted({*before, *after})],
    )


def _controls(library: tokenizers.Tokenizer, family: str, names: Mapping[str, str], config: Mapping[str, Any]) -> Controls:
    ids: dict[str, int | None] = {role: library.token_to_id(name) for role, name in names.items()}
    controls: set[int | None] = {index for index, token in library.get_added_tokens_decoder().items() if token.special}
    controls |= {*ids.values()}
    for role, key in _IDS.items():
        if ids.get(role) is None:
            ids[role] = _one_of(controls, config.get(key))
    if family in _STARTS_WITH:
        start = _one_of(controls, config.get("decoder_start_token_id"))
        ids["start"] = ids.get(_STARTS_WITH[family]) if start is None else start
    if ids.get("unknown") in (ids.get("start"), ids.get("end")):
        ids["unknown"] = None  # a vocabulary of bytes knows every text; settings name some token all the same
    prefix, suffix = _around(library)
    return Controls(**ids, sentinels=_sentinels(library), prefix=prefix, suffix=suffix)


def _one_of(controls: set[int | None], index: object) -> int | None:
    """An id of ``config.json``, which may give several, none at all, or one that stands for text."""
    first = index[0] if isinstance(index, list) and index else index
    return first if isinstance(first, int) and first in controls else None


def _sentinels(library: tokenizers.Tokenizer) -> tuple[int, ...]:
    found: list[int] = []
    while (index := library.token_to_id(f"<extra_id_{len(found)}>")) is not None:
        found.append(index)
    return tuple(found)


def _around(library: tokenizers.Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the library puts before and after a text: before and after the ids of some text that has any."""
    for text in ("a", *library.get_vocab()):
        alone = library.encode(text, add_special_tokens=False).ids
        if alone:
            ids = library.encode(text).ids
            before = next(at for at in range(len(ids)) if ids[at : at + len(alone)] == alone)
            return tuple(ids[:before]), tuple(ids[before + len(alone) :])
    return (), ()


def _with_special(library: tokenizers.Tokenizer, controls: Controls) -> str:
    """The library's JSON, in which every control token is special: such a one is not looked for in texts."""
    missing = controls.ids() - library.get_added_tokens_decoder().keys()
    library.add_special_tokens([AddedToken(library.id_to_token(index), normalized=False) for index in sorted(missing)])
    content: dict[str, Any] = json.loads(library.to_str())
    for token in content["added_tokens"]:
        token["special"] = token["special"] or token["id"] in controls.ids()
    return _pretty(content)


def _read_marian(
    directory: Path, settings: Mapping[str, Any], names: Mapping[str, str], config: Mapping[str, Any]
) -> ImportedPair | None:
    if read(directory, SOURCE) is None and read(directory, TARGET) is None:
        return None

    def side(name: str, ids: str) -> ImportedTokenizer:
        pieces, where = read_json(directory, ids), directory / name
        found: dict[str, Any] = {role: pieces.get(name) for role, name in names.items()}
        if found["end"] is None or not all(isinstance(index, int) and index >= 0 for index in pieces.values()):
            raise damaged(directory / ids, f"an id for each piece, {names['end']!r} among them", "others")
        start = config.get("decoder_start_token_id")
        found["start"] = start if start in pieces.values() else found["pad"]
        controls = Controls(**found, suffix=(found["end"],))
        content = read_sentencepieces(directory, name, UNIGRAM)
        with refusals(lambda error: damaged(where, "a vocabulary for marian", error)):
            library = builders.marian_pieces(content)
        return ImportedTokenizer(library.to_str(pretty=True), controls, pieces, where=where)

    return side(SOURCE, PIECES), side(TARGET, TARGET_PIECES if settings.get("separate_vocabs") else PIECES)


def write_vocabulary(
    tokenizer: AnyTokenizer | tuple[AnyTokenizer, AnyTokenizer],
    directory: Path,
    family: str,
    *,
    prefix: Sequence[int] = (),
    suffix: Sequence[int] = (),
) -> None:
    """Write a tokenizer so that Hugging Face transformers gives the same ids.

    Args:
        tokenizer: one of ours or an imported one; or those of source and target, when they are the same or Marian's.
        directory: of the model; it exists.
        family: as in :func:`read_vocabulary`.
        prefix: ids to be put before a text, for a tokenizer of ours; an imported one brings its own.
        suffix: ids to be put after it.

    Raises:
        UsageError: source and target have different vocabularies, which the layout cannot express.
        StorageError: a file cannot be written.
    """
    directory = Path(directory)
    if isinstance(tokenizer, tuple):
        source, target = tokenizer
        if isinstance(source, ImportedTokenizer) and isinstance(target, ImportedTokenizer) and source.pieces is not None:
            _write_marian(source, target, directory)
            return
        if source.fingerprint != target.fingerprint:
            advice = "train with one vocabulary for both languages (text.joint: true)"
            raise UsageError("source and target have different vocabularies", where=directory, expected="one", advice=advice)
        tokenizer = source
    library = tokenizers.Tokenizer.from_str(tokenizer.content)
    content = json.loads(tokenizer.content)
    if isinstance(tokenizer, Tokenizer) and (prefix or suffix):
        _put_around(library, tokenizer.tokens(prefix), tokenizer.tokens(suffix))
        content["post_processor"] = json.loads(library.to_str())["post_processor"]
    write_atomically(directory / _JSON, _pretty(content).encode("utf-8"))
    write_atomically(directory / SETTINGS, _pretty(_settings(tokenizer, library, family)).encode("utf-8"))


def _settings(tokenizer: AnyTokenizer, library: tokenizers.Tokenizer, family: str) -> dict[str, Any]:
    """``tokenizer_config.json``: which token is what, for the class that takes ``tokenizer.json`` as it is."""
    prefix = tokenizer.prefix if isinstance(tokenizer, ImportedTokenizer) else ()
    first = prefix[0] if prefix else tokenizer.start
    start = None if first == tokenizer.pad else first
    roles = {"pad_token": tokenizer.pad, "unk_token": tokenizer.unknown, "mask_token": tokenizer.mask}
    if family not in _CLASSIFY:
        roles |= {"bos_token": start, "eos_token": tokenizer.end}
    if family in (*_CLASSIFY, "roberta", "bart"):
        roles |= {"cls_token": start, "sep_token": tokenizer.end}
    inputs = ["input_ids", "token_type_ids", "attention_mask"] if family == "bert" else ["input_ids", "attention_mask"]
    # A typed control token stays text. Where texts with gaps are written by hand, the names of the gaps must be understood.
    typed_are_text = isinstance(tokenizer, Tokenizer) and tokenizer.mask is None and not tokenizer.sentinels
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_input_names": inputs,
        "split_special_tokens": typed_are_text,
        **{role: library.id_to_token(index) for role, index in roles.items() if index is not None},
        "additional_special_tokens": [library.id_to_token(index) for index in tokenizer.sentinels],
    }


def _write_marian(source: ImportedTokenizer, target: ImportedTokenizer, directory: Path) -> None:
    separate = source.pieces != target.pieces
    for tokenizer, name in ((source, SOURCE), (target, TARGET)):
        write_atomically(directory / name, serialize(builders.marian_contents(tokenizer.content)))
    write_atomically(directory / PIECES, _pretty(source.pieces).encode("utf-8"))
    if separate:
        write_atomically(directory / TARGET_PIECES, _pretty(target.pieces).encode("utf-8"))
    roles = {"pad_token": source.pad, "unk_token": source.unknown, "eos_token": source.end}
    names = {role: source.name_of(index) for role, index in roles.items() if index is not None}
    settings = {"tokenizer_class": "MarianTokenizer", "separate_vocabs": separate, **names}
    write_atomically(directory / SETTINGS, _pretty(settings).encode("utf-8"))


def _pretty(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"
