"""Whatever stands in a config.json: a model is imported, or refused in words; nothing else happens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st
from saved_models import BERT, GPT2, LLAMA

from pellucid.base.errors import PellucidError
from pellucid.tasks.imports import import_model

SEQUENCES = {"vocab_size": 37, "max_position_embeddings": 19, "d_model": 12, "pad_token_id": 1}
SIDES = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("layers", 1), ("attention_heads", 3))}
BART = {**SEQUENCES, **SIDES, "encoder_ffn_dim": 18, "decoder_ffn_dim": 18}
MODELS: dict[str, Callable[[], Any]] = {
    "bart": lambda: transformers.BartForConditionalGeneration(transformers.BartConfig(**BART)),
    "bert": lambda: transformers.BertForSequenceClassification(transformers.BertConfig(**BERT)),
    "bloom": lambda: transformers.BloomForCausalLM(
        transformers.BloomConfig(vocab_size=37, hidden_size=24, n_layer=1, n_head=3)
    ),
    "distilbert": lambda: transformers.DistilBertForMaskedLM(
        transformers.DistilBertConfig(vocab_size=37, dim=24, n_layers=1, n_heads=3, hidden_dim=18, max_position_embeddings=19)
    ),
    "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2)),
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA)),
    "marian": lambda: transformers.MarianMTModel(transformers.MarianConfig(**BART)),
    "roberta": lambda: transformers.RobertaForTokenClassification(transformers.RobertaConfig(**BERT)),
    "t5": lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=37, d_model=12, d_kv=5, d_ff=18, num_layers=1, num_heads=3)
    ),
    "vit": lambda: transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=20, image_size=12, patch_size=4
        )
    ),
}

numbers = st.integers() | st.sampled_from([0, -1, 1, 10**4, 2**31 - 1, 2**31, 2**63, 10**4000]) | st.floats()
plain = st.none() | st.booleans() | numbers | st.text(max_size=3)
values = plain | st.lists(plain, max_size=3) | st.dictionaries(st.text(max_size=3) | st.sampled_from("012"), plain, max_size=3)


@pytest.fixture(scope="module", params=MODELS)
def theirs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a model of theirs; its config.json is another one for every example."""
    directory = tmp_path_factory.mktemp(request.param)
    MODELS[request.param]().save_pretrained(directory)
    (directory / "config.json").rename(directory / "sound.json")
    return directory


def imported(directory: Path, settings: dict[str, Any]) -> bool:
    (directory / "config.json").write_text(json.dumps(settings))
    shutil.rmtree(directory / "ours", ignore_errors=True)
    try:
        import_model(directory, directory / "ours")
    except PellucidError:
        assert not (directory / "ours" / "config.json").exists()
        return False
    return True


@limits(max_examples=25)
@given(data=st.data())
def test_nothing_but_a_model_or_an_error_in_words(theirs: Path, data: st.DataObject) -> None:
    settings = json.loads((theirs / "sound.json").read_text())
    for name in data.draw(st.lists(st.sampled_from(sorted(settings)), min_size=1, max_size=2), "names"):
        settings[name] = data.draw(values, name)
    imported(theirs, settings)


def test_as_it_is_and_without_any_of_its_settings(theirs: Path) -> None:
    settings = json.loads((theirs / "sound.json").read_text())
    assert imported(theirs, settings)
    for name in settings:
        imported(theirs, {other: value for other, value in settings.items() if other != name})
