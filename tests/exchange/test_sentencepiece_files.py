"""Sentencepiece's model files against the sentencepiece library: what is read, what is written, what is refused."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.exchange.sentencepiece_files import BPE, UNIGRAM, Kind, Piece, SentencePieces, parse, serialize

LINES = [
    "Jane visite l'Afrique en septembre.",
    "La pizza est sortie du four et elle était bonne.",
    "I love machine learning; it's 42 times better.",
] * 20
TEXTS = [*LINES[:3], "", " ", "  a   b ", "ﬁ Å ½ été", "日本語 x</s>", "\x00\n\u2028", "[sep] <0x0A>"]


@cache
def trained(kind: str) -> bytes:
    settings: dict[str, Any] = {
        "unigram": {"model_type": "unigram", "vocab_size": 90, "user_defined_symbols": ["[sep]"]},
        "bytes": {"model_type": "bpe", "vocab_size": 400, "byte_fallback": True, "normalization_rule_name": "identity"},
        "spaces kept": {"model_type": "bpe", "vocab_size": 120, "remove_extra_whitespaces": False, "add_dummy_prefix": False},
    }
    out = io.BytesIO()
    more = {"hard_vocab_limit": False, "minloglevel": 2, **settings[kind]}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(LINES), model_writer=out, **more)
    return out.getvalue()


def processor(data: bytes) -> Any:
    loaded = sentencepiece.SentencePieceProcessor()
    loaded.LoadFromSerializedProto(data)
    return loaded


@pytest.mark.parametrize("kind", ["unigram", "bytes", "spaces kept"])
class TestAgainstTheLibrary:
    def test_every_piece(self, kind: str) -> None:
        theirs, ours = processor(trained(kind)), parse(trained(kind))
        expected = [(theirs.id_to_piece(index), theirs.get_score(index)) for index in range(len(theirs))]
        assert [(piece.text, piece.score) for piece in ours.pieces] == expected
        kinds = {Kind.UNKNOWN: theirs.is_unknown, Kind.CONTROL: theirs.is_control, Kind.BYTE: theirs.is_byte}
        for wanted, ask in kinds.items():
            assert ours.of_kind(wanted) == [theirs.id_to_piece(index) for index in range(len(theirs)) if ask(index)]
        assert ours.unknown == theirs.unk_id()

    def test_what_is_written_cuts_texts_alike(self, kind: str) -> None:
        before, after = processor(trained(kind)), processor(serialize(parse(trained(kind))))
        assert parse(serialize(parse(trained(kind)))) == parse(trained(kind))
        for text in TEXTS:
            assert after.encode(text) == before.encode(text)
            assert after.decode(before.encode(text)) == before.decode(before.encode(text))

    @settings(max_examples=100, deadline=None)
    @given(data=st.data())
    def test_any_damage_is_a_value_error_or_harmless(self, kind: str, data: st.DataObject) -> None:
        content = trained(kind)
        begin = data.draw(st.integers(0, len(content)))
        damaged = content[:begin] + data.draw(st.binary(max_size=8)) + content[begin + data.draw(st.integers(0, 8)) :]
        try:
            pieces = parse(damaged).pieces
        except ValueError:
            return
        assert pieces


def test_settings_of_preparation() -> None:
    unigram, kept = parse(trained("unigram")), parse(trained("spaces kept"))
    assert (unigram.model, unigram.prefix, unigram.single_spaces) == (UNIGRAM, True, True)
    assert (kept.model, kept.prefix, kept.single_spaces) == (BPE, False, False)
    assert len(unigram.charsmap) > 100_000  # the rules of NFKC
    assert parse(trained("bytes")).charsmap == b""
    assert unigram.of_kind(Kind.USER_DEFINED) == ["[sep]"]


def test_bytes_by_hand() -> None:
    """Field 1, a message of 10 bytes: field 1, the text of 3 bytes; field 2, -0.5 as a float. No type: normal."""
    assert parse(b"\x0a\x0a\x0a\x03\xe2\x96\x81\x15\x00\x00\x00\xbf") == SentencePieces((Piece("▁", -0.5, Kind.NORMAL),))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        b"\x0a",  # a length is missing
        b"\x0a\x7f",  # 127 bytes are missing
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length of more than 64 bits
        b"\x08\x01",  # a piece that is a number
        b"\x0a\x02\x15\x00",  # a score that ends
        b"\x0a\x02\x12\x00",  # a score of no bytes
        b"\x0a\x02\x18\x09",  # a piece of type 9
        b"\x0a\x03\x0a\x01\xff",  # a text that is not UTF-8
        b"\x0b",  # a wire type that is not used
    ],
)
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(data)
