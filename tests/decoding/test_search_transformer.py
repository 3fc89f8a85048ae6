"""Search over the Transformer: its cache, its masks and its batches, against whole forward passes of single sentences."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from typing import Literal

import pytest
import torch
from torch import Tensor
from toys import END, SOURCES, START, Ids, assert_same, padded, plain_beam_search, run, whole

from pellucid.base.config import DecodingConfig, ModelConfig, StackConfig
from pellucid.decoding.scoring import log_probabilities
from pellucid.decoding.search import search
from pellucid.model.build import build, initialise
from pellucid.model.transformer import EncoderDecoder


def training_pairs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """16 outputs of 1 to 8 tokens, each a copy of its source: source, mask, what is fed, what is wanted (-100: nothing)."""
    numbers = random.Random(1)
    bodies = [tuple(numbers.choices(range(4, 11), k=1 + at % 8)) for at in range(16)]
    source, mask = padded([(*body, END) for body in bodies])
    fed, _ = padded([(START, *body) for body in bodies])
    return source, mask, fed, source.masked_fill(~mask, -100)


@cache
def transformer(norm: Literal["post", "pre"]) -> EncoderDecoder:
    """All sizes distinct. Trained just long enough to end its outputs, and to be unsure where."""
    config = ModelConfig(
        d_model=12,
        encoder=StackConfig(n_layers=1, n_heads=3, d_ff=20),
        decoder=StackConfig(n_layers=2, n_heads=2, d_ff=16),
        dropout=0.0,
        norm=norm,
        source_vocabulary=11,
        target_vocabulary=11,
        max_length=40,
    )
    model = build(config)
    initialise(model, seed=7)
    source, mask, fed, wanted = training_pairs()
    parameters = list(model.parameters())
    for _ in range(120):
        logits = model(source, fed, source_mask=mask)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten())
        with torch.no_grad():
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.sub_(0.01 * gradient.sign())
    return model.eval()


def without_cache(model: EncoderDecoder, source: Ids) -> Callable[[Ids], list[float]]:
    """Logits by the whole forward pass of one unpadded sentence."""

    @cache
    def logits(tokens: Ids) -> list[float]:
        with torch.inference_mode():
            values: list[float] = model(torch.tensor([source]), torch.tensor([[START, *tokens]]))[0, -1].tolist()
        return values

    return logits


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("beams", [2, 4])
def test_transformer_with_cache_equals_the_search_without(norm: Literal["post", "pre"], beams: int) -> None:
    model = transformer(norm)
    config = DecodingConfig(beams=beams, length_penalty="gnmt", alpha=0.6)
    sources, limits = SOURCES[:5], [14, 9, 11, 6, 12]
    found = run(model, sources, config, limits, n_best=beams, forbidden=(START,))
    for source, limit, one in zip(sources, limits, found, strict=True):
        expected = plain_beam_search(without_cache(model, source), limit, config, beams, forbidden=(START,))
        assert_same(one, expected, tolerance=1e-4)
    assert {best.reason for best, *_ in found} == {"end", "length"}  # sentences left the batch at different steps


@pytest.mark.parametrize("beams", [1, 3])
def test_transformer_gives_a_sentence_alone_what_it_gives_it_in_a_batch(beams: int) -> None:
    model, config = transformer("post"), DecodingConfig(beams=beams, max_extra=8)
    batch = search(model, *padded(SOURCES), config, start=START, end=END, n_best=beams)
    assert len({len(one.ids) for (one, *_) in batch}) > 1
    for source, found in zip(SOURCES, batch, strict=True):
        (alone,) = search(model, *padded([source]), config, start=START, end=END, n_best=beams)
        assert_same(found, [(one.score, whole(one)) for one in alone], tolerance=1e-4)


def test_transformer_scores_equal_teacher_forcing() -> None:
    model = transformer("post")
    found = search(model, *padded(SOURCES), DecodingConfig(beams=3, max_extra=8), start=START, end=END, n_best=3)
    for rank in range(3):
        targets = [whole(ones[rank]) for ones in found]
        totals = log_probabilities(model, *padded(SOURCES), targets, start=START)
        assert [ones[rank].log_probability for ones in found] == pytest.approx(totals, abs=1e-4)


def test_transformer_draws_the_same_text_alone_and_in_a_batch() -> None:
    model, config = transformer("pre"), DecodingConfig(beams=1, max_extra=8, temperature=1.3, top_k=9, top_p=0.97)
    batch = search(model, *padded(SOURCES), config, start=START, end=END, seeds=range(40, 47))
    assert len({len(one.ids) for (one,) in batch}) > 3
    for seed, source, found in zip(range(40, 47), SOURCES, batch, strict=True):
        (alone,) = search(model, *padded([source]), config, start=START, end=END, seeds=[seed])
        assert_same(found, [(one.score, whole(one)) for one in alone], tolerance=1e-4)
    totals = log_probabilities(model, *padded(SOURCES), [whole(one) for (one,) in batch], start=START)
    assert [one.log_probability for (one,) in batch] == pytest.approx(totals, abs=1e-4)


def test_training_goes_on_after_a_search() -> None:
    """What a search leaves in the model must not be bound to inference mode."""
    model = transformer("post")
    search(model, *padded(SOURCES), DecodingConfig(beams=2, max_extra=3), start=START, end=END)
    model.zero_grad()
    model(torch.tensor([[5, 6]]), torch.tensor([[START, 4]])).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
