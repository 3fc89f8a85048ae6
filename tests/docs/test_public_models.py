"""Everything that the page on public models shows, run as it stands there on toy models; only the training is shorter.

The table of classes is made from the code: ``python -m tests.docs.test_public_models --write``.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
from shown import blocks_of
from tokenizers import models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
)

import pellucid
from pellucid.cli.main import main
from pellucid.exchange.family import FAMILIES, family_of
from pellucid.tasks.needs import VERBS

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-public-models.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = blocks_of(PAGE)
TABLE = re.compile(r"(?<=<!-- table: classes -->\n).*?(?=<!-- end -->)", re.DOTALL)
SHORT = "training.steps=2 training.validate_every=2 training.batch_tokens=64 checkpoints.every=2 --quiet"
TEXTS = ["the cat sat on the mat", "the dog sat on the log", "a cat on a log is a cat"]


def table() -> str:
    """Which class of theirs becomes which task of ours."""
    rows = ["| their class | `model_type` | `task` | used by |", "| --- | --- | --- | --- |"]
    for name in FAMILIES:
        for architecture, task in family_of(name, name).classes.items():
            rows.append(f"| `{architecture}` | `{name}` | `{task}` | `pellucid {VERBS[task]}` |")
    return "".join(f"{row}\n" for row in rows)


def test_the_table_is_that_of_the_code() -> None:
    assert TABLE.findall(TEXT) == [table()], "run: python -m tests.docs.test_public_models --write"


def test_every_block_is_run() -> None:
    assert TEXT.count("```") // 2 == len(BLOCKS)
    assert set(BLOCKS) == {"import", "use", "python", "mine.yaml", "train", "reviews.yaml", "classify", "export"}


def save_gpt2(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=270, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet)
    library.train_from_iterator(TEXTS, trainer)
    library.save(str(directory / "tokenizer.json"))
    shape = {"vocab_size": 270, "n_positions": 16, "n_embd": 12, "n_layer": 2, "n_head": 3}
    GPT2LMHeadModel(GPT2Config(**shape, bos_token_id=0, eos_token_id=0)).save_pretrained(directory)


def save_bert(directory: Path) -> None:
    directory.mkdir(parents=True)
    library = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    library.normalizer, library.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    controls = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    library.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=50, special_tokens=controls))
    words = sorted(library.get_vocab().items(), key=lambda pair: pair[1])
    (directory / "vocab.txt").write_text("".join(f"{word}\n" for word, _ in words), encoding="utf-8")
    widths = {"hidden_size": 12, "intermediate_size": 18, "num_hidden_layers": 1, "num_attention_heads": 3}
    BertForMaskedLM(BertConfig(vocab_size=len(words), max_position_embeddings=16, **widths)).save_pretrained(directory)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files that the page speaks of."""
    directory = tmp_path_factory.mktemp("reader")
    save_bert(directory / "downloads" / "bert")
    for name in ("texts", "reviews"):
        (directory / name).mkdir()
    for split in ("train", "dev"):
        (directory / "texts" / f"{split}.txt").write_text("".join(f"{text}\n" for text in TEXTS * 4), encoding="utf-8")
        rows = [f"{text}\t{('bad', 'good')['cat' in text]}\n" for text in TEXTS * 4]
        (directory / "reviews" / f"{split}.tsv").write_text("".join(rows), encoding="utf-8")
    (directory / "reviews.txt").write_text("the cat\nthe dog\n", encoding="utf-8")
    for name, text in BLOCKS.items():
        if name.endswith(".yaml"):
            (directory / name).write_text(text, encoding="utf-8")
    return directory


@pytest.fixture
def _there(reader: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader is in that directory, on one core, and the hub is off: it brings a toy model."""
    monkeypatch.chdir(reader)
    monkeypatch.setenv("PELLUCID_DATA", str(reader / "home"))

    def snapshot_download(name: str, *, local_dir: Path, **_: Any) -> None:
        assert name == "openai-community/gpt2"
        save_gpt2(local_dir)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)


def run(block: str) -> None:
    """The commands of a block, in this process."""
    for line in BLOCKS[block].splitlines():
        program, *arguments = shlex.split(line)
        assert program == "pellucid"
        if arguments[0] == "train":
            arguments += [*SHORT.split(), "runtime.threads=1", "runtime.device=cpu", "runtime.precision=float32"]
        with pytest.raises(SystemExit) as left:
            main(arguments)
        assert left.value.code == 0, line


@pytest.mark.usefixtures("_there")
def test_from_the_hub_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    """All blocks in their order."""
    run("import")
    capsys.readouterr()
    run("use")
    out = capsys.readouterr().out
    assert "language_modelling" in out
    assert "the cat" in out
    assert len(re.findall(r"(?m)^1\t\S+\t0\.\d+$", out)) == 3

    exec(BLOCKS["python"], {})
    assert capsys.readouterr().out == f"torch.Size([2, 5, {pellucid.load('models/bert').config.model.target_vocabulary}])\n"

    run("train")
    before = pellucid.load("models/gpt2").model.state_dict()
    upper, lora = (pellucid.load(f"runs/{name}").model.state_dict() for name in ("upper", "lora"))
    kept = [name for name in before if name.startswith(("weights.", "decoder.layers.0."))]
    assert all(torch.equal(upper[name], before[name]) for name in kept)
    assert not torch.equal(upper["decoder.norm.bias"], before["decoder.norm.bias"])
    assert torch.equal(lora["decoder.norm.bias"], before["decoder.norm.bias"])
    assert lora.keys() == before.keys()

    capsys.readouterr()
    run("classify")
    assert re.fullmatch(r"((bad|good)\t0\.\d+\n){2}", capsys.readouterr().out)

    run("export")
    ids = torch.tensor([[5, 7, 9, 8]])
    back = AutoModelForCausalLM.from_pretrained("exported/gpt2")
    torch.testing.assert_close(back(ids).logits.detach(), pellucid.load("runs/mine").logits(ids), rtol=1e-4, atol=1e-4)
    assert AutoTokenizer.from_pretrained("exported/gpt2")("the cat").input_ids
    reviews = AutoModelForSequenceClassification.from_pretrained("exported/reviews").eval()
    torch.testing.assert_close(reviews(ids).logits.detach(), pellucid.load("runs/reviews").logits(ids), rtol=1e-4, atol=1e-4)


if __name__ == "__main__" and "--write" in sys.argv:
    PAGE.write_text(TABLE.sub(lambda _: table(), TEXT), encoding="utf-8", newline="\n")
