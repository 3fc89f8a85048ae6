"""How an output is asked for: by search or by drawing tokens, as the recipe says or as the caller does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pellucid.base.config import ConfigProblems, DecodingConfig
from pellucid.base.errors import UsageError


def asked(
    recipe: DecodingConfig,
    *,
    beams: int | None = None,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    no_repeat_ngram: int | None = None,
    min_length: int | None = None,
) -> DecodingConfig:
    """What the recipe says, with what is given in its place.

    Whoever asks for one way leaves the other: several beams search, whatever temperature the recipe has; a temperature draws,
    and so do ``top_k``, ``top_p`` and ``min_p``, with temperature 1 where none is named.

    Raises:
        UsageError: a value is out of range, or two of them contradict each other.
    """
    given: dict[str, Any] = {
        "beams": beams,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
        "no_repeat_ngram": no_repeat_ngram,
        "min_length": min_length,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if given.get("beams", 1) > 1:
        given.setdefault("temperature", 0.0)
    elif given.keys() & {"top_k", "top_p", "min_p"} and recipe.temperature == 0.0:
        given.setdefault("temperature", 1.0)
    if given.get("temperature", 0.0) > 0.0:
        given.setdefault("beams", 1)
    try:
        return replace(recipe, **given)
    except ConfigProblems as error:
        raise UsageError(str(error)) from None


def one_each(seed: int | Sequence[int], count: int, what: str) -> list[int]:
    """A seed for each of the texts asked for: one for all of them, or as many as there are.

    Raises:
        UsageError: there are more or fewer.
    """
    seeds = [seed] * count if isinstance(seed, int) else list(seed)
    if len(seeds) != count:
        raise UsageError(f"every {what} needs one seed", where="seed", expected=count, found=len(seeds))
    return seeds
