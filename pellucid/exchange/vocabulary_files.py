"""The vocabulary files that each family had before ``tokenizer.json``, and what the settings beside them say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken

from pellucid.exchange import vocabulary_builders as builders
from pellucid.exchange.directory import damaged, read, read_json, read_text
from pellucid.exchange.sentencepiece_files import BPE, UNIGRAM, SentencePieces, parse
from pellucid.text.library import refusals

SETTINGS, _SPECIAL, _ADDED = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
SOURCE, TARGET, PIECES, TARGET_PIECES = "source.spm", "target.spm", "vocab.json", "target_vocab.json"

# What a family calls its control tokens unless its files say otherwise.
_ANGLED = {"pad": "<pad>", "unknown": "<unk>", "start": "<s>", "end": "</s>"}
_BRACKETED = {"pad": "[PAD]", "unknown": "[UNK]", "start": "[CLS]", "end": "[SEP]", "mask": "[MASK]"}
_NAMES: dict[str, dict[str, str]] = {
    "bert": _BRACKETED,
    "distilbert": _BRACKETED,
    "roberta": {**_ANGLED, "mask": "<mask>"},
    "bart": {**_ANGLED, "mask": "<mask>"},
    "gpt2": {"start": "<|endoftext|>", "end": "<|endoftext|>"},
    "bloom": _ANGLED,
    "llama": {"unknown": "<unk>", "start": "<s>", "end": "</s>"},
    "t5": {"pad": "<pad>", "unknown": "<unk>", "end": "</s>"},
    "marian": {"pad": "<pad>", "unknown": "<unk>", "end": "</s>"},
}
# What the settings call them; of several the first that is there.
_KEYS = {
    "pad": ("pad_token",),
    "unknown": ("unk_token",),
    "start": ("cls_token", "bos_token"),
    "end": ("sep_token", "eos_token"),
    "mask": ("mask_token",),
}
_SWITCHES = (
    "do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space", "legacy", "add_bos_token", "add_eos_token",
    "separate_vocabs",
)  # fmt: skip


def read_settings(directory: Path) -> dict[str, Any]:
    """``tokenizer_config.json``, and below it ``special_tokens_map.json``; what is null there is left out.

    Raises:
        ModelError: a file cannot be read, or a value that matters here is of the wrong kind.
    """
    settings = {**read_json(directory, _SPECIAL), **read_json(directory, SETTINGS)}
    settings = {key: value for key, value in settings.items() if value is not None}
    path = directory / SETTINGS
    for key in settings.keys() & {*_SWITCHES}:
        if not isinstance(settings[key], bool):
            raise damaged(path, f"{key}: true or false", settings[key])
    for key in settings.keys() & {key for keys in _KEYS.values() for key in keys}:
        if _name(settings[key]) is None:
            raise damaged(path, f"{key}: a token", settings[key])
    extra = settings.get("extra_ids", 0)
    if not isinstance(extra, int) or not 0 <= extra <= 100_000:
        raise damaged(path, "extra_ids: a number of sentinels", extra)
    return settings


def _name(value: object) -> str | None:
    """A token's name; settings give it bare, or as one field of several."""
    name = value.get("content") if isinstance(value, dict) else value
    return name if isinstance(name, str) else None


def control_names(family: str, settings: Mapping[str, Any]) -> dict[str, str]:
    """The name of each control token that the family or the settings name."""
    names = dict(_NAMES.get(family, {}))
    for role, keys in _KEYS.items():
        found = [name for key in keys if (name := _name(settings.get(key))) is not None]
        if found:
            names[role] = found[0]
    return names


def read_files(directory: Path, family: str, settings: Mapping[str, Any]) -> tuple[tokenizers.Tokenizer, Path] | None:
    """The tokenizer in the files of a family and the file named in errors, or None where they are not there.

    Raises:
        ModelError: one of them is missing, damaged or a link out of the directory.
    """
    if family not in _FILES:
        return None
    name, build = _FILES[family]
    if read(directory, name) is None:
        return None
    with refusals(lambda error: damaged(directory / name, f"a vocabulary for {family}", error)):
        library = build(directory, name, settings)
    _add_tokens(library, directory, settings)
    return library, directory / name


def _add_tokens(library: tokenizers.Tokenizer, directory: Path, settings: Mapping[str, Any]) -> None:
    """Add the tokens that were added to a vocabulary after it was made, in the order of their ids."""
    where = directory / SETTINGS
    with refusals(lambda error: damaged(where, "added_tokens_decoder: a token for each id", error)):
        added: dict[int, Any] = {int(index): name for name, index in read_json(directory, _ADDED).items()}
        added |= {int(index): token for index, token in settings.get("added_tokens_decoder", {}).items()}
        for index, token in sorted(added.items()):
            name, special = _name(token) or "", isinstance(token, dict) and bool(token.get("special"))
            add = library.add_special_tokens if special else library.add_tokens
            add([AddedToken(name, normalized=False, special=special)])
            if library.token_to_id(name) != index:
                raise damaged(where, f"the id {index} for the added token {name!r}", library.token_to_id(name))


def _bert(directory: Path, name: str, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    lines = (read_text(directory, name) or "").removesuffix("\n").split("\n")
    return builders.word_pieces(
        {line.rstrip(): index for index, line in enumerate(lines)},
        unknown=control_names("bert", settings)["unknown"],
        lowercase=settings.get("do_lower_case", True),
        strip_accents=settings.get("strip_accents"),
        split_chinese=settings.get("tokenize_chinese_chars", True),
    )


def _byte_pairs(directory: Path, name: str, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    lines = (read_text(directory, name) or "").split("\n")
    merges = [line.rstrip("\r").split(" ") for line in lines if line and not line.startswith("#version")]
    return builders.byte_pairs(
        read_json(directory, PIECES),
        [(left, right) for left, right in merges],
        prefix_space=settings.get("add_prefix_space", False),
    )


def _t5(directory: Path, name: str, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    return builders.t5_pieces(read_sentencepieces(directory, name, UNIGRAM), sentinels=settings.get("extra_ids", 100))


def _llama(directory: Path, name: str, settings: Mapping[str, Any]) -> tokenizers.Tokenizer:
    return builders.llama_pieces(
        read_sentencepieces(directory, name, BPE),
        prefix_space=settings.get("add_prefix_space", True),
        prepend_always=settings.get("legacy", False),
    )


_FILES: dict[str, tuple[str, Callable[[Path, str, Mapping[str, Any]], tokenizers.Tokenizer]]] = {
    "bert": ("vocab.txt", _bert),
    "distilbert": ("vocab.txt", _bert),
    "roberta": ("merges.txt", _byte_pairs),
    "bart": ("merges.txt", _byte_pairs),
    "gpt2": ("merges.txt", _byte_pairs),
    "t5": ("spiece.model", _t5),
    "llama": ("tokenizer.model", _llama),
}


def read_sentencepieces(directory: Path, name: str, model: int) -> SentencePieces:
    """The contents of a sentencepiece model of the kind wanted.

    Raises:
        ModelError: it is missing, damaged, of another kind or a link out of the directory.
    """
    data = read(directory, name)
    if data is None:
        raise damaged(directory / name, "a model of sentencepiece", "no such file")
    try:
        content = parse(data)
    except ValueError as error:
        raise damaged(directory / name, "a model of sentencepiece", error) from None
    if content.model != model:
        kinds = {UNIGRAM: "unigram", BPE: "bpe"}
        raise damaged(directory / name, f"pieces of kind {kinds[model]}", f"kind {kinds.get(content.model, content.model)}")
    return content
