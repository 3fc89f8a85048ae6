"""Ensembles, against averages by hand and against searches that average tables themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from toys import (
    END,
    LIMITS,
    SOURCES,
    START,
    Ids,
    PromptToy,
    Table,
    Toy,
    assert_same,
    log_softmax,
    padded,
    plain_beam_search,
    random_table,
    run,
    untrained,
    whole,
)

from pellucid.base.config import DecodingConfig
from pellucid.base.errors import UsageError
from pellucid.decoding.ensemble import Ensemble
from pellucid.decoding.scoring import log_probabilities
from pellucid.decoding.search import search
from pellucid.model.transformer import EncoderDecoder

CONFIGS = [
    DecodingConfig(beams=1),
    DecodingConfig(beams=3, length_penalty="power", alpha=1.0),
    DecodingConfig(beams=1, temperature=1.2, top_k=4),
]


def fixed(*shares: float) -> Table:
    return lambda source, tokens: [math.log(share) if share else -math.inf for share in shares]


def averaged(*tables: Table) -> Table:
    """The logarithm of the mean of the tables' probabilities."""

    def logits(source: Ids, tokens: Ids) -> list[float]:
        shares = [[math.exp(value) for value in log_softmax(table(source, tokens))] for table in tables]
        return [math.log(sum(column) / len(tables)) for column in zip(*shares, strict=True)]

    return logits


def test_the_mean_of_three_distributions_by_hand() -> None:
    """(0.5 + 0.1 + 0) / 3 and so on. Logits that are not normalised count as much as others; the impossible forbids nothing."""
    shifted = fixed(0.1, 0.2, 0.3, 0.4, 0.0)
    models = [
        Toy(fixed(0.5, 0.125, 0.125, 0.25, 0.0)),
        Toy(lambda source, tokens: [value + 7.0 for value in shifted(source, tokens)]),
        Toy(fixed(0.0, 0.0, 0.7, 0.1, 0.2)),
    ]
    ensemble = Ensemble(models)
    state = ensemble.start(ensemble.encode(*padded([(5, 6), (7,)])))
    values, state = ensemble.step(torch.tensor([[START, 4], [START, 2]]), state)
    expected = torch.tensor([0.6 / 3, 0.325 / 3, 1.125 / 3, 0.75 / 3, 0.2 / 3])
    torch.testing.assert_close(values.exp(), expected.expand(2, 2, 5), rtol=1e-6, atol=0.0)
    assert state.length == 2
    state.truncate(1)
    assert [of_model.length for of_model in state.states] == [1, 1, 1]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("members", [1, 2])
def test_one_model_or_two_equal_ones_are_the_model(config: DecodingConfig, members: int) -> None:
    table = random_table(30, vocabulary=8, towards_end=1.0)
    n_best = config.beams
    expected = run(Toy(table), SOURCES, config, LIMITS, n_best=n_best)
    found = run(Ensemble([Toy(table) for _ in range(members)]), SOURCES, config, LIMITS, n_best=n_best)
    for ones, others in zip(found, expected, strict=True):
        assert_same(ones, [(one.score, whole(one)) for one in others])


@pytest.mark.parametrize("beams", [1, 2, 4])
def test_searches_with_reordered_beams_equal_the_averaged_table(beams: int) -> None:
    """The toys remember whole beginnings: a state that were not reordered in every model would find other logits."""
    tables = [random_table(seed, vocabulary=8, spread=2.0, towards_end=0.5) for seed in (31, 32, 33)]
    config = DecodingConfig(beams=beams, length_penalty="gnmt", alpha=0.6)
    found = run(Ensemble([Toy(table) for table in tables]), SOURCES, config, LIMITS, n_best=beams)  # type: ignore[arg-type]
    mean = averaged(*tables)
    for source, limit, ones in zip(SOURCES, LIMITS, found, strict=True):
        assert_same(ones, plain_beam_search(lambda tokens, source=source: mean(source, tokens), limit, config, beams))  # type: ignore[misc]
    alone = [run(Toy(table), SOURCES, config, LIMITS) for table in tables]
    assert all([one.ids for (one, *_) in found] != [one.ids for (one,) in ones] for ones in alone)


def test_an_ensemble_goes_on_from_prompts_and_scores_given_outputs() -> None:
    tables = [random_table(seed, vocabulary=8) for seed in (34, 35)]
    ensemble, mean = Ensemble([PromptToy(table) for table in tables]), averaged(*tables)
    prompts: list[Ids] = [(5, 6, 7), (8,), (9, 4)]
    source, mask = padded([prompt[:-1] for prompt in prompts])
    last, limits = torch.tensor([prompt[-1] for prompt in prompts]), torch.tensor([5, 3, 6])
    found = search(ensemble, source, mask, DecodingConfig(beams=1), start=last, end=END, limits=limits)
    targets = [whole(one) for (one,) in found]
    totals = [
        sum(log_softmax(mean(prompt, target[:at]))[target[at]] for at in range(len(target)))
        for prompt, target in zip(prompts, targets, strict=True)
    ]
    assert [one.log_probability for (one,) in found] == pytest.approx(totals, abs=1e-5)
    assert log_probabilities(ensemble, source, mask, targets, start=last) == pytest.approx(totals, abs=1e-5)


def test_transformers_of_two_sizes_with_caches_equal_whole_passes() -> None:
    models = [untrained(1, n_layers=2, d_model=12), untrained(2, n_layers=1, d_model=8)]
    config, limits, sources = DecodingConfig(beams=3), [7, 4, 9, 6], SOURCES[:4]
    found = run(Ensemble(models), sources, config, limits, n_best=3)  # type: ignore[arg-type]
    assert len({one.ids for ones in found for one in ones}) == 12

    def logits(source: Ids, model: EncoderDecoder, tokens: Ids) -> Sequence[float]:
        with torch.inference_mode():
            values: list[float] = model(torch.tensor([source]), torch.tensor([[START, *tokens]]))[0, -1].tolist()
        return values

    mean = averaged(*(lambda source, tokens, model=model: logits(source, model, tokens) for model in models))
    for source, limit, ones in zip(sources, limits, found, strict=True):
        expected = plain_beam_search(lambda tokens, source=source: mean(source, tokens), limit, config, 3)  # type: ignore[misc]
        assert_same(ones, expected, tolerance=1e-4)


def test_other_vocabularies_and_no_models_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"share their vocabulary\n.*as many tokens in each\n.*found: +8, 8, 6\n.*same tokenizer"
    ):
        run(Ensemble([Toy(random_table(1, vocabulary=size)) for size in (8, 8, 6)]), [(5,)], CONFIGS[0], [3])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="an ensemble needs models"):
        Ensemble([])
