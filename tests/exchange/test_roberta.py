"""RoBERTa against ``transformers``, which reads from the ids, not from the mask, which tokens are padding."""

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
from parity import worst

from pellucid.base.errors import ModelError
from pellucid.exchange.family import Described
from pellucid.exchange.roberta import FAMILY

SMALL: dict[str, Any] = {
    "vocab_size": 17,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 15,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "id2label": {0: "north", 1: "east", 2: "south", 3: "west"},
}
OTHER: dict[str, Any] = {
    "vocab_size": 19,
    "hidden_size": 30,
    "num_hidden_layers": 1,
    "num_attention_heads": 5,
    "intermediate_size": 22,
    "max_position_embeddings": 9,  # exactly as many as the texts need
    "type_vocab_size": 2,
    "hidden_act": "relu",  # not that of the head that names hidden words
    "layer_norm_eps": 1e-3,
    "hidden_dropout_prob": 0.2,
    "classifier_dropout": 0.0,
}
CLASSES = ("RobertaForMaskedLM", "RobertaForSequenceClassification", "RobertaForTokenClassification")
PAD = 1


def theirs_of(architecture: str, **settings: Any) -> Any:
    return made(getattr(transformers, architecture), transformers.RobertaConfig(**settings))


@pytest.mark.parametrize("architecture", CLASSES)
@pytest.mark.parametrize("settings", [SMALL, OTHER], ids=["small", "other"])
def test_the_same_logits(architecture: str, settings: dict[str, Any], tmp_path: Path) -> None:
    theirs = theirs_of(architecture, **settings)
    ours, _ = here(theirs, FAMILY, tmp_path)
    check_texts(theirs, ours, pad=PAD, types=settings["type_vocab_size"])


@pytest.mark.parametrize("architecture", CLASSES)
@pytest.mark.parametrize("settings", [SMALL, OTHER], ids=["small", "other"])
def test_the_same_gradients(architecture: str, settings: dict[str, Any], tmp_path: Path) -> None:
    theirs = theirs_of(architecture, **settings)
    ours, _ = here(theirs, FAMILY, tmp_path)
    check_gradients(theirs, ours, FAMILY, tmp_path, pad=PAD)


@pytest.mark.parametrize("architecture", CLASSES)
@pytest.mark.parametrize("settings", [SMALL, OTHER], ids=["small", "other"])
def test_written_and_read(architecture: str, settings: dict[str, Any], tmp_path: Path) -> None:
    check_written(theirs_of(architecture, **settings), FAMILY, tmp_path, {"input_ids": texts(settings["vocab_size"])})


@torch.no_grad()
def test_padding_on_the_left_is_theirs_too(tmp_path: Path) -> None:
    """Their positions, alone in this family, begin at the first real token."""
    theirs = theirs_of("RobertaForTokenClassification", **SMALL)
    ours, _ = here(theirs, FAMILY, tmp_path)
    ids, real = texts(17), torch.arange(7) >= torch.tensor((0, 4, 2, 6))[:, None]
    padded = torch.where(real, ids, PAD)
    expected = theirs(input_ids=padded, attention_mask=real.long()).logits
    assert worst(ours(padded, source_mask=real)[real], expected[real]) < TOLERANCE


def test_what_is_described(tmp_path: Path) -> None:
    _, sequence = here(theirs_of("RobertaForSequenceClassification", **SMALL), FAMILY, tmp_path)
    assert (sequence.task, sequence.labels) == ("classification", ("north", "east", "south", "west"))
    assert (sequence.model.max_length, sequence.model.head.dropout) == (13, 0.1)
    _, token = here(theirs_of("RobertaForTokenClassification", **OTHER), FAMILY, tmp_path)
    assert (token.task, token.labels) == ("tagging", ("LABEL_0", "LABEL_1"))
    assert (token.model.max_length, token.model.dropout, token.model.head.dropout) == (7, 0.2, 0.0)
    _, masked = here(theirs_of("RobertaForMaskedLM", **OTHER), FAMILY, tmp_path)
    assert (masked.task, masked.labels, dict(masked.controls)) == ("masked_lm", (), {"pad": 1})
    assert (masked.model.activation, masked.model.head.activation) == ("relu", "gelu")


@pytest.mark.parametrize("slip", [{"layer_norm_eps": 1e-4}, {"hidden_act": "gelu_new"}], ids=["epsilon", "tanh"])
@pytest.mark.parametrize("architecture", CLASSES)
def test_a_slip_shows(architecture: str, slip: dict[str, Any], tmp_path: Path) -> None:
    theirs = theirs_of(architecture, **SMALL)
    assert difference(theirs, here(theirs, FAMILY, tmp_path)[0]) < TOLERANCE
    assert difference(theirs, here(theirs, FAMILY, tmp_path, **slip)[0]) > TOLERANCE


@pytest.mark.parametrize("architecture", CLASSES)
def test_positions_shifted_by_one_show(architecture: str, tmp_path: Path) -> None:
    theirs = theirs_of(architecture, **SMALL)
    ours, _ = here(theirs, FAMILY, tmp_path)
    table = ours.encoder.positions.weight
    assert isinstance(table, torch.Tensor)
    with torch.no_grad():
        table.copy_(table.roll(1, dims=0))
    assert difference(theirs, ours) > TOLERANCE


@pytest.mark.parametrize("twice", [True, False], ids=["twice", "by their other name"])
def test_tied_weights_and_those_of_no_use(twice: bool, tmp_path: Path) -> None:
    theirs = theirs_of("RobertaForMaskedLM", **SMALL)
    ours, described = here(theirs, FAMILY, tmp_path)
    weights = read(tmp_path)[1]
    for copy, name in FAMILY.copies.items():
        weights[copy] = weights[name] if twice else weights.pop(name)
    weights["roberta.embeddings.position_ids"] = torch.arange(15)[None]
    weights["roberta.pooler.dense.bias"] = torch.zeros(24)
    check_read(ours, FAMILY, described, "RobertaForMaskedLM", weights)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("position_embedding_type", "relative_key_query"), ("is_decoder", True), ("pad_token_id", 0), ("num_labels", 1)],
)
def test_refused(setting: str, value: object) -> None:
    settings = {name: known for name, known in SMALL.items() if name != "id2label"}
    FAMILY.describe(settings, "RobertaForSequenceClassification")
    with pytest.raises(ModelError, match=r"config\.json: (id2label|" + setting + ")"):
        FAMILY.describe({**settings, setting: value}, "RobertaForSequenceClassification")


def test_another_padding_is_not_written() -> None:
    known = FAMILY.describe(SMALL, "RobertaForMaskedLM")
    with pytest.raises(ModelError, match="another id for padding"):
        FAMILY.settings(Described("masked_lm", known.model, controls={"pad": 0}), "RobertaForMaskedLM")
