"""Imported models of every public family have the taps of ours, each of them what its formula says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import pellucid
from pellucid.explain.forward import Inputs, row_of, trace_forward
from pellucid.tasks.imports import import_model

V = 37
SIZES = {"hidden_size": 24, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 3, "vocab_size": V}
SIDES = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("layers", 2), ("attention_heads", 3))}
BART = {"vocab_size": V, "max_position_embeddings": 19, "d_model": 12, "pad_token_id": 1, "decoder_start_token_id": 2}
BART |= {**SIDES, "encoder_ffn_dim": 18, "decoder_ffn_dim": 20}
BERT = {**SIZES, "max_position_embeddings": 19}
T5 = {"vocab_size": V, "d_model": 12, "d_kv": 5, "d_ff": 18, "num_layers": 2, "num_heads": 3, "decoder_start_token_id": 0}
SMALL = {"vocab_size": V, "n_embd": 24, "n_layer": 2, "n_head": 3, "n_positions": 19, "bos_token_id": 0, "eos_token_id": 0}
FAMILIES: dict[str, Callable[[], Any]] = {
    "bart": lambda: transformers.BartForConditionalGeneration(transformers.BartConfig(**BART)),
    "bert": lambda: transformers.BertForSequenceClassification(transformers.BertConfig(**BERT)),
    "bert, words": lambda: transformers.BertForMaskedLM(transformers.BertConfig(**BERT)),
    "bloom": lambda: transformers.BloomForCausalLM(transformers.BloomConfig(vocab_size=V, hidden_size=24, n_layer=2, n_head=3)),
    "distilbert": lambda: transformers.DistilBertForMaskedLM(
        transformers.DistilBertConfig(vocab_size=V, dim=24, n_layers=2, n_heads=3, hidden_dim=18, max_position_embeddings=19)
    ),
    "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**SMALL)),
    "llama": lambda: transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**{**SIZES, "num_attention_heads": 4, "num_key_value_heads": 2})
    ),
    "marian": lambda: transformers.MarianMTModel(transformers.MarianConfig(**BART)),
    "roberta": lambda: transformers.RobertaForTokenClassification(transformers.RobertaConfig(**BERT)),
    "t5": lambda: transformers.T5ForConditionalGeneration(transformers.T5Config(**T5)),
    "t5, gated": lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
    ),
    "vit": lambda: transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=20, image_size=12, patch_size=4
        )
    ),
}


def randomised(model: Any) -> Any:
    """Every parameter of order 1, but for tables of sines."""
    generator = torch.Generator().manual_seed(1)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            gain = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0
            parameter.data = gain + 0.4 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tap_of_a_family_is_what_its_formula_says(family: str, tmp_path: Path) -> None:
    randomised(FAMILIES[family]()).save_pretrained(tmp_path / "theirs")
    import_model(tmp_path / "theirs", tmp_path / "ours")
    loaded = pellucid.load(tmp_path / "ours", device="cpu")
    config = loaded.config.model
    generator = torch.Generator().manual_seed(2)

    def ids(length: int) -> torch.Tensor:
        return torch.randint(3, V, (1, length), generator=generator)

    source: torch.Tensor | None = ids(7)
    if config.picture.patch:
        source = torch.randn(1, 3, config.picture.height, config.picture.width, generator=generator)
    elif config.architecture == "decoder":
        source = None
    target = None if config.architecture == "encoder" else ids(5)
    trace = trace_forward(loaded.model, config, Inputs(source, target))
    report = trace.check()
    assert [row.name for row in report.compared] == list(trace)
    assert report.worst.difference <= 1e-5, str(report)
    assert all(row_of(name).name.startswith(name.partition(".layers.")[0]) for name in trace)
