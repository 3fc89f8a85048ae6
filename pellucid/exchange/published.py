"""The shapes of published models, as configurations: to be counted, compared and trained anew.

``parameters`` is what such a model has; ``published`` what its paper says, rounded there, or counted in another way: then
``note`` says why. Vocabularies are those of the published tokenizers, tables rounded up where the models' are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pellucid.base.config import EmbeddingConfig, ModelConfig, StackConfig


@dataclass(frozen=True)
class Published:
    """One published model.

    Args:
        config: its shape.
        parameters: how many there are, tied matrices counted once.
        published: the number in the source.
        source: paper and table.
        note: why the two differ, or in what the model is not quite this.
    """

    config: ModelConfig
    parameters: int
    published: str
    source: str
    note: str = ""


def _decoder(d_model: int, n_layers: int, n_heads: int, d_ff: int, vocabulary: int, **others: Any) -> ModelConfig:
    """A decoder alone, pre-norm."""
    stack = StackConfig(n_layers=n_layers, n_heads=n_heads, d_ff=d_ff, n_kv_heads=others.pop("n_kv_heads", None))
    return ModelConfig(
        architecture="decoder",
        d_model=d_model,
        encoder=stack,
        decoder=stack,
        norm="pre",
        source_vocabulary=vocabulary,
        target_vocabulary=vocabulary,
        **{"embedding": EmbeddingConfig(scale=False), **others},
    )


# GPT-2, GPT-3 and what is made like them


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

# BLOOM

_BLOOM_FAMILY = {
    "bloom-176b": Published(
        _decoder(
            14_336,
            70,
            112,
            4 * 14_336,
            250_880,
            dropout=0.0,
            activation="gelu_tanh",
            positions="alibi",
            max_length=2048,
            embedding=EmbeddingConfig(scale=False, norm=True),
        ),
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
    "llama-65b": Published(_llama(8192, 80, 64, 22_016), 65_285_660_672, "65.2B", _LLAMA, "cut off there, not rounded"),
    "llama2-70b": Published(
        _llama(8192, 80, 64, 28_672, n_kv_heads=8, norm_epsilon=1e-5, max_length=4096),
        68_976_648_192,
        "70B",
        _LLAMA2,
        "rounded up there",
    ),
}

PUBLISHED: dict[str, Published] = {**_GPT_FAMILY, **_BLOOM_FAMILY, **_LLAMA_FAMILY}
