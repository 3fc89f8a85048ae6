"""Imported models in use: their numbers without a tokenizer, what then refuses texts, and pictures from files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from encoder_decoders import SOURCE_REAL, source_ids, target_ids
from parity import REAL, prompts, randomised
from PIL import Image
from saved_models import V, saved
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

import pellucid
from pellucid.base.errors import ModelError
from pellucid.tasks.imports import export_model, import_model
from pellucid.tasks.preprocessor import PREPROCESSOR

VIT = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3, "image_size": [12, 20]}
HOW: dict[str, Any] = {
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_processor_type": "ViTImageProcessor",
    "image_std": [0.5, 0.6, 0.7],
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    "size": {"height": 12, "width": 20},
}


def with_sines(change: Callable[[Any], Any], theirs: Any) -> Any:
    """The changed model, but for its tables of sines: they are what they are."""
    tables = {name: table.clone() for name, table in theirs.state_dict().items() if "embed_positions" in name}
    theirs = change(theirs)
    theirs.load_state_dict(tables, strict=False)
    return theirs


def imported(theirs: Any, directory: Path) -> tuple[Any, Any]:
    """A model of theirs with random numbers, and the same here, by way of files."""
    theirs = with_sines(randomised, theirs).float()
    theirs.save_pretrained(directory / "theirs")
    import_model(directory / "theirs", directory / "ours")
    return theirs, pellucid.load(directory / "ours")


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected.detach(), rtol=1e-4, atol=1e-4)


def refuses(act: Callable[[], object]) -> None:
    with pytest.raises(ModelError, match="no tokenizer"):
        act()


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_one_stack_without_a_tokenizer(name: str, tmp_path: Path) -> None:
    theirs = saved(name, tmp_path / "theirs")
    import_model(tmp_path / "theirs", tmp_path / "ours")
    ours, ids = pellucid.load(tmp_path / "ours"), prompts(V)
    close(ours.logits(ids), theirs(ids).logits)
    pooled = slice(None) if name == "bert" else REAL
    close(ours.logits(ids, mask=REAL)[pooled], theirs(ids, attention_mask=REAL.long()).logits[pooled])
    refuses(lambda: ours.classify("a text") if name == "bert" else ours.generate("a text"))


def test_an_encoder_decoder_without_a_tokenizer(tmp_path: Path) -> None:
    shape = {"vocab_size": 37, "d_model": 12, "d_kv": 4, "d_ff": 18, "num_layers": 2, "num_heads": 3}
    config = transformers.T5Config(**shape, decoder_start_token_id=0)
    theirs, ours = imported(transformers.T5ForConditionalGeneration(config), tmp_path)
    source, target = source_ids(37), target_ids(37)
    found = ours.logits(source, mask=SOURCE_REAL, target_ids=target)
    close(found, theirs(input_ids=source, attention_mask=SOURCE_REAL.long(), decoder_input_ids=target).logits)
    refuses(lambda: ours.generate("a text"))
    with pytest.raises(ModelError, match="target_ids"):
        ours.logits(source)


def test_a_translator_without_a_tokenizer(tmp_path: Path) -> None:
    sides = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("layers", 1), ("attention_heads", 3))}
    shape = {"vocab_size": 37, "d_model": 12, "encoder_ffn_dim": 18, "decoder_ffn_dim": 18, "pad_token_id": 0}
    config = transformers.MarianConfig(**shape, **sides, decoder_start_token_id=0, eos_token_id=1)
    theirs, ours = imported(transformers.MarianMTModel(config), tmp_path)
    source, target = source_ids(37), target_ids(37)
    close(ours.logits(source, target_ids=target), theirs(input_ids=source, decoder_input_ids=target).logits)
    refuses(lambda: ours.translate("a text"))


def vit(directory: Path, how: dict[str, Any] | None) -> tuple[Any, Any]:
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**VIT, patch_size=4, num_labels=3))
    (directory / "theirs").mkdir()
    if how is not None:
        (directory / "theirs" / PREPROCESSOR).write_text(json.dumps(how))
    return imported(model, directory)


def picture(path: Path) -> Path:
    """A small photograph of noise, neither of the model's size nor of its shape."""
    pixels = np.random.default_rng(3).integers(0, 256, (31, 43, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_pixels_alone(tmp_path: Path) -> None:
    theirs, ours = vit(tmp_path, None)
    pixels = torch.randn((2, 3, 12, 20), generator=torch.Generator().manual_seed(1))
    close(ours.logits(pixels), theirs(pixel_values=pixels).logits)
    with pytest.raises(ModelError, match="how pictures become numbers"):
        ours.classify(picture(tmp_path / "noise.png"))


@pytest.mark.parametrize("change", [{}, {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}, {"do_normalize": False}], ids=str)
def test_a_picture_from_a_file(change: dict[str, Any], tmp_path: Path) -> None:
    """The pixels of their processor, and the logits of their model, before and after our export."""
    theirs, ours = vit(tmp_path, {**HOW, **change})
    file = picture(tmp_path / "noise.png")
    with Image.open(file) as opened:
        expected = ViTImageProcessorPil.from_pretrained(tmp_path / "theirs")(opened, return_tensors="pt").pixel_values
    assert expected.shape == (1, 3, 12, 20)
    torch.testing.assert_close(ours.pixels([file]), expected, rtol=1e-6, atol=1e-6)
    logits = theirs(pixel_values=expected).logits
    close(ours.logits(ours.pixels([file])), logits)
    [answer] = ours.classify(file)
    close(torch.tensor(list(answer.probabilities.values())), logits.softmax(-1)[0])
    export_model(tmp_path / "ours", tmp_path / "back")
    with Image.open(file) as opened:
        again = ViTImageProcessorPil.from_pretrained(tmp_path / "back")(opened, return_tensors="pt").pixel_values
    assert torch.equal(again, expected)


def test_cutting_is_not_known_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vit(tmp_path, {**HOW, "fit": "crop"})
    export_model(tmp_path / "ours", tmp_path / "back")
    assert "cut here, and stretched there" in capsys.readouterr().err


def test_the_settings_of_the_first_release(tmp_path: Path) -> None:
    """One number for the size, and the rest left to defaults."""
    shape = {**VIT, "image_size": 12}
    (tmp_path / "theirs").mkdir()
    how = {"do_normalize": True, "do_resize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2, "size": 12}
    (tmp_path / "theirs" / PREPROCESSOR).write_text(json.dumps(how))
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**shape, patch_size=4, num_labels=3))
    _, ours = imported(model, tmp_path)
    file = picture(tmp_path / "noise.png")
    with Image.open(file) as opened:
        expected = ViTImageProcessorPil.from_pretrained(tmp_path / "theirs")(opened, return_tensors="pt").pixel_values
    torch.testing.assert_close(ours.pixels([file]), expected, rtol=1e-6, atol=1e-6)
