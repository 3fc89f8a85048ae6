"""Models of our own as those of public families; models that are the same, said in different words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from parity import prompts
from saved_models import logits
from transformers import (
    AutoTokenizer,
    GPT2LMHeadModel,
)

from pellucid.base.config import (
    EmbeddingConfig,
    ModelConfig,
    PositionalConfig,
    RotaryConfig,
    RunConfig,
    StackConfig,
    TextConfig,
)
from pellucid.base.errors import UsageError
from pellucid.exchange.equivalence import canonical, differences
from pellucid.model.build import build, initialise
from pellucid.tasks.imports import export_model, import_model
from pellucid.tasks.model_directory import load_tokenizers, save_model
from pellucid.text.tokenizer import Tokenizer


def own(directory: Path, **changes: Any) -> RunConfig:
    """A model of ours, as a run leaves it, that GPT-2 can express: said in other words than an imported one."""
    tokenizer = Tokenizer.train(["the cat sat"], TextConfig(tokenizer="byte", vocabulary=260))
    size = tokenizer.vocabulary_size
    stack = StackConfig(n_layers=2, n_heads=(3, 3), d_ff=(40, 40), n_kv_heads=3, d_head=8, attention_bias=True)
    shape: dict[str, Any] = {
        "architecture": "decoder",
        "d_model": 24,
        "decoder": stack,
        "norm": "pre",
        "activation": "gelu",
        "positions": "learned",
        "embedding": EmbeddingConfig(scale=False),
        "tie": "decoder",
        "max_length": 31,
        "activation_dropout": 0.2,
        "positional": PositionalConfig(rotary=RotaryConfig(base=7.0)),
        "target_vocabulary": size,
    }
    config = RunConfig(task="language_modelling", model=ModelConfig(**{**shape, **changes}))
    model = build(config.model)
    initialise(model, seed=4)
    save_model(directory, config, (tokenizer, tokenizer), model.state_dict(), "a card")
    return config


def test_a_model_of_our_own(tmp_path: Path) -> None:
    config = own(tmp_path / "run" / "model")
    assert export_model(tmp_path / "run", tmp_path / "out") == "GPT2LMHeadModel"
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path / "out")
    ids = prompts(config.model.target_vocabulary)
    with torch.no_grad():
        torch.testing.assert_close(theirs(ids).logits, logits(tmp_path / "run" / "model", ids), rtol=1e-4, atol=1e-5)
    found = load_tokenizers(tmp_path / "run" / "model", config)
    assert found is not None
    ids_of_text = [found[0].start, *found[0].encode("the cat")]
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("the cat").input_ids == ids_of_text
    imported = import_model(tmp_path / "out", tmp_path / "again")
    assert differences(imported.model, config.model) == []


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"embedding": EmbeddingConfig(scale=True)}, "embedding.scale True here, False there"),
        ({"positions": "sinusoidal"}, "positions sinusoidal here, learned there"),
        ({"norm": "post"}, "norm post here, pre there"),
        ({"decoder": StackConfig(2, (2, 3), 40)}, "n_heads"),
        ({"activation": "swiglu"}, "activation swiglu here"),
        ({"bias": False, "decoder": StackConfig(2, 3, 40)}, "bias False here, True there"),
    ],
    ids=str,
)
def test_what_a_family_cannot_express(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    own(tmp_path / "ours", **change)
    with pytest.raises(UsageError, match=named):
        export_model(tmp_path / "ours", tmp_path / "out", "gpt2")
    assert not (tmp_path / "out").exists()


def test_no_family_can_express_it(tmp_path: Path) -> None:
    own(tmp_path / "ours", norm="post")
    with pytest.raises(UsageError, match=r"no family[\s\S]*GPT2LMHeadModel: norm post here, pre there$"):
        export_model(tmp_path / "ours", tmp_path / "out")


def test_an_unknown_family(tmp_path: Path) -> None:
    own(tmp_path / "ours")
    with pytest.raises(UsageError, match="gpt3"):
        export_model(tmp_path / "ours", tmp_path / "out", "gpt3")


def test_equal_models_said_differently() -> None:
    stack = StackConfig(2, 4, 40)
    encoder = StackConfig(5, 2, 7)
    said = ModelConfig("decoder", 24, encoder=encoder, decoder=stack, tie="decoder", target_vocabulary=9)
    plain = ModelConfig(
        architecture="decoder", d_model=24, encoder=stack, decoder=stack, target_vocabulary=9, source_vocabulary=9
    )
    assert canonical(said) == canonical(plain) == plain
    assert canonical(replace(said, tie="embeddings")) == replace(plain, tie="none")
    assert differences(said, replace(plain, dropout=0.4)) == []
    assert differences(said, replace(plain, norm_epsilon=0.1)) == ["norm_epsilon 1e-05 here, 0.1 there"]
