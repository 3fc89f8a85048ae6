"""What stands around a text when a model reads it."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.base.errors import ModelError
from pellucid.base.progress import say
from pellucid.text.imported import ImportedTokenizer
from pellucid.text.tokenizer import Tokenizer

AnyTokenizer = Tokenizer | ImportedTokenizer


def pad_of(tokenizer: AnyTokenizer) -> int:
    """What fills up the rows of a batch: any token will do where the vocabulary has none for it, since masks hide it."""
    return tokenizer.pad or 0


def start_of(tokenizer: AnyTokenizer) -> int:
    """What a decoder reads first.

    Raises:
        ModelError: the vocabulary has no such token.
    """
    return _there(tokenizer.start, "start")


def end_of(tokenizer: AnyTokenizer) -> int:
    """What closes an output that must be closed.

    Raises:
        ModelError: the vocabulary has no such token.
    """
    return _there(tokenizer.end, "end")


def _there(token: int | None, name: str) -> int:
    if token is None:
        raise ModelError(f"the vocabulary has no {name} token", expected="one in controls.json")
    return token


def unwritable(tokenizer: AnyTokenizer) -> tuple[int, ...]:
    """Tokens that an output never holds: padding, start, unknown; but the end token, if it is one of these."""
    some = (tokenizer.pad, tokenizer.start, tokenizer.unknown)
    return tuple(token for token in some if token is not None and token != tokenizer.end)


def frame(tokenizer: AnyTokenizer, ids: Sequence[int], longest: int, name: str | None = None) -> list[int]:
    """Tokens of a text for an encoder that stands alone: start, whose vector may stand for the whole text, and end around them.

    An imported tokenizer knows what its model expects. Of a text that the model has no positions for, the beginning is taken.

    Args:
        tokenizer: that made ``ids``.
        ids: tokens without control tokens.
        longest: positions that the model has.
        name: of the text, for a warning when it is cut; ``None``: nothing is said.
    """
    before, after = surround(tokenizer)
    room = longest - len(before) - len(after)
    if len(ids) > room and name is not None:
        say(f"warning: {name} has {len(ids)} tokens, only the first {room} are used (model.max_length)")
    return [*before, *ids[:room], *after]


def surround(tokenizer: AnyTokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Control tokens before and after a text."""
    if isinstance(tokenizer, ImportedTokenizer):
        return tokenizer.prefix, tokenizer.suffix
    return (tokenizer.start,), (tokenizer.end,)


def around_side(tokenizer: AnyTokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The same for a source or a target of an encoder-decoder: the end token, or what an imported model was trained with."""
    return surround(tokenizer) if isinstance(tokenizer, ImportedTokenizer) else ((), (tokenizer.end,))
