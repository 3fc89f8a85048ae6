"""Everything that the README shows, run as it stands there; only the training is shorter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import tokenizers
from shown import blocks_of, run, served
from transformers import GPT2Config, GPT2LMHeadModel

from pellucid.base.recipe import read
from pellucid.data import corpus

README = Path(__file__).parents[2] / "README.md"
SHORT = "training.steps=4 training.validate_every=2 training.validate_sentences=2 checkpoints.every=2 training.batch_tokens=256"
SHORT_TAGS = "--quiet training.steps=4 training.validate_every=2 checkpoints.every=2"


@pytest.fixture(scope="module")
def blocks() -> dict[str, str]:
    return blocks_of(README)


@pytest.fixture(scope="module")
def directory(blocks: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as the README's reader has it once the training command is done."""
    directory = tmp_path_factory.mktemp("reader")
    (directory / "data").mkdir()
    for split, count in (("train", 300), ("dev", 20), ("test", 5)):
        pairs = corpus.pairs(split)[:count]
        text = "".join(f"{pair.french}\t{pair.english}\n" for pair in pairs)
        (directory / "data" / f"{split}.tsv").write_text(text, encoding="utf-8")
    for language in ("french", "english"):
        text = "".join(f"{getattr(pair, language)}\n" for pair in corpus.pairs("test")[:3])
        (directory / f"in.{language[:2]}").write_text(text, encoding="utf-8")
    (directory / "mine.yaml").write_text(blocks["recipe"], encoding="utf-8")
    run(blocks["train"].strip() + f" --quiet {SHORT}", directory)
    return directory


def test_every_block_of_the_readme_is_run_here(blocks: dict[str, str]) -> None:
    assert set(blocks) == {"recipe", "train", "use", "tags", "public", "python", "look", "tap"}
    shown = README.read_text(encoding="utf-8").count("```") // 2
    assert shown == len(blocks) + 2  # and `make demo` and `make test`, which CI and people run


def test_the_page(directory: Path, blocks: dict[str, str]) -> None:
    assert 'data-text="Jane visite Paris."' in served(blocks["look"], directory)


def test_the_recipe_is_read(directory: Path) -> None:
    assert read(directory / "mine.yaml").optimizer.schedule == "cosine"


def test_the_run_leaves_what_the_readme_says(directory: Path) -> None:
    left = {path.name for path in (directory / "runs" / "mine").iterdir()}
    assert left >= {"metrics.csv", "curves.png", "samples.txt", "checkpoints", "model"}


def test_the_commands_that_use_a_model(directory: Path, blocks: dict[str, str]) -> None:
    output = run(blocks["use"], directory)
    assert "BLEU" in output
    assert '"perplexity"' in output
    assert (directory / "out.en").read_text(encoding="utf-8").count("\n") == 3


def test_another_task(directory: Path, blocks: dict[str, str]) -> None:
    (directory / "recipes").symlink_to(README.parent / "recipes")
    output = run(blocks["tags"].replace("runs/tags-fr\n", f"runs/tags-fr {SHORT_TAGS}\n", 1), directory)
    assert re.fullmatch(r"la/[A-Z]+ pizza/[A-Z]+ est/[A-Z]+ sortie/[A-Z]+ du/[A-Z]+ four/[A-Z]+\n", output)


def test_a_public_model(directory: Path, blocks: dict[str, str]) -> None:
    """A toy in the place of the real one: its directory has the same files."""
    library = tokenizers.ByteLevelBPETokenizer()
    library.train_from_iterator(["the encoder reads the sentence"], 270, show_progress=False)
    config = GPT2Config(vocab_size=270, n_positions=64, n_embd=24, n_layer=2, n_head=3, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(directory / "gpt2")
    library.save(str(directory / "gpt2" / "tokenizer.json"))
    assert run(blocks["public"], directory).startswith("The encoder reads the sentence and")
    assert (directory / "gpt2-again" / "model.safetensors").exists()


@pytest.mark.parametrize("name", ["python", "tap"])
def test_the_python_examples(directory: Path, blocks: dict[str, str], name: str) -> None:
    output = run(f"python -W error -c {quoted(blocks[name])}", directory)
    assert output.strip()


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
