"""The shapes of published models: counted without memory, and by formulas written here from the papers' tables."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch

from pellucid.base.config import HeadConfig, ModelConfig, PictureConfig
from pellucid.base.published import PUBLISHED
from pellucid.model.build import build


def attention(d: int) -> int:
    """Four projections with biases."""
    return 4 * (d * d + d)


def feed_forward(d: int, d_ff: int) -> int:
    """Two projections with biases."""
    return 2 * d * d_ff + d_ff + d


def layer(d: int, d_ff: int = 0) -> int:
    """Attention, feed-forward (four times as wide), and two norms with biases."""
    return attention(d) + feed_forward(d, d_ff or 4 * d) + 2 * 2 * d


def decoder_layer(d: int, d_ff: int) -> int:
    """One that reads a memory: an attention and a norm more."""
    return layer(d, d_ff) + attention(d) + 2 * d


def paper(d: int, d_ff: int) -> int:
    """One matrix, no table of positions, six layers on both sides."""
    return 37_000 * d + 6 * (layer(d, d_ff) + decoder_layer(d, d_ff))


def gpt(d: int, n_layers: int, vocabulary: int, length: int) -> int:
    """Tied tables of tokens and positions, and a norm at the end."""
    return vocabulary * d + length * d + n_layers * layer(d) + 2 * d


def bloom(d: int, n_layers: int, vocabulary: int) -> int:
    """No positions, one norm more."""
    return gpt(d, n_layers, vocabulary, length=0) + 2 * d


def bert(d: int, n_layers: int, vocabulary: int, types: int) -> int:
    """Tables of tokens, positions and types, a norm of their sum; the head: a projection, a norm, a number for each word."""
    return (vocabulary + 512 + types) * d + 2 * d + n_layers * layer(d) + (d * d + d) + 2 * d + vocabulary


def t5(d: int, d_head: int, d_ff: int, n_layers: int, n_heads: int, *, gated: bool = False, matrices: int = 1) -> int:
    """Matrices only: 4 or 8 in the attentions of a layer, 2 or 3 in its feed-forward; norms have one number for each of d;
    32 distances for each head, once a side; and a norm at the end of each side."""
    wide, feed = 4 * d * d_head * n_heads, (3 if gated else 2) * d * d_ff
    encoder, decoder = wide + feed + 2 * d, 2 * wide + feed + 3 * d
    return matrices * 32_128 * d + n_layers * (encoder + decoder) + 2 * (32 * n_heads + d)


def bart(d: int, n_layers: int) -> int:
    """One matrix and a number for each of its rows; on each side a table of 1024 positions and a norm of the embedding."""
    return 50_265 * (d + 1) + n_layers * (layer(d) + decoder_layer(d, 4 * d)) + 2 * (1024 * d + 2 * d)


def llama(d: int, n_layers: int, d_ff: int, shared: int = 1) -> int:
    """Two tables; no biases; keys and values ``shared`` times narrower; three feed-forward matrices; norms without bias."""
    layer = 2 * d * d + 2 * d * d // shared + 3 * d * d_ff + 2 * d
    return 2 * 32_000 * d + n_layers * layer + d


def vit(d: int, n_layers: int, patch: int) -> int:
    """A square's projection, a class token, positions of both, a norm at the end, and a thousand classes."""
    squares = (224 // patch) ** 2
    return (3 * patch**2 + 1) * d + d + (squares + 1) * d + n_layers * layer(d) + 2 * d + 1000 * (d + 1)


FORMULAS = {
    "paper-base": paper(512, 2048),
    "paper-big": paper(1024, 4096),
    "bert-base": bert(768, 12, 30_522, 2),
    "bert-large": bert(1024, 24, 30_522, 2),
    "roberta-base": bert(768, 12, 50_265, 1),
    "roberta-large": bert(1024, 24, 50_265, 1),
    "distilbert-base": bert(768, 6, 30_522, 0),
    "gpt2": gpt(768, 12, 50_257, 1024),
    "gpt2-medium": gpt(1024, 24, 50_257, 1024),
    "gpt2-large": gpt(1280, 36, 50_257, 1024),
    "gpt2-xl": gpt(1600, 48, 50_257, 1024),
    "gpt3-175b": gpt(12_288, 96, 50_257, 2048),
    "jurassic1-jumbo": gpt(13_824, 76, 256_000, 2048),
    "t5-small": t5(512, 64, 2048, 6, 8),
    "t5-base": t5(768, 64, 3072, 12, 12),
    "t5-large": t5(1024, 64, 4096, 24, 16),
    "t5-3b": t5(1024, 128, 16_384, 24, 32),
    "t5-11b": t5(1024, 128, 65_536, 24, 128),
    "t5-v1.1-base": t5(768, 64, 2048, 12, 12, gated=True, matrices=2),
    "bart-base": bart(768, 6),
    "bart-large": bart(1024, 12),
    "marian-en-de": 58_101 * 513 + 6 * (layer(512) + decoder_layer(512, 2048)),
    "bloom-176b": bloom(14_336, 70, 250_880),
    "llama-7b": llama(4096, 32, 11_008),
    "llama-13b": llama(5120, 40, 13_824),
    "llama-33b": llama(6656, 60, 17_920),
    "llama-65b": llama(8192, 80, 22_016),
    "llama2-70b": llama(8192, 80, 28_672, shared=8),
    "vit-b16": vit(768, 12, 16),
    "vit-l16": vit(1024, 24, 16),
    "vit-h14": vit(1280, 32, 14),
}


def counted(config: ModelConfig) -> int:
    with torch.device("meta"):
        model = build(config)
    return sum(weight.numel() for weight in model.parameters())


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters(name: str) -> None:
    assert counted(PUBLISHED[name].config) == PUBLISHED[name].parameters


@pytest.mark.parametrize("name", PUBLISHED)
def test_formula(name: str) -> None:
    assert PUBLISHED[name].parameters == FORMULAS[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_number(name: str) -> None:
    """Where nothing is noted, the count rounds to what the source says."""
    published = PUBLISHED[name]
    number, unit = published.published.replace(",", ""), 1.0
    for suffix, size in ((" MB", 1e6 / 4), ("M", 1e6), ("B", 1e9)):
        if number.endswith(suffix):
            number, unit = number.removesuffix(suffix), size
            break
    decimals = len(number.partition(".")[2])
    agrees = round(published.parameters / unit, decimals) == float(number)
    assert agrees or published.note
    assert published.source


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_said_to_be_rounded_or_cut_off_is(name: str) -> None:
    found = PUBLISHED[name]
    digits = {"rounded there to tens of millions": -7, "rounded there to hundreds of millions": -8}
    for words, places in digits.items():
        if words in found.note:
            assert round(found.parameters, places) == float(found.published.removesuffix("M")) * 1e6
    if "cut off there" in found.note:
        assert found.parameters // 10**8 == round(10 * float(found.published.removesuffix("B")))
    if "rounded up there" in found.note:
        assert found.parameters < float(found.published.removesuffix("B")) * 1e9 < 1.02 * found.parameters


def test_the_counts_that_are_known_to_the_last_digit() -> None:
    assert PUBLISHED["bloom-176b"].parameters == 176_247_271_424
    assert PUBLISHED["gpt2"].parameters == 124_439_808


# The numbers in the notes: what else was counted

PLAIN, POOLED = HeadConfig(), HeadConfig(transform="dense")


def changed(name: str, **changes: Any) -> int:
    return counted(replace(PUBLISHED[name].config, **changes))


def pooled(name: str) -> int:
    """The encoder with a dense layer on the first token, and no classes."""
    return changed(name, head=POOLED)


def pretrained(name: str) -> int:
    """The head for hidden words, the pooler, and its two classes: whether the second sentence follows the first."""
    d = PUBLISHED[name].config.d_model
    return PUBLISHED[name].parameters + d * d + d + 2 * d + 2


def unclassified(name: str, **changes: Any) -> int:
    """Without a classifier: no matrix, no biases."""
    return changed(name, head=replace(PUBLISHED[name].config.head, bias=False), target_vocabulary=0, **changes)


SQUARES_OF_32: dict[str, Any] = {"picture": PictureConfig(patch=32, height=224, width=224), "max_length": 7 * 7 + 1}


@pytest.mark.parametrize(
    ("name", "count", "words"),
    [
        # With the vocabularies that the table would take, 65 and 213 million.
        ("paper-base", changed("paper-base", source_vocabulary=40_700, target_vocabulary=40_700), "40,700"),
        ("paper-big", changed("paper-big", source_vocabulary=35_800, target_vocabulary=35_800), "35,800"),
        ("bert-base", pooled("bert-base"), "109.5M"),
        ("bert-base", pretrained("bert-base"), "110.1M"),
        ("bert-large", pooled("bert-large"), "335.1M"),
        ("bert-large", pretrained("bert-large"), "336.2M"),
        ("distilbert-base", changed("distilbert-base", head=PLAIN), "66.4M"),
        ("t5-large", changed("t5-large", tie="embeddings"), "770.6M"),
        ("marian-en-de", PUBLISHED["marian-en-de"].parameters + 2 * 512 * 512, "298 MB"),
        ("vit-b16", unclassified("vit-b16"), "85.8M"),
        ("vit-l16", unclassified("vit-l16"), "303.3M"),
        ("vit-l16", changed("vit-l16", **SQUARES_OF_32), "306.5M"),
    ],
)
def test_what_the_notes_say(name: str, count: int, words: str) -> None:
    found = PUBLISHED[name]
    assert words in found.note + found.published
    if words.endswith(" MB"):
        assert round(count * 4 / 1e6) == float(words.removesuffix(" MB"))
    elif words.endswith("M"):
        assert round(count / 1e6, 1) == float(words.removesuffix("M"))
    else:
        assert round(count / 1e6) == float(found.published.removesuffix("M"))


# The shapes that transformers has, by default or by the settings of the published files


def described(family: str, settings: Any, architecture: str) -> ModelConfig:
    model: ModelConfig = import_module(f"pellucid.exchange.{family}").describe(settings.to_dict(), architecture).model
    return model


def test_gpt2_is_what_its_settings_say() -> None:
    from transformers import GPT2Config

    assert described("gpt2", GPT2Config(), "GPT2LMHeadModel") == PUBLISHED["gpt2"].config


def test_llama_is_what_its_settings_say() -> None:
    from transformers import LlamaConfig

    assert described("llama", LlamaConfig(), "LlamaForCausalLM") == PUBLISHED["llama-7b"].config


def test_bert_and_what_is_made_like_it_are_what_their_settings_say() -> None:
    from transformers import BertConfig, DistilBertConfig, RobertaConfig

    assert described("bert", BertConfig(), "BertForMaskedLM") == PUBLISHED["bert-base"].config
    assert described("distilbert", DistilBertConfig(), "DistilBertForMaskedLM") == PUBLISHED["distilbert-base"].config
    files = RobertaConfig(vocab_size=50_265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5)
    assert described("roberta", files, "RobertaForMaskedLM") == PUBLISHED["roberta-base"].config


def test_t5_is_what_its_settings_say() -> None:
    from transformers import T5Config

    assert described("t5", T5Config(), "T5ForConditionalGeneration") == PUBLISHED["t5-small"].config
    sizes: dict[str, Any] = {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12}
    newer = T5Config(feed_forward_proj="gated-gelu", tie_word_embeddings=False, **sizes)
    newer.tie_word_embeddings = False  # as the published files say; transformers itself now writes true
    assert described("t5", newer, "T5ForConditionalGeneration") == PUBLISHED["t5-v1.1-base"].config


def test_bart_and_marian_are_what_their_settings_say() -> None:
    from transformers import BartConfig, MarianConfig

    assert described("bart", BartConfig(), "BartForConditionalGeneration") == PUBLISHED["bart-large"].config
    stack = {"layers": 6, "attention_heads": 8, "ffn_dim": 2048}
    sides = {f"{side}_{name}": size for side in ("encoder", "decoder") for name, size in stack.items()}
    files = MarianConfig(
        d_model=512,
        activation_function="swish",
        scale_embedding=True,
        max_position_embeddings=512,
        static_position_embeddings=True,
        **sides,
    )
    assert described("marian", files, "MarianMTModel") == PUBLISHED["marian-en-de"].config


def test_vit_is_what_its_settings_say() -> None:
    from transformers import ViTConfig

    assert described("vit", ViTConfig(num_labels=1000), "ViTForImageClassification") == PUBLISHED["vit-b16"].config
