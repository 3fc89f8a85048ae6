"""A tokenizer of the ``tokenizers`` library from the vocabulary files that a family of models had before ``tokenizer.json``.

Each gives the ids that the family's own code gives (Hugging Face transformers 5). What a text may not become is left
unreachable where the library allows it; :class:`pellucid.text.imported.ImportedTokenizer` sees to the rest.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace

import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers

from pellucid.exchange.sentencepiece_files import Kind, Piece, SentencePieces

_UNREACHABLE = " "  # begins a piece that no text becomes: pieces spell a space as ▁


def word_pieces(
    vocabulary: Mapping[str, int], *, unknown: str, lowercase: bool, strip_accents: bool | None, split_chinese: bool
) -> tokenizers.Tokenizer:
    """BERT: words cut at spaces and punctuation, then from the left into the longest pieces known."""
    library = tokenizers.Tokenizer(models.WordPiece(dict(vocabulary), unk_token=unknown))
    library.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=split_chinese, strip_accents=strip_accents, lowercase=lowercase
    )
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece(prefix="##")
    return library


def byte_pairs(vocabulary: Mapping[str, int], merges: list[tuple[str, str]], *, prefix_space: bool) -> tokenizers.Tokenizer:
    """GPT-2, RoBERTa, BART: merges over the 256 bytes."""
    model = models.BPE(vocab=dict(vocabulary), merges=merges, continuing_subword_prefix="", end_of_word_suffix="")
    library = tokenizers.Tokenizer(model)
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    library.decoder = decoders.ByteLevel()
    return library


def t5_pieces(content: SentencePieces, *, sentinels: int) -> tokenizers.Tokenizer:
    """T5: the most probable pieces of each word; after them the sentinels, the last one first."""
    names = [f"<extra_id_{number}>" for number in reversed(range(sentinels))]
    library = _unigram(content, names)
    library.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    library.decoder = decoders.Metaspace()
    if content.charsmap:
        library.normalizer = normalizers.Precompiled(content.charsmap)
    _add_special(library, [*content.of_kind(Kind.CONTROL, Kind.UNKNOWN), *names])
    _add_found_first(library, content)
    return library


def marian_pieces(content: SentencePieces) -> tokenizers.Tokenizer:
    """Marian: the most probable pieces of a text of one language; their numbers are kept elsewhere."""
    text_alone = (Kind.NORMAL, Kind.USER_DEFINED)
    pieces = [
        piece if piece.kind in text_alone else replace(piece, text=f"{_UNREACHABLE}{piece.text}") for piece in content.pieces
    ]
    library = _unigram(replace(content, pieces=tuple(pieces)), [])
    steps: list[normalizers.Normalizer] = [normalizers.Precompiled(content.charsmap)] if content.charsmap else []
    if content.single_spaces:
        steps += [normalizers.Replace(tokenizers.Regex(" {2,}"), " "), normalizers.Strip()]
    library.normalizer = normalizers.Sequence(steps)
    library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always" if content.prefix else "never")
    library.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    _add_found_first(library, content)
    return library


def marian_contents(content: str) -> SentencePieces:
    """What :func:`marian_pieces` made a tokenizer of, from its JSON."""
    found = json.loads(content)
    found_first = {token["content"] for token in found["added_tokens"]}
    steps = found["normalizer"]["normalizers"]

    def piece(index: int, text: str, score: float) -> Piece:
        if text.startswith(_UNREACHABLE):
            kind = Kind.UNKNOWN if index == found["model"]["unk_id"] else Kind.CONTROL
            return Piece(text.removeprefix(_UNREACHABLE), score, kind)
        return Piece(text, score, Kind.USER_DEFINED if text in found_first else Kind.NORMAL)

    return SentencePieces(
        pieces=tuple(piece(index, text, score) for index, (text, score) in enumerate(found["model"]["vocab"])),
        charsmap=b"".join(base64.b64decode(step.get("precompiled_charsmap", "")) for step in steps),
        prefix=found["pre_tokenizer"]["prepend_scheme"] == "always",
        single_spaces=any(step["type"] == "Strip" for step in steps),
    )


def _unigram(content: SentencePieces, more: Iterable[str]) -> tokenizers.Tokenizer:
    scored = [(piece.text, piece.score) for piece in content.pieces]
    return tokenizers.Tokenizer(models.Unigram([*scored, *((name, 0.0) for name in more)], unk_id=content.unknown))


def llama_pieces(content: SentencePieces, *, prefix_space: bool, prepend_always: bool) -> tokenizers.Tokenizer:
    """LLaMA: merges over characters, the bytes of a character that is no piece.

    Sentencepiece merges two pieces when they make a third, the one with the smallest id first. What makes a control token or
    the name of a byte is no merge.
    """
    ids = {piece.text: index for index, piece in enumerate(content.pieces)}
    reachable = {piece.text: ids[piece.text] for piece in content.pieces if piece.kind is Kind.NORMAL}
    merges = [
        (index, at, piece[:at], piece[at:])
        for piece, index in reachable.items()
        for at in range(1, len(piece))
        if piece[:at] in reachable and piece[at:] in reachable
    ]
    pairs = [(left, right) for _, _, left, right in sorted(merges)]
    unknown = None if content.unknown is None else content.pieces[content.unknown].text
    library = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=pairs, unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prepend = ("always" if prepend_always else "first") if prefix_space else "never"
    library.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend, split=False)
    first_space = [decoders.Strip(content=" ", left=1)] if prefix_space else []
    spaces = decoders.Replace("▁", " ")
    library.decoder = decoders.Sequence([spaces, decoders.ByteFallback(), decoders.Fuse(), *first_space])
    _add_special(library, content.of_kind(Kind.CONTROL, Kind.UNKNOWN))
    _add_found_first(library, content)
    return library


def _add_special(library: tokenizers.Tokenizer, names: Iterable[str]) -> None:
    """Tell the library which pieces are no text."""
    library.add_special_tokens([AddedToken(name, normalized=False) for name in names])


def _add_found_first(library: tokenizers.Tokenizer, content: SentencePieces) -> None:
    """Tell the library which pieces are found in a text before it is cut."""
    library.add_tokens([AddedToken(name, normalized=False, special=False) for name in content.of_kind(Kind.USER_DEFINED)])
