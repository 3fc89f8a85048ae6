"""Whole models into our directory and back, as commands and functions do it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from parity import prompts, randomised
from safetensors.torch import load_file, save_file
from tokenizers import decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    ViTConfig,
    ViTForImageClassification,
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
from pellucid.base.errors import DataError, ModelError, UsageError
from pellucid.cli.main import main
from pellucid.exchange import hub
from pellucid.exchange.equivalence import canonical, differences
from pellucid.model.build import build, initialise
from pellucid.tasks.imports import export_model, import_model
from pellucid.tasks.model_directory import WEIGHTS, load_model, load_tokenizers, read_config, save_model
from pellucid.text.imported import ImportedTokenizer
from pellucid.text.tokenizer import Tokenizer

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


# What is refused


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
    "text for a number": ({"n_embd": "24"}, "config.json"),
    "a fraction": ({"n_layer": 2.0}, "config.json"),
    "a list": ({"vocab_size": [300]}, "config.json"),
    "text for true": ({"layer_norm_epsilon": "small"}, "config.json"),
    "heads that do not fit": ({"n_head": 7}, "n_heads"),
    "no heads": ({"n_head": 0}, "n_heads"),
    "below nothing": ({"n_embd": -24}, "config.json"),
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
    with pytest.raises(ModelError, match="leads out of the directory"):
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


# Models of our own


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


# Commands and the hub


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert isinstance(left.value.code, int)
    return left.value.code


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved("gpt2", tmp_path / "theirs")
    capsys.readouterr()
    assert call("import", tmp_path / "theirs", tmp_path / "ours") == 0
    assert call("export", tmp_path / "ours", tmp_path / "back", "--family", "gpt2") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "written as GPT2LMHeadModel" in err
    first, second = load_file(tmp_path / "theirs" / WEIGHTS), load_file(tmp_path / "back" / WEIGHTS)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert call("export", tmp_path / "ours", tmp_path / "other", "--family", "llama") == 2
    shutil.rmtree(tmp_path / "ours")
    (tmp_path / "theirs" / WEIGHTS).rename(tmp_path / "theirs" / "pytorch_model.bin")
    assert call("import", tmp_path / "theirs", tmp_path / "ours") == 4
    assert "Traceback" not in capsys.readouterr().err


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """The calls of the hub's library, which is off and brings one model."""
    calls: list[dict[str, Any]] = []

    def snapshot_download(name: str, **options: Any) -> None:
        calls.append({"name": name, **options})
        if name != "some/model":
            raise OSError("no route to host")
        saved("gpt2", options["local_dir"])

    monkeypatch.setenv("PELLUCID_DATA", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return calls


def test_a_model_of_the_hub(snapshots: list[dict[str, Any]], tmp_path: Path) -> None:
    assert call("import", "some/model", tmp_path / "ours") == 0
    assert read_config(tmp_path / "ours").task == "language_modelling"
    (call_made,) = snapshots
    assert call_made["local_dir"] == tmp_path / "home" / "models" / "some--model"
    assert not any(pattern.endswith((".py", ".bin", ".pt", "*")) for pattern in call_made["allow_patterns"])


def test_no_network(snapshots: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("import", "other/model", tmp_path / "ours") == DataError.exit_code
    assert "no route to host" in capsys.readouterr().err


def test_the_library_of_the_hub_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pellucid\[hub\]"):
        hub.fetch("some/model")
