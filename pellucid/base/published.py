"""The shapes of published models, as configurations: to be counted, compared and trained anew.

``parameters`` is what such a model has; ``published`` what its paper says, rounded there, or counted in another way: then
``note`` says why. Vocabularies are those of the published tokenizers, tables rounded up where the models' are. As presets of
a recipe (:mod:`pellucid.base.presets`) the shapes leave the vocabulary to the tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pellucid.base.config import EmbeddingConfig, HeadConfig, ModelConfig, PictureConfig, PositionalConfig, StackConfig


@dataclass(frozen=True)
class Published:
    """One published model.

    Args:
        config: its shape. Encoders have the head that finds hidden words or, on pictures, the class.
        parameters: how many there are, tied matrices counted once.
        published: the number in the source; M and B are millions and billions of parameters, MB the size of a file.
        source: paper and table.
        note: why the two differ, or in what the model is not quite this.
    """

    config: ModelConfig
    parameters: int
    published: str
    source: str
    note: str = ""


def _model(d_model: int, n_layers: int, n_heads: int, d_ff: int, vocabulary: int, **others: Any) -> ModelConfig:
    """The same stack on both sides, where there are two. What ``others`` leaves out is as in the paper."""
    of_stack = {name: others.pop(name, None) for name in ("d_head", "n_kv_heads")}
    stack = StackConfig(n_layers=n_layers, n_heads=n_heads, d_ff=d_ff, **of_stack)
    others |= {"source_vocabulary": vocabulary, "target_vocabulary": vocabulary}
    return ModelConfig(d_model=d_model, encoder=stack, decoder=stack, **others)


_UNSCALED = EmbeddingConfig(scale=False)
_TENS, _CUT = "rounded there to tens of millions", "cut off there, not rounded"

# The paper

_PAPER = "Vaswani et al., 2017, Table 3"
_PAPER_NOTE = 'with its "about 37000" tokens; the number there takes {}, and no vocabulary gives those of both models'
_PAPER_FAMILY = {
    "paper-base": Published(_model(512, 6, 8, 2048, 37_000), 63_082_496, "65M", _PAPER, _PAPER_NOTE.format("40,700 of them")),
    "paper-big": Published(
        _model(1024, 6, 16, 4096, 37_000, dropout=0.3), 214_245_376, "213M", _PAPER, _PAPER_NOTE.format("35,800 of them")
    ),
}

# BERT and what is made like it: an encoder alone, post-norm, that names hidden words


def _bert(d_model: int, n_layers: int, n_heads: int, *, vocabulary: int = 30_522, types: int = 2, **others: Any) -> ModelConfig:
    parts = {"attention_dropout": 0.1, "norm_epsilon": 1e-12, "activation": "gelu", "positions": "learned", "max_length": 512}
    ends = {
        "embedding": EmbeddingConfig(scale=False, types=types, norm=True),
        "head": HeadConfig(transform="norm", activation="gelu", bias=True),
    }
    return _model(d_model, n_layers, n_heads, 4 * d_model, vocabulary, architecture="encoder", **{**parts, **ends, **others})


def _roberta(d_model: int, n_layers: int, n_heads: int) -> ModelConfig:
    return _bert(d_model, n_layers, n_heads, vocabulary=50_265, types=1, norm_epsilon=1e-5)


_BERT = "Devlin et al., 2019, section 3"
_BERT_NOTE = "with the head for hidden words; {} with the pooler instead, {} with all that it was pre-trained with"
_BERT_FAMILY = {
    "bert-base": Published(_bert(768, 12, 12), 109_514_298, "110M", _BERT, _BERT_NOTE.format("109.5M", "110.1M")),
    "bert-large": Published(
        _bert(1024, 24, 16), 335_174_458, "340M", _BERT, f"{_BERT_NOTE.format('335.1M', '336.2M')}; {_TENS}"
    ),
    "roberta-base": Published(_roberta(768, 12, 12), 124_695_897, "125M", "the code of Liu et al., 2019"),
    "roberta-large": Published(_roberta(1024, 24, 16), 355_410_009, "355M", "Liu et al., 2019, section 5"),
    "distilbert-base": Published(
        _bert(768, 6, 12, types=0), 66_985_530, "66M", "Sanh et al., 2019, Table 3", "66.4M without the head for hidden words"
    ),
}

# GPT-2, GPT-3 and what is made like them: a decoder alone, pre-norm


def _decoder(d_model: int, n_layers: int, n_heads: int, d_ff: int, vocabulary: int, **others: Any) -> ModelConfig:
    parts = {"architecture": "decoder", "norm": "pre", "embedding": _UNSCALED}
    return _model(d_model, n_layers, n_heads, d_ff, vocabulary, **{**parts, **others})


def _gpt(d_model: int, n_layers: int, n_heads: int, *, vocabulary: int = 50_257, max_length: int = 1024) -> ModelConfig:
    others = {"attention_dropout": 0.1, "activation": "gelu_tanh", "positions": "learned", "max_length": max_length}
    return _decoder(d_model, n_layers, n_heads, 4 * d_model, vocabulary, **others)


_GPT2 = "Radford et al., 2019, Table 2"
_GPT2_NOTE = "the table's numbers are too small; its authors' code gives {}"
_SPARSE = "rounded up there; half of its layers attend to their neighbourhood only, which changes no parameter"
_GPT_FAMILY = {
    "gpt2": Published(_gpt(768, 12, 12), 124_439_808, "117M", _GPT2, _GPT2_NOTE.format("124M")),
    "gpt2-medium": Published(_gpt(1024, 24, 16), 354_823_168, "345M", _GPT2, _GPT2_NOTE.format("355M")),
    "gpt2-large": Published(_gpt(1280, 36, 20), 774_030_080, "762M", _GPT2, _GPT2_NOTE.format("774M")),
    "gpt2-xl": Published(_gpt(1600, 48, 25), 1_557_611_200, "1542M", _GPT2, _GPT2_NOTE.format("1.5B")),
    "gpt3-175b": Published(
        _gpt(12_288, 96, 96, max_length=2048), 174_604_259_328, "175.0B", "Brown et al., 2020, Table 2.1", _SPARSE
    ),
    "jurassic1-jumbo": Published(
        _gpt(13_824, 76, 96, vocabulary=256_000, max_length=2048), 177_866_855_424, "178B", "Lieber et al., 2021"
    ),
}

# T5: norms without means, no biases, scores as they are. Release 1.1 has a gate and an output matrix of its own


def _t5(d_model: int, d_head: int, d_ff: int, n_layers: int, n_heads: int, **others: Any) -> ModelConfig:
    norm = {"norm": "pre", "norm_kind": "rms", "norm_epsilon": 1e-6, "bias": False}
    dropout = {"attention_dropout": 0.1, "activation_dropout": 0.1}
    places = {"attention": "dot-unscaled", "positions": "relative", "max_length": 512, "embedding": _UNSCALED}
    head = HeadConfig(dropout=0.1, scale=True)
    return _model(
        d_model, n_layers, n_heads, d_ff, 32_128, d_head=d_head, **{**norm, **dropout, **places, "head": head, **others}
    )


_T5 = "Raffel et al., 2020, section 3.7"
_T5_LARGE = "770.6M with an output matrix of its own; the released model has none, and the smaller sizes are counted without"
_T5_FAMILY = {
    "t5-small": Published(_t5(512, 64, 2048, 6, 8), 60_506_624, "60M", _T5, _TENS),
    "t5-base": Published(_t5(768, 64, 3072, 12, 12), 222_903_552, "220M", _T5, _TENS),
    "t5-large": Published(_t5(1024, 64, 4096, 24, 16), 737_668_096, "770M", _T5, _T5_LARGE),
    "t5-3b": Published(_t5(1024, 128, 16_384, 24, 32), 2_851_598_336, "2.8B", _T5, _CUT),
    "t5-11b": Published(_t5(1024, 128, 65_536, 24, 128), 11_307_321_344, "11B", _T5),
    "t5-v1.1-base": Published(
        _t5(768, 64, 2048, 12, 12, head=HeadConfig(dropout=0.1), activation="geglu_tanh", tie="embeddings"),
        247_577_856,
        "250M",
        "Chung et al., 2022, Table 2",
        _TENS,
    ),
}

# BART


def _bart(d_model: int, n_layers: int, n_heads: int) -> ModelConfig:
    parts = {"activation": "gelu", "positions": "learned", "head": HeadConfig(bias=True)}
    return _model(d_model, n_layers, n_heads, 4 * d_model, 50_265, embedding=EmbeddingConfig(scale=False, norm=True), **parts)


_BART = "the code of Lewis et al., 2020"
_BART_FAMILY = {
    "bart-base": Published(_bart(768, 6, 12), 139_467_609, "140M", _BART, _TENS),
    "bart-large": Published(_bart(1024, 12, 16), 406_337_625, "400M", _BART, "rounded there to hundreds of millions"),
}

# Marian

_HALVES = PositionalConfig(halves=True)
_MARIAN_FAMILY = {
    "marian-en-de": Published(
        _model(512, 6, 8, 2048, 58_101, activation="silu", positional=_HALVES, head=HeadConfig(bias=True), max_length=512),
        73_944_309,
        "298 MB",
        "the documentation of transformers, of each OPUS-MT model",
        "four bytes a number; the file also holds two tables of sinusoids, 0.5M numbers that are computed here",
    ),
}

# BLOOM

_BLOOM_PARTS: dict[str, Any] = {"dropout": 0.0, "activation": "gelu_tanh", "positions": "alibi", "max_length": 2048}
_BLOOM_FAMILY = {
    "bloom-176b": Published(
        _decoder(14_336, 70, 112, 4 * 14_336, 250_880, embedding=EmbeddingConfig(scale=False, norm=True), **_BLOOM_PARTS),
        176_247_271_424,
        "176,247,271,424",
        "the model's card; Le Scao et al., 2022, round it to 176B",
    ),
}

# LLaMA


def _llama(d_model: int, n_layers: int, n_heads: int, d_ff: int, **others: Any) -> ModelConfig:
    parts = {"dropout": 0.0, "norm_kind": "rms", "norm_epsilon": 1e-6, "activation": "swiglu", "bias": False}
    places = {"positions": "rotary", "max_length": 2048, "tie": "none"}
    return _decoder(d_model, n_layers, n_heads, d_ff, 32_000, **{**parts, **places, **others})


_LLAMA, _LLAMA2 = "Touvron et al., 2023 (LLaMA), Table 2", "Touvron et al., 2023 (Llama 2), Table 1"
_LLAMA_FAMILY = {
    "llama-7b": Published(_llama(4096, 32, 32, 11_008), 6_738_415_616, "6.7B", _LLAMA),
    "llama-13b": Published(_llama(5120, 40, 40, 13_824), 13_015_864_320, "13.0B", _LLAMA),
    "llama-33b": Published(_llama(6656, 60, 52, 17_920), 32_528_943_616, "32.5B", _LLAMA),
    "llama-65b": Published(_llama(8192, 80, 64, 22_016), 65_285_660_672, "65.2B", _LLAMA, _CUT),
    "llama2-70b": Published(
        _llama(8192, 80, 64, 28_672, n_kv_heads=8, norm_epsilon=1e-5, max_length=4096),
        68_976_648_192,
        "70B",
        _LLAMA2,
        "rounded up there",
    ),
}

# ViT: an encoder over the squares of a picture, pre-norm, with the thousand classes of ImageNet


def _vit(d_model: int, n_layers: int, n_heads: int, patch: int) -> ModelConfig:
    picture = PictureConfig(patch=patch, height=224, width=224)
    norm = {"norm": "pre", "norm_epsilon": 1e-12, "dropout": 0.0}
    # The class token comes first.
    places = {"picture": picture, "positions": "learned", "max_length": picture.n_patches + 1}
    ends = {"activation": "gelu", "head": HeadConfig(pool="class", bias=True), "tie": "none"}
    model = _model(d_model, n_layers, n_heads, 4 * d_model, 0, architecture="encoder", **norm, **places, **ends)
    return replace(model, target_vocabulary=1000)


_VIT = "Dosovitskiy et al., 2021, Table 1"
_VIT_LARGE = "303.3M without the classifier; with it, and squares of 32, 306.5M"
_VIT_FAMILY = {
    "vit-b16": Published(_vit(768, 12, 12, 16), 86_567_656, "86M", _VIT, "85.8M without the classifier"),
    "vit-l16": Published(_vit(1024, 24, 16, 16), 304_326_632, "307M", _VIT, _VIT_LARGE),
    "vit-h14": Published(_vit(1280, 32, 16, 14), 632_045_800, "632M", _VIT),
}

PUBLISHED: dict[str, Published] = {
    **_PAPER_FAMILY,
    **_BERT_FAMILY,
    **_GPT_FAMILY,
    **_T5_FAMILY,
    **_BART_FAMILY,
    **_MARIAN_FAMILY,
    **_BLOOM_FAMILY,
    **_LLAMA_FAMILY,
    **_VIT_FAMILY,
}
