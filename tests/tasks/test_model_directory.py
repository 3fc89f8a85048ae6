"""The model directory: what is written is what is read, and nothing else is accepted. What users are told of damaged ones is
in the tests of the commands."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pellucid.base.config import FORMAT_VERSION, DataConfig, ModelConfig, RunConfig, TextConfig
from pellucid.base.errors import ModelError
from pellucid.model.build import build, initialise
from pellucid.model.transformer import EncoderDecoder
from pellucid.tasks.load import load
from pellucid.tasks.model_card import translation_card
from pellucid.tasks.model_directory import (
    SEPARATE,
    Tokenizers,
    check_vocabularies,
    find,
    load_model,
    load_tokenizers,
    read_config,
    save_model,
)
from pellucid.text.metrics import Score
from pellucid.text.tokenizer import Tokenizer


def separate(config: RunConfig) -> tuple[RunConfig, Tokenizers, EncoderDecoder]:
    """A model whose sides have vocabularies of their own, of 8 and of 7 tokens, with learned positions."""
    text = replace(config.text, joint=False)
    tokenizers = (Tokenizer.train(["a b c d"], text), Tokenizer.train(["x y z"], text))
    shape = replace(config.model, tie="none", positions="learned", source_vocabulary=8, target_vocabulary=7)
    model = build(shape)
    initialise(model, seed=5)
    return replace(config, text=text, model=shape), tokenizers, model.eval()


def assert_same(left: dict[str, Tensor], right: dict[str, Tensor]) -> None:
    assert left.keys() == right.keys()
    assert [name for name in left if not torch.equal(left[name], right[name])] == []


def test_what_is_saved_is_what_is_loaded(config: RunConfig, tmp_path: Path) -> None:
    config, tokenizers, model = separate(config)
    save_model(tmp_path / "model", config, tokenizers, model.state_dict(), "the card")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {"config.json", "model.safetensors", "README.md", *SEPARATE}
    assert read_config(tmp_path / "model") == config
    again = load_tokenizers(tmp_path / "model", config)
    assert [side.fingerprint for side in again] == [side.fingerprint for side in tokenizers]
    loaded = load_model(tmp_path / "model", config)
    assert_same(loaded.state_dict(), model.state_dict())
    assert not loaded.training
    source, target = torch.tensor([[4, 7, 3]]), torch.tensor([[2, 6, 5]])
    assert torch.equal(loaded(source, target), model(source, target))


def test_the_configuration_bears_its_format_version(learnt: Path) -> None:
    assert json.loads((learnt / "model" / "config.json").read_text())["format_version"] == FORMAT_VERSION


def test_tied_weights_are_stored_once_and_tied_again(learnt: Path) -> None:
    stored = load_file(learnt / "model" / "model.safetensors")
    assert sum(name.startswith("weights.") for name in stored) == 1
    model = load(learnt).model
    assert model.weight("source").data_ptr() == model.weight("target").data_ptr() == model.weight("output").data_ptr()


def test_weights_that_are_saved_in_half_precision_are_used_in_float32(learnt: Path, tmp_path: Path) -> None:
    model = shutil.copytree(learnt / "model", tmp_path / "model")
    half = {name: weight.to(torch.bfloat16) for name, weight in load_file(model / "model.safetensors").items()}
    save_file(half, model / "model.safetensors")
    loaded = load_model(model, read_config(model))
    assert {weight.dtype for weight in loaded.state_dict().values()} == {torch.float32}
    assert_same(loaded.state_dict(), {name: weight.float() for name, weight in half.items()})


def test_writing_to_a_loaded_model_leaves_its_file_as_it_is(learnt: Path) -> None:
    path = learnt / "model" / "model.safetensors"
    before = path.read_bytes()
    model = load(learnt).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert_same(model.state_dict(), {name: weight + 1.0 for name, weight in load_file(path).items()})
    assert path.read_bytes() == before


def test_a_model_is_found_in_its_directory_and_in_its_run(learnt: Path) -> None:
    assert find(learnt) == learnt / "model"
    assert find(str(learnt / "model")) == learnt / "model"


def test_a_directory_without_a_model_is_described(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as refused:
        find(tmp_path)
    assert refused.value.found == "an empty directory"
    for name in "jihgfedcba":
        (tmp_path / name).touch()
    with pytest.raises(ModelError) as refused:
        find(tmp_path)
    assert refused.value.found == "a, b, c, d, e, f, g, h"


@pytest.mark.parametrize("side", [0, 1])
def test_each_side_must_fit_its_tokenizer(config: RunConfig, tmp_path: Path, side: int) -> None:
    config, tokenizers, model = separate(config)
    save_model(tmp_path, config, tokenizers, model.state_dict(), "")
    load(tmp_path)
    other = Tokenizer.train(["a b c d e f g"], config.text)
    other.save(tmp_path / SEPARATE[side])
    with pytest.raises(ModelError) as refused:
        load(tmp_path)
    assert refused.value.where == tmp_path / SEPARATE[side]
    assert refused.value.expected == f"{(8, 7)[side]} tokens (config.json)"
    assert refused.value.found == "11 tokens"
    mixed = (other, tokenizers[1]) if side == 0 else (tokenizers[0], other)
    with pytest.raises(ModelError, match="does not belong to this model"):
        check_vocabularies(tmp_path, config, mixed)


def test_a_value_out_of_range_is_the_models_fault(learnt: Path, tmp_path: Path) -> None:
    model = shutil.copytree(learnt / "model", tmp_path / "model")
    content = json.loads((model / "config.json").read_text())
    content["model"]["d_model"] = -1
    (model / "config.json").write_text(json.dumps(content))
    with pytest.raises(ModelError, match=r"model\.d_model"):
        read_config(model)


class TestCard:
    CONFIG = RunConfig(model=ModelConfig(source_vocabulary=9, target_vocabulary=9), text=TextConfig(tokenizer="word"))

    def test_it_names_scores_with_their_signatures(self) -> None:
        card = translation_card(self.CONFIG, 1234, {"bleu": Score(41.234, "nrefs:1|version:9")})
        assert "| bleu | 41.23 | `nrefs:1|version:9` |" in card
        assert "1,234 parameters" in card
        assert "pellucid train config.yaml --out DIR" in card

    def test_a_model_that_was_not_scored_has_no_table(self) -> None:
        card = translation_card(self.CONFIG, 1234, {})
        assert "signature" not in card
        assert "was not scored" in card

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (DataConfig(corpus="builtin", source="fr", target="en"), "pellucid's own licence"),
            (DataConfig(corpus="multi30k", source="en", target="de"), "not for commercial use"),
            (DataConfig(directory="texts"), "texts. The licence of the data"),
            (DataConfig(train=("a.fr", "a.en")), "a.fr, a.en. The licence of the data"),
        ],
    )
    def test_it_names_the_data_and_their_licence(self, data: DataConfig, words: str) -> None:
        assert words in translation_card(replace(self.CONFIG, data=data), 1, {})
