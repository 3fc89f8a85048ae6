"""What each task asks of a model that is looked at: the text as it reads it, and how it writes.

Shapes: S source positions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from pellucid.base.errors import DataError, UsageError
from pellucid.explain.subject import Subject, Writing
from pellucid.tasks.framing import AnyTokenizer, end_of, frame, start_of, unwritable
from pellucid.tasks.masked_lm import GAP, with_masks
from pellucid.tasks.pairs import encode
from pellucid.tasks.request import Request
from pellucid.tasks.tagging import in_words
from pellucid.tasks.windows import begun

TOKENS = 20  # that a language model writes where nothing is said


def subject_of(
    loaded: Any, given: Any, *, output: str | None, tokens: int | None, seed: int, prefix: Sequence[int] = (), **ways: Any
) -> Subject:
    """The subject of a trace.

    Args:
        loaded: the using side of a task.
        given: a text; for models that read pictures, a picture.
        output: a text to be fed instead of what the model would write.
        tokens: most tokens to write; ``None``: as the task has it.
        seed: of what is drawn.
        prefix: ids of the tokens that the output begins with.
        ways: to search or to draw, see :class:`pellucid.tasks.request.Request`.

    Raises:
        UsageError: the model writes nothing, and was asked how to; a number is out of range.
        DataError: an empty text.
    """
    task = loaded.config.task
    if task not in _WRITERS and task not in _READERS:
        raise UsageError("this model is a table: nothing is computed that could be explained", found=task)
    if isinstance(given, str) and not given.strip() and task != "language_modelling":
        raise DataError("an empty text has no numbers", advice="give a sentence")
    writes = task in _WRITERS
    if not writes and (output is not None or tokens is not None or prefix or any(way is not None for way in ways.values())):
        raise UsageError("this model writes nothing, so there is no output to search for", found=task)
    subject: Subject = (_WRITERS if writes else _READERS)[task](loaded, given)
    if subject.writing is None:
        return subject
    writing = replace(
        subject.writing, decoding=Request(**ways).decoding(loaded.config.decoding), seed=seed, prefix=tuple(prefix)
    )
    if tokens is not None:
        writing = replace(writing, limit=_limit(loaded, tokens, writing))
    if output is not None:
        tokenizer = loaded.target_tokenizer if hasattr(loaded, "target_tokenizer") else loaded.tokenizer
        ids = tokenizer.encode(output)
        writing = replace(writing, given=(*ids, *([] if writing.end is None else [writing.end])))
    return replace(subject, writing=writing)


def _limit(loaded: Any, tokens: int, writing: Writing) -> int:
    """As many tokens as are wanted, where the model has positions for them."""
    reach = loaded.model.decoder.positions.max_length
    return tokens if reach is None else min(tokens, reach - len(writing.prompt) + 1)


def _named(tokenizer: AnyTokenizer) -> Callable[[Sequence[int]], list[str]]:
    """Ids as they are read; a table may have more rows than the vocabulary has entries."""

    def name(ids: Sequence[int]) -> list[str]:
        try:
            return tokenizer.tokens(list(ids))
        except IndexError:
            return [name([one])[0] for one in ids] if len(ids) > 1 else [f"<{one}>" for one in ids]

    return name


def _vocabulary(tokenizer: AnyTokenizer, size: int) -> tuple[str, ...]:
    known = min(size, tokenizer.vocabulary_size)
    return (*_named(tokenizer)(range(known)), *(f"<{spare}>" for spare in range(known, size)))


def _subject(loaded: Any, text: str, ids: Sequence[int], names: Sequence[str], **more: Any) -> Subject:
    vocabulary = more.pop("vocabulary", loaded.labels)
    model: Any = loaded.model
    source = torch.tensor([list(ids)], dtype=torch.int64)
    name = _named(loaded.tokenizer)
    return Subject(model, loaded.config.model, text, source, tuple(names), name, tuple(vocabulary), source_name=name, **more)


def _sequence_to_sequence(loaded: Any, text: str) -> Subject:
    """Translators and denoisers."""
    config, source, target = loaded.config.model, loaded.source_tokenizer, loaded.target_tokenizer
    gapped = loaded.config.task == "denoising" and GAP in text
    ids = loaded.source_of(text) if gapped else encode(source, text, config.max_length, "the text")
    limit = min(len(ids) + loaded.config.decoding.max_extra, config.max_length)
    writing = Writing(loaded.config.decoding, (start_of(target),), target.end, limit, target.decode, tuple(unwritable(target)))
    vocabulary = _vocabulary(target, config.target_vocabulary)
    subject = _subject(loaded, text, ids, source.tokens(ids), vocabulary=vocabulary, writing=writing)
    return replace(subject, name=_named(target))


def _captioner(loaded: Any, picture: Any) -> Subject:
    config, tokenizer = loaded.config.model, loaded.tokenizer
    limit = min(loaded.config.decoding.max_extra, config.max_length)
    writing = Writing(
        loaded.config.decoding,
        (start_of(tokenizer),),
        end_of(tokenizer),
        limit,
        tokenizer.decode,
        tuple(unwritable(tokenizer)),
    )
    subject = _of_picture(loaded, picture, _vocabulary(tokenizer, config.target_vocabulary))
    return replace(subject, name=_named(tokenizer), writing=writing)


def _language_model(loaded: Any, text: str) -> Subject:
    tokenizer, config = loaded.tokenizer, loaded.config.model
    ids = begun(tokenizer, tokenizer.encode(text), loaded.end)
    reach = loaded.model.decoder.positions.max_length
    if reach is not None and len(ids) >= reach:
        raise DataError("the prompt leaves no position to write at", expected=f"below {reach} tokens", found=len(ids))
    limit = TOKENS if reach is None else min(TOKENS, reach - len(ids) + 1)
    writing = Writing(loaded.config.decoding, tuple(ids), loaded.end, limit, tokenizer.decode, loaded.never)
    subject = _subject(loaded, text, [], (), vocabulary=_vocabulary(tokenizer, config.target_vocabulary), writing=writing)
    return replace(subject, source=None, source_name=None)


def _classifier(loaded: Any, text: str) -> Subject:
    ids = frame(loaded.tokenizer, loaded.tokenizer.encode(text), loaded.config.model.max_length, "the text")
    return _subject(loaded, text, ids, loaded.tokenizer.tokens(ids))


def _masked(loaded: Any, text: str) -> Subject:
    tokenizer = loaded.tokenizer
    ids = frame(tokenizer, with_masks(tokenizer, text), loaded.config.model.max_length, "the text")
    vocabulary = _vocabulary(tokenizer, loaded.config.model.target_vocabulary)
    gaps = tuple(place for place, token in enumerate(ids) if token == tokenizer.mask)
    return _subject(loaded, text, ids, tokenizer.tokens(ids), vocabulary=vocabulary, asked=gaps)


def _tagger(loaded: Any, text: str) -> Subject:
    ids, places = in_words(loaded.tokenizer, text.split(), loaded.config.model.max_length)
    words = tuple(text.split()[: len(places)])
    return _subject(loaded, text, ids, loaded.tokenizer.tokens(ids), asked=tuple(places), words=words)


def _of_picture(loaded: Any, picture: Any, vocabulary: Sequence[str] | None = None) -> Subject:
    size, model = loaded.config.model.picture, loaded.model
    names = ["class token"] if loaded.config.model.head.pool == "class" else []
    names += [f"{row},{column}" for row in range(size.height // size.patch) for column in range(size.width // size.patch)]
    text = str(picture) if isinstance(picture, (str, os.PathLike)) else "a picture"
    found = loaded.labels if vocabulary is None else vocabulary
    return Subject(
        model,
        loaded.config.model,
        text,
        loaded.pixels([picture]),
        tuple(names),
        lambda ids: [str(i) for i in ids],
        tuple(found),
    )


_WRITERS: dict[str, Callable[[Any, Any], Subject]] = {
    "translation": _sequence_to_sequence,
    "denoising": _sequence_to_sequence,
    "captioning": _captioner,
    "language_modelling": _language_model,
}
_READERS: dict[str, Callable[[Any, Any], Subject]] = {
    "classification": _classifier,
    "masked_lm": _masked,
    "tagging": _tagger,
    "picture_classification": _of_picture,
}
