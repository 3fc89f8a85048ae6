"""Tokenizers: text in, ids out, and back. Trained once on the training split, saved with the model, applied inside it.

Five kinds. ``bpe``, ``unigram`` and ``byte`` work on the 256 bytes of UTF-8, so that no text is unknown to them and
``decode(encode(text)) == text`` for every text (its lower case, where the tokenizer folds case). ``word`` and
``character`` know what the training split held; the rest becomes the unknown token, which :meth:`Tokenizer.unknowns`
counts. Text is not normalised.

Two decisions carry the rest:

* **No text spells a control token.** ``<pad> <unk> <s> </s>`` are ids 0 to 3, after them come ``<mask>`` and ``<extra_0>
  <extra_1> ...`` where a model needs them. They are ordinary entries of the vocabulary, but text is first cut between
  letters and punctuation, and no piece crosses a cut: a typed ``</s>`` is at least two pieces.
* **A word begins with its space.** A piece is ``" voiture"``, the space in front, and a text gets one more space at its
  start, which decoding takes away again. So a word is the same piece at the start of a text and inside it, and
  decoding is joining. Running text whose chunks are encoded one by one gets no such space (``text.prefix_space: false``):
  the ids of a text are then those of its chunks, when they are cut where words are.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from pellucid.base.config import TextConfig
from pellucid.base.errors import DataError, ModelError
from pellucid.base.files import write_atomically
from pellucid.text.byte_level import BYTE_CHARACTERS, readable
from pellucid.text.library import encoded, is_byte_level, read_text, refusals, shown, surrogate
from pellucid.text.unigram import learn_pieces

CONTROL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>")
PAD, UNKNOWN, START, END = range(4)
MASK_TOKEN = "<mask>"

# No piece is longer than this many characters. Merging is faster than quadratic only on short pieces, and a line of a megabyte
# without a space must take linear time.
_LONGEST_PIECE = 64


class Tokenizer:
    """Text to ids and back; made by :meth:`train` or :meth:`load`.

    Ids 0 to 3 are padding, unknown, start and end; the control tokens that a model needs besides follow at once.
    """

    pad, unknown, start, end = PAD, UNKNOWN, START, END

    def __init__(self, text: str, *, where: object = None) -> None:
        """From the contents of a ``tokenizer.json``. ``where`` names its file in errors.

        Raises:
            ModelError: the contents are not a tokenizer of this package.
        """
        self._json = text
        self._library = _checked(text, where)
        self._controls = _leading_controls(self._library)
        self._bytes = is_byte_level(self._library)

    @classmethod
    def train(cls, lines: Iterable[str], config: TextConfig) -> Tokenizer:
        """Learn a vocabulary. The same lines in the same order give the same tokenizer, byte for byte.

        Args:
            lines: the text of the training split, source and target alike when they share one vocabulary. Read once.
            config: kind, size, and whether case is folded.

        Raises:
            DataError: no text in ``lines``, a lone surrogate in it, or nothing frequent enough to learn.
        """
        library = _untrained(config)
        try:
            library.model = _TRAIN[config.tokenizer](library, _not_empty(lines), config)
        except UnicodeEncodeError as error:
            raise surrogate(error.object, where="the training split") from None
        if library.get_vocab_size() == len(control_tokens(config)):
            raise DataError(
                f"nothing in the training split is frequent enough for a {config.tokenizer} vocabulary",
                expected=f"at least one {config.tokenizer} seen {config.min_frequency} times",
                advice="lower text.min_frequency or give more text",
            )
        return cls(library.to_str(pretty=True))

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Read a ``tokenizer.json`` that :meth:`save` wrote. Nothing in it is ever executed.

        Raises:
            ModelError: the file is missing, damaged or not a tokenizer of this package.
        """
        return cls(read_text(path, _ADVICE), where=path)

    def save(self, path: Path) -> None:
        """Write ``tokenizer.json``, atomically: the same bytes whenever the vocabulary was learnt from the same lines.

        Raises:
            StorageError: the file cannot be written.
        """
        write_atomically(path, self._json.encode("utf-8"))

    @property
    def content(self) -> str:
        """The contents of ``tokenizer.json``."""
        return self._json

    @property
    def vocabulary_size(self) -> int:
        """Number of ids, control tokens included."""
        return int(self._library.get_vocab_size())

    @property
    def n_controls(self) -> int:
        """Number of control tokens: ids 0 to ``n_controls - 1``, which no text ever becomes (the unknown one excepted)."""
        return len(self._controls)

    @property
    def mask(self) -> int | None:
        """The id that stands for a gap to fill, or None."""
        return self._controls.index(MASK_TOKEN) if MASK_TOKEN in self._controls else None

    @property
    def sentinels(self) -> tuple[int, ...]:
        """The ids that stand for removed spans, the first span first; none unless the model was made with some."""
        first = len(CONTROL_TOKENS) + (MASK_TOKEN in self._controls)
        return tuple(range(first, self.n_controls))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the saved file, in hexadecimal."""
        return hashlib.sha256(self._json.encode("utf-8")).hexdigest()

    def encode(self, text: str) -> list[int]:
        """Ids of one text, no start and no end added.

        Raises:
            DataError: the text holds a lone surrogate, which UTF-8 cannot express.
        """
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of many texts, in order, in one call of the library. Raises as :meth:`encode`."""
        return [encoding.ids for encoding in encoded(self._library, texts)]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ``ids``; control tokens, the unknown one included, are left out. Broken UTF-8 becomes U+FFFD."""
        text: str = self._library.decode([i for i in ids if i >= self.n_controls])
        return text

    def unknowns(self, ids: Sequence[int]) -> int:
        """How many of ``ids`` stand for text that the vocabulary does not hold."""
        return sum(1 for i in ids if i == UNKNOWN)

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """What each id stands for, to be read: a space as ``▁``, what cannot be shown escaped, as ``\\xe2`` or ``\\n``."""
        return [self._readable(int(i)) for i in ids]

    def _readable(self, index: int) -> str:
        piece = self._library.id_to_token(index)
        if piece is None:
            raise IndexError(f"id {index} is not in a vocabulary of {self.vocabulary_size}")
        if index < self.n_controls:
            return str(piece)
        return shown(readable(piece) if self._bytes else piece)


def control_tokens(config: TextConfig) -> tuple[str, ...]:
    """Names of the control tokens, in the order of their ids."""
    mask = (MASK_TOKEN,) if config.mask else ()
    return (*CONTROL_TOKENS, *mask, *(_sentinel(number) for number in range(config.sentinels)))


def _sentinel(number: int) -> str:
    return f"<extra_{number}>"


def _leading_controls(library: tokenizers.Tokenizer) -> tuple[str, ...]:
    """The control tokens of a vocabulary, recognised by their names; no piece learnt from text can have one of these."""
    found = list(CONTROL_TOKENS)
    if library.id_to_token(len(found)) == MASK_TOKEN:
        found.append(MASK_TOKEN)
    before = len(found)
    while library.id_to_token(len(found)) == _sentinel(len(found) - before):
        found.append(_sentinel(len(found) - before))
    return tuple(found)


def _untrained(config: TextConfig) -> tokenizers.Tokenizer:
    """Everything but the vocabulary: folding case, cutting, and joining again."""
    library = tokenizers.Tokenizer(models.BPE())
    fold = [normalizers.Lowercase()] if config.lowercase else []
    if config.tokenizer in ("byte", "character"):
        library.normalizer = normalizers.Sequence(fold)
        library.pre_tokenizer, library.decoder = (
            (_byte_alphabet(), decoders.ByteLevel()) if config.tokenizer == "byte" else (None, decoders.Fuse())
        )
        return library
    first_space = [normalizers.Prepend(" ")] if config.prefix_space else []
    without_first_space = [decoders.Strip(content=" ", left=1, right=0)] if config.prefix_space else []
    library.normalizer = normalizers.Sequence([*fold, *first_space])
    if config.tokenizer == "word":
        library.pre_tokenizer = _cut(longest_punctuation=1)
        library.decoder = decoders.Sequence([decoders.Fuse(), *without_first_space])
    else:
        library.pre_tokenizer = pre_tokenizers.Sequence([_cut(_LONGEST_PIECE), _byte_alphabet()])
        library.decoder = decoders.Sequence([decoders.ByteLevel(), *without_first_space])
    return library


def _cut(longest_punctuation: int) -> pre_tokenizers.PreTokenizer:
    """Cut text into words, numbers, punctuation and white space; nothing is lost.

    A word takes the space before it along, and an apostrophe behind it that joins it to the next one (``l'|ami``, ``don'|t``).
    Of several spaces the last one goes with the word.
    """
    n = _LONGEST_PIECE
    word = rf"[\p{{L}}\p{{M}}]{{1,{n}}}(?:['’](?=\p{{L}}))?"
    number = rf"\p{{N}}{{1,{n}}}"
    punctuation = rf"[^\s\p{{L}}\p{{M}}\p{{N}}]{{1,{longest_punctuation}}}"
    space = rf"\s{{1,{n}}}(?!\S)|\s{{1,{n}}}"
    pattern = tokenizers.Regex(f" ?(?:{word}|{number}|{punctuation})|{space}")
    return pre_tokenizers.Split(pattern, behavior="isolated")


def _byte_alphabet() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def _train_bpe(library: tokenizers.Tokenizer, lines: Iterator[str], config: TextConfig) -> models.Model:
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocabulary,
        min_frequency=config.min_frequency,
        special_tokens=list(control_tokens(config)),
        initial_alphabet=BYTE_CHARACTERS,
        show_progress=False,
    )
    return _trained_by(trainer, library, models.BPE(), lines)


def _train_unigram(library: tokenizers.Tokenizer, lines: Iterator[str], config: TextConfig) -> models.Model:
    words: Counter[str] = Counter()
    for line in lines:
        cut = library.pre_tokenizer.pre_tokenize_str(library.normalizer.normalize_str(line))
        words.update(word for word, _ in cut)
    controls = control_tokens(config)
    pieces = learn_pieces(words, size=config.vocabulary - len(controls), min_frequency=config.min_frequency)
    return models.Unigram([*((token, 0.0) for token in controls), *pieces], unk_id=UNKNOWN)


def _train_words(library: tokenizers.Tokenizer, lines: Iterator[str], config: TextConfig) -> models.Model:
    trainer = trainers.WordLevelTrainer(
        vocab_size=config.vocabulary,
        min_frequency=config.min_frequency,
        special_tokens=list(control_tokens(config)),
        show_progress=False,
    )
    return _trained_by(trainer, library, models.WordLevel(unk_token=CONTROL_TOKENS[UNKNOWN]), lines)


def _trained_by(
    trainer: trainers.Trainer, library: tokenizers.Tokenizer, model: models.Model, lines: Iterator[str]
) -> models.Model:
    """The model alone, trained in a copy: a trainer also registers its control tokens as pieces to look for in texts."""
    copy = tokenizers.Tokenizer(model)
    copy.normalizer, copy.pre_tokenizer = library.normalizer, library.pre_tokenizer
    copy.train_from_iterator(lines, trainer)
    trained: models.Model = copy.model
    return trained


def _train_characters(library: tokenizers.Tokenizer, lines: Iterator[str], config: TextConfig) -> models.Model:
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(library.normalizer.normalize_str(line))
    frequent = sorted((-count, character) for character, count in counts.items() if count >= config.min_frequency)
    most = config.vocabulary - len(control_tokens(config))
    return _single_characters(control_tokens(config), (character for _, character in frequent[: max(0, most)]))


def _all_bytes(library: tokenizers.Tokenizer, lines: Iterator[str], config: TextConfig) -> models.Model:
    return _single_characters(control_tokens(config), BYTE_CHARACTERS)


def _single_characters(controls: Iterable[str], characters: Iterable[str]) -> models.Model:
    """A BPE without merges cuts every text into its characters, at less memory than one piece a character would take."""
    vocabulary = {token: index for index, token in enumerate([*controls, *characters])}
    return models.BPE(vocab=vocabulary, merges=[], unk_token=CONTROL_TOKENS[UNKNOWN])


_TRAIN = {
    "bpe": _train_bpe,
    "unigram": _train_unigram,
    "word": _train_words,
    "character": _train_characters,
    "byte": _all_bytes,
}


def _not_empty(lines: Iterable[str]) -> Iterator[str]:
    """The same lines, once the first with text in it is found."""
    iterator = iter(lines)
    first = next((line for line in iterator if line), None)
    if first is None:
        raise DataError("there is no text to learn a vocabulary from", expected="lines of text", found="none")
    return itertools.chain([first], iterator)


_ADVICE = "copy tokenizer.json from where the model was made, or train again"


def _checked(text: str, where: object) -> tokenizers.Tokenizer:
    """The library's tokenizer, once its control tokens are known to be ours and out of reach of texts."""

    def unusable(what: str, expected: str, found: object) -> ModelError:
        return ModelError(what, where=where, expected=expected, found=found, advice=_ADVICE)

    with refusals(lambda error: unusable("the tokenizer is damaged", "the JSON of a tokenizer", error)):
        library = tokenizers.Tokenizer.from_str(text)
        content = json.loads(text)  # the library reads some texts that are not JSON
    altering = [key for key in ("added_tokens", "truncation", "padding", "post_processor") if content.get(key)]
    if altering:
        raise unusable("the tokenizer adds or removes tokens", f"nothing under {altering[0]}", content[altering[0]])
    found = [library.id_to_token(index) for index in range(len(CONTROL_TOKENS))]
    if found != list(CONTROL_TOKENS):
        raise unusable("the tokenizer has other control tokens", f"ids 0 to 3 are {' '.join(CONTROL_TOKENS)}", found)
    if sorted(library.get_vocab().values()) != list(range(library.get_vocab_size())):
        raise unusable("the tokenizer's ids have gaps", f"ids 0 to {library.get_vocab_size() - 1}, each once", "others")
    _check_spelling(library, unusable)
    return library


def _check_spelling(library: tokenizers.Tokenizer, unusable: Callable[[str, str, object], ModelError]) -> None:
    """Raise unless any text can be encoded and the control tokens, written as text, become something else."""
    controls = _leading_controls(library)
    with refusals(lambda error: unusable("the tokenizer cannot encode every text", "ids for every text", error)):
        spelt = {token: library.encode(token).ids for token in (*controls, "\U0010fffd")}
    for token, ids in spelt.items():
        if not set(ids).isdisjoint({*range(len(controls))} - {UNKNOWN}):
            raise unusable("a text can hold control tokens", f"the text {token!r} is ordinary text", f"ids {ids}")
