"""A public model, imported, trained on and exported again, by the commands: what is taken, what stays, what learns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import yaml
from safetensors.torch import load_file
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
)

import pellucid
from pellucid.cli.main import main
from pellucid.model.build import build
from pellucid.model.lora import lora, plain_weights

TEXTS = ["the cat sat on the mat", "the dog sat on the log", "a cat on a log is a cat"]
SPARE = 10  # rows of their tables that no token has
TRAINING = {"steps": 3, "batch_tokens": 64, "validate_every": 3, "label_smoothing": 0.0}
COMMON = {
    "optimizer": {"schedule": "constant", "learning_rate": 0.02, "warmup": 1},
    "checkpoints": {"every": 3},
    "runtime": {"precision": "float32", "device": "cpu", "threads": 1},
}
RECIPES: dict[str, dict[str, Any]] = {
    "language_modelling": {"model": {"architecture": "decoder"}, "training": TRAINING},
    "classification": {
        "model": {
            "architecture": "encoder",
            "tie": "none",
            "dropout": 0.0,
            "head": {"pool": "class", "transform": "dense", "bias": True},
        },
        "training": TRAINING,
    },
}


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        main([*map(str, arguments), "--quiet"])
    assert isinstance(left.value.code, int)
    return left.value.code


def byte_pairs(directory: Path) -> int:
    """A vocabulary as GPT-2 has it; gives its size."""
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=280, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    library.train_from_iterator(TEXTS, trainer)
    library.save(str(directory / "tokenizer.json"))
    return library.get_vocab_size()


def word_pieces(directory: Path) -> int:
    """A vocabulary as BERT has it."""
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer, library.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    controls = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    library.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=60, special_tokens=controls))
    (directory / "vocab.txt").write_text(
        "".join(f"{word}\n" for word, _ in sorted(library.get_vocab().items(), key=lambda x: x[1]))
    )
    return library.get_vocab_size()


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two public models imported, ``gpt2`` and ``bert``, and data for the two recipes."""
    directory = tmp_path_factory.mktemp("public")
    for name in ("their-gpt2", "their-bert", "texts", "reviews"):
        (directory / name).mkdir()
    torch.manual_seed(3)
    size = byte_pairs(directory / "their-gpt2") + SPARE
    shape = {"vocab_size": size, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 3}
    GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0)).save_pretrained(directory / "their-gpt2")
    size = word_pieces(directory / "their-bert") + SPARE
    widths = {"hidden_size": 12, "intermediate_size": 18, "num_hidden_layers": 2, "num_attention_heads": 3}
    theirs = BertForMaskedLM(BertConfig(vocab_size=size, max_position_embeddings=16, **widths))
    theirs.save_pretrained(directory / "their-bert")
    for split in ("train", "dev"):
        (directory / "texts" / f"{split}.txt").write_text("".join(f"{text}\n" for text in TEXTS * 4))
        rows = [f"{text}\t{('cats', 'dogs')['dog' in text]}\n" for text in TEXTS * 4]
        (directory / "reviews" / f"{split}.tsv").write_text("".join(rows))
    for name in ("gpt2", "bert"):
        assert call("import", directory / f"their-{name}", directory / name) == 0
    return directory


def trained(public: Path, run: Path, task: str, start: str, *overrides: str) -> Path:
    """A run from one of these models, by the command."""
    data = {"directory": str(public / ("texts" if task == "language_modelling" else "reviews"))}
    recipe = {"task": task, "data": data, "start": {"model": str(public / start)}, **COMMON, **RECIPES[task]}
    file = run.parent / f"{run.name}.yaml"
    file.write_text(yaml.safe_dump(recipe))
    assert call("train", file, "--out", run, *overrides) == 0
    return run


def changed(before: Path, after: Path) -> tuple[set[str], set[str]]:
    """Names of weights that are other numbers in the second model, and of those that are the same."""
    one, other = (pellucid.load(directory).model.state_dict() for directory in (before, after))
    assert one.keys() == other.keys()
    different = {name for name in one if not torch.equal(one[name], other[name])}
    return different, one.keys() - different


def ids() -> Tensor:
    return torch.randint(5, 40, (2, 9), generator=torch.Generator().manual_seed(1))


def test_everything_learns_and_goes_back(public: Path, tmp_path: Path) -> None:
    run = trained(public, tmp_path / "run", "language_modelling", "gpt2")
    different, _ = changed(public / "gpt2", run)
    assert {name.split(".")[0] for name in different} == {"weights", "decoder"}
    assert call("export", run, tmp_path / "back") == 0
    back, ours = GPT2LMHeadModel.from_pretrained(tmp_path / "back"), pellucid.load(run)
    torch.testing.assert_close(back(ids()).logits.detach(), ours.logits(ids()), rtol=1e-4, atol=1e-4)
    text = "the cat sat"
    assert AutoTokenizer.from_pretrained(tmp_path / "back")(text).input_ids == ours.tokenizer.encode(text)


def test_what_is_frozen_stays(public: Path, tmp_path: Path) -> None:
    patterns = "start.freeze=[weights.*, decoder.positions.*, decoder.layers.0.*]"
    run = trained(public, tmp_path / "run", "language_modelling", "gpt2", patterns)
    different, same = changed(public / "gpt2", run)
    kept = ("weights.", "decoder.positions.", "decoder.layers.0.")
    assert {name for name in different | same if name.startswith(kept)} == same
    assert {"decoder.norm.bias", "decoder.layers.1.self_attn.query.weight"} <= different


def test_lora_learns_beside_projections_and_is_merged(public: Path, tmp_path: Path) -> None:
    run = trained(public, tmp_path / "run", "language_modelling", "gpt2", "start.lora_rank=2", "start.lora_alpha=6.0")
    different, same = changed(public / "gpt2", run)
    assert different == {
        name for name in different | same if ".layers." in name and name.endswith("weight") and "norm" not in name
    }
    loaded = pellucid.load(run)
    [checkpoint] = (run / "checkpoints").glob("step-*")
    adapted: Any = build(loaded.config.model, lora(2, 6.0)).eval()
    adapted.load_state_dict(load_file(checkpoint / "model.safetensors"))
    with torch.no_grad():
        torch.testing.assert_close(loaded.logits(ids()), adapted(ids()), rtol=1e-5, atol=1e-5)
    merged = plain_weights(adapted)
    assert all(torch.equal(weight, merged[name]) for name, weight in loaded.model.state_dict().items())
    assert call("export", run, tmp_path / "back") == 0
    back = GPT2LMHeadModel.from_pretrained(tmp_path / "back")
    torch.testing.assert_close(back(ids()).logits.detach(), loaded.logits(ids()), rtol=1e-4, atol=1e-4)


def test_a_classifier_from_a_masked_language_model(public: Path, tmp_path: Path) -> None:
    """The embedding has another name in a model without tied matrices, and spare rows; only the head is new."""
    run = trained(public, tmp_path / "run", "classification", "bert", "start.freeze=[encoder.*, weights.source]")
    before, after = (pellucid.load(directory) for directory in (public / "bert", run))
    assert after.labels == ("cats", "dogs")
    assert torch.equal(after.model.weight("source"), before.model.weight("source"))
    encoder = {name: weight for name, weight in after.model.state_dict().items() if name.startswith("encoder.")}
    assert len(encoder) > 30
    assert [name for name, weight in encoder.items() if not torch.equal(weight, before.model.state_dict()[name])] == []
    assert call("export", run, tmp_path / "back", "--family", "bert") == 0
    assert json.loads((tmp_path / "back" / "config.json").read_text())["id2label"] == {"0": "cats", "1": "dogs"}
    back = BertForSequenceClassification.from_pretrained(tmp_path / "back").eval()
    torch.testing.assert_close(back(ids()).logits.detach(), after.logits(ids()), rtol=1e-4, atol=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "back")
    shares = back(**tokenizer("the dog sat", return_tensors="pt")).logits.softmax(-1)[0].tolist()
    [found] = after.classify("the dog sat")
    assert list(found.probabilities.values()) == pytest.approx(shares, abs=1e-5)


def test_a_pattern_that_fits_nothing(public: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    start = {"model": str(public / "gpt2"), "freeze": ["encoder.*"]}
    data = {"directory": str(public / "texts")}
    recipe.write_text(
        yaml.safe_dump({"task": "language_modelling", "data": data, "start": start, **COMMON, **RECIPES["language_modelling"]})
    )
    assert call("train", recipe, "--out", tmp_path / "run") == 2
    assert "no weight has such a name" in capsys.readouterr().err
