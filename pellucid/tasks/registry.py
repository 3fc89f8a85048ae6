"""The tasks by name: where the training side and the using side of each are. Nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
from typing import Any

# task -> module of this package, class of the training side, class of the using side (with its module, where it is another).
TASKS = {
    "translation": ("translation", "Translation", "translator.Translator"),
    "classification": ("classification", "Classification", "Classifier"),
    "masked_lm": ("masked_lm", "MaskedLanguageModelling", "MaskedLanguageModel"),
    "tagging": ("tagging", "Tagging", "Tagger"),
    "language_modelling": ("language_modelling", "LanguageModelling", "LanguageModel"),
    "denoising": ("denoising", "Denoising", "Denoiser"),
    "picture_classification": ("picture_classification", "PictureClassification", "PictureClassifier"),
    "captioning": ("captioning", "Captioning", "Captioner"),
    "word_vectors": ("word_vectors", "LearningWordVectors", "word_vectors.WordVectorModel"),
}


def training_side(task: str) -> Any:
    """The class that trains."""
    module, name, _ = TASKS[task]
    return getattr(importlib.import_module(f"pellucid.tasks.{module}"), name)


def using_side(task: str) -> Any:
    """The class of what ``pellucid.load`` returns."""
    module, _, path = TASKS[task]
    where, _, name = path.rpartition(".")
    return getattr(importlib.import_module(f"pellucid.tasks.{where or module}"), name)
