"""Searches for a model without an end token, and on from prompts whose last tokens are fed first.

A prompt without its last token is the source; a prompt of one token leaves an empty one.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor
from toys import (
    END,
    LIMITS,
    SOURCES,
    START,
    Ids,
    PromptToy,
    Toy,
    assert_same,
    log_softmax,
    padded,
    plain_beam_search,
    random_table,
)

from pellucid.base.config import DecodingConfig, ModelConfig, Positions, StackConfig
from pellucid.decoding.scoring import log_probabilities
from pellucid.decoding.search import search
from pellucid.model.build import build, initialise
from pellucid.model.transformer import DecoderOnly


@pytest.mark.parametrize("beams", [1, 3])
def test_without_an_end_token_only_the_limit_closes_an_output(beams: int) -> None:
    """The token that ends outputs elsewhere is one like the others. Expected: the best K extensions, again and again."""
    table = random_table(10, vocabulary=6, spread=2.0, towards_end=4.0)
    config = DecodingConfig(beams=beams, length_penalty="power", alpha=1.0)
    found = search(Toy(table), *padded(SOURCES), config, start=START, end=None, limits=torch.tensor(LIMITS), n_best=beams)
    for source, limit, ones in zip(SOURCES, LIMITS, found, strict=True):
        assert len(ones) == beams
        assert all((len(one.ids), one.reason) == (limit, "length") for one in ones)
        totals = log_probabilities(Toy(table), *padded([source] * beams), [one.ids for one in ones], start=START)
        assert [one.log_probability for one in ones] == pytest.approx(totals, abs=1e-4)
        assert [one.score for one in ones] == pytest.approx([total / limit for total in totals], abs=1e-5)
        alive: list[tuple[float, Ids]] = [(0.0, ())]
        for _ in range(limit):
            extended = [
                (total + value, (*ids, token))
                for total, ids in alive
                for token, value in enumerate(log_softmax(table(source, ids)))
            ]
            alive = sorted(extended, key=lambda one: -one[0])[:beams]
        assert [one.ids for one in ones] == [ids for _, ids in alive]
    assert any(END in one.ids[:-1] for ones in found for one in ones)


PROMPTS: list[Ids] = [(5, 6, 7), (8,), (9, 9, 4, 2), (6,), (7, 7)]


def split(prompts: list[Ids]) -> tuple[Tensor, Tensor, Tensor]:
    """Source and mask of the prompts without their last tokens, and these."""
    return *padded([prompt[:-1] for prompt in prompts]), torch.tensor([prompt[-1] for prompt in prompts])


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("end", [END, None])
def test_first_tokens_of_their_own_equal_searches_with_one_first_token(beams: int, end: int | None) -> None:
    """Whole prompts are in the table: a row that began from another's last token would find other logits."""
    model, config = PromptToy(random_table(11, vocabulary=8, towards_end=1.0)), DecodingConfig(beams=beams)
    source, mask, last = split(PROMPTS)
    assert mask.sum(dim=1).tolist() == [2, 0, 3, 0, 1]
    limits = torch.tensor([9, 4, 12, 1, 7])
    found = search(model, source, mask, config, start=last, end=end, limits=limits, n_best=beams)
    for prompt, limit, ones in zip(PROMPTS, limits, found, strict=True):
        alone = padded([prompt[:-1]])
        options = {"start": prompt[-1], "end": end, "limits": limit[None], "n_best": beams}
        assert search(model, *alone, config, **options) == [ones]  # type: ignore[arg-type]
    assert len({one.ids for ones in found for one in ones}) > 4


def test_log_probabilities_with_first_tokens_of_their_own() -> None:
    model = PromptToy(random_table(12, vocabulary=8))
    source, mask, last = split(PROMPTS)
    targets = [(4, 1, END), (), (END,), (7, 7, 7, 7), (2, 0)]
    expected = [
        sum(log_softmax(model.table(prompt, target[:at]))[target[at]] for at in range(len(target)))
        for prompt, target in zip(PROMPTS, targets, strict=True)
    ]
    assert log_probabilities(model, source, mask, targets, start=last) == pytest.approx(expected, abs=1e-5)
    alone = [
        log_probabilities(model, *padded([prompt[:-1]]), [target], start=prompt[-1])[0]
        for prompt, target in zip(PROMPTS, targets, strict=True)
    ]
    assert log_probabilities(model, source, mask, targets, start=last) == alone


# The decoder that stands alone, against whole forward passes of single prompts


@cache
def decoder_only(positions: Positions) -> DecoderOnly:
    """All sizes distinct; weights large enough that it is sure of something."""
    config = ModelConfig(
        architecture="decoder",
        d_model=12,
        encoder=StackConfig(n_heads=3),  # there is none, but its sizes must fit
        decoder=StackConfig(n_layers=2, n_heads=3, d_ff=20),
        dropout=0.0,
        norm="pre",
        tie="none",
        positions=positions,
        source_vocabulary=10,
        target_vocabulary=10,
        max_length=40,
    )
    model = build(config)
    assert isinstance(model, DecoderOnly)
    initialise(model, seed=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2.0)
    return model.eval()


def plainly(model: DecoderOnly, prompt: Ids, limit: int, config: DecodingConfig, n_best: int) -> list[tuple[float, Ids]]:
    @cache
    def logits(tokens: Ids) -> list[float]:
        with torch.inference_mode():
            values: list[float] = model(torch.tensor([[*prompt, *tokens]]))[0, -1].tolist()
        return values

    return plain_beam_search(logits, limit, config, n_best, forbidden=(START,))


@pytest.mark.parametrize("positions", ["sinusoidal", "rotary", "alibi"])
@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("left", [False, True])
def test_prompts_in_a_batch_equal_searches_without_cache_and_padding(positions: Positions, beams: int, left: bool) -> None:
    """Cache, padding on either side and positions behind it, beams and early endings at once."""
    model, config, limits = decoder_only(positions), DecodingConfig(beams=beams), [9, 4, 12, 1, 7]
    source, mask, last = split(PROMPTS)
    if left:
        order = mask.int().argsort(dim=1, stable=True)
        source, mask = source.gather(1, order), mask.gather(1, order)
    options = {"start": last, "end": END, "n_best": beams, "forbidden": (START,)}
    found = search(model, source, mask, config, limits=torch.tensor(limits), **options)  # type: ignore[arg-type]
    for prompt, limit, ones in zip(PROMPTS, limits, found, strict=True):
        assert_same(ones, plainly(model, prompt, limit, config, beams), tolerance=1e-4)
    assert {best.reason for best, *_ in found} == {"end", "length"}  # prompts left the batch at different steps
    targets = [one.ids for one, *_ in found]
    expected = [
        sum(log_softmax(model(torch.tensor([[*prompt, *ids[:at]]]))[0, -1].tolist())[ids[at]] for at in range(len(ids)))
        for prompt, ids in zip(PROMPTS, targets, strict=True)
    ]
    assert log_probabilities(model, source, mask, targets, start=last) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("beams", [1, 3])
def test_prompts_of_one_token_each(beams: int) -> None:
    model, config, prompts = decoder_only("rotary"), DecodingConfig(beams=beams), [(5,), (8,), (2,)]
    source, mask, last = split(prompts)
    assert source.shape == mask.shape == (3, 0)
    options = {"start": last, "end": END, "limits": torch.tensor([6, 3, 8]), "n_best": beams, "forbidden": (START,)}
    found = search(model, source, mask, config, **options)  # type: ignore[arg-type]
    for prompt, limit, ones in zip(prompts, [6, 3, 8], found, strict=True):
        assert_same(ones, plainly(model, prompt, limit, config, beams), tolerance=1e-4)


def test_a_prompt_and_its_seed_draw_the_same_text_alone_and_in_a_batch() -> None:
    model, config = decoder_only("rotary"), DecodingConfig(beams=1, temperature=1.0, top_k=8, top_p=0.95)
    source, mask, last = split(PROMPTS)
    limits, seeds = torch.tensor([9, 4, 12, 1, 7]), [31, 4, 15, 9, 26]
    found = search(model, source, mask, config, start=last, end=None, limits=limits, seeds=seeds)
    for prompt, limit, seed, ones in zip(PROMPTS, limits, seeds, found, strict=True):
        alone = padded([prompt[:-1]])
        (expected,) = search(model, *alone, config, start=prompt[-1], end=None, limits=limit[None], seeds=[seed])
        assert_same(ones, [(one.score, one.ids) for one in expected], tolerance=1e-4)
    assert [(len(one.ids), one.reason) for (one,) in found] == [(limit, "length") for limit in limits.tolist()]
