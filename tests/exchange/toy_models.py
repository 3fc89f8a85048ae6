"""Toy models of ours with random weights large enough for a wrong epsilon, activation, scale or sign to show in the numbers,
and for no near-tie to decide what a search finds. All sizes are distinct.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pellucid.base.config import (
    DecodingConfig,
    EmbeddingConfig,
    HeadConfig,
    ModelConfig,
    PictureConfig,
    PositionalConfig,
    RelativeConfig,
    RotaryConfig,
    RunConfig,
    StackConfig,
    TextConfig,
)
from pellucid.decoding.hypothesis import Hypothesis
from pellucid.decoding.search import search
from pellucid.model.build import build, initialise
from pellucid.tasks.model_directory import save_model
from pellucid.text.tokenizer import Tokenizer

V = 41
START, END, LIMIT = 2, 3, 14
SOURCES = [[5, 9, 17, 4, 30, 22, 8, 11, 7], [12, 40, 6], [33, 18, 25, 10, 29, 5]]  # of 9, 3 and 6 tokens
TARGETS = [[14, 5, 36, 20, 9], [7, 31, 24, 13, 6, 39, 28, 10], [16, 27]]
TEXTS = ["the cat sat on the mat", "the dog sat on the log", "a cat on a log is a cat", "a mat is on the dog"]

_ENCODER, _DECODER = StackConfig(1, 2, 28), StackConfig(2, 3, 20)
_PAIR = ModelConfig(d_model=12, encoder=_ENCODER, decoder=_DECODER, source_vocabulary=V, target_vocabulary=V, max_length=30)
_GROUPED = StackConfig(2, 4, 20, n_kv_heads=2)
_ALONE = replace(_PAIR, architecture="decoder", norm="pre")
_PICTURE = PictureConfig(patch=4, height=8, width=12, channels=1)
_ENCODER_ALONE = replace(_PAIR, architecture="encoder", encoder=replace(_ENCODER, n_layers=2), tie="none", target_vocabulary=5)

PAIRS = {
    "the paper's": _PAIR,
    "pre-norm, learned positions": replace(_PAIR, norm="pre", positions="learned", activation="gelu"),
    "marian": replace(
        _PAIR, positional=PositionalConfig(halves=True), activation="silu", head=HeadConfig(bias=True), tie="decoder"
    ),
    "bart": replace(
        _PAIR, positions="learned", activation="gelu", embedding=EmbeddingConfig(scale=False, norm=True), tie="embeddings"
    ),
    "t5": replace(
        _PAIR,
        norm="pre",
        norm_kind="rms",
        bias=False,
        positions="relative",
        positional=PositionalConfig(relative=RelativeConfig(8, 12)),
        attention="dot-unscaled",
        activation="geglu_tanh",
        embedding=EmbeddingConfig(scale=False),
        head=HeadConfig(scale=True),
    ),
    "rotary, grouped heads": replace(
        _PAIR, d_model=16, encoder=replace(_GROUPED, n_layers=1), decoder=_GROUPED, positions="rotary", activation="reglu"
    ),
    "other widths, no ties": replace(
        _PAIR,
        encoder=replace(_ENCODER, d_head=5, attention_bias=False),
        decoder=replace(_DECODER, d_ff=(20, 24), d_head=7),
        norm_epsilon=0.3,
        activation="glu",
        tie="none",
    ),
}
ALONE = {
    "gpt2": replace(_ALONE, positions="learned", activation="gelu_tanh", embedding=EmbeddingConfig(scale=False)),
    "llama": replace(
        _ALONE, d_model=16, decoder=_GROUPED, positions="rotary", norm_kind="rms", activation="swiglu", bias=False, tie="none"
    ),
    "rotary, stretched": replace(
        _ALONE, positions="rotary", positional=PositionalConfig(rotary=RotaryConfig(base=500.0, scaling="linear", factor=3.0))
    ),
    "bloom": replace(_ALONE, positions="alibi", embedding=EmbeddingConfig(scale=False, norm=True)),
    "post-norm": replace(_ALONE, norm="post", activation="geglu"),
}
# What CTranslate2 cannot compute.
LLAMA3 = RotaryConfig(base=500.0, scaling="llama3", factor=3.0, original_length=16)
OTHERS = {
    "llama3": replace(_ALONE, positions="rotary", positional=PositionalConfig(rotary=LLAMA3)),
    "relative, alone": replace(_ALONE, positions="relative"),
    "additive": replace(_PAIR, attention="additive"),
    "an encoder with alibi": replace(_PAIR, positions="alibi"),
    "no positions": replace(_PAIR, positions="none"),
    "layers apart": replace(
        _PAIR, encoder=StackConfig(3, (2, 3, 2), 28), decoder=replace(_DECODER, n_heads=(3, 4), reads=(2, 0))
    ),
    "a head with a layer": replace(_ALONE, head=HeadConfig(transform="dense")),
    "types of tokens": replace(_PAIR, embedding=EmbeddingConfig(types=2)),
    "a classifier": replace(_ENCODER_ALONE, head=HeadConfig(pool="mean", bias=True)),
    "bert": replace(
        _ENCODER_ALONE,
        positions="learned",
        activation="gelu",
        embedding=EmbeddingConfig(scale=False, types=2, norm=True),
        head=HeadConfig(pool="class", transform="dense", bias=True),
    ),
    "pictures": replace(_ENCODER_ALONE, positions="learned", picture=_PICTURE, head=HeadConfig(pool="class", bias=True)),
    "pictures to texts": replace(_PAIR, picture=_PICTURE, tie="decoder"),
}


def toy(config: ModelConfig, seed: int = 1) -> Any:
    """A model with such weights; gains of norms are around 1, and embeddings small enough for positions and source to speak."""
    model = build(config)
    initialise(model, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            gain = 1.0 if parameter.ndim == 1 and name.endswith("norm.weight") else 0.0
            scale = 0.2 if name.startswith("weights.") else 0.6 if parameter.ndim == 2 else 0.1
            parameter.copy_(gain + scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@functools.cache
def lively(name: str) -> Any:
    """Of the models with seeds 1 to 10 the one that writes the most different tokens: many write one token for ever."""
    config = {**PAIRS, **ALONE}[name]
    return max((toy(config, seed) for seed in range(1, 11)), key=lambda model: variety(greedy(model, config)))


def variety(written: list[list[int]]) -> int:
    """How many different tokens there are."""
    return len({token for ids in written for token in ids})


def greedy(model: Any, config: ModelConfig) -> list[list[int]]:
    """What it writes for the stored sources, greedily."""
    return [list(best.ids) for best in searched(model, config, DecodingConfig(beams=1))]


def searched(model: Any, config: ModelConfig, decoding: DecodingConfig) -> list[Hypothesis]:
    """The best output of each stored source, at most ``LIMIT`` tokens; the sources are prompts for a decoder alone."""
    alone = config.architecture == "decoder"
    source, mask = padded([ids[:-1] if alone else [*ids, END] for ids in SOURCES])
    start = torch.tensor([ids[-1] for ids in SOURCES]) if alone else START
    limits = torch.full((len(SOURCES),), LIMIT)
    return [best for [best] in search(model, source, mask, decoding, start=start, end=END, limits=limits)]


def padded(rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Rows as one tensor and its mask, padded on the right."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    return ids, torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]


def directory_of(config: ModelConfig, task: str, directory: Path) -> Path:
    """A model directory of such a model, with a tokenizer of bytes and words where it reads or writes texts."""
    text = TextConfig(tokenizer="bpe", vocabulary=290, min_frequency=1)
    tokenizer = Tokenizer.train(TEXTS, text)
    size = tokenizer.vocabulary_size
    classes = config.architecture == "encoder"
    config = replace(config, source_vocabulary=size, target_vocabulary=5 if classes else size, max_length=60)
    run = RunConfig(task=task, model=config, text=text, decoding=DecodingConfig(beams=1, max_extra=9))  # type: ignore[arg-type]
    weights = {name: weight.detach() for name, weight in toy(config).state_dict().items()}
    save_model(directory, run, None if classes and config.picture.patch else (tokenizer, tokenizer), weights, "")
    return directory
