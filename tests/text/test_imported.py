"""Tokenizers of public models: gaps in the ids, control tokens out of reach, the two files. All vocabularies by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from pellucid.base.errors import DataError, ModelError
from pellucid.text.byte_level import BYTE_CHARACTERS
from pellucid.text.imported import Controls, ImportedTokenizer, controls_file

WORDS = {
    "<pad>": 0, "<unk>": 1, "</s>": 2, "the": 5, "pizza": 7, "was": 8, "<": 9, "/": 10, "s": 11, ">": 12, "<mask>": 15,
    "Napoli": 16, "<eot>": 17,
}  # fmt: skip
CONTROLS = Controls(pad=0, unknown=1, end=2, mask=15, suffix=(2,))


def words(controls: Controls = CONTROLS) -> ImportedTokenizer:
    """Words cut at spaces; ids with gaps, a token that is found first, control tokens known to the library."""
    library = tokenizers.Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    library.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    library.add_special_tokens(["<pad>", "</s>", "<mask>"])
    library.add_tokens(["Napoli"])
    return ImportedTokenizer(library.to_str(), controls)


def unigram() -> ImportedTokenizer:
    """Pieces with probabilities; the most probable way to write ``</s>`` or ``<extra_id_1>`` is the control token."""
    names = ["<pad>", "</s>", "<unk>"]
    letters = [(letter, -3.0) for letter in "▁aeirtxd_01<>/s"]
    scored = [*((name, 0.0) for name in names), *letters, ("▁a", -1.0), ("<extra_id_1>", 0.0), ("<extra_id_0>", 0.0)]
    library = tokenizers.Tokenizer(models.Unigram(scored, unk_id=2))
    library.normalizer = normalizers.NFKC()
    library.pre_tokenizer, library.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    controls = Controls(pad=0, unknown=2, start=0, end=1, sentinels=(20, 19), suffix=(1,))
    return ImportedTokenizer(library.to_str(), controls)


def whole_words_first() -> ImportedTokenizer:
    """Byte pairs that take a word whole when the vocabulary holds it, and are cut nowhere: as newer models do."""
    pieces = {character: index for index, character in enumerate(BYTE_CHARACTERS)}
    pieces |= {"<|end|>": 256, "Ġthe": 257, "Ġt": 258, "he": 259}
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he")]
    library = tokenizers.Tokenizer(models.BPE(vocab=pieces, merges=merges, ignore_merges=True))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens([AddedToken("<|système|>", normalized=False)])
    return ImportedTokenizer(library.to_str(), Controls(start=256, end=256))


def pieces_numbered_elsewhere() -> ImportedTokenizer:
    """Pieces with ids of another list, as Marian has them: ``p`` is a piece without an id, ``</`` an unknown stretch."""
    scored = [(" <unk>", 0.0), (" </s>", 0.0), ("▁", -1.0), ("a", -2.0), ("p", -2.0), ("▁a", -1.0), ("s", -2.0), (">", -2.0)]
    library = tokenizers.Tokenizer(models.Unigram(scored, unk_id=0))
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    ids = {"</s>": 0, "<unk>": 1, "▁a": 2, "a": 3, "▁": 4, "s": 5, ">": 6, "ß": 7, ">>fr<<": 8, "</": 9, "<pad>": 12}
    return ImportedTokenizer(library.to_str(), Controls(pad=12, unknown=1, start=12, end=0, suffix=(0,)), ids)


ALL = {
    "words": words,
    "unigram": unigram,
    "whole words first": whole_words_first,
    "pieces numbered elsewhere": pieces_numbered_elsewhere,
}


@pytest.fixture(params=ALL.values(), ids=ALL.keys())
def imported(request: pytest.FixtureRequest) -> ImportedTokenizer:
    made: ImportedTokenizer = request.param()
    return made


def forbidden(tokenizer: ImportedTokenizer) -> set[int]:
    return tokenizer.controls.ids() - {tokenizer.unknown}


class TestIds:
    def test_words_gaps_and_added_tokens(self) -> None:
        tokenizer = words()
        ids = tokenizer.encode("the pizza was x in Napoli")
        assert ids == [5, 7, 8, 1, 1, 16]
        assert tokenizer.unknowns(ids) == 2
        assert tokenizer.tokens(ids) == ["the", "pizza", "was", "<unk>", "<unk>", "Napoli"]
        assert tokenizer.vocabulary_size == 18
        assert tokenizer.decode([0, 5, 7, 1, 15, 16, 2]) == "the pizza Napoli"

    @pytest.mark.parametrize("index", [3, 18, -1])
    def test_a_gap_has_no_piece(self, index: int) -> None:
        with pytest.raises(IndexError, match="not in a vocabulary of 13, up to 17"):
            words().tokens([index])

    def test_bytes_are_read_as_text(self) -> None:
        tokenizer = whole_words_first()
        assert tokenizer.encode(" the") == [257]
        ids = [*tokenizer.encode("é\n"), 257, 256, 260]
        assert tokenizer.tokens(ids) == [r"\xc3", r"\xa9", r"\n", "▁the", "<|end|>", "<|système|>"]
        assert tokenizer.decode([256, *tokenizer.encode("é the"), 260]) == "é the"
        assert tokenizer.unknowns([256]) == 0

    def test_pieces_get_the_ids_of_the_list(self) -> None:
        tokenizer = pieces_numbered_elsewhere()
        assert tokenizer.encode("a as") == [2, 2, 5]
        assert tokenizer.encode("apß") == [2, 1, 7]  # a piece without an id; a character that only the list knows
        assert tokenizer.decode([12, 2, 5, 2, 1, 0, 12]) == "as a"
        assert tokenizer.vocabulary_size == 13

    def test_a_language_code_counts_at_the_start_alone(self) -> None:
        tokenizer = pieces_numbered_elsewhere()
        assert tokenizer.encode(">>fr<<a") == [8, 2]
        assert tokenizer.encode(">>xx<<a") == [1, 2]
        assert 8 not in tokenizer.encode("a>>fr<<")
        assert tokenizer.encode("") == []

    def test_what_surrounds_a_text_is_told_and_not_added(self) -> None:
        tokenizer = words()
        assert (tokenizer.prefix, tokenizer.suffix) == ((), (2,))
        assert (tokenizer.pad, tokenizer.unknown, tokenizer.start, tokenizer.end, tokenizer.mask) == (0, 1, None, 2, 15)
        assert unigram().sentinels == (20, 19)

    def test_a_batch_equals_its_texts_alone(self, imported: ImportedTokenizer) -> None:
        texts = ["a", "", "the pizza", "</s> a", "\ufeffé", ">>fr<< a"]
        assert imported.encode_batch(texts) == [imported.encode(text) for text in texts]
        assert imported.encode_batch([]) == []

    def test_numpy_ids_decode(self, imported: ImportedTokenizer) -> None:
        ids = imported.encode("a the")
        assert imported.decode(np.array([*ids, *imported.suffix])) == imported.decode(ids)  # type: ignore[arg-type]

    def test_half_a_character_is_an_error(self, imported: ImportedTokenizer) -> None:
        with pytest.raises(DataError, match="lone surrogate") as caught:
            imported.encode_batch(["fine", "bad \udc80"])
        assert caught.value.where == "text 1"


class TestControlTokens:
    def test_typed_ones_are_text(self) -> None:
        assert words().encode("</s> the <mask>") == [9, 1, 5, 9, 1]  # "<" and "/s>", which is no word
        tokenizer = unigram()
        ids = tokenizer.encode("a</s> <extra_id_1>")
        assert tokenizer.tokens(ids) == ["▁a", *"</s>", "▁", *"<extra_id_1>"]
        assert tokenizer.decode(ids) == "a</s> <extra_id_1>"
        assert whole_words_first().encode("<|end|>") == [*b"<|end|>"]

    def test_characters_that_normalise_to_one_are_text(self) -> None:
        assert unigram().encode("\uff1c/s\uff1e") == unigram().encode("</s>")

    def test_an_unknown_stretch_that_reads_like_one_is_unknown(self) -> None:
        tokenizer = pieces_numbered_elsewhere()
        assert tokenizer.encode("a</s>") == [2, 9, 5, 6]
        assert tokenizer.encode("a <pad> </s>").count(12) == 0
        assert tokenizer.encode(">>a<<</s>")[0] == 1

    @given(
        st.lists(st.sampled_from(["<", "/", "s", ">", "pad", "unk", "</s>", "<extra_id_0>", "<|end|>", " ", "\uff1c", ">>"]))
    )
    @settings(max_examples=100, deadline=None)
    def test_nothing_typed_becomes_one(self, parts: list[str]) -> None:
        for make in ALL.values():
            tokenizer = make()
            assert not forbidden(tokenizer) & set(tokenizer.encode("".join(parts)))

    def test_decoding_leaves_them_out(self, imported: ImportedTokenizer) -> None:
        assert imported.decode(sorted(imported.controls.ids())) == ""

    @pytest.mark.parametrize("special", [True, False])
    def test_one_that_the_library_finds_in_texts_is_refused(self, special: bool) -> None:
        library = tokenizers.Tokenizer.from_str(words().content)
        library.add_tokens([AddedToken("<eot>", special=special)])
        controls = Controls(end=17)
        if special:
            assert 17 not in ImportedTokenizer(library.to_str(), controls).encode("a <eot>")
        else:
            with pytest.raises(ModelError, match="a text can hold control tokens"):
                ImportedTokenizer(library.to_str(), controls)


class TestFiles:
    def test_saving_keeps_every_byte(self, imported: ImportedTokenizer, tmp_path: Path) -> None:
        imported.save(tmp_path / "tokenizer.json")
        loaded = ImportedTokenizer.load(tmp_path / "tokenizer.json")
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        loaded.save(tmp_path / "tokenizer.json")
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        assert before.keys() == {"tokenizer.json", "controls.json"}
        assert loaded.controls == imported.controls
        assert loaded.pieces == imported.pieces
        assert loaded.fingerprint == imported.fingerprint
        assert loaded.vocabulary_size == imported.vocabulary_size
        assert loaded.encode("the pizza</s>é a") == imported.encode("the pizza</s>é a")

    def test_the_fingerprint_knows_the_control_tokens(self) -> None:
        assert len({words().fingerprint, words(Controls(unknown=1)).fingerprint, unigram().fingerprint}) == 3

    def test_each_side_has_its_own_file(self, tmp_path: Path) -> None:
        assert controls_file(tmp_path / "tokenizer.source.json") == tmp_path / "controls.source.json"

    def test_what_the_file_says_of_length_is_not_done(self) -> None:
        library = tokenizers.Tokenizer.from_str(words().content)
        library.enable_truncation(2)
        library.enable_padding(length=9)
        assert ImportedTokenizer(library.to_str(), CONTROLS).encode("the pizza was") == [5, 7, 8]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("tokenizer.json", b"", "damaged"),
            ("tokenizer.json", b"\x80\x04pickle", "cannot be read"),
            ("tokenizer.json", b"version https://git-lfs.github.com/spec/v1\n", "damaged"),
            ("tokenizer.json", words().content.encode()[:-100], "damaged"),
            ("tokenizer.json", words().content.replace('"unk_token":"<unk>"', '"unk_token":"?"').encode(), "every text"),
            ("controls.json", b"[1]", "control tokens cannot be read"),
            ("controls.json", b'{"pad": -1}', "control tokens cannot be read"),
            ("controls.json", b'{"pad": true}', "control tokens cannot be read"),
            ("controls.json", b'{"sentinels": 3}', "control tokens cannot be read"),
            ("controls.json", b'{"begin": 3}', "control tokens cannot be read"),
            ("controls.json", b'{"pieces": [1]}', "control tokens cannot be read"),
            ("controls.json", b'{"pieces": {}}', "vocabulary is empty"),
            ("controls.json", b'{"pieces": {"a": 0}}', "no unknown token"),
            ("controls.json", b'{"pad": 3}', "not in the vocabulary"),
        ],
    )
    def test_a_damaged_one_says_what_is_wrong_and_where(self, name: str, content: bytes, message: str, tmp_path: Path) -> None:
        words().save(tmp_path / "tokenizer.json")
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelError, match=message) as caught:
            ImportedTokenizer.load(tmp_path / "tokenizer.json")
        assert caught.value.where in (tmp_path / "tokenizer.json", tmp_path / "controls.json")
        assert caught.value.expected
        assert caught.value.found
        assert caught.value.advice

    @pytest.mark.parametrize("name", ["tokenizer.json", "controls.json"])
    def test_a_missing_one(self, name: str, tmp_path: Path) -> None:
        words().save(tmp_path / "tokenizer.json")
        (tmp_path / name).unlink()
        with pytest.raises(ModelError, match="cannot be read") as caught:
            ImportedTokenizer.load(tmp_path / "tokenizer.json")
        assert caught.value.where == tmp_path / name

    @given(st.data())
    @settings(max_examples=100, deadline=None)
    def test_any_damage_is_a_model_error_or_harmless(self, data: st.DataObject) -> None:
        text = json.dumps(json.loads(unigram().content))
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(len(text), begin + 40)))
        damaged = text[:begin] + data.draw(st.sampled_from(["", "null", "{}", "-1", '"x"', "\x00"])) + text[end:]
        try:
            loaded = ImportedTokenizer(damaged, Controls(pad=0, unknown=2, end=1))
        except ModelError:
            return
        assert not {0, 1} & set(loaded.encode("</s> <pad> a"))
