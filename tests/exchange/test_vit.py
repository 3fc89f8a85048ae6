"""ViT against ``transformers``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from encoders import TOLERANCE, check_read, check_written, compare_gradients, here, made, read
from parity import worst
from torch import Tensor

from pellucid.base.errors import ModelError
from pellucid.exchange.vit import FAMILY
from pellucid.model.transformer import EncoderOnly

CLASS = "ViTForImageClassification"
OBLONG: dict[str, Any] = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 20,
    "image_size": [8, 20],
    "patch_size": 4,
    "id2label": {0: "north", 1: "east", 2: "south", 3: "west", 4: "up"},
}
GREY: dict[str, Any] = {
    "hidden_size": 30,
    "num_hidden_layers": 1,
    "num_attention_heads": 5,
    "intermediate_size": 22,
    "image_size": 9,
    "patch_size": [3, 3],
    "num_channels": 1,
    "hidden_act": "gelu_new",
    "layer_norm_eps": 1e-3,
    "hidden_dropout_prob": 0.2,
    "attention_probs_dropout_prob": 0.3,
    "num_labels": 7,
}
BOTH = pytest.mark.parametrize("settings", [OBLONG, GREY], ids=["oblong", "grey"])


def theirs_of(**settings: Any) -> Any:
    return made(transformers.ViTForImageClassification, transformers.ViTConfig(**settings))


def pictures(settings: dict[str, Any]) -> Tensor:
    """Six of them, numbers of order 1."""
    height, width = (9, 9) if settings["image_size"] == 9 else settings["image_size"]
    shape = (6, settings.get("num_channels", 3), height, width)
    return torch.randn(shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)


@torch.no_grad()
def difference(theirs: Any, ours: EncoderOnly, settings: dict[str, Any]) -> float:
    pixels = pictures(settings)
    return worst(ours(pixels), theirs(pixel_values=pixels).logits)


@BOTH
def test_the_same_logits(settings: dict[str, Any], tmp_path: Path) -> None:
    theirs = theirs_of(**settings)
    ours, _ = here(theirs, FAMILY, tmp_path)
    assert difference(theirs, ours, settings) < TOLERANCE


@BOTH
def test_the_same_gradients(settings: dict[str, Any], tmp_path: Path) -> None:
    theirs = theirs_of(**settings)
    ours, _ = here(theirs, FAMILY, tmp_path)
    pixels = pictures(settings)
    ours(pixels).square().mean().backward()
    theirs(pixel_values=pixels).logits.square().mean().backward()
    compare_gradients(theirs, ours, FAMILY, tmp_path)


@BOTH
def test_written_and_read(settings: dict[str, Any], tmp_path: Path) -> None:
    theirs = theirs_of(**settings)
    check_written(theirs, FAMILY, tmp_path, {"pixel_values": pictures(settings)})


def test_what_is_described(tmp_path: Path) -> None:
    _, oblong = here(theirs_of(**OBLONG), FAMILY, tmp_path)
    assert (oblong.task, oblong.labels) == ("picture_classification", ("north", "east", "south", "west", "up"))
    picture = oblong.model.picture
    assert (picture.height, picture.width, picture.patch, picture.channels, oblong.model.max_length) == (8, 20, 4, 3, 11)
    _, grey = here(theirs_of(**GREY), FAMILY, tmp_path)
    assert (len(grey.labels), grey.model.target_vocabulary, grey.model.picture.channels) == (7, 7, 1)
    assert (grey.model.dropout, grey.model.attention_dropout, grey.model.head.dropout) == (0.2, 0.3, 0.0)


@pytest.mark.parametrize(
    "slip",
    [{"layer_norm_eps": 1e-5}, {"hidden_act": "gelu_new"}, {"image_size": [20, 8]}],
    ids=["epsilon", "tanh", "turned"],
)
def test_a_slip_shows(slip: dict[str, Any], tmp_path: Path) -> None:
    theirs = theirs_of(**OBLONG)
    ours, described = here(theirs, FAMILY, tmp_path, **slip)
    if "image_size" in slip:
        assert (described.model.picture.height, described.model.picture.width) == (20, 8)
        with torch.no_grad():
            pixels = pictures(OBLONG)
            assert worst(ours(pixels.transpose(2, 3)), theirs(pixel_values=pixels).logits) > TOLERANCE
    else:
        assert difference(theirs, ours, OBLONG) > TOLERANCE


@pytest.mark.parametrize("name", ["encoder.positions.weight", "encoder.embed.project.weight"])
def test_rows_or_columns_shifted_show(name: str, tmp_path: Path) -> None:
    theirs = theirs_of(**OBLONG)
    ours, _ = here(theirs, FAMILY, tmp_path)
    weight = ours.get_parameter(name)
    with torch.no_grad():
        weight.copy_(weight.roll(1, dims=0 if "positions" in name else 1))
    assert difference(theirs, ours, OBLONG) > TOLERANCE


def test_weights_of_no_use(tmp_path: Path) -> None:
    ours, described = here(theirs_of(**OBLONG), FAMILY, tmp_path)
    weights = read(tmp_path)[1]
    weights["vit.pooler.dense.weight"] = torch.zeros(24, 24)
    weights["vit.embeddings.mask_token"] = torch.zeros(1, 1, 24)
    check_read(ours, FAMILY, described, CLASS, weights)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("qkv_bias", False),
        ("patch_size", [4, 2]),
        ("problem_type", "multi_label_classification"),
        ("id2label", {"0": "one alone"}),
    ],
)
def test_refused(setting: str, value: object) -> None:
    FAMILY.describe(OBLONG, CLASS)
    with pytest.raises(ModelError, match=r"config\.json: " + setting):
        FAMILY.describe({**OBLONG, setting: value}, CLASS)
