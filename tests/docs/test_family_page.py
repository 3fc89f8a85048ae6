"""The page of the family is what the presets make of it, tells every two models apart, and its examples print what they say."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from types import ModuleType

import pytest

from pellucid.base.config import HeadConfig, ModelConfig
from pellucid.base.published import PUBLISHED

ROOT = Path(__file__).parents[2]


def script() -> ModuleType:
    """scripts/family_page.py."""
    spec = importlib.util.spec_from_file_location("family_page", ROOT / "scripts" / "family_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKER = script()
PAGE = (ROOT / "docs" / "reference" / "family.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date() -> None:
    assert MAKER.page() == PAGE, "run: python scripts/family_page.py"


def test_every_model_is_in_every_table() -> None:
    tables = [[line for line in part.split("\n") if line.startswith("|")] for part in PAGE.split("\n## ")[1:4]]
    for rows in tables:
        assert sorted(re.findall(r"`([\w.-]+)`", "\n".join(row.split(" | ")[0] for row in rows[2:]))) == sorted(PUBLISHED)


def undropped(config: ModelConfig) -> ModelConfig:
    """Without its dropout, which the page leaves out."""
    head = replace(config.head, dropout=0.0)
    return replace(config, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, head=head)


def test_models_with_the_same_words_are_the_same() -> None:
    """The columns say everything: where two models differ in any field, their rows differ."""
    rows = {name: (*MAKER.parts(one.config), *MAKER.sizes(one.config)) for name, one in PUBLISHED.items()}
    for left, right in combinations(PUBLISHED, 2):
        same = undropped(PUBLISHED[left].config) == undropped(PUBLISHED[right].config)
        assert (rows[left] == rows[right]) == same, (left, right)


@pytest.mark.parametrize(
    ("name", "column", "words"),
    [
        # As the papers have it: sections 3.2.1, 3.4, 5.4 of "Attention Is All You Need"; 3 of BERT; 2.3 of GPT-2; 2.1 of T5.
        ("paper-base", 1, "layer, post, epsilon 1e-5"),
        ("paper-base", 5, "both embeddings, output"),
        ("bert-large", 0, "encoder"),
        ("bert-large", 3, "`gelu`"),
        ("gpt2", 1, "layer, pre, epsilon 1e-5"),
        ("t5-small", 2, "relative, 32 kinds of distances up to 128"),
        ("t5-small", 4, "no"),
        ("t5-v1.1-base", 3, "`geglu_tanh`, gated"),
        ("bloom-176b", 2, "ALiBi"),
        ("llama-7b", 5, "none"),
        ("llama2-70b", 6, "heads share keys and values"),
    ],
)
def test_parts(name: str, column: int, words: str) -> None:
    assert MAKER.parts(PUBLISHED[name].config)[column] == words


def test_sizes() -> None:
    assert MAKER.sizes(PUBLISHED["llama2-70b"].config) == (
        *("80", "8,192", "64 of 128, keys and values of 8", "28,672", "32,000", "4,096"),
    )
    assert MAKER.sizes(PUBLISHED["t5-3b"].config) == ("24 + 24", "1,024", "32 of 128", "16,384", "32,128", "512")
    assert MAKER.sizes(PUBLISHED["vit-h14"].config)[4] == "pictures of 224 x 224 x 3 in squares of 14 x 14; 1,000 classes"


def test_a_change_of_a_part_changes_the_page() -> None:
    config = PUBLISHED["bert-base"].config
    other = replace(config, head=HeadConfig(transform="dense", activation="gelu", bias=True))
    assert MAKER.parts(config) != MAKER.parts(other)


def test_the_examples_print_what_they_say() -> None:
    """One after the other, as a reader would run them. What is printed stands behind the line, or in lines below it."""
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", PAGE)
    namespace: dict[str, object] = {}
    for block in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block, "family.md", "exec", dont_inherit=True), namespace)
        said = re.findall(r"(?m)(?:^|print\(.*\)  )# (.*)$", block)
        assert printed.getvalue().splitlines() == said, block
    assert len(blocks) == 1 + 10


@pytest.mark.parametrize("name", ["BERT", "RoBERTa", "DistilBERT", "GPT-2", "T5", "BART", "Marian", "BLOOM", "LLaMA", "ViT"])
def test_every_family_has_its_example(name: str) -> None:
    assert re.search(rf"(?ms)\*\*{name}\*\*[^`]*^```python", PAGE.partition("## One of each")[2])
