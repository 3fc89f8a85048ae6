"""DistilBERT (Sanh et al., 2019): half of BERT's layers, without token types and without its pooler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pellucid.base.config import HeadConfig, ModelConfig, Task
from pellucid.exchange import bert
from pellucid.exchange.family import Described, Family, Settings, activation_of, given, required
from pellucid.exchange.pieces import Piece, linear

CLASSES: Mapping[str, Task] = {
    "DistilBertForMaskedLM": "masked_lm",
    "DistilBertForSequenceClassification": "classification",
    "DistilBertForTokenClassification": "tagging",
}
_NAMES = {  # of the settings, theirs and BERT's
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}
_FIXED = {"layer_norm_eps": 1e-12, "type_vocab_size": 0}  # no settings here
_LAYER = {  # the parts of a layer, ours and theirs
    "self_attn.query": "attention.q_lin",
    "self_attn.key": "attention.k_lin",
    "self_attn.value": "attention.v_lin",
    "self_attn.output": "attention.out_lin",
    "self_attn_residual.norm": "sa_layer_norm",
    "feed_forward.hidden": "ffn.lin1",
    "feed_forward.output": "ffn.lin2",
    "feed_forward_residual.norm": "output_layer_norm",
}


def describe(settings: Settings, architecture: str) -> Described:
    """Their config.json as ours. (``sinusoidal_pos_embds`` says only how the table of positions was first filled.)"""
    required(settings, "dim", "n_layers", "n_heads", "hidden_dim")
    task = CLASSES[architecture]
    activation = activation_of(given(settings, "activation", "gelu"), bert.ACTIVATIONS, "DistilBERT")
    heads: dict[Task, HeadConfig] = {
        "masked_lm": HeadConfig(transform="norm", activation=activation, bias=True),
        "classification": HeadConfig(pool="class", transform="dense", activation="relu", bias=True),
        "tagging": HeadConfig(bias=True),
    }
    renamed = {_NAMES.get(name, name): value for name, value in settings.items()} | _FIXED
    renamed["classifier_dropout"] = given(settings, "seq_classif_dropout", 0.2) if task == "classification" else None
    return bert.described(renamed, task, heads[task], "DistilBERT")


def settings(described: Described, architecture: str) -> dict[str, Any]:
    """Ours as their config.json."""
    found = bert.written(described)
    found = {theirs: found.pop(name) for theirs, name in _NAMES.items()} | found
    for name in _FIXED:
        found.pop(name)
    dropout = found.pop("classifier_dropout", None)
    return found | ({"seq_classif_dropout": dropout} if described.task == "classification" else {})


def pieces(model: ModelConfig, architecture: str) -> list[Piece]:
    """Their weights and ours."""
    task = CLASSES[architecture]
    found = [*bert.embeddings(model, "distilbert.embeddings"), *bert.layers(model, "distilbert.transformer.layer", _LAYER)]
    if task == "masked_lm":
        return [*found, *bert.masked_head("vocab_transform", "vocab_layer_norm", "vocab_projector")]
    if task == "classification":
        found += linear("head.transform.dense", "pre_classifier")
    return found + bert.classes("classifier")


FAMILY = Family(
    name="distilbert",
    classes=CLASSES,
    prefix="distilbert.",
    describe=describe,
    settings=settings,
    pieces=pieces,
    ignored=(r"(^|\.)embeddings\.position_ids$",),
    copies={"vocab_projector.weight": "distilbert.embeddings.word_embeddings.weight"},
)
