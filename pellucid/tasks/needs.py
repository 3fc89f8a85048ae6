"""A model and what is asked of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pellucid.base.errors import UsageError

# What each task's using side is asked for, to be named in advice.
VERBS = {
    "translation": "translate",
    "classification": "classify",
    "masked_lm": "fill",
    "tagging": "tag",
    "language_modelling": "generate",
    "denoising": "generate",
    "picture_classification": "classify",
    "captioning": "caption",
    "word_vectors": "vectors",
}


def need(loaded: Any, verb: str, path: Path) -> Any:
    """The loaded model, if it can do what is asked.

    Raises:
        UsageError: its task is another one; the advice names the command for it.
    """
    if not hasattr(loaded, verb):
        task = loaded.config.task
        advice = f"use it with: pellucid {VERBS[task]} {path}"
        raise UsageError(
            f"this model cannot {verb}", where=path, expected=f"a model that can {verb}", found=task, advice=advice
        )
    return loaded
