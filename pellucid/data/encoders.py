"""What makes tokens of examples, for the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Encoder(Protocol):
    """What :class:`PairEncoder` needs of a tokenizer."""

    @property
    def pad(self) -> int | None: ...
    @property
    def start(self) -> int | None: ...
    @property
    def end(self) -> int | None: ...
    @property
    def vocabulary_size(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...


class ExampleEncoder(Protocol):
    """What the store needs to turn examples into tokens.

    Attributes:
        fingerprint: what the tokens depend on besides the examples, by names that a message can show.
        vocabulary_size: the largest token of any column, plus 1.
        controls: the tokens ``pad``, ``start`` and ``end``.
        limited: whether ``data.max_length`` and ``data.on_long`` apply.
    """

    @property
    def fingerprint(self) -> dict[str, Any]: ...
    @property
    def vocabulary_size(self) -> int: ...
    @property
    def controls(self) -> dict[str, int]: ...
    @property
    def limited(self) -> bool: ...

    def encode(self, examples: Sequence[tuple[str, ...]]) -> list[tuple[list[int], ...]]:
        """The tokens of each example, a list a column; there may be more or fewer columns than the example has texts."""
        ...


class PairEncoder:
    """Sentence pairs: each side by its own tokenizer, which may be one and the same."""

    limited = True

    def __init__(self, source: Encoder, target: Encoder) -> None:
        self._sides = (source, target)
        self.fingerprint: dict[str, Any] = {"source tokenizer": source.fingerprint, "target tokenizer": target.fingerprint}
        self.vocabulary_size = max(source.vocabulary_size, target.vocabulary_size)
        self.controls = {"pad": target.pad or 0, "start": target.start or 0, "end": target.end or 0}

    def encode(self, examples: Sequence[tuple[str, ...]]) -> list[tuple[list[int], ...]]:
        """Source and target tokens of each pair."""
        sides = (side.encode_batch([example[i] for example in examples]) for i, side in enumerate(self._sides))
        return list(zip(*sides, strict=True))
