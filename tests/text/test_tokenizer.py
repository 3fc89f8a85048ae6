"""Tokenizers: round trips, unknowns, control tokens, determinism, damaged files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.base.config import ConfigProblems, TextConfig, TokenizerKind
from pellucid.base.errors import DataError, ModelError
from pellucid.text.tokenizer import CONTROL_TOKENS, Tokenizer

ALL: tuple[TokenizerKind, ...] = ("bpe", "unigram", "word", "character", "byte")
HOLD_ALL_BYTES: tuple[TokenizerKind, ...] = ("bpe", "unigram", "byte")
FORBIDDEN = {0, 2, 3}  # padding, start and end: no text may become these
SENTENCE = "J'aime l'apprentissage automatique."

CORPUS = [
    SENTENCE,
    "Jane visite l'Afrique en septembre.",
    "La pizza est sortie du four et elle était bonne.",
    "L’ami du professeur n'aime pas « les grandes voitures rouges », n'est-ce pas ?",
    "Jane doesn't like the teacher's book, but she likes eating pizza (hot!).",
    "I love machine learning; it's 42 times better.",
    "</s> <pad> <unk> <s> </s></s> <s>texte</s> <unk>s",
] * 3

HOSTILE = {
    "empty": "",
    "one space": " ",
    "spaces around and inside": "  a   b  ",
    "emoji sequences": "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇫🇷",
    "right to left": "مرحبا بالعالم שלום עולם \u200f(abc)\u200e",
    "combining marks": "e\u0301 a\u0323\u0302 \u0301alone Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A",
    "not normalised": "ﬁ Å \u212b ½ ① ｆｕｌｌ",
    "control characters": "".join(map(chr, range(0x20))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "only NUL": "\x00",
    "line separators": "a\u2028b\u2029c\x0bd\x0ce\x1cf\x85g\rh\r\ni\n",
    "narrow no-break spaces": "Quoi\u202f? «\u202f1\u202f000\u00a0€\u202f»",
    "byte order mark": "\ufeffabc\ufeff",
    "noncharacters": "\ufffe\uffff\U0010ffff\ue000\ufffd",
    "scripts": "日本語のテキスト ภาษาไทย हिन्दी 한국어 ελληνικά 𝔘𝔫𝔦",
    "marks of other tokenizers": "▁a @@b ##c Ġd </w> <0x0A> [CLS] \u2581\u2581",
    "control tokens": "</s><pad> <s><unk></s> <PAD> </S>",
}


@cache
def tokenizer(kind: TokenizerKind, lowercase: bool = False) -> Tokenizer:
    return Tokenizer.train(CORPUS, TextConfig(tokenizer=kind, vocabulary=1000, lowercase=lowercase))


@pytest.fixture(params=ALL)
def kind(request: pytest.FixtureRequest) -> TokenizerKind:
    kind: TokenizerKind = request.param
    return kind


class TestRoundTrip:
    @pytest.mark.parametrize("kind", HOLD_ALL_BYTES)
    @pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
    def test_hostile_text(self, kind: TokenizerKind, text: str) -> None:
        ids = tokenizer(kind).encode(text)
        assert tokenizer(kind).decode(ids) == text
        assert tokenizer(kind).unknowns(ids) == 0

    @pytest.mark.parametrize("kind", HOLD_ALL_BYTES)
    @settings(deadline=None)
    @given(text=st.text())
    def test_any_text(self, kind: TokenizerKind, text: str) -> None:
        ids = tokenizer(kind).encode(text)
        assert tokenizer(kind).decode(ids) == text
        assert min(ids, default=4) >= 4

    @pytest.mark.parametrize("kind", HOLD_ALL_BYTES)
    @settings(deadline=None)
    @given(text=st.text(st.characters(categories=["Zs", "Cc", "Mn", "Cf", "P"]), max_size=20))
    def test_text_of_spaces_controls_and_marks(self, kind: TokenizerKind, text: str) -> None:
        assert tokenizer(kind).decode(tokenizer(kind).encode(text)) == text

    @pytest.mark.parametrize("kind", HOLD_ALL_BYTES)
    @pytest.mark.parametrize("unit", ["a", " ", "é", "?!", "a1", "🙂", "漢字", "\u0301"])
    def test_a_megabyte_without_a_break(self, kind: TokenizerKind, unit: str) -> None:
        text = unit * (1_000_000 // len(unit.encode()))
        assert tokenizer(kind).decode(tokenizer(kind).encode(text)) == text

    @pytest.mark.parametrize("text", [*CORPUS[:6], "Jane visite Jane en septembre."])
    def test_words_of_known_sentences(self, text: str) -> None:
        ids = tokenizer("word").encode(text)
        assert tokenizer("word").unknowns(ids) == 0
        assert tokenizer("word").decode(ids) == text

    @settings(deadline=None)
    @given(st.text("J'aime l’éû (42!)»", max_size=30))
    def test_known_characters(self, text: str) -> None:
        known = text.replace("û", "")  # never in the corpus
        ids = tokenizer("character").encode(text)
        assert tokenizer("character").decode(ids) == known
        assert tokenizer("character").unknowns(ids) == text.count("û")
        assert len(ids) == len(text)

    @pytest.mark.parametrize("kind", HOLD_ALL_BYTES)
    def test_lower_case_travels_with_the_file(self, kind: TokenizerKind, tmp_path: Path) -> None:
        tokenizer(kind, lowercase=True).save(tmp_path / "tokenizer.json")
        loaded = Tokenizer.load(tmp_path / "tokenizer.json")
        assert loaded.decode(loaded.encode("ÉTÉ à Paris, İ")) == "ÉTÉ à Paris, İ".lower()

    @pytest.mark.parametrize("kind", ALL)
    def test_case_is_folded_before_learning(self, kind: TokenizerKind) -> None:
        folded = tokenizer(kind, lowercase=True)
        assert folded.encode("JANE VISITE") == folded.encode("jane visite")
        assert folded.unknowns(folded.encode("JANE VISITE")) == 0


class TestPieces:
    def test_a_learnt_sentence_comes_in_words(self) -> None:
        bpe = tokenizer("bpe")
        assert bpe.tokens(bpe.encode(SENTENCE)) == ["▁J'", "aime", "▁l'", "apprentissage", "▁automatique", "."]
        assert bpe.decode(bpe.encode(SENTENCE)) == SENTENCE

    @pytest.mark.parametrize("kind", ["bpe", "unigram", "word"])
    def test_a_word_is_the_same_piece_at_the_start_and_inside(self, kind: TokenizerKind) -> None:
        assert tokenizer(kind).encode("Jane Jane") == tokenizer(kind).encode("Jane") * 2

    def test_unreadable_pieces_are_escaped(self) -> None:
        byte = tokenizer("byte")
        assert byte.tokens(byte.encode("a é\n")) == ["a", "▁", r"\xc3", r"\xa9", r"\n"]
        assert byte.tokens([0, 1, 2, 3]) == list(CONTROL_TOKENS)

    def test_bytes_have_ids_in_order(self) -> None:
        assert tokenizer("byte").vocabulary_size == 260
        assert tokenizer("byte").encode("\x00A") == [4, 4 + ord("A")]

    def test_an_id_outside_the_vocabulary_has_no_piece(self, kind: TokenizerKind) -> None:
        with pytest.raises(IndexError, match="not in a vocabulary"):
            tokenizer(kind).tokens([tokenizer(kind).vocabulary_size])

    def test_unknown_words_are_counted_and_left_out(self) -> None:
        word = tokenizer("word")
        ids = word.encode("Jane chevauche pizza.")
        assert word.tokens(ids) == ["▁Jane", "<unk>", "▁pizza", "."]
        assert word.unknowns(ids) == 1
        assert word.decode(ids) == "Jane pizza."

    def test_punctuation_and_elision_split_words(self) -> None:
        word = tokenizer("word")
        assert word.tokens(word.encode("n'est-ce pas ?")) == ["▁n'", "est", "-", "ce", "▁pas", "▁?"]
        assert word.tokens(word.encode("(hot!).")) == ["▁(", "hot", "!", ")", "."]

    def test_a_megabyte_of_words_is_known_or_unknown(self) -> None:
        assert tokenizer("word").unknowns(tokenizer("word").encode("x" * 1_000_000)) > 0
        assert tokenizer("character").unknowns(tokenizer("character").encode("x" * 1_000_000)) == 0

    def test_a_batch_equals_its_texts_alone(self, kind: TokenizerKind) -> None:
        texts = [*CORPUS, *HOSTILE.values()]
        assert tokenizer(kind).encode_batch(texts) == [tokenizer(kind).encode(text) for text in texts]
        assert tokenizer(kind).encode_batch([]) == []

    def test_numpy_ids_decode(self, kind: TokenizerKind) -> None:
        ids = tokenizer(kind).encode(SENTENCE)
        array = np.array([2, *ids, 3, 0, 0], dtype=np.int32)
        assert tokenizer(kind).decode(array) == SENTENCE  # type: ignore[arg-type]
        assert tokenizer(kind).tokens(array)[0] == "<s>"  # type: ignore[arg-type]


class TestControlTokens:
    def test_they_have_ids_0_to_3(self, kind: TokenizerKind) -> None:
        t = tokenizer(kind)
        assert (t.pad, t.unknown, t.start, t.end) == (0, 1, 2, 3)
        assert t.tokens(range(4)) == ["<pad>", "<unk>", "<s>", "</s>"]
        assert t.decode(range(4)) == ""

    def test_typed_ones_are_text(self, kind: TokenizerKind) -> None:
        for text in (*CONTROL_TOKENS, "a </s>", "</s></s>", "<s>a</s>", "<pad> <pad>"):
            ids = tokenizer(kind).encode(text)
            assert not FORBIDDEN & set(ids), text
            assert tokenizer(kind).unknowns(ids) == 0 or kind == "word", text
            if kind != "word":
                assert tokenizer(kind).decode(ids) == text

    @pytest.mark.parametrize("lowercase", [False, True])
    @given(parts=st.lists(st.sampled_from(["<", "/", "s", ">", "pad", "unk", "S", " ", "\u200b", *CONTROL_TOKENS])))
    @settings(max_examples=50, deadline=None)
    def test_nothing_typed_becomes_one(self, lowercase: bool, parts: list[str]) -> None:
        for kind in ALL:
            assert not FORBIDDEN & set(tokenizer(kind, lowercase).encode("".join(parts)))

    @pytest.mark.parametrize("line", ["</s>", "<s> <pad> <unk> </s>", "<s></s>", "<PAD>"])
    @pytest.mark.parametrize("lowercase", [False, True])
    def test_a_corpus_full_of_them_teaches_none(self, kind: TokenizerKind, line: str, lowercase: bool, tmp_path: Path) -> None:
        config = TextConfig(tokenizer=kind, vocabulary=300, lowercase=lowercase)
        trained = Tokenizer.train([line] * 100, config)
        trained.save(tmp_path / "tokenizer.json")
        for t in (trained, Tokenizer.load(tmp_path / "tokenizer.json")):
            ids = t.encode(line)
            assert not {0, 1, 2, 3} & set(ids)
            assert t.decode(ids) == (line.lower() if lowercase else line)
            assert t.tokens(range(4)) == list(CONTROL_TOKENS)
            assert not set(CONTROL_TOKENS) & set(t.tokens(range(4, t.vocabulary_size)))


EXTRAS = ("<mask>", "<extra_0>", "<extra_1>", "<extra_2>")


@cache
def with_extras(kind: TokenizerKind, mask: bool = True, sentinels: int = 3, prefix_space: bool = True) -> Tokenizer:
    config = TextConfig(tokenizer=kind, vocabulary=1000, mask=mask, sentinels=sentinels, prefix_space=prefix_space)
    return Tokenizer.train([*CORPUS, *EXTRAS * 3, " ".join(EXTRAS)], config)


class TestMoreControlTokens:
    @pytest.mark.parametrize(
        ("mask", "sentinels", "names"),
        [(False, 0, ()), (True, 0, EXTRAS[:1]), (False, 2, EXTRAS[1:3]), (True, 3, EXTRAS)],
    )
    def test_they_follow_the_four(self, kind: TokenizerKind, mask: bool, sentinels: int, names: tuple[str, ...]) -> None:
        t = with_extras(kind, mask, sentinels)
        n = 4 + len(names)
        assert t.n_controls == n
        assert t.mask == (4 if mask else None)
        assert t.sentinels == tuple(range(n - sentinels, n))
        assert t.tokens(range(n)) == [*CONTROL_TOKENS, *names]
        assert not {*CONTROL_TOKENS, *EXTRAS} & set(t.tokens(range(n, t.vocabulary_size)))
        assert (t.pad, t.unknown, t.start, t.end) == (0, 1, 2, 3)

    def test_the_file_says_which(self, kind: TokenizerKind, tmp_path: Path) -> None:
        made = with_extras(kind)
        made.save(tmp_path / "tokenizer.json")
        loaded = Tokenizer.load(tmp_path / "tokenizer.json")
        assert (loaded.n_controls, loaded.mask, loaded.sentinels) == (8, 4, (5, 6, 7))
        assert loaded.encode_batch(CORPUS) == made.encode_batch(CORPUS)
        assert loaded.fingerprint == made.fingerprint

    def test_decoding_leaves_them_out(self, kind: TokenizerKind) -> None:
        t = with_extras(kind)
        assert t.decode(range(8)) == ""
        assert t.decode([2, *t.encode(SENTENCE), 4, 5, 7, 3, 0]) == SENTENCE

    @pytest.mark.parametrize("prefix_space", [True, False])
    @given(parts=st.lists(st.sampled_from(["<", ">", "mask", "extra", "_", "0", " ", "\u200b", *EXTRAS, *CONTROL_TOKENS])))
    @settings(max_examples=50, deadline=None)
    def test_nothing_typed_becomes_one(self, prefix_space: bool, parts: list[str]) -> None:
        text = "".join(parts)
        for kind in ALL:
            t = with_extras(kind, prefix_space=prefix_space)
            ids = t.encode(text)
            assert not (set(range(8)) - {1}) & set(ids)
            assert kind in ("word", "character") or t.decode(ids) == text

    def test_the_vocabulary_counts_them(self, kind: TokenizerKind) -> None:
        config = TextConfig(tokenizer=kind, vocabulary=280, mask=True, sentinels=7)
        assert Tokenizer.train(CORPUS, config).vocabulary_size <= 280
        assert with_extras("byte").encode("\x00A") == [8, 8 + ord("A")]

    def test_no_room_for_them_is_an_error(self, kind: TokenizerKind) -> None:
        least = 8 + (256 if kind in HOLD_ALL_BYTES else 1)
        config: dict[str, Any] = {"tokenizer": kind, "mask": True, "sentinels": 3}
        assert Tokenizer.train(CORPUS, TextConfig(vocabulary=least, **config)).vocabulary_size == least
        with pytest.raises(ConfigProblems, match=f"at least {least}"):
            TextConfig(vocabulary=least - 1, **config)

    def test_one_that_a_text_can_spell_is_refused(self) -> None:
        text = json.dumps({**json.loads(with_extras("word").content), "pre_tokenizer": None, "normalizer": None})
        with pytest.raises(ModelError, match="hold control tokens"):
            Tokenizer(text)


class TestRunningText:
    """``prefix_space`` off: nothing is put before a text, so that chunks can be encoded one by one."""

    @pytest.mark.parametrize("kind", HOLD_ALL_BYTES)
    @pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
    def test_hostile_text(self, kind: TokenizerKind, text: str) -> None:
        t = with_extras(kind, prefix_space=False)
        assert t.decode(t.encode(text)) == text

    @pytest.mark.parametrize("kind", HOLD_ALL_BYTES)
    @settings(deadline=None)
    @given(texts=st.lists(st.text("ab é.<\n'"), max_size=4))
    def test_chunks_join_to_their_text(self, kind: TokenizerKind, texts: list[str]) -> None:
        t = with_extras(kind, prefix_space=False)
        assert t.decode([index for ids in t.encode_batch(texts) for index in ids]) == "".join(texts)

    def test_a_text_cut_before_spaces_has_the_ids_of_its_chunks(self, kind: TokenizerKind) -> None:
        t = with_extras(kind, prefix_space=False)
        chunks = ["J'aime", " l'apprentissage", " automatique."]
        assert t.encode(SENTENCE) == [index for ids in t.encode_batch(chunks) for index in ids]
        assert t.decode(t.encode(SENTENCE)) == SENTENCE

    def test_a_first_word_has_no_space(self) -> None:
        bpe = with_extras("bpe", prefix_space=False)
        assert bpe.tokens(bpe.encode("pizza pizza"))[-1] == "▁pizza"
        assert "▁" not in "".join(bpe.tokens(bpe.encode("pizza")))
        assert bpe.tokens(bpe.encode(" pizza")) == ["▁pizza"]

    def test_the_steps_before_and_after_are_in_the_file(self, kind: TokenizerKind) -> None:
        for prefix_space in (True, False):
            content = json.loads(with_extras(kind, prefix_space=prefix_space).content)
            prepended = prefix_space and kind in ("bpe", "unigram", "word")
            assert ("Prepend" in json.dumps(content["normalizer"])) == prepended
            assert ("Strip" in json.dumps(content["decoder"])) == prepended


class TestTraining:
    def test_the_vocabulary_is_never_larger_than_asked(self, kind: TokenizerKind) -> None:
        for size in (260, 300, 10_000):
            trained = Tokenizer.train(CORPUS, TextConfig(tokenizer=kind, vocabulary=size))
            assert trained.vocabulary_size <= size
            assert len(set(trained.tokens(range(trained.vocabulary_size)))) > 4

    @pytest.mark.parametrize("kind", ["word", "character"])
    def test_the_most_frequent_come_first_and_ties_in_order(self, kind: TokenizerKind) -> None:
        lines = ["b b b", "a a a", "c c c c", "d"] if kind == "word" else ["bbb", "aaa", "cccc", "d"]
        trained = Tokenizer.train(lines, TextConfig(tokenizer=kind, vocabulary=6, min_frequency=1))
        assert [piece.strip("▁") for piece in trained.tokens([4, 5])] == ["c", "a"]
        assert trained.vocabulary_size == 6

    @pytest.mark.parametrize("kind", ["bpe", "unigram", "word", "character"])
    def test_rare_pieces_get_no_entry(self, kind: TokenizerKind) -> None:
        lines = ["qz"] * 2 + ["xy"] * 3
        trained = Tokenizer.train(lines, TextConfig(tokenizer=kind, vocabulary=1000, min_frequency=3))
        pieces = "".join(trained.tokens(range(4 + (256 if kind in HOLD_ALL_BYTES else 0), trained.vocabulary_size)))
        ids = trained.encode("qz xy")
        if kind in HOLD_ALL_BYTES:
            assert "▁xy" in trained.tokens(ids)
            assert "qz" not in trained.tokens(ids)
        else:
            assert "x" in pieces
            assert "q" not in pieces

    def test_a_megabyte_without_a_space_can_be_learnt_from(self, kind: TokenizerKind) -> None:
        line = "abracadabra" * 90_000
        trained = Tokenizer.train([line, line], TextConfig(tokenizer=kind, vocabulary=300))
        assert trained.decode(trained.encode(line)) == line

    def test_lines_are_read_once_and_lazily(self, kind: TokenizerKind) -> None:
        def lines() -> Iterator[str]:
            yield ""
            yield from CORPUS

        config = TextConfig(tokenizer=kind, vocabulary=1000)
        assert Tokenizer.train(lines(), config).fingerprint == tokenizer(kind).fingerprint

    @pytest.mark.parametrize("lines", [[], ["", ""]])
    def test_no_text_is_an_error(self, kind: TokenizerKind, lines: list[str]) -> None:
        with pytest.raises(DataError, match="no text to learn"):
            Tokenizer.train(lines, TextConfig(tokenizer=kind, vocabulary=1000))

    @pytest.mark.parametrize("kind", ["word", "character"])
    def test_nothing_frequent_enough_is_an_error(self, kind: TokenizerKind) -> None:
        with pytest.raises(DataError, match="frequent enough") as caught:
            Tokenizer.train(["ab"], TextConfig(tokenizer=kind, vocabulary=1000, min_frequency=2))
        assert "text.min_frequency" in str(caught.value)

    def test_errors_of_a_reader_come_through(self) -> None:
        def lines() -> Iterator[str]:
            yield "text"
            raise DataError("line 2 is bad")

        for kind in ("bpe", "unigram", "word", "character"):
            with pytest.raises(DataError, match="line 2 is bad"):
                Tokenizer.train(lines(), TextConfig(tokenizer=kind, vocabulary=1000))


class TestLoneSurrogates:
    def test_encoding_says_which_text_and_where(self, kind: TokenizerKind) -> None:
        with pytest.raises(DataError, match="lone surrogate") as caught:
            tokenizer(kind).encode_batch(["fine", "bad \udc80"])
        assert caught.value.where == "text 1"
        assert caught.value.found == "U+DC80 at character 4"
        with pytest.raises(DataError, match="lone surrogate"):
            tokenizer(kind).encode("\ud83d")

    @pytest.mark.parametrize("kind", ["bpe", "unigram", "word", "character"])
    def test_training_says_so(self, kind: TokenizerKind) -> None:
        with pytest.raises(DataError, match="lone surrogate"):
            Tokenizer.train(["fine", "bad \udc80"], TextConfig(tokenizer=kind, vocabulary=1000))

    def test_what_is_no_text_is_a_bug_of_the_caller(self) -> None:
        with pytest.raises(TypeError):
            tokenizer("bpe").encode_batch([None])  # type: ignore[list-item]


# Prints one fingerprint a kind. Many ties: every word of up to four letters over a small alphabet, about as often.
_FINGERPRINTS = """
import itertools, sys
from pellucid.base.config import TextConfig
from pellucid.text.tokenizer import Tokenizer
words = ["".join(letters) for n in (1, 2, 3, 4) for letters in itertools.product("abcé", repeat=n)]
lines = [" ".join(words[start::7]) for start in range(7)] * 2 + [words[0] + "".join(words)]
for kind in ("bpe", "unigram", "word", "character", "byte"):
    print(Tokenizer.train(lines, TextConfig(tokenizer=kind, vocabulary=360)).fingerprint)
"""


def _run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


class TestDeterminism:
    def test_other_hash_seeds_and_threads_change_nothing(self) -> None:
        runs = [
            _run(_FINGERPRINTS, PYTHONHASHSEED=seed, RAYON_NUM_THREADS=threads, TOKENIZERS_PARALLELISM=parallel)
            for seed, threads, parallel in (("0", "1", "true"), ("1", "3", "true"), ("2", "2", "false"))
        ]
        assert len(runs[0].stdout.split()) == 5
        assert runs[0].stdout == runs[1].stdout == runs[2].stdout

    @pytest.mark.parametrize("kind", ["bpe", "unigram", "word", "character"])
    def test_training_again_changes_nothing(self, kind: TokenizerKind) -> None:
        config = TextConfig(tokenizer=kind, vocabulary=1000)
        assert {Tokenizer.train(CORPUS, config).fingerprint for _ in range(3)} == {tokenizer(kind).fingerprint}

    def test_saving_keeps_every_byte(self, kind: TokenizerKind, tmp_path: Path) -> None:
        tokenizer(kind).save(tmp_path / "first.json")
        loaded = Tokenizer.load(tmp_path / "first.json")
        loaded.save(tmp_path / "second.json")
        assert (tmp_path / "first.json").read_bytes() == (tmp_path / "second.json").read_bytes()
        assert loaded.fingerprint == tokenizer(kind).fingerprint
        assert loaded.vocabulary_size == tokenizer(kind).vocabulary_size
        assert loaded.encode_batch(CORPUS) == tokenizer(kind).encode_batch(CORPUS)

    def test_a_fork_after_use_is_silent_and_works(self) -> None:
        code = """
import os
os.environ.pop("TOKENIZERS_PARALLELISM", None)
from pellucid.base.config import TextConfig
from pellucid.text.tokenizer import Tokenizer
tokenizer = Tokenizer.train(["a b c"] * 100, TextConfig(vocabulary=300))
expected = tokenizer.encode_batch(["a b c"] * 100)
child = os.fork()
if child == 0:
    os._exit(tokenizer.encode_batch(["a b c"] * 100) != expected)
assert os.waitpid(child, 0)[1] == 0
"""
        assert _run(code).stderr == ""


def _changed(kind: TokenizerKind, **changes: object) -> str:
    return json.dumps({**json.loads(tokenizer(kind)._json), **changes})


def _other_controls() -> str:
    return tokenizer("bpe")._json.replace('"</s>": 3', '"[SEP]": 3')


def _with_gap() -> str:
    return tokenizer("word")._json.replace(": 4,", ": 4000,", 1)


_END_ADDED = {
    "id": 3, "content": "</s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True,
}  # fmt: skip
_TRUNCATION = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}


class TestUnusableFiles:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "damaged"),
            (b"\x80\x04pickle", "cannot be read"),
            (b"[1, 2]", "damaged"),
            (b'{"model": {}}', "damaged"),
            (tokenizer("bpe")._json.encode()[:-100], "damaged"),
            (_other_controls().encode(), "other control tokens"),
            (_with_gap().encode(), "gaps"),
            (_changed("bpe", added_tokens=[_END_ADDED]).encode(), "adds or removes tokens"),
            (_changed("bpe", truncation=_TRUNCATION).encode(), "adds or removes tokens"),
            (_changed("word", pre_tokenizer=None, normalizer=None).encode(), "hold control tokens"),
            (tokenizer("word")._json.replace('"unk_token": "<unk>"', '"unk_token": "?"').encode(), "every text"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_each_says_what_is_wrong_and_where(self, content: bytes, message: str, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=message) as caught:
            Tokenizer.load(path)
        assert caught.value.where == path
        assert caught.value.expected
        assert caught.value.found
        assert caught.value.advice

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="cannot be read"):
            Tokenizer.load(tmp_path / "tokenizer.json")

    def test_a_panic_of_the_library(self, capfd: pytest.CaptureFixture[str]) -> None:
        nothing_prepended = {"type": "Prepend", "prepend": ""}
        with pytest.raises(ModelError, match="every text"):
            Tokenizer(_changed("bpe", normalizer=nothing_prepended))
        capfd.readouterr()  # the library writes the panic to stderr as well

    @given(st.data())
    @settings(max_examples=100, deadline=None)
    def test_any_damage_is_a_model_error_or_harmless(self, data: st.DataObject) -> None:
        text = tokenizer("character")._json
        begin = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(begin, min(len(text), begin + 40)))
        damaged = text[:begin] + data.draw(st.sampled_from(["", "null", "{}", "-1", '"x"', "\x00"])) + text[end:]
        try:
            loaded = Tokenizer(damaged)
        except ModelError:
            return
        assert not FORBIDDEN & set(loaded.encode("</s> <pad> <s> <unk>"))
