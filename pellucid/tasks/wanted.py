"""What is to be said of one example: as someone says it, or as a model itself says it; and what a training step asks for.

An encoder that stands alone is asked for classes or tokens, a model that writes for tokens, which its subject then holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import torch

from pellucid.base.errors import DataError, UsageError
from pellucid.explain.explain import watched, written_by
from pellucid.explain.forward import Inputs, looking, run
from pellucid.explain.subject import Subject
from pellucid.tasks.explaining import subject_of
from pellucid.tasks.framing import frame
from pellucid.tasks.labels import Labels
from pellucid.tasks.masked_lm import GAP, controls_of, hide, mask_of
from pellucid.tasks.prepared import seeded

Wanted = tuple[Subject, tuple[int, ...]]


def given_output(loaded: Any, given: Any, output: str) -> Wanted:
    """An example whose output someone gives: a text, a class, or a class for each word.

    Raises:
        UsageError: the task has no output beside its text, or classes that are degrees.
        DataError: the class is unknown, or a text and its tags differ in length.
    """
    task = loaded.config.task
    if task == "masked_lm":
        raise UsageError("a masked language model learns from one text: there is no output beside it", where="--output")
    if task not in ("tagging", "classification", "picture_classification"):
        return subject_of(loaded, given, output=output, tokens=None, seed=0), ()
    subject, labels = subject_of(loaded, given, output=None, tokens=None, seed=0), Labels(loaded.labels)
    if task != "tagging":
        refuse_degrees(loaded)
        return subject, (labels.id(output),)
    tags, words = output.split(), given.split()
    if len(tags) != len(words):
        found = f"{len(words)} words and {len(tags)} tags"
        raise DataError("a text and its tags differ in length", where=given[:60], expected="one tag a word", found=found)
    return subject, tuple(labels.id(tag) for tag in tags[: len(subject.asked)])


def own_output(loaded: Any, given: Any, **ways: Any) -> Wanted:
    """An example whose output is what the model itself says of it.

    Args:
        loaded, given, ways: as for :func:`pellucid.tasks.explaining.subject_of`.

    Raises:
        UsageError: classes that are degrees.
    """
    refuse_degrees(loaded)
    subject = subject_of(loaded, given, **ways)
    if subject.writing is not None:
        search = watched(subject)
        while True:
            try:
                next(search)
            except StopIteration as end:
                written = written_by(subject.writing, end.value)
                return replace(subject, writing=replace(subject.writing, given=written)), ()
    with looking(subject.model):
        best = run(subject.model, Inputs(subject.source, source_mask=subject.source_mask), None)[0].argmax(-1)
    if best.ndim == 0:
        return subject, (int(best),)
    subject = subject if subject.asked else replace(subject, asked=tuple(range(len(best))))
    return subject, tuple(best[list(subject.asked)].tolist())


def hidden_text(loaded: Any, text: str, number: int) -> Wanted:
    """A text some of whose tokens are hidden as they are in training: what they were is wanted.

    Args:
        loaded: of a masked language model.
        text: without gaps.
        number: of the step; the same one hides the same tokens.

    Raises:
        UsageError: the text has gaps.
        DataError: it has nothing that could be hidden.
    """
    if GAP in text:
        raise UsageError("a training step hides tokens itself", where=text[:60], expected=f"a text without {GAP}")
    subject, tokenizer, config = subject_of(loaded, text, output=None, tokens=None, seed=0), loaded.tokenizer, loaded.config
    source = torch.tensor([frame(tokenizer, tokenizer.encode(text), config.model.max_length)])
    controls = controls_of(tokenizer, config.model.source_vocabulary)
    if controls[source].all():
        raise DataError("there is nothing to hide in this text", found=repr(text))
    draws = (
        hide(source, controls, mask_of(tokenizer), config.corruption.share, seeded(config.seed, number, n)) for n in count()
    )
    hidden, chosen = next(draw for draw in draws if draw[1].any())  # of a short text the first draw may hide nothing
    asked = tuple(chosen[0].nonzero().flatten().tolist())
    names = tuple(tokenizer.tokens(hidden[0].tolist()))
    return replace(subject, source=hidden, source_names=names, asked=asked), tuple(source[0, list(asked)].tolist())


def refuse_degrees(loaded: Any) -> None:
    """Degrees are no classes: a model gives the thresholds between them.

    Raises:
        UsageError: this model does.
    """
    if loaded.config.task == "classification" and loaded.config.data.labels == "degrees":
        raise UsageError("degrees are learnt by a loss of their own, which is not opened here", where="data.labels")


def names_of(subject: Subject, wanted: Sequence[int]) -> tuple[list[str], list[str]]:
    """What is read at each predicted position (one for the whole: nothing), and what is wanted there, as they are read."""
    if subject.writing is not None and subject.writing.given is not None:
        given = subject.writing.given
        return subject.name([subject.writing.prompt[-1], *given[:-1]]), subject.name(given)
    fed = list(subject.words) or [subject.source_names[place] for place in subject.asked] or [""]
    return fed, [subject.vocabulary[one] for one in wanted]
