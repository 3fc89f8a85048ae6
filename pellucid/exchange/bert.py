"""BERT (Devlin et al., 2019): an encoder alone, post-norm, with learned positions and token types.

RoBERTa, DistilBERT and ViT build on the functions here: they say most things with BERT's words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pellucid.base.config import EmbeddingConfig, HeadConfig, ModelConfig, StackConfig, Task
from pellucid.base.errors import ModelError
from pellucid.exchange.family import Described, Family, Settings, activation_of, given, refuse, required
from pellucid.exchange.pieces import Piece, linear, same, without_first_rows

ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "silu": "silu"}
CLASSES: Mapping[str, Task] = {
    "BertForMaskedLM": "masked_lm",
    "BertForSequenceClassification": "classification",
    "BertForTokenClassification": "tagging",
}
_MOST_CLASSES = 1_000_000  # that are counted without a name
LAYER = {  # the parts of a layer, ours and theirs
    "self_attn.query": "attention.self.query",
    "self_attn.key": "attention.self.key",
    "self_attn.value": "attention.self.value",
    "self_attn.output": "attention.output.dense",
    "self_attn_residual.norm": "attention.output.LayerNorm",
    "feed_forward.hidden": "intermediate.dense",
    "feed_forward.output": "output.dense",
    "feed_forward_residual.norm": "output.LayerNorm",
}


def describe(settings: Settings, architecture: str) -> Described:
    """Their config.json as ours."""
    refuse(settings, "BERT", position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
    activation = activation_of(given(settings, "hidden_act", "gelu"), ACTIVATIONS, "BERT")
    transforms: dict[Task, HeadConfig] = {
        "masked_lm": HeadConfig(transform="norm", activation=activation, bias=True),
        "classification": HeadConfig(pool="class", transform="dense", activation="tanh", bias=True),
        "tagging": HeadConfig(bias=True),
    }
    return described(settings, CLASSES[architecture], transforms[CLASSES[architecture]], "BERT")


def described(settings: Settings, task: Task, head: HeadConfig, family: str, unused_positions: int = 0) -> Described:
    """An encoder in BERT's words, as ours.

    Args:
        settings: with BERT's names.
        task: what it does.
        head: without its dropout.
        family: for messages.
        unused_positions: rows at the start of the table of positions that no token gets.

    Raises:
        ModelError: a setting is missing, or not understood.
    """
    vocabulary, d_model, positions = required(settings, "vocab_size", "hidden_size", "max_position_embeddings")
    n_layers, n_heads, d_ff = required(settings, "num_hidden_layers", "num_attention_heads", "intermediate_size")
    stack = StackConfig(n_layers=n_layers, n_heads=n_heads, d_ff=d_ff)
    labels: tuple[str, ...] = ()
    dropout = given(settings, "hidden_dropout_prob", 0.1)
    if task == "masked_lm":
        refuse(settings, family, tie_word_embeddings=True)
    else:
        labels = labels_of(settings, family)
        of_head = dropout if settings.get("classifier_dropout") is None else given(settings, "classifier_dropout", 0.0)
        head = replace(head, dropout=of_head)
    model = ModelConfig(
        architecture="encoder",
        d_model=d_model,
        encoder=stack,
        decoder=stack,
        dropout=dropout,
        attention_dropout=given(settings, "attention_probs_dropout_prob", 0.1),
        norm="post",
        norm_epsilon=given(settings, "layer_norm_eps", 1e-12),
        activation=activation_of(given(settings, "hidden_act", "gelu"), ACTIVATIONS, family),
        positions="learned",
        max_length=positions - unused_positions,
        embedding=EmbeddingConfig(scale=False, types=given(settings, "type_vocab_size", 2), norm=True),
        head=head,
        tie="all" if task == "masked_lm" else "none",
        source_vocabulary=vocabulary,
        target_vocabulary=len(labels) or vocabulary,
    )
    return Described(task, model, labels, {"pad": settings.get("pad_token_id")})


def labels_of(settings: Settings, family: str) -> tuple[str, ...]:
    """Names of the classes, in the order of the logits. Two without a name are what config.json leaves out.

    Classes of one name (ImageNet has two cranes) get their number behind it.

    Raises:
        ModelError: the logits are not those of classes that exclude each other, or the ids of the names have gaps.
    """
    if settings.get("problem_type") is not None:
        refuse(settings, family, problem_type="single_label_classification")
    named = settings.get("id2label") or {n: f"LABEL_{n}" for n in range(min(given(settings, "num_labels", 2), _MOST_CLASSES))}
    try:
        names = {int(number): str(name) for number, name in named.items()}
    except (AttributeError, ValueError):  # no object, or a key that is no number
        names = {}
    if len(names) < 2 or sorted(names) != list(range(len(names))):  # a single logit is a number to regress
        expected = "the ids 0, 1, ... of two classes or more"
        raise ModelError("these are not classes", where="config.json: id2label", expected=expected, found=named)
    times = Counter(names.values())
    return tuple(names[n] if times[names[n]] == 1 else f"{names[n]} ({n})" for n in range(len(names)))


def settings(described: Described, architecture: str) -> dict[str, Any]:
    """Ours as their config.json. Raises as :func:`with_types`."""
    return with_types(written(described), "BERT")


def with_types(settings: dict[str, Any], family: str) -> dict[str, Any]:
    """The settings, where tokens have types: BERT adds the vector of a type to each.

    Raises:
        ModelError: they have none.
    """
    if settings["type_vocab_size"] < 1:
        what, advice = f"{family} needs token types", "write it as a DistilBERT model, which has none"
        raise ModelError(what, expected="model.embedding.types: 1 or more", found=0, advice=advice)
    return settings


def written(described: Described, unused_positions: int = 0) -> dict[str, Any]:
    """An encoder of ours in BERT's words; see :func:`described`."""
    model = described.model
    found = {
        "vocab_size": model.source_vocabulary,
        "hidden_size": model.d_model,
        "num_hidden_layers": model.encoder.n_layers,
        "num_attention_heads": model.encoder.n_heads,
        "intermediate_size": model.encoder.d_ff,
        "hidden_act": activation_named(model),
        "hidden_dropout_prob": model.dropout,
        "attention_probs_dropout_prob": model.attention_dropout,
        "max_position_embeddings": model.max_length + unused_positions,
        "type_vocab_size": model.embedding.types,
        "layer_norm_eps": model.norm_epsilon,
        "pad_token_id": described.controls.get("pad"),
    }
    if described.labels:
        found["classifier_dropout"] = model.head.dropout
    return found | label_settings(described.labels)


def activation_named(model: ModelConfig) -> str:
    """Their name of the activation."""
    return {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}.get(model.activation, "gelu")


def label_settings(labels: tuple[str, ...]) -> dict[str, Any]:
    """The names of the classes as they write them."""
    if not labels:
        return {}
    return {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }


def pieces(model: ModelConfig, architecture: str) -> list[Piece]:
    """Their weights and ours."""
    found = [*embeddings(model, "bert.embeddings"), *layers(model, "bert.encoder.layer", LAYER)]
    if CLASSES[architecture] == "masked_lm":
        return [
            *found,
            *masked_head("cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm", "cls.predictions"),
        ]
    if CLASSES[architecture] == "classification":
        found += linear("head.transform.dense", "bert.pooler.dense")
    return found + classes("classifier")


def embeddings(model: ModelConfig, theirs: str, unused_positions: int = 0) -> list[Piece]:
    """Tokens, positions, types and the norm of their sum."""
    matrix = "shared" if model.tie == "all" else "source"
    found = [
        same(f"weights.{matrix}", f"{theirs}.word_embeddings.weight"),
        without_first_rows("encoder.positions.weight", f"{theirs}.position_embeddings.weight", unused_positions),
        *linear("encoder.embed.norm", f"{theirs}.LayerNorm"),
    ]
    if model.embedding.types:
        found.append(same("encoder.embed.types", f"{theirs}.token_type_embeddings.weight"))
    return found


def layers(model: ModelConfig, theirs: str, names: Mapping[str, str]) -> list[Piece]:
    """All layers, whose parts have these ``names``, ours to theirs."""
    found: list[Piece] = []
    for number in range(model.encoder.n_layers):
        for part, name in names.items():
            found += linear(f"encoder.layers.{number}.{part}", f"{theirs}.{number}.{name}")
    return found


def masked_head(dense: str, norm: str, bias: str) -> list[Piece]:
    """The head that names hidden tokens; its matrix is that of the embedding."""
    return [
        *linear("head.transform.dense", dense),
        *linear("head.transform.norm", norm),
        same("head.bias", f"{bias}.bias"),
    ]


def classes(theirs: str) -> list[Piece]:
    """The last projection, to the classes."""
    return [same("weights.output", f"{theirs}.weight"), same("head.bias", f"{theirs}.bias")]


FAMILY = Family(
    name="bert",
    classes=CLASSES,
    prefix="bert.",
    describe=describe,
    settings=settings,
    pieces=pieces,
    ignored=(r"(^|\.)embeddings\.position_ids$", r"(^|\.)pooler\.dense\.", r"^cls\.seq_relationship\."),
    copies={
        "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
        "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
)
