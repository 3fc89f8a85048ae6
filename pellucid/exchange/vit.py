"""ViT (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021): an encoder over the squares of a picture, pre-norm."""

from __future__ import annotations

from typing import Any

from pellucid.base.config import HeadConfig, ModelConfig, PictureConfig, StackConfig
from pellucid.base.errors import ModelError
from pellucid.exchange.bert import ACTIVATIONS, activation_named, classes, label_settings, labels_of, layers
from pellucid.exchange.family import Described, Family, Settings, activation_of, given, refuse, required, there
from pellucid.exchange.pieces import Piece, linear, same, shaped

_LAYER = {  # the parts of a layer, ours and theirs
    "self_attn.query": "attention.attention.query",
    "self_attn.key": "attention.attention.key",
    "self_attn.value": "attention.attention.value",
    "self_attn.output": "attention.output.dense",
    "self_attn_residual.norm": "layernorm_before",
    "feed_forward.hidden": "intermediate.dense",
    "feed_forward.output": "output.dense",
    "feed_forward_residual.norm": "layernorm_after",
}


def describe(settings: Settings, architecture: str) -> Described:
    """Their config.json as ours."""
    refuse(settings, "ViT", qkv_bias=True)
    d_model, n_layers, n_heads = required(settings, "hidden_size", "num_hidden_layers", "num_attention_heads")
    (d_ff,) = required(settings, "intermediate_size")
    stack, labels = StackConfig(n_layers=n_layers, n_heads=n_heads, d_ff=d_ff), labels_of(settings, "ViT")
    (height, width), (side, other) = _pair(settings, "image_size"), _pair(settings, "patch_size")
    if side != other:
        raise ModelError("squares are expected", where="config.json: patch_size", expected=side, found=[side, other])
    picture = PictureConfig(patch=side, height=height, width=width, channels=given(settings, "num_channels", 3))
    model = ModelConfig(
        architecture="encoder",
        d_model=d_model,
        encoder=stack,
        decoder=stack,
        dropout=given(settings, "hidden_dropout_prob", 0.0),
        attention_dropout=given(settings, "attention_probs_dropout_prob", 0.0),
        norm="pre",
        norm_epsilon=given(settings, "layer_norm_eps", 1e-12),
        activation=activation_of(given(settings, "hidden_act", "gelu"), ACTIVATIONS, "ViT"),
        positions="learned",
        max_length=picture.n_patches + 1,  # the class token comes first
        picture=picture,
        head=HeadConfig(pool="class", bias=True),
        tie="none",
        target_vocabulary=len(labels),
    )
    return Described("picture_classification", model, labels)


def _pair(settings: Settings, name: str) -> tuple[int, int]:
    """Height and width; one number is both."""
    there(settings, name)
    said = settings[name]
    if isinstance(said, (list, tuple)) and len(said) == 2:
        height, width = (required({name: each}, name)[0] for each in said)
        return height, width
    (both,) = required(settings, name)
    return both, both


def settings(described: Described, architecture: str) -> dict[str, Any]:
    """Ours as their config.json."""
    model = described.model
    picture = model.picture
    square = picture.height == picture.width
    return {
        "hidden_size": model.d_model,
        "num_hidden_layers": model.encoder.n_layers,
        "num_attention_heads": model.encoder.n_heads,
        "intermediate_size": model.encoder.d_ff,
        "hidden_act": activation_named(model),
        "hidden_dropout_prob": model.dropout,
        "attention_probs_dropout_prob": model.attention_dropout,
        "layer_norm_eps": model.norm_epsilon,
        "image_size": picture.height if square else [picture.height, picture.width],
        "patch_size": picture.patch,
        "num_channels": picture.channels,
        "qkv_bias": True,
    } | label_settings(described.labels)


def pieces(model: ModelConfig, architecture: str) -> list[Piece]:
    """Their weights and ours. The projection of a square is a convolution there, whose steps are as long as its kernel."""
    width, picture, theirs = model.d_model, model.picture, "vit.embeddings"
    project, kernel = "encoder.embed.project", (width, picture.channels, picture.patch, picture.patch)
    return [
        shaped(f"{project}.weight", f"{theirs}.patch_embeddings.projection.weight", (width, -1), kernel),
        same(f"{project}.bias", f"{theirs}.patch_embeddings.projection.bias"),
        shaped("encoder.embed.class_token", f"{theirs}.cls_token", (width,), (1, 1, width)),
        shaped("encoder.positions.weight", f"{theirs}.position_embeddings", (-1, width), (1, -1, width)),
        *layers(model, "vit.encoder.layer", _LAYER),
        *linear("encoder.norm", "vit.layernorm"),
        *classes("classifier"),
    ]


FAMILY = Family(
    name="vit",
    classes={"ViTForImageClassification": "picture_classification"},
    prefix="vit.",
    describe=describe,
    settings=settings,
    pieces=pieces,
    ignored=(r"(^|\.)pooler\.dense\.", r"(^|\.)embeddings\.mask_token$"),
)
