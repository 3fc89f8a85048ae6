"""RoBERTa (Liu et al., 2019): BERT, trained otherwise. Its heads have other names, and its positions start at 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.base.config import HeadConfig, ModelConfig, Task
from pellucid.base.errors import ModelError
from pellucid.exchange import bert
from pellucid.exchange.family import Described, Family, Settings, refuse
from pellucid.exchange.pieces import Piece, linear

CLASSES: Mapping[str, Task] = {
    "RobertaForMaskedLM": "masked_lm",
    "RobertaForSequenceClassification": "classification",
    "RobertaForTokenClassification": "tagging",
}
_PAD = 1  # id of the padding token in every RoBERTa
_UNUSED = _PAD + 1  # positions are counted from the one after the padding's id; padding has a position of its own
_HEADS: Mapping[Task, HeadConfig] = {
    "masked_lm": HeadConfig(transform="norm", activation="gelu", bias=True),  # whatever the layers' activation is
    # In training they drop out the vector in front of the dense layer too; we do not.
    "classification": HeadConfig(pool="class", transform="dense", activation="tanh", bias=True),
    "tagging": HeadConfig(bias=True),
}


def describe(settings: Settings, architecture: str) -> Described:
    """Their config.json as ours."""
    refuse(
        settings, "RoBERTa", position_embedding_type="absolute", is_decoder=False, add_cross_attention=False, pad_token_id=_PAD
    )
    task = CLASSES[architecture]
    return bert.described({"pad_token_id": _PAD, **settings}, task, _HEADS[task], "RoBERTa", _UNUSED)


def settings(described: Described, architecture: str) -> dict[str, Any]:
    """Ours as their config.json.

    Raises:
        ModelError: padding has another id than RoBERTa counts its positions from, or tokens have no types.
    """
    pad = described.controls.get("pad")
    if pad not in (None, _PAD):
        advice = "write it as a BERT model"
        raise ModelError("RoBERTa needs another id for padding", expected=_PAD, found=pad, advice=advice)
    return bert.with_types(bert.written(described, _UNUSED), "RoBERTa") | {"pad_token_id": _PAD}


def pieces(model: ModelConfig, architecture: str) -> list[Piece]:
    """Their weights and ours."""
    task = CLASSES[architecture]
    found = [
        *bert.embeddings(model, "roberta.embeddings", _UNUSED),
        *bert.layers(model, "roberta.encoder.layer", bert.LAYER),
    ]
    if task == "masked_lm":
        return [*found, *bert.masked_head("lm_head.dense", "lm_head.layer_norm", "lm_head")]
    if task == "classification":
        return [*found, *linear("head.transform.dense", "classifier.dense"), *bert.classes("classifier.out_proj")]
    return found + bert.classes("classifier")


FAMILY = Family(
    name="roberta",
    classes=CLASSES,
    prefix="roberta.",
    describe=describe,
    settings=settings,
    pieces=pieces,
    ignored=(r"(^|\.)embeddings\.position_ids$", r"(^|\.)pooler\.dense\."),
    copies={
        "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
        "lm_head.decoder.bias": "lm_head.bias",
    },
)
