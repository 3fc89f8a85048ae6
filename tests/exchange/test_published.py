"""The shapes of published models: counted without memory, and by formulas written here from the papers' tables."""

from __future__ import annotations

import pytest
import torch

from pellucid.exchange.published import PUBLISHED
from pellucid.model.build import build


def gpt(d: int, n_layers: int, vocabulary: int, length: int) -> int:
    """Tied tables of tokens and positions; a layer has four projections and two that are four times as wide, all with biases,
    and two norms."""
    layer = 12 * d * d + (4 + 4 + 1) * d + 2 * 2 * d
    return vocabulary * d + length * d + n_layers * layer + 2 * d


def bloom(d: int, n_layers: int, vocabulary: int) -> int:
    """No positions, one norm more."""
    return gpt(d, n_layers, vocabulary, length=0) + 2 * d


def llama(d: int, n_layers: int, d_ff: int, shared: int = 1) -> int:
    """Two tables; no biases; keys and values ``shared`` times narrower; three feed-forward matrices; norms without bias."""
    layer = 2 * d * d + 2 * d * d // shared + 3 * d * d_ff + 2 * d
    return 2 * 32_000 * d + n_layers * layer + d


FORMULAS = {
    "gpt2": gpt(768, 12, 50_257, 1024),
    "gpt2-medium": gpt(1024, 24, 50_257, 1024),
    "gpt2-large": gpt(1280, 36, 50_257, 1024),
    "gpt2-xl": gpt(1600, 48, 50_257, 1024),
    "gpt3-175b": gpt(12_288, 96, 50_257, 2048),
    "jurassic1-jumbo": gpt(13_824, 76, 256_000, 2048),
    "bloom-176b": bloom(14_336, 70, 250_880),
    "llama-7b": llama(4096, 32, 11_008),
    "llama-13b": llama(5120, 40, 13_824),
    "llama-33b": llama(6656, 60, 17_920),
    "llama-65b": llama(8192, 80, 22_016),
    "llama2-70b": llama(8192, 80, 28_672, shared=8),
}


def counted(name: str) -> int:
    with torch.device("meta"):
        model = build(PUBLISHED[name].config)
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters(name: str) -> None:
    assert counted(name) == PUBLISHED[name].parameters


@pytest.mark.parametrize("name", FORMULAS)
def test_formula(name: str) -> None:
    assert PUBLISHED[name].parameters == FORMULAS[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_number(name: str) -> None:
    """Where nothing is noted, the count rounds to what the source says."""
    published = PUBLISHED[name]
    number = published.published.replace(",", "")
    unit = {"K": 1e3, "M": 1e6, "B": 1e9}.get(number[-1], 1.0)
    digits = number.rstrip("KMB")
    decimals = len(digits.partition(".")[2])
    agrees = round(published.parameters / unit, decimals) == float(digits)
    assert agrees or published.note
    assert published.source


def test_the_counts_that_are_known_to_the_last_digit() -> None:
    assert PUBLISHED["bloom-176b"].parameters == 176_247_271_424
    assert PUBLISHED["gpt2"].parameters == 124_439_808


def test_gpt2_is_what_its_settings_say() -> None:
    """The shape that transformers has by default."""
    from transformers import GPT2Config

    from pellucid.exchange.gpt2 import describe

    assert describe(GPT2Config().to_dict(), "GPT2LMHeadModel").model == PUBLISHED["gpt2"].config


def test_llama_is_what_its_settings_say() -> None:
    from transformers import LlamaConfig

    from pellucid.exchange.llama import describe

    assert describe(LlamaConfig().to_dict(), "LlamaForCausalLM").model == PUBLISHED["llama-7b"].config
