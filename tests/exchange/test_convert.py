"""Public models into our directory and back: what is kept, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from parity import prompts, randomised
from safetensors.torch import load_file
from saved_models import GPT2, MAKE, V, alter, edit, logits, saved, vocabulary
from torch import Tensor
from transformers import (
    AutoTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    ViTConfig,
    ViTForImageClassification,
)

from pellucid.base.errors import ModelError, UsageError
from pellucid.tasks.imports import export_model, import_model
from pellucid.tasks.model_directory import WEIGHTS, load_model, load_tokenizers, read_config
from pellucid.text.imported import ImportedTokenizer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", MAKE)
def test_there_and_back(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """Numbers stay the bits that they are, and are read as float32; a second import writes the same file."""
    theirs = saved(name, tmp_path / "theirs", dtype, max_shard_size="20KB")
    assert len(list((tmp_path / "theirs").glob("*.safetensors"))) > 1
    config = import_model(tmp_path / "theirs", tmp_path / "ours")
    assert read_config(tmp_path / "ours") == config
    assert {tensor.dtype for tensor in load_file(tmp_path / "ours" / WEIGHTS).values()} == {dtype}
    model = load_model(tmp_path / "ours", config)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    ids = prompts(V)
    with torch.no_grad():
        whole = type(theirs).from_pretrained(tmp_path / "theirs", dtype=torch.float32)
        torch.testing.assert_close(model(ids), whole(ids).logits, rtol=1e-4, atol=1e-4)

    assert export_model(tmp_path / "ours", tmp_path / "back") == type(theirs).__name__
    back = type(theirs).from_pretrained(tmp_path / "back")
    assert back.dtype == dtype
    for weight, other in zip(back.state_dict().values(), theirs.to(dtype).state_dict().values(), strict=True):
        assert torch.equal(weight, other)
    import_model(tmp_path / "back", tmp_path / "again")
    for file in ("config.json", WEIGHTS):
        assert (tmp_path / "again" / file).read_bytes() == (tmp_path / "ours" / file).read_bytes()


def test_the_tokenizer_goes_along(tmp_path: Path) -> None:
    theirs, ours, back = tmp_path / "theirs", tmp_path / "ours", tmp_path / "back"
    saved("gpt2", theirs)
    vocabulary(theirs)
    config = import_model(theirs, ours)
    assert (config.task, config.text.tokenizer, config.text.joint) == ("language_modelling", "imported", True)
    found = load_tokenizers(ours, config)
    assert found is not None
    assert found[0] is found[1]
    assert isinstance(found[0], ImportedTokenizer)
    assert (found[0].start, found[0].end) == (0, 0)
    texts = ["the cat sat", " on  mats\n", "été 日本"]
    expected = [AutoTokenizer.from_pretrained(theirs)(text).input_ids for text in texts]
    assert found[0].encode_batch(texts) == expected
    export_model(ours, back)
    assert [AutoTokenizer.from_pretrained(back)(text).input_ids for text in texts] == expected
    assert json.loads((back / "config.json").read_text())["eos_token_id"] == 0


def test_a_model_without_vocabulary(tmp_path: Path) -> None:
    theirs = saved("llama", tmp_path / "theirs")
    config = import_model(tmp_path / "theirs", tmp_path / "ours")
    assert load_tokenizers(tmp_path / "ours", config) is None
    with torch.no_grad():
        torch.testing.assert_close(logits(tmp_path / "ours", prompts(V)), theirs(prompts(V)).logits, rtol=1e-4, atol=1e-4)


def test_names_of_classes(tmp_path: Path) -> None:
    saved("bert", tmp_path / "theirs")
    config = import_model(tmp_path / "theirs", tmp_path / "ours")
    assert (config.task, config.model.target_vocabulary) == ("classification", 3)
    assert json.loads((tmp_path / "ours" / "labels.json").read_text()) == ["bad", "good", "neither"]
    export_model(tmp_path / "ours", tmp_path / "back", "bert")
    written = json.loads((tmp_path / "back" / "config.json").read_text())
    assert written["id2label"] == {"0": "bad", "1": "good", "2": "neither"}


def test_how_pictures_are_made_ready_goes_along(tmp_path: Path) -> None:
    shape = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 3}
    model = ViTForImageClassification(ViTConfig(**shape, image_size=12, patch_size=4, num_labels=3))
    randomised(model).float().save_pretrained(tmp_path / "theirs")
    content = b'{"image_mean": [0.5, 0.5, 0.5]}'
    (tmp_path / "theirs" / "preprocessor_config.json").write_bytes(content)
    assert import_model(tmp_path / "theirs", tmp_path / "ours").task == "picture_classification"
    assert export_model(tmp_path / "ours", tmp_path / "back") == "ViTForImageClassification"
    for directory in ("ours", "back"):
        assert (tmp_path / directory / "preprocessor_config.json").read_bytes() == content


def test_both_of_tied_matrices_and_old_buffers(tmp_path: Path) -> None:
    """Files may hold a copy of the tied matrix, or only that copy, names without prefix, and masks."""
    theirs = saved("gpt2", tmp_path / "theirs")
    matrix = "transformer.wte.weight"
    changes: list[Callable[[dict[str, Tensor]], object]] = [
        lambda weights: weights.update({"lm_head.weight": weights[matrix].clone(), "h.0.attn.bias": torch.ones(29, 29)}),
        lambda weights: weights.pop(matrix),
        lambda weights: [weights.update({name.removeprefix("transformer."): weights.pop(name)}) for name in sorted(weights)],
    ]
    expected = theirs(prompts(V)).logits
    for number, change in enumerate(changes):
        alter(tmp_path / "theirs", change)
        import_model(tmp_path / "theirs", tmp_path / f"ours{number}")
        torch.testing.assert_close(logits(tmp_path / f"ours{number}", prompts(V)), expected, rtol=1e-4, atol=1e-4)


def test_a_copy_of_a_tied_matrix_with_other_numbers(tmp_path: Path) -> None:
    saved("gpt2", tmp_path / "theirs")
    for other in (torch.ones(V, 24), torch.ones(V, 25), torch.ones(V, 24).half()):
        alter(tmp_path / "theirs", lambda weights, other=other: weights.update({"lm_head.weight": other}))
        with pytest.raises(ModelError, match=r"lm_head\.weight: [\s\S]*tied[\s\S]*those of transformer\.wte\.weight"):
            import_model(tmp_path / "theirs", tmp_path / "ours")


# What is refused

CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "code": ({"auto_map": {"AutoModelForCausalLM": "modeling.Model"}}, "never runs code"),
    "trust": ({"trust_remote_code": True}, "never runs code"),
    "quantised": ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
    "family": ({"model_type": "mamba"}, "no such family"),
    "no family": ({"model_type": None}, "no such family"),
    "families": ({"model_type": ["gpt2"]}, "no such family"),
    "class": ({"architectures": ["GPT2DoubleHeadsModel"]}, "GPT2LMHeadModel"),
    "no class": ({"architectures": None}, "GPT2LMHeadModel"),
    "classes": ({"architectures": [["GPT2LMHeadModel"]]}, "GPT2LMHeadModel"),
    "another part": ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
    "text for a number": ({"n_embd": "24"}, "theirs/config.json: n_embd"),
    "a fraction": ({"n_layer": 2.0}, "theirs/config.json: n_layer"),
    "a list": ({"vocab_size": [300]}, "theirs/config.json: vocab_size"),
    "text for a small number": ({"layer_norm_epsilon": "small"}, "theirs/config.json: layer_norm_epsilon"),
    "a number for true": ({"tie_word_embeddings": 1}, "theirs/config.json: tie_word_embeddings"),
    "true for a number": ({"attn_pdrop": True}, "theirs/config.json: attn_pdrop"),
    "nothing": ({"n_head": None}, "theirs/config.json: n_head"),
    "heads that do not fit": ({"n_head": 7}, "n_heads"),
    "no heads": ({"n_head": 0}, "theirs/config.json: n_head"),
    "below nothing": ({"n_embd": -24}, "theirs/config.json: n_embd"),
    "layers beyond measure": ({"n_layer": 10**9}, "theirs/config.json: n_layer"),
    "layers beyond the weights": ({"n_layer": 900}, "weights are missing"),
    "a vocabulary beyond the weights": ({"vocab_size": 10**8}, "weights are missing"),
    "layers beyond any model": ({"n_layer": 10**4}, "n_layers: must be at most 1,000"),
    "a vocabulary beyond measure": ({"vocab_size": 2**31 - 1}, "source_vocabulary: must be at most 100,000,000"),
    "a width beyond counting": ({"n_embd": 10**4000}, "theirs/config.json"),
    "half a character": ({"n_embd": "\ud800"}, "not what it should be"),
    "another width": ({"n_embd": 27}, "another shape"),
    "another vocabulary": ({"vocab_size": 301}, "another shape"),
    "another length": ({"n_positions": 30}, "another shape"),
    "more layers": ({"n_layer": 3}, "weights are missing"),
    "fewer layers": ({"n_layer": 1}, "weights are unknown"),
    "untied": ({"tie_word_embeddings": False}, "lm_head.weight"),
}


@pytest.mark.parametrize(("change", "named"), CHANGES.values(), ids=CHANGES)
def test_settings_that_are_refused(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    saved("gpt2", tmp_path / "theirs")
    edit(tmp_path / "theirs", **change)
    with pytest.raises(ModelError, match=named):
        import_model(tmp_path / "theirs", tmp_path / "ours")
    assert not (tmp_path / "ours" / "config.json").exists()


def test_code_that_the_tokenizer_brings(tmp_path: Path) -> None:
    saved("gpt2", tmp_path / "theirs")
    (tmp_path / "theirs" / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["tokens.Tokens", null]}}')
    with pytest.raises(ModelError, match="never runs code"):
        import_model(tmp_path / "theirs", tmp_path / "ours")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "{}", "\xff", "[" * 100_000])
def test_damaged_settings(content: str, tmp_path: Path) -> None:
    saved("gpt2", tmp_path / "theirs")
    (tmp_path / "theirs" / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ModelError):
        import_model(tmp_path / "theirs", tmp_path / "ours")


def test_settings_by_a_link_out_of_the_directory(tmp_path: Path) -> None:
    saved("gpt2", tmp_path / "theirs")
    (tmp_path / "theirs" / "config.json").rename(tmp_path / "outside.json")
    (tmp_path / "theirs" / "config.json").symlink_to(tmp_path / "outside.json")
    with pytest.raises(ModelError, match=r"leads out of the directory[\s\S]*cp -rL[\s\S]*name on the hub"):
        import_model(tmp_path / "theirs", tmp_path / "ours")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda weights: weights.pop("transformer.h.1.ln_1.bias"), r"missing[\s\S]*h\.1\.ln_1\.bias"),
        (lambda weights: weights.update({"transformer.h.2.ln_1.bias": torch.ones(24)}), r"unknown[\s\S]*h\.2\.ln_1\.bias"),
        (
            lambda weights: weights.update({"transformer.ln_f.bias": torch.ones(25)}),
            r"transformer\.ln_f\.bias: a weight has another shape[\s\S]*\(24,\)[\s\S]*\(25,\)",
        ),
        (lambda weights: weights.update({"transformer.h.0.attn.c_attn.weight": torch.ones(24)}), "c_attn"),
        (lambda weights: weights.update({"transformer.ln_f.bias": torch.ones(24, dtype=torch.int64)}), "quantised"),
    ],
    ids=["missing", "unknown", "too long", "a vector for a matrix", "whole numbers"],
)
def test_weights_that_are_refused(change: Callable[[dict[str, Tensor]], object], named: str, tmp_path: Path) -> None:
    saved("gpt2", tmp_path / "theirs")
    alter(tmp_path / "theirs", change)
    with pytest.raises(ModelError, match=named):
        import_model(tmp_path / "theirs", tmp_path / "ours")
    assert not (tmp_path / "ours" / "config.json").exists()


def test_a_tokenizer_of_another_model(tmp_path: Path) -> None:
    model = GPT2LMHeadModel(GPT2Config(**{**GPT2, "vocab_size": 270}))
    model.save_pretrained(tmp_path / "theirs")
    vocabulary(tmp_path / "theirs")
    with pytest.raises(ModelError, match="does not belong to this model"):
        import_model(tmp_path / "theirs", tmp_path / "ours")


def test_no_model_is_overwritten(tmp_path: Path) -> None:
    saved("gpt2", tmp_path / "theirs")
    import_model(tmp_path / "theirs", tmp_path / "ours")
    before = (tmp_path / "ours" / WEIGHTS).read_bytes()
    for act in (import_model, export_model):
        source = tmp_path / ("theirs" if act is import_model else "ours")
        with pytest.raises(UsageError, match="there is a model"):
            act(source, tmp_path / "ours")
    assert (tmp_path / "ours" / WEIGHTS).read_bytes() == before
