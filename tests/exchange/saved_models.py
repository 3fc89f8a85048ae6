"""Toy models of other families in their directories, with or without a vocabulary."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tokenizers
import torch
from parity import randomised
from safetensors.torch import load_file, save_file
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from pellucid.tasks.model_directory import WEIGHTS, load_model, read_config

V = 300
GPT2 = {"vocab_size": V, "n_positions": 29, "n_embd": 24, "n_layer": 2, "n_head": 3, "bos_token_id": 0, "eos_token_id": 0}
LLAMA = {
    "vocab_size": V,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
BERT = {
    "vocab_size": V,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "max_position_embeddings": 29,
    "id2label": {0: "bad", 1: "good", 2: "neither"},
}
MAKE: dict[str, Callable[[], Any]] = {
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2)),
    "bloom": lambda: BloomForCausalLM(BloomConfig(vocab_size=V, hidden_size=24, n_layer=2, n_head=3)),
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**LLAMA)),
    "bert": lambda: BertForSequenceClassification(BertConfig(**BERT)),
}


def saved(name: str, directory: Path, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """A model of theirs, its numbers random, and its directory."""
    model = randomised(MAKE[name]()).to(dtype)
    model.save_pretrained(directory, **options)
    return model


def edit(directory: Path, **changes: Any) -> None:
    """Change their config.json; None takes a setting away."""
    path = directory / "config.json"
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def alter(directory: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = {name: tensor.clone() for name, tensor in load_file(directory / WEIGHTS).items()}
    change(weights)
    save_file(weights, directory / WEIGHTS)


def logits(directory: Path, ids: Tensor) -> Tensor:
    """Of one of our model directories."""
    with torch.no_grad():
        return load_model(directory, read_config(directory))(ids)


def vocabulary(directory: Path) -> None:
    """Byte pairs, as GPT-2 has them, in a tokenizer.json."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=290, special_tokens=["<|endoftext|>"], initial_alphabet=sorted(alphabet), show_progress=False
    )
    library.train_from_iterator(["the cat sat on the mat", "the cats sit on mats"], trainer)
    library.save(str(directory / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
