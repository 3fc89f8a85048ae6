"""Vocabularies in the Hugging Face layout against transformers: read, written, refused. All are trained here."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from pellucid.base.config import TextConfig, TokenizerKind
from pellucid.base.errors import ModelError, UsageError
from pellucid.exchange.vocabularies import read_vocabulary, write_vocabulary
from pellucid.text.imported import ImportedTokenizer
from pellucid.text.tokenizer import Tokenizer

os.environ["HF_HUB_OFFLINE"] = "1"  # read by transformers when it is imported: nothing is asked of any network
import transformers

pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")  # Marian's, which never uses it

CORPUS = [
    "J'aime l'apprentissage automatique.",
    "Jane visite l'Afrique en septembre.",
    "La pizza est sortie du four et elle était bonne.",
    "L’ami du professeur n'aime pas « les grandes voitures rouges », n'est-ce pas ?",
    "Jane doesn't like the teacher's book, but she likes eating pizza (hot!).",
    "I love machine learning; it's 42 times better.",
] * 15

HOSTILE = [
    "", " ", "  a   b  ", " a", "a ", "\ta\n\nb", "x" * 300, "ab" * 200,
    "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇫🇷", "مرحبا بالعالم שלום עולם \u200f(abc)\u200e",
    "e\u0301 a\u0323\u0302 \u0301alone Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A", "ﬁ Å \u212b ½ ① ｆｕｌｌ ü ç ñ ß İ",
    "".join(map(chr, range(0x20))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))), "\x00",
    "a\u2028b\u2029c\x0bd\x0ce\x1cf\x85g\rh\r\ni\n", "Quoi\u202f? «\u202f1\u202f000\u00a0€\u202f»", "\ufeffabc\ufeff",
    "\ufffe\uffff\U0010ffff\ue000\ufffd", "日本語のテキスト ภาษาไทย हिन्दी 한국어 ελληνικά 𝔘𝔫𝔦",
    "▁a @@b ##c Ġd </w> <0x0A> \u2581\u2581", "&amp; <b>bold</b> http://a.b/c?d=e#f <", *CORPUS[:6],
]  # fmt: skip
TYPED = [
    "</s>", "<s> a", "a</s>b", "<pad><unk>", "<mask> a <mask>", "[CLS] a [SEP] [MASK] [PAD] [UNK]", "<|endoftext|>a",
    "<extra_id_0> a <extra_id_1>", "</s><pad> <s><unk></s> <PAD> </S>", "＜/s＞", "<0x0A>",
]  # fmt: skip

THEIRS = {
    "bert": "BertTokenizer", "gpt2": "GPT2Tokenizer", "roberta": "RobertaTokenizer", "bart": "BartTokenizer",
    "distilbert": "BertTokenizer", "t5": "T5Tokenizer", "llama": "LlamaTokenizer", "marian": "MarianTokenizer",
}  # fmt: skip

ADDED = {"__type": "AddedToken", "content": "</s>", "lstrip": False, "normalized": False, "rstrip": False, "single_word": False}


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def sentencepieces(path: Path, kind: str, size: int, lines: list[str] = CORPUS, **more: Any) -> list[str]:
    """Train a sentencepiece model; its pieces."""
    out = io.BytesIO()
    more = {"model_type": kind, "vocab_size": size, "hard_vocab_limit": False, "minloglevel": 2, **more}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out, **more)
    path.write_bytes(out.getvalue())
    loaded = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    return [loaded.id_to_piece(index) for index in range(len(loaded))]


def make_bert(directory: Path) -> None:
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer, library.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    library.train_from_iterator(CORPUS, trainers.WordPieceTrainer(vocab_size=180, special_tokens=special, show_progress=False))
    library.model.save(str(directory))


def make_byte_pairs(directory: Path, special: list[str]) -> tokenizers.Tokenizer:
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=390, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    library.train_from_iterator(CORPUS, trainer)
    library.model.save(str(directory))
    return library


def make_roberta(directory: Path) -> None:
    make_byte_pairs(directory, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])


def make_llama(directory: Path) -> None:
    more = {"byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False}
    sentencepieces(directory / "tokenizer.model", "bpe", 420, **more)
    write_json(directory / "tokenizer_config.json", {"add_bos_token": True, "add_eos_token": False, "pad_token": None})


def make_marian(directory: Path) -> None:
    """Two sets of pieces in one list of ids; two pieces have no id, and one id is of neither."""
    source = sentencepieces(directory / "source.spm", "unigram", 100, CORPUS[:2] * 15)
    target = sentencepieces(directory / "target.spm", "unigram", 90, CORPUS[2:5] * 15, unk_id=1, eos_id=0, bos_id=-1)
    left_out = {"<s>", "J", "▁J"}
    names = dict.fromkeys(["</s>", "<unk>", ">>fr<<", *(piece for piece in source + target if piece not in left_out), "<pad>"])
    write_json(directory / "vocab.json", {name: index for index, name in enumerate(names)})
    write_json(directory / "config.json", {"model_type": "marian", "decoder_start_token_id": len(names) - 1})


MAKE: dict[str, Callable[[Path], object]] = {
    "bert": make_bert,
    "distilbert": make_bert,
    "gpt2": lambda directory: make_byte_pairs(directory, ["<|endoftext|>"]),
    "roberta": make_roberta,
    "bart": make_roberta,
    "t5": lambda directory: sentencepieces(directory / "spiece.model", "unigram", 85, pad_id=0, eos_id=1, unk_id=2, bos_id=-1),
    "llama": make_llama,
    "marian": make_marian,
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A directory with the own files of a family, made once."""
    done: dict[str, Path] = {}

    def make(family: str) -> Path:
        if family not in done:
            done[family] = tmp_path_factory.mktemp(family)
            write_json(done[family] / "config.json", {"model_type": family})
            MAKE[family](done[family])
        return done[family]

    return make


@pytest.fixture(params=THEIRS)
def family(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def copied(made: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of such a directory, to be changed."""

    def copy(family: str) -> Path:
        for path in made(family).iterdir():
            (tmp_path / path.name).write_bytes(path.read_bytes())
        return tmp_path

    return copy


def theirs_of(directory: Path, family: str) -> Any:
    return getattr(transformers, THEIRS[family]).from_pretrained(directory)


def auto(directory: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(directory)  # type: ignore[no-untyped-call]


def one(directory: Path, family: str) -> ImportedTokenizer:
    """The tokenizer, or of a pair the one of the source."""
    found = read_vocabulary(directory, family)
    assert found is not None
    return found[0] if isinstance(found, tuple) else found


def surrounded(ours: ImportedTokenizer, texts: list[str]) -> list[list[int]]:
    return [[*ours.prefix, *ids, *ours.suffix] for ids in ours.encode_batch(texts)]


def texts_for(family: str) -> list[str]:
    """T5's own pieces spell its control tokens, there alone typed ones differ: see ``TestTypedControlTokens``."""
    return HOSTILE if family == "t5" else [*HOSTILE, *TYPED]


def assert_equal(ours: ImportedTokenizer, theirs: Any, texts: list[str]) -> None:
    assert surrounded(ours, texts) == theirs(texts, split_special_tokens=True)["input_ids"]
    for ids in ours.encode_batch(texts):
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
        assert ours.decode([*ours.prefix, *ids, *ours.suffix]) == ours.decode(ids)


class TestReading:
    def test_own_files(self, made: Callable[[str], Path], family: str) -> None:
        assert_equal(one(made(family), family), theirs_of(made(family), family), texts_for(family))

    def test_every_entry(self, made: Callable[[str], Path], family: str) -> None:
        ours, theirs = one(made(family), family), theirs_of(made(family), family)
        assert {ours.name_of(index): index for index in range(ours.vocabulary_size)} == theirs.get_vocab()

    @pytest.mark.parametrize("family", [name for name in THEIRS if name != "marian"])
    def test_what_transformers_saved(self, made: Callable[[str], Path], family: str, tmp_path: Path) -> None:
        theirs_of(made(family), family).save_pretrained(tmp_path)
        write_json(tmp_path / "config.json", {"model_type": family})
        ours = one(tmp_path, family)
        assert_equal(ours, auto(tmp_path), texts_for(family))
        assert ours.controls == one(made(family), family).controls

    def test_bloom_has_tokenizer_json_alone(self, tmp_path: Path) -> None:
        library = make_byte_pairs(tmp_path, ["<unk>", "<s>", "</s>", "<pad>"])
        for name in ("vocab.json", "merges.txt"):
            (tmp_path / name).unlink()
        library.decoder = tokenizers.decoders.ByteLevel()
        library.save(str(tmp_path / "tokenizer.json"))
        names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": "<pad>"}
        write_json(tmp_path / "special_tokens_map.json", names)
        write_json(tmp_path / "config.json", {"model_type": "bloom"})
        ours = one(tmp_path, "bloom")
        assert_equal(ours, transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path), [*HOSTILE, *TYPED])
        assert (ours.pad, ours.unknown, ours.start, ours.end) == (3, 0, 1, 2)
        assert (ours.prefix, ours.suffix) == ((), ())

    def test_pictures_have_none(self, tmp_path: Path) -> None:
        write_json(tmp_path / "config.json", {"model_type": "vit"})
        assert read_vocabulary(tmp_path, "vit") is None
        assert read_vocabulary(tmp_path, "bert") is None
        assert read_vocabulary(tmp_path, "marian") is None


class TestControls:
    """Ids by hand from the order in which each vocabulary was made; None where a family has no such token."""

    @pytest.mark.parametrize(
        ("family", "expected"),
        [
            ("bert", (0, 1, 2, 3, 4, (2,), (3,))),
            ("roberta", (1, 3, 0, 2, 4, (0,), (2,))),
            ("bart", (1, 3, 2, 2, 4, (0,), (2,))),  # its decoder begins with the end token
            ("gpt2", (None, None, 0, 0, None, (), ())),
            ("t5", (0, 2, 0, 1, None, (), (1,))),
            ("llama", (None, 0, 1, 2, None, (1,), ())),
        ],
    )
    def test_of_each_family(self, made: Callable[[str], Path], family: str, expected: tuple[Any, ...]) -> None:
        t = one(made(family), family)
        assert (t.pad, t.unknown, t.start, t.end, t.mask, t.prefix, t.suffix) == expected

    def test_sentinels_count_down_from_the_end(self, made: Callable[[str], Path]) -> None:
        t5 = one(made("t5"), "t5")
        last = t5.vocabulary_size - 1
        assert t5.sentinels == tuple(range(last, last - 100, -1))
        assert t5.tokens(t5.sentinels[:2]) == ["<extra_id_0>", "<extra_id_1>"]

    def test_marian_starts_with_padding(self, made: Callable[[str], Path]) -> None:
        pair = read_vocabulary(made("marian"), "marian")
        assert isinstance(pair, tuple)
        for t in pair:
            assert (t.unknown, t.end, t.mask, t.prefix, t.suffix) == (1, 0, None, (), (0,))
            assert t.start == t.pad == t.vocabulary_size - 1

    @pytest.mark.parametrize(
        ("family", "settings"),
        [
            ("bert", {"do_lower_case": False}),
            ("bert", {"strip_accents": False, "tokenize_chinese_chars": False}),
            ("roberta", {"add_prefix_space": True}),
            ("gpt2", {"add_bos_token": True, "pad_token": "<|endoftext|>"}),
            ("gpt2", {"add_prefix_space": True}),
            ("t5", {"extra_ids": 7}),
            ("llama", {"add_bos_token": False, "add_eos_token": True}),
            ("llama", {"legacy": True, "add_bos_token": True, "pad_token": ADDED}),
            ("llama", {"add_prefix_space": False, "add_bos_token": True}),
            ("gpt2", {"added_tokens_decoder": {"390": {"content": "Napoli", "special": False}}}),
        ],
    )
    def test_settings(self, copied: Callable[[str], Path], family: str, settings: dict[str, Any]) -> None:
        directory = copied(family)
        write_json(directory / "tokenizer_config.json", settings)
        ours, theirs = one(directory, family), theirs_of(directory, family)
        assert_equal(ours, theirs, [*texts_for(family), "a Napoli b"])
        assert ours.pad == theirs.pad_token_id
        assert ours.vocabulary_size == len(theirs)

    def test_ids_of_the_configuration_where_no_name_is_given(self, copied: Callable[[str], Path]) -> None:
        directory = copied("llama")
        write_json(directory / "config.json", {"pad_token_id": [2, 1], "eos_token_id": 1})
        assert (one(directory, "llama").pad, one(directory, "llama").end) == (2, 2)
        for other in (-1, 50_000, 300, "2", [], None):  # 300 is a piece of text
            write_json(directory / "config.json", {"pad_token_id": other})
            assert one(directory, "llama").pad is None
        bart = copied("bart")
        write_json(bart / "config.json", {"decoder_start_token_id": 0})
        assert one(bart, "bart").start == 0


class TestMarian:
    def test_both_sides(self, made: Callable[[str], Path]) -> None:
        theirs = theirs_of(made("marian"), "marian")
        pair = read_vocabulary(made("marian"), "marian")
        assert isinstance(pair, tuple)
        source, target = pair
        texts = [*HOSTILE, *TYPED, ">>fr<< Jane visite", ">>xx<<a", "a >>fr<<", ">><<", ">>a"]
        assert_equal(source, theirs, texts)
        assert surrounded(target, texts) == theirs(text_target=texts, split_special_tokens=True)["input_ids"]
        assert source.encode_batch(CORPUS[:6]) != target.encode_batch(CORPUS[:6])

    def test_separate_lists(self, copied: Callable[[str], Path], tmp_path: Path) -> None:
        directory = copied("marian")
        ids: dict[str, int] = json.loads((directory / "vocab.json").read_text(encoding="utf-8"))
        write_json(directory / "target_vocab.json", {name: len(ids) - 1 - index for name, index in ids.items()})
        write_json(directory / "tokenizer_config.json", {"separate_vocabs": True})
        theirs = theirs_of(directory, "marian")
        pair = read_vocabulary(directory, "marian")
        assert isinstance(pair, tuple)
        texts = [*HOSTILE, *TYPED]
        expected = theirs(text_target=texts, split_special_tokens=True, add_special_tokens=False)["input_ids"]
        assert pair[1].encode_batch(texts) == expected
        assert (pair[0].end, pair[1].end) == (0, len(ids) - 1)
        (tmp_path / "again").mkdir()
        write_vocabulary(pair, tmp_path / "again", "marian")
        again = read_vocabulary(tmp_path / "again", "marian")
        assert isinstance(again, tuple)
        assert [side.pieces for side in again] == [side.pieces for side in pair]
        assert [side.encode_batch(texts) for side in again] == [side.encode_batch(texts) for side in pair]


class TestTypedControlTokens:
    def test_they_are_text(self, made: Callable[[str], Path], family: str) -> None:
        t = one(made(family), family)
        forbidden = t.controls.ids() - {t.unknown}
        names = [t.name_of(index) for index in sorted(t.controls.ids())]
        for text in (*TYPED, *HOSTILE, *names, "".join(names), *(f"a{name}b" for name in names)):
            assert not forbidden & set(t.encode(text)), text

    def test_where_transformers_spells_them(self, made: Callable[[str], Path]) -> None:
        """Its T5 does, special tokens split or not: the pieces themselves hold ``</s>``. Else the ids are the same."""
        ours, theirs = one(made("t5"), "t5"), theirs_of(made("t5"), "t5")
        assert theirs("a</s>", split_special_tokens=True, add_special_tokens=False)["input_ids"][-1] == theirs.eos_token_id
        assert ours.encode("a</s>")[:2] == ours.encode("a")
        assert ours.end not in ours.encode("a</s>")


class TestWriting:
    def test_an_imported_one(self, made: Callable[[str], Path], family: str, tmp_path: Path) -> None:
        before = read_vocabulary(made(family), family)
        assert before is not None
        write_json(tmp_path / "config.json", json.loads((made(family) / "config.json").read_text()))
        write_vocabulary(before, tmp_path, family)
        assert_equal(one(made(family), family), auto(tmp_path), texts_for(family))
        again = read_vocabulary(tmp_path, family)
        assert again is not None
        sides = zip(before, again, strict=True) if isinstance(before, tuple) and isinstance(again, tuple) else [(before, again)]
        for first, second in sides:
            assert isinstance(first, ImportedTokenizer)
            assert isinstance(second, ImportedTokenizer)
            assert second.controls == first.controls
            assert second.encode_batch([*HOSTILE, *TYPED]) == first.encode_batch([*HOSTILE, *TYPED])

    @pytest.mark.parametrize("kind", ["bpe", "unigram", "word", "character", "byte"])
    @pytest.mark.parametrize("prefix_space", [True, False])
    @pytest.mark.parametrize("family", ["gpt2", "llama", "marian"])
    def test_one_of_ours(self, kind: TokenizerKind, prefix_space: bool, family: str, tmp_path: Path) -> None:
        ours = Tokenizer.train(CORPUS, TextConfig(tokenizer=kind, vocabulary=300, prefix_space=prefix_space))
        write_vocabulary((ours, ours), tmp_path, family, suffix=(ours.end,))
        write_json(tmp_path / "config.json", {"model_type": family})
        theirs = auto(tmp_path)
        texts = [*HOSTILE, *TYPED]
        assert theirs(texts)["input_ids"] == [[*ids, ours.end] for ids in ours.encode_batch(texts)]
        for ids in ours.encode_batch(texts):
            assert theirs.decode(ids, skip_special_tokens=True) == ours.decode(ids)
        named = (theirs.pad_token_id, theirs.unk_token_id, theirs.bos_token_id, theirs.eos_token_id)
        assert named == (ours.pad, ours.unknown, ours.start, ours.end)
        assert len(theirs) == ours.vocabulary_size

    def test_one_of_ours_that_fills_gaps(self, tmp_path: Path) -> None:
        """A gap is typed by its name in transformers, so names are understood there; texts without one are the same."""
        ours = Tokenizer.train(CORPUS, TextConfig(vocabulary=300, mask=True, sentinels=2))
        write_vocabulary(ours, tmp_path, "bert", prefix=(ours.start,), suffix=(ours.end,))
        write_json(tmp_path / "config.json", {"model_type": "bert"})
        theirs = auto(tmp_path)
        assert theirs(HOSTILE)["input_ids"] == [[2, *ids, 3] for ids in ours.encode_batch(HOSTILE)]
        assert theirs(TYPED, split_special_tokens=True)["input_ids"] == [[2, *ids, 3] for ids in ours.encode_batch(TYPED)]
        assert theirs("a<mask>", add_special_tokens=False)["input_ids"][-1] == theirs.mask_token_id == ours.mask
        assert theirs.convert_tokens_to_ids(["<extra_0>", "<extra_1>"]) == list(ours.sentinels)
        assert (theirs.cls_token_id, theirs.sep_token_id) == (ours.start, ours.end)
        assert one(tmp_path, "bert").encode_batch(HOSTILE) == ours.encode_batch(HOSTILE)

    def test_two_vocabularies_are_refused(self, tmp_path: Path) -> None:
        sides = tuple(Tokenizer.train(CORPUS[side::2], TextConfig(vocabulary=300)) for side in (0, 1))
        with pytest.raises(UsageError, match="different vocabularies"):
            write_vocabulary(sides, tmp_path, "marian")  # type: ignore[arg-type]


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


class TestUnusableFiles:
    @pytest.mark.parametrize(
        ("family", "name", "content"),
        [
            ("bert", "tokenizer.json", POINTER),
            ("bert", "tokenizer.json", b'{"model": {"type": "Nothing"}}'),
            ("bert", "tokenizer.json", b"\xff\xfe"),
            ("bert", "vocab.txt", b"only\nwords\n"),
            ("bert", "vocab.txt", b"\xff"),
            ("bert", "tokenizer_config.json", b"[]"),
            ("bert", "tokenizer_config.json", b"{"),
            ("bert", "tokenizer_config.json", b'{"do_lower_case": "yes"}'),
            ("bert", "tokenizer_config.json", b'{"cls_token": 3}'),
            ("bert", "tokenizer_config.json", b'{"cls_token": "[START]"}'),
            ("bert", "tokenizer_config.json", b'{"added_tokens_decoder": []}'),
            ("bert", "tokenizer_config.json", b'{"added_tokens_decoder": {"9999": "far"}}'),
            ("bert", "added_tokens.json", b'{"far": 9999}'),
            ("bert", "special_tokens_map.json", b"null"),
            ("bert", "config.json", b"true"),
            ("gpt2", "merges.txt", b"#version: 0.2\none\n"),
            ("gpt2", "merges.txt", b"not there\n"),
            ("gpt2", "vocab.json", POINTER),
            ("gpt2", "vocab.json", b'{"a": "b"}'),
            ("gpt2", "vocab.json", None),
            ("t5", "spiece.model", POINTER),
            ("t5", "spiece.model", b""),
            ("t5", "tokenizer_config.json", b'{"extra_ids": -1}'),
            ("llama", "tokenizer.model", b"IQ== 0\nIg== 1\n"),
            ("marian", "source.spm", b"{}"),
            ("marian", "target.spm", None),
            ("marian", "vocab.json", b'{"a": 1}'),
            ("marian", "vocab.json", b'{"</s>": "0"}'),
            ("marian", "vocab.json", b'{"</s>": 0}'),
        ],
    )
    def test_each_says_what_is_wrong_and_where(
        self, copied: Callable[[str], Path], family: str, name: str, content: bytes | None
    ) -> None:
        directory = copied(family)
        (directory / name).write_bytes(content or b"")
        if content is None:
            (directory / name).unlink()
        with pytest.raises(ModelError) as caught:
            read_vocabulary(directory, family)
        assert Path(str(caught.value.where)).parent == directory
        assert caught.value.expected
        assert caught.value.found
        assert caught.value.advice

    def test_pieces_of_another_kind(self, copied: Callable[[str], Path], made: Callable[[str], Path]) -> None:
        directory = copied("t5")
        (directory / "spiece.model").write_bytes((made("llama") / "tokenizer.model").read_bytes())
        with pytest.raises(ModelError, match=r"kind unigram(.|\n)*kind bpe"):
            read_vocabulary(directory, "t5")

    @pytest.mark.parametrize("name", ["vocab.txt", "tokenizer_config.json", "config.json", "tokenizer.json"])
    def test_a_link_out_of_the_directory(self, copied: Callable[[str], Path], name: str, made: Callable[[str], Path]) -> None:
        directory = copied("bert")
        (directory / name).unlink(missing_ok=True)
        (directory / name).symlink_to(made("bert") / "vocab.txt")
        with pytest.raises(ModelError, match="leads out of the directory") as caught:
            read_vocabulary(directory, "bert")
        assert caught.value.where == directory / name

    def test_a_link_within_the_directory_and_one_to_nowhere(self, copied: Callable[[str], Path]) -> None:
        directory = copied("bert")
        (directory / "vocab.txt").rename(directory / "words")
        (directory / "vocab.txt").symlink_to("words")
        assert one(directory, "bert").pad == 0
        (directory / "words").unlink()
        with pytest.raises(ModelError, match=r"vocab\.txt"):
            read_vocabulary(directory, "bert")
