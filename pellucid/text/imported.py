"""The tokenizer of a public model: what :class:`pellucid.text.tokenizer.Tokenizer` does, with the ids of that model.

Two files: ``tokenizer.json``, as the ``tokenizers`` library writes it, and ``controls.json`` beside it, which says which
ids are control tokens and what the model expects around a text.

**No text spells a control token** here either. The library is told to take special tokens in a text as text; a vocabulary
made by sentencepiece can still spell them, since they are pieces like others there. So text is also cut behind the first
character of everything that reads like one, and no piece crosses a cut.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import tokenizers
from tokenizers import pre_tokenizers

from pellucid.base.errors import ModelError
from pellucid.base.files import write_atomically
from pellucid.text.byte_level import BYTE_CHARACTERS, readable
from pellucid.text.library import encoded, is_byte_level, read_text, refusals, shown

_ADVICE = "copy tokenizer.json and controls.json from where the model was imported, or import it again"
_BYTES = frozenset(BYTE_CHARACTERS)


@dataclass(frozen=True)
class Controls:
    """The ids of control tokens; None or empty where the model has none of that kind.

    Several may be one id: the models that begin an output with padding (T5, Marian) have ``start == pad``.
    """

    pad: int | None = None  # fills up the rows of a batch
    unknown: int | None = None  # text that the vocabulary does not hold
    start: int | None = None  # what a decoder reads first
    end: int | None = None  # what a decoder writes last
    mask: int | None = None  # a gap to fill
    sentinels: tuple[int, ...] = ()  # removed spans, the first span first
    prefix: tuple[int, ...] = ()  # expected before a single text
    suffix: tuple[int, ...] = ()  # expected after it

    def ids(self) -> set[int]:
        """All of them."""
        single = {self.pad, self.unknown, self.start, self.end, self.mask} - {None}
        return {*single, *self.sentinels, *self.prefix, *self.suffix}  # type: ignore[arg-type]


class ImportedTokenizer:
    """Text to ids and back, as a public model learnt them; made by :mod:`pellucid.exchange.vocabularies` or :meth:`load`."""

    def __init__(
        self, content: str, controls: Controls, pieces: Mapping[str, int] | None = None, *, where: object = None
    ) -> None:
        """From the contents of a ``tokenizer.json``. ``where`` names its file in errors.

        Args:
            content: JSON of the ``tokenizers`` library.
            controls: the ids of control tokens.
            pieces: the id of each piece, where the ids are not the library's own: Marian cuts each language with its own
                pieces and numbers those of both in one list.
            where: file named in errors.

        Raises:
            ModelError: the contents are damaged, or a text could spell a control token.
        """
        self.pad, self.unknown, self.start, self.end = controls.pad, controls.unknown, controls.start, controls.end
        self.mask, self.sentinels, self.prefix, self.suffix = (
            controls.mask,
            controls.sentinels,
            controls.prefix,
            controls.suffix,
        )
        self._content, self._controls, self._pieces = content, controls, None if pieces is None else dict(pieces)
        self._library = _library(content, where)
        names = self._library.get_vocab(with_added_tokens=True) if self._pieces is None else self._pieces
        self._names = {index: name for name, index in names.items()}
        self._check_controls(where)
        self._size = max(self._names) + 1
        special = {token.content for token in self._library.get_added_tokens_decoder().values() if token.special}
        self._forbidden = (controls.ids() | self._ids_of(special)) - {controls.unknown}
        reachable = special if pieces is not None else special | {self._names[index] for index in controls.ids()}
        _cut_behind_first_character(self._library, reachable)
        self._bytes = is_byte_level(self._library)
        self._added = {token.content for token in self._library.get_added_tokens_decoder().values()}
        self._check_spelling(where)

    @classmethod
    def load(cls, path: Path) -> ImportedTokenizer:
        """Read ``tokenizer.json`` and the ``controls.json`` beside it. Nothing in them is ever executed.

        Raises:
            ModelError: one is missing or damaged.
        """
        beside = controls_file(path)
        controls, pieces = _read_controls(read_text(beside, _ADVICE), beside)
        return cls(read_text(path, _ADVICE), controls, pieces, where=path)

    def save(self, path: Path) -> None:
        """Write ``tokenizer.json`` and ``controls.json`` beside it, each atomically.

        Raises:
            StorageError: a file cannot be written.
        """
        write_atomically(path, self._content.encode("utf-8"))
        write_atomically(controls_file(path), self._controls_json().encode("utf-8"))

    def _controls_json(self) -> str:
        content: dict[str, object] = asdict(self._controls)
        if self._pieces is not None:
            content["pieces"] = self._pieces
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    @property
    def content(self) -> str:
        """The contents of ``tokenizer.json``."""
        return self._content

    @property
    def controls(self) -> Controls:
        """The ids of control tokens."""
        return self._controls

    @property
    def pieces(self) -> dict[str, int] | None:
        """The id of each piece, where the ids are not the library's own."""
        return None if self._pieces is None else dict(self._pieces)

    @property
    def vocabulary_size(self) -> int:
        """One more than the largest id; the ids below it may have gaps."""
        return self._size

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the two saved files, in hexadecimal."""
        return hashlib.sha256(self._content.encode("utf-8") + b"\0" + self._controls_json().encode("utf-8")).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Ids of one text, without ``prefix`` and ``suffix``.

        Raises:
            DataError: the text holds a lone surrogate, which UTF-8 cannot express.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, in order, in one call of the library. Raises as :meth:`encode`."""
        if self._pieces is None:
            return [encoding.ids for encoding in encoded(self._library, texts)]
        split = [_language_code(text) for text in texts]
        encodings = encoded(self._library, [text for _, text in split], pieces=True)
        return [self._ids([*code, *encoding.tokens]) for (code, _), encoding in zip(split, encodings, strict=True)]

    def _ids(self, found: Iterable[str]) -> list[int]:
        assert self._pieces is not None
        ids = (self._pieces.get(piece, self.unknown) for piece in found)
        # An unknown stretch of text is a piece as well, and may read like a control token.
        return [self.unknown if index in self._forbidden else index for index in ids]  # type: ignore[misc]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``; control tokens and special ones, the unknown one included, are left out."""
        kept = [int(index) for index in ids if index not in self._forbidden and index != self.unknown]
        if self._pieces is None:
            text: str = self._library.decode(kept)
            return text
        joined: str = self._library.decoder.decode([self._names[index] for index in kept])
        return joined.strip()

    def unknowns(self, ids: Sequence[int]) -> int:
        """How many of ``ids`` stand for text that the vocabulary does not hold."""
        return 0 if self.unknown is None else sum(1 for index in ids if index == self.unknown)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """What each id stands for, to be read: a space as ``▁``, what cannot be shown escaped, as ``\\xe2`` or ``\\n``."""
        return [self._readable(int(index)) for index in ids]

    def name_of(self, index: int) -> str:
        """The entry of the vocabulary with this id, as its file spells it."""
        if index not in self._names:
            raise IndexError(f"id {index} is not in a vocabulary of {len(self._names)}, up to {self.vocabulary_size - 1}")
        return self._names[index]

    def _readable(self, index: int) -> str:
        piece = self.name_of(index)
        if self._bytes and piece not in self._added and _BYTES.issuperset(piece):
            piece = readable(piece)
        return shown(piece)

    def _ids_of(self, names: Iterable[str]) -> set[int]:
        wanted = set(names)
        return {index for index, name in self._names.items() if name in wanted}

    def _check_controls(self, where: object) -> None:
        if not self._names:
            raise _unusable("the vocabulary is empty", where, "pieces with their ids", "none")
        missing = sorted(self._controls.ids() - self._names.keys())
        if missing:
            raise _unusable("a control token is not in the vocabulary", where, "ids that the tokenizer has", missing[0])
        if self._pieces is not None and self.unknown is None:
            raise _unusable("the tokenizer has no unknown token", where, "an id for pieces without one", "none")

    def _check_spelling(self, where: object) -> None:
        """Raise unless any text can be encoded and the control tokens, written as text, become something else."""
        typed = ["\U0010fffd", *(self._names[index] for index in sorted(self._forbidden))]
        with refusals(lambda error: _unusable("the tokenizer cannot encode every text", where, "ids for every text", error)):
            batch = self.encode_batch([*typed, *(f"a{name}" for name in typed)])
        for ids in batch:
            if not self._forbidden.isdisjoint(ids):
                name = self._names[min(self._forbidden & set(ids))]
                raise _unusable("a text can hold control tokens", where, f"the text {name!r} is ordinary text", f"ids {ids}")


def controls_file(path: Path) -> Path:
    """Where the control tokens of the tokenizer at ``path`` are: ``controls.json`` for ``tokenizer.json``."""
    return Path(path).with_name(Path(path).name.replace("tokenizer", "controls"))


def _unusable(what: str, where: object, expected: str, found: object) -> ModelError:
    return ModelError(what, where=where, expected=expected, found=found, advice=_ADVICE)


def _library(content: str, where: object) -> tokenizers.Tokenizer:
    """The library's tokenizer, taking special tokens in a text as text, adding and removing nothing."""
    with refusals(lambda error: _unusable("the tokenizer is damaged", where, "the JSON of a tokenizer", error)):
        library = tokenizers.Tokenizer.from_str(content)
        library.no_truncation()
        library.no_padding()
        library.encode_special_tokens = True
    return library


def _cut_behind_first_character(library: tokenizers.Tokenizer, names: Iterable[str]) -> None:
    """Have the library cut every text that reads like one of ``names`` behind its first character."""
    rests = defaultdict(list)
    for name in sorted(names):
        if len(name) > 1:
            rests[name[0]].append(re.escape(name[1:]))
    if not rests:
        return
    pattern = "|".join(f"{re.escape(first)}(?={'|'.join(rest)})" for first, rest in rests.items())
    cut = pre_tokenizers.Split(tokenizers.Regex(pattern), behavior="merged_with_previous")
    before = [library.pre_tokenizer] if library.pre_tokenizer is not None else []
    library.pre_tokenizer = pre_tokenizers.Sequence([*before, cut])


def _language_code(text: str) -> tuple[list[str], str]:
    """A code such as ``>>fr<<`` at the start of a text, which names the language wanted, and the rest of the text."""
    end = text.find("<<")
    return ([text[: end + 2]], text[end + 2 :]) if text.startswith(">>") and end >= 0 else ([], text)


def _read_controls(content: str, where: Path) -> tuple[Controls, dict[str, int] | None]:
    """Control tokens and, where there are some, the ids of pieces.

    Raises:
        ModelError: the file is damaged.
    """
    try:
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError(f"not an object, but {type(found).__name__}")
        pieces = found.pop("pieces", None)
        unknown = sorted(found.keys() - {field.name for field in fields(Controls)})
        if unknown:
            raise ValueError(f"the key {unknown[0]!r}")
        controls = Controls(**{key: _ids_or_none(key, value) for key, value in found.items()})  # type: ignore[arg-type]
        return controls, None if pieces is None else {str(piece): _id(piece, index) for piece, index in pieces.items()}
    except (ValueError, RecursionError, AttributeError) as error:
        raise _unusable("the control tokens cannot be read", where, "ids of control tokens, as JSON", error) from None


def _ids_or_none(key: str, value: object) -> int | tuple[int, ...] | None:
    if key in ("sentinels", "prefix", "suffix"):
        if not isinstance(value, list):
            raise ValueError(f"{key} is not a list")
        return tuple(_id(key, index) for index in value)
    return None if value is None else _id(key, value)


def _id(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{key} is no id: {value!r}")
    return value
