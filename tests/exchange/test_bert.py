"""BERT against ``transformers``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from encoders import TOLERANCE, check_gradients, check_read, check_texts, check_written, difference, here, made, read, texts
from parity import worst

from pellucid.base.errors import ModelError
from pellucid.exchange.bert import FAMILY

NAMES = {0: "north", 1: "east", 2: "south", 3: "west", 4: "up", 5: "down"}
SMALL: dict[str, Any] = {
    "vocab_size": 17,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "max_position_embeddings": 13,
    "type_vocab_size": 5,
    "id2label": NAMES,
}
OTHER: dict[str, Any] = {
    "vocab_size": 19,
    "hidden_size": 30,
    "num_hidden_layers": 1,
    "num_attention_heads": 5,
    "intermediate_size": 22,
    "max_position_embeddings": 11,
    "type_vocab_size": 2,
    "hidden_act": "gelu_new",
    "layer_norm_eps": 1e-3,
    "hidden_dropout_prob": 0.2,
    "attention_probs_dropout_prob": 0.3,
    "classifier_dropout": 0.4,
    "pad_token_id": 2,
}
CLASSES = ("BertForMaskedLM", "BertForSequenceClassification", "BertForTokenClassification")


def theirs_of(architecture: str, **settings: Any) -> Any:
    return made(getattr(transformers, architecture), transformers.BertConfig(**settings))


@pytest.mark.parametrize("architecture", CLASSES)
@pytest.mark.parametrize("settings", [SMALL, OTHER], ids=["small", "other"])
def test_the_same_logits(architecture: str, settings: dict[str, Any], tmp_path: Path) -> None:
    theirs = theirs_of(architecture, **settings)
    ours, _ = here(theirs, FAMILY, tmp_path)
    check_texts(theirs, ours, pad=settings.get("pad_token_id", 0), types=settings["type_vocab_size"])


@pytest.mark.parametrize("architecture", CLASSES)
@pytest.mark.parametrize("settings", [SMALL, OTHER], ids=["small", "other"])
def test_the_same_gradients(architecture: str, settings: dict[str, Any], tmp_path: Path) -> None:
    theirs = theirs_of(architecture, **settings)
    ours, _ = here(theirs, FAMILY, tmp_path)
    check_gradients(theirs, ours, FAMILY, tmp_path, pad=settings.get("pad_token_id", 0))


@pytest.mark.parametrize("architecture", CLASSES)
@pytest.mark.parametrize("settings", [SMALL, OTHER], ids=["small", "other"])
def test_written_and_read(architecture: str, settings: dict[str, Any], tmp_path: Path) -> None:
    ids = texts(settings["vocab_size"])
    inputs = {"input_ids": ids, "token_type_ids": ids % settings["type_vocab_size"]}
    check_written(theirs_of(architecture, **settings), FAMILY, tmp_path, inputs)


def test_what_is_described(tmp_path: Path) -> None:
    _, sequence = here(theirs_of("BertForSequenceClassification", **SMALL), FAMILY, tmp_path)
    assert (sequence.task, sequence.labels) == ("classification", ("north", "east", "south", "west", "up", "down"))
    assert (sequence.model.target_vocabulary, sequence.model.head.dropout) == (6, 0.1)
    _, token = here(theirs_of("BertForTokenClassification", **OTHER), FAMILY, tmp_path)
    assert (token.task, token.labels) == ("tagging", ("LABEL_0", "LABEL_1"))  # two labels are not written to config.json
    assert (token.model.dropout, token.model.attention_dropout, token.model.head.dropout) == (0.2, 0.3, 0.4)
    _, masked = here(theirs_of("BertForMaskedLM", **OTHER), FAMILY, tmp_path)
    assert (masked.task, masked.labels, dict(masked.controls)) == ("masked_lm", (), {"pad": 2})


def test_labels_are_in_the_order_of_their_ids() -> None:
    settings = {**SMALL, "id2label": {str(number): f"class {number}" for number in (10, 2, 1, 0, 3, 4, 5, 6, 7, 8, 9)}}
    expected = tuple(f"class {number}" for number in range(11))
    assert FAMILY.describe(settings, "BertForSequenceClassification").labels == expected


@pytest.mark.parametrize(
    "slip", [{"layer_norm_eps": 1e-5}, {"hidden_act": "gelu_new"}, {"hidden_act": "relu"}], ids=["epsilon", "tanh", "relu"]
)
@pytest.mark.parametrize("architecture", CLASSES)
def test_a_slip_shows(architecture: str, slip: dict[str, Any], tmp_path: Path) -> None:
    theirs = theirs_of(architecture, **SMALL)
    assert difference(theirs, here(theirs, FAMILY, tmp_path)[0]) < TOLERANCE
    assert difference(theirs, here(theirs, FAMILY, tmp_path, **slip)[0]) > TOLERANCE


@torch.no_grad()
def test_types_count(tmp_path: Path) -> None:
    ours, _ = here(theirs_of("BertForMaskedLM", **SMALL), FAMILY, tmp_path)
    ids = texts(17)
    assert torch.equal(ours(ids), ours(ids, types=torch.zeros_like(ids)))
    assert worst(ours(ids, types=torch.ones_like(ids)), ours(ids)) > TOLERANCE


@pytest.mark.parametrize("tied", ["once", "twice", "by their other name"])
def test_old_files(tied: str, tmp_path: Path) -> None:
    """As published in 2018: gamma and beta, buffers, the pooler and the head for the next sentence."""
    theirs = theirs_of("BertForPreTraining", **SMALL)
    theirs.save_pretrained(tmp_path)
    settings, weights = read(tmp_path)
    assert {"bert.pooler.dense.weight", "cls.seq_relationship.bias"} <= weights.keys()
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): weight
        for name, weight in weights.items()
    }
    old["bert.embeddings.position_ids"] = torch.arange(13)[None]
    for copy, name in FAMILY.copies.items():
        if tied != "once":
            old[copy] = old[name]
        if tied == "by their other name":
            del old[name]
    described = FAMILY.describe(settings, "BertForMaskedLM")
    plain = transformers.BertForMaskedLM.from_pretrained(tmp_path, dtype=torch.float64)
    ours, _ = here(plain, FAMILY, tmp_path / "plain")
    check_read(ours, FAMILY, described, "BertForMaskedLM", old)


def test_files_without_the_prefix(tmp_path: Path) -> None:
    theirs = theirs_of("BertForMaskedLM", **SMALL)
    ours, described = here(theirs, FAMILY, tmp_path)
    short = {name.removeprefix("bert."): weight for name, weight in read(tmp_path)[1].items()}
    short["pooler.dense.weight"] = torch.zeros(24, 24)
    short["embeddings.position_ids"] = torch.arange(13)[None]
    check_read(ours, FAMILY, described, "BertForMaskedLM", short)


def test_classes_of_one_name_are_told_apart() -> None:
    settings = {**SMALL, "id2label": {"0": "crane", "1": "heron", "2": "crane"}}
    assert FAMILY.describe(settings, "BertForSequenceClassification").labels == ("crane (0)", "heron", "crane (2)")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("position_embedding_type", "relative_key"),
        ("is_decoder", True),
        ("add_cross_attention", True),
        ("problem_type", "multi_label_classification"),
        ("problem_type", "regression"),
        ("id2label", {"0": "how good"}),  # one number: a regression
        ("id2label", {"0": "a", "2": "c"}),
        ("id2label", {"zero": "a", "one": "b"}),
        ("id2label", ["a", "b"]),
        ("num_labels", 1),
    ],
)
def test_refused(setting: str, value: object) -> None:
    settings = {name: known for name, known in SMALL.items() if name != "id2label"}
    FAMILY.describe(settings, "BertForSequenceClassification")
    with pytest.raises(ModelError, match=r"config\.json: (id2label|" + setting + ")"):
        FAMILY.describe({**settings, setting: value}, "BertForSequenceClassification")


def test_refused_for_hidden_words() -> None:
    with pytest.raises(ModelError, match="tie_word_embeddings"):
        FAMILY.describe({**SMALL, "tie_word_embeddings": False}, "BertForMaskedLM")
    with pytest.raises(ModelError, match="another activation"):
        FAMILY.describe({**SMALL, "hidden_act": "tanh"}, "BertForMaskedLM")
    with pytest.raises(ModelError, match="hidden_size"):
        FAMILY.describe({name: value for name, value in SMALL.items() if name != "hidden_size"}, "BertForMaskedLM")


def test_without_types_it_is_no_bert() -> None:
    known = FAMILY.describe(SMALL, "BertForMaskedLM")
    model = replace(known.model, embedding=replace(known.model.embedding, types=0))
    with pytest.raises(ModelError, match="needs token types"):
        FAMILY.settings(replace(known, model=model), "BertForMaskedLM")
