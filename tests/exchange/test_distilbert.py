"""DistilBERT against ``transformers``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from encoders import (
    TOLERANCE,
    check_gradients,
    check_read,
    check_texts,
    check_written,
    difference,
    here,
    made,
    read,
    texts,
)

from pellucid.base.errors import ModelError
from pellucid.exchange.distilbert import FAMILY

SMALL: dict[str, Any] = {
    "vocab_size": 17,
    "dim": 24,
    "n_layers": 2,
    "n_heads": 3,
    "hidden_dim": 20,
    "max_position_embeddings": 13,
    "id2label": {0: "north", 1: "east", 2: "south", 3: "west"},
}
OTHER: dict[str, Any] = {
    "vocab_size": 19,
    "dim": 30,
    "n_layers": 1,
    "n_heads": 5,
    "hidden_dim": 22,
    "max_position_embeddings": 11,
    "activation": "gelu_new",
    "sinusoidal_pos_embds": True,
    "dropout": 0.3,
    "attention_dropout": 0.4,
    "seq_classif_dropout": 0.5,
    "pad_token_id": 2,
}
CLASSES = ("DistilBertForMaskedLM", "DistilBertForSequenceClassification", "DistilBertForTokenClassification")


def theirs_of(architecture: str, **settings: Any) -> Any:
    return made(getattr(transformers, architecture), transformers.DistilBertConfig(**settings))


@pytest.mark.parametrize("architecture", CLASSES)
@pytest.mark.parametrize("settings", [SMALL, OTHER], ids=["small", "other"])
def test_the_same_logits(architecture: str, settings: dict[str, Any], tmp_path: Path) -> None:
    theirs = theirs_of(architecture, **settings)
    ours, _ = here(theirs, FAMILY, tmp_path)
    check_texts(theirs, ours, pad=settings.get("pad_token_id", 0))


@pytest.mark.parametrize("architecture", CLASSES)
@pytest.mark.parametrize("settings", [SMALL, OTHER], ids=["small", "other"])
def test_the_same_gradients(architecture: str, settings: dict[str, Any], tmp_path: Path) -> None:
    theirs = theirs_of(architecture, **settings)
    ours, _ = here(theirs, FAMILY, tmp_path)
    check_gradients(theirs, ours, FAMILY, tmp_path, pad=settings.get("pad_token_id", 0))


@pytest.mark.parametrize("architecture", CLASSES)
@pytest.mark.parametrize("settings", [SMALL, OTHER], ids=["small", "other"])
def test_written_and_read(architecture: str, settings: dict[str, Any], tmp_path: Path) -> None:
    check_written(theirs_of(architecture, **settings), FAMILY, tmp_path, {"input_ids": texts(settings["vocab_size"])})


def test_what_is_described(tmp_path: Path) -> None:
    _, sequence = here(theirs_of("DistilBertForSequenceClassification", **SMALL), FAMILY, tmp_path)
    assert (sequence.task, sequence.labels) == ("classification", ("north", "east", "south", "west"))
    assert (sequence.model.dropout, sequence.model.head.dropout) == (0.1, 0.2)
    _, token = here(theirs_of("DistilBertForTokenClassification", **OTHER), FAMILY, tmp_path)
    assert (token.task, token.labels) == ("tagging", ("LABEL_0", "LABEL_1"))
    assert (token.model.dropout, token.model.attention_dropout, token.model.head.dropout) == (0.3, 0.4, 0.3)
    _, masked = here(theirs_of("DistilBertForMaskedLM", **OTHER), FAMILY, tmp_path)
    assert (masked.task, masked.labels, dict(masked.controls)) == ("masked_lm", (), {"pad": 2})
    assert (masked.model.positions, masked.model.embedding.types) == ("learned", 0)


def test_settings_have_their_names_alone() -> None:
    described = FAMILY.describe(OTHER, "DistilBertForSequenceClassification")
    settings = FAMILY.settings(described, "DistilBertForSequenceClassification")
    expected = {**OTHER, "id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "label2id": {"LABEL_0": 0, "LABEL_1": 1}}
    del expected["sinusoidal_pos_embds"]  # says how weights began, not what they are
    assert settings == expected


@pytest.mark.parametrize("slip", ["gelu_new", "relu"])
@pytest.mark.parametrize("architecture", CLASSES)
def test_a_slip_shows(architecture: str, slip: str, tmp_path: Path) -> None:
    theirs = theirs_of(architecture, **SMALL)
    assert difference(theirs, here(theirs, FAMILY, tmp_path)[0]) < TOLERANCE
    assert difference(theirs, here(theirs, FAMILY, tmp_path, activation=slip)[0]) > TOLERANCE


@pytest.mark.parametrize("architecture", CLASSES)
def test_another_epsilon_shows(architecture: str, tmp_path: Path) -> None:
    theirs = theirs_of(architecture, **SMALL)
    ours, _ = here(theirs, FAMILY, tmp_path)
    norms = [module for module in ours.modules() if isinstance(module, torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-12}
    for norm in norms:
        norm.eps = 1e-5
    assert difference(theirs, ours) > TOLERANCE


@pytest.mark.parametrize("twice", [True, False], ids=["twice", "by their other name"])
def test_tied_weights_and_those_of_no_use(twice: bool, tmp_path: Path) -> None:
    theirs = theirs_of("DistilBertForMaskedLM", **SMALL)
    ours, described = here(theirs, FAMILY, tmp_path)
    weights = read(tmp_path)[1]
    for copy, name in FAMILY.copies.items():
        weights[copy] = weights[name] if twice else weights.pop(name)
    weights["distilbert.embeddings.position_ids"] = torch.arange(13)[None]
    check_read(ours, FAMILY, described, "DistilBertForMaskedLM", weights)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("problem_type", "multi_label_classification"), ("id2label", {"1": "a", "2": "b"}), ("num_labels", 1)],
)
def test_refused(setting: str, value: object) -> None:
    settings = {name: known for name, known in SMALL.items() if name != "id2label"}
    FAMILY.describe(settings, "DistilBertForSequenceClassification")
    with pytest.raises(ModelError, match=r"config\.json: (id2label|" + setting + ")"):
        FAMILY.describe({**settings, setting: value}, "DistilBertForSequenceClassification")
    with pytest.raises(ModelError, match=r"config\.json: dim"):
        FAMILY.describe({name: known for name, known in SMALL.items() if name != "dim"}, "DistilBertForMaskedLM")
