"""Sentencepiece's model files, read and written: pieces with their scores, and how text is prepared for them.

Such a file is one protocol buffer: fields, each a number, a wire type and a value (the encoding guide of Protocol Buffers;
``sentencepiece_model.proto`` gives the numbers). Only the fields that decide how text is cut are read; the rest is skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

_VARINT, _DOUBLE, _BYTES, _FLOAT = 0, 1, 2, 5  # wire types

# Numbers of fields: of the model, of a piece, of the trainer's settings and of the normaliser's.
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_PIECE, _SCORE, _TYPE = 1, 2, 3
_MODEL_TYPE, _BYTE_FALLBACK, _IDS = 3, 35, {"unk": 40, "bos": 41, "eos": 42, "pad": 43}
_NAME, _CHARSMAP, _PREFIX, _EXTRA_SPACES, _ESCAPE = 1, 2, 3, 4, 5

UNIGRAM, BPE = 1, 2  # model types


class Kind(IntEnum):
    """What a piece is for. Text is cut into normal and user-defined pieces alone."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary; its id is its place."""

    text: str
    score: float
    kind: Kind


@dataclass(frozen=True)
class SentencePieces:
    """The contents of a model file."""

    pieces: tuple[Piece, ...]
    model: int = UNIGRAM
    charsmap: bytes = b""  # compiled rules that normalise characters; empty: none
    prefix: bool = True  # whether a text gets a space at its start
    single_spaces: bool = True  # whether spaces around a text and double ones are dropped

    def of_kind(self, *kinds: Kind) -> list[str]:
        """Pieces of some kinds, in the order of their ids."""
        return [piece.text for piece in self.pieces if piece.kind in kinds]

    @property
    def unknown(self) -> int | None:
        """The id of the unknown piece."""
        return next((index for index, piece in enumerate(self.pieces) if piece.kind is Kind.UNKNOWN), None)


def parse(data: bytes) -> SentencePieces:
    """The contents of a model file.

    Raises:
        ValueError: the bytes are no model of sentencepiece.
    """
    pieces: list[Piece] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    for number, value in _fields(data):
        if number == _PIECES:
            pieces.append(_piece(_message(value)))
        elif number == _TRAINER:
            trainer = dict(_fields(_message(value)))
        elif number == _NORMALIZER:
            normalizer = dict(_fields(_message(value)))
    if not pieces:
        raise ValueError("no pieces in it")
    return SentencePieces(
        pieces=tuple(pieces),
        model=_number(trainer.get(_MODEL_TYPE, UNIGRAM)),
        charsmap=_message(normalizer.get(_CHARSMAP, b"")),
        prefix=bool(normalizer.get(_PREFIX, True)),
        single_spaces=bool(normalizer.get(_EXTRA_SPACES, True)),
    )


def _piece(data: bytes) -> Piece:
    found = dict(_fields(data))
    score_bytes = _message(found.get(_SCORE, bytes(4)))
    if len(score_bytes) != 4:
        raise ValueError(f"a score of {len(score_bytes)} bytes")
    (score,) = struct.unpack("<f", score_bytes)
    return Piece(_message(found.get(_PIECE, b"")).decode("utf-8"), score, Kind(_number(found.get(_TYPE, Kind.NORMAL))))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: an integer, or the bytes of anything else."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint(data, at)
        elif wire in (_FLOAT, _DOUBLE):
            length = 4 if wire == _FLOAT else 8
        else:
            raise ValueError(f"wire type {wire} at byte {at}")
        if at + length > len(data):
            raise ValueError(f"a field of {length} bytes at byte {at} of {len(data)}")
        yield number, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at ``at``, seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError(f"it ends within a number, at byte {at}")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    raise ValueError(f"a number of more than ten bytes at byte {at}")


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where bytes belong")
    return value


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("bytes where a number belongs")
    return value


def serialize(content: SentencePieces) -> bytes:
    """The bytes of a model file that sentencepiece loads and that cuts text alike."""
    ids = {
        "unk": content.unknown,
        **{name: _place(content, text) for name, text in (("bos", "<s>"), ("eos", "</s>"), ("pad", "<pad>"))},
    }
    trainer = [_field(_MODEL_TYPE, content.model)]
    trainer += [_field(_BYTE_FALLBACK, 1)] if content.of_kind(Kind.BYTE) else []
    trainer += [_field(_IDS[name], -1 if index is None else index) for name, index in ids.items()]
    normalizer = [_field(_NAME, b"identity" if not content.charsmap else b"user_defined"), _field(_CHARSMAP, content.charsmap)]
    normalizer += [_field(_PREFIX, content.prefix), _field(_EXTRA_SPACES, content.single_spaces), _field(_ESCAPE, True)]
    pieces = [
        _field(_PIECE, piece.text.encode("utf-8")) + _field(_SCORE, piece.score) + _field(_TYPE, piece.kind)
        for piece in content.pieces
    ]
    messages = [*((_PIECES, piece) for piece in pieces), (_TRAINER, b"".join(trainer)), (_NORMALIZER, b"".join(normalizer))]
    return b"".join(_field(number, message) for number, message in messages)


def _place(content: SentencePieces, text: str) -> int | None:
    return next((index for index, piece in enumerate(content.pieces) if piece.text == text), None)


def _field(number: int, value: int | float | bytes) -> bytes:
    if isinstance(value, float):
        return _as_varint(number << 3 | _FLOAT) + struct.pack("<f", value)
    if isinstance(value, bytes):
        return _as_varint(number << 3 | _BYTES) + _as_varint(len(value)) + value
    return _as_varint(number << 3 | _VARINT) + _as_varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def _as_varint(value: int) -> bytes:
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    return bytes([group | 0x80 for group in groups[:-1]] + groups[-1:])
