"""What every tokenizer here asks of the ``tokenizers`` library: encode, refuse in words, say whether pieces are bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import tokenizers

from pellucid.base.errors import DataError, ModelError


def encoded(library: tokenizers.Tokenizer, texts: Sequence[str], *, pieces: bool = False) -> list[tokenizers.Encoding]:
    """Every text encoded, nothing put around it.

    Args:
        library: the library's tokenizer.
        texts: the texts.
        pieces: whether ``tokens`` of an encoding is wanted, the text of each piece; ``ids`` alone are quicker.

    Raises:
        DataError: a text holds a lone surrogate, which UTF-8 cannot express.
    """
    encode = library.encode_batch if pieces else library.encode_batch_fast
    try:
        encodings: list[tokenizers.Encoding] = encode(texts, add_special_tokens=False)
    except TypeError:
        for index, text in enumerate(texts):
            if isinstance(text, str) and not _is_utf8(text):
                raise surrogate(text, where=f"text {index}") from None
        raise
    return encodings


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def surrogate(text: str, where: str) -> DataError:
    """The error for a text with half a character in it."""
    at = next(i for i, character in enumerate(text) if "\ud800" <= character <= "\udfff")
    return DataError(
        "text holds a lone surrogate, which is half a character and has no UTF-8 form",
        where=where,
        expected="valid Unicode text",
        found=f"U+{ord(text[at]):04X} at character {at}",
        advice="decode the bytes that it came from as UTF-8, with errors='replace' if they are damaged",
    )


def read_text(path: Path, advice: str) -> str:
    """The contents of a tokenizer's file.

    Raises:
        ModelError: it is missing or not UTF-8.
    """
    try:
        return Path(path).read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            "the tokenizer cannot be read", where=path, expected=f"a {Path(path).name}", found=error, advice=advice
        ) from None


@contextlib.contextmanager
def refusals(explained: Callable[[BaseException], ModelError]) -> Iterator[None]:
    """Turn whatever the library raises into an error that explains it. A panic inside it is no ``Exception``."""
    try:
        yield
    except (KeyboardInterrupt, ModelError):
        raise
    except BaseException as error:
        raise explained(error) from None


def is_byte_level(library: tokenizers.Tokenizer) -> bool:
    """Whether the vocabulary is written in the characters of :mod:`pellucid.text.byte_level`."""
    return library.decoder is not None and library.decoder.decode(["Ã©"]) == "é"


def shown(piece: str) -> str:
    """A piece to be read: a space as ``▁``, what cannot be shown escaped, as ``\\n``."""
    return "".join(_shown(character) for character in piece)


def _shown(character: str) -> str:
    if character == " ":
        return "▁"
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
