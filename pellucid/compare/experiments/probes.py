"""Are a Transformer's states more informative than a recurrent network's? What a linear probe can read from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.base.progress import Progress
from pellucid.compare.corpus import LONGEST, draw_from, loss_on, next_words, sentences
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.learner import learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import equal_decoders, made, sizes_in_words
from pellucid.compare.states import layer_states
from pellucid.compare.translating import WORTH_A_LOOK
from pellucid.data.corpus import pairs, words
from pellucid.model.transformer import DecoderOnly

KINDS = ("Transformer", "LSTM")
LAYERS = 2
TAG, NEXT, BEFORE, FIRST = "part of speech", "part of speech of the next word", "the word before", "the first word"
QUESTIONS = (TAG, NEXT, BEFORE, FIRST)
NONE = -1  # nothing is asked here


@dataclass(frozen=True)
class Size:
    """How much is done."""

    width: int
    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int
    read: int  # sentences of the training split that probes learn from


SIZES: dict[Effort, Size] = {
    "smallest": Size(8, 3, 4, (0.01,), 2, 100),
    "quick": Size(32, 1000, 32, (0.003, 0.01, 0.03), 3, 3000),
    "full": Size(128, 4000, 64, (0.001, 0.003, 0.01), 5, 15000),
}


@lru_cache(maxsize=4)
def tags(split: str) -> Tensor:
    """Parts of speech (N, LONGEST + 2) of the English sentences of a split, by number; NONE where no word stands."""
    kinds = sorted({tag for pair in pairs("train") for tag in pair.english_tags})
    kept = [pair for pair in pairs(split) if max(len(words(pair.french)), len(words(pair.english))) <= LONGEST]
    rows = [[NONE, *(kinds.index(tag) for tag in pair.english_tags)] for pair in kept]
    return torch.tensor([row + [NONE] * (LONGEST + 2 - len(row)) for row in rows])


def questions(ids: Tensor, kinds: Tensor) -> dict[str, Tensor]:
    """What is to be told at each position, (N, T - 1) numbers or NONE, from the state there and nothing else.

    Args:
        ids: (N, T) ``BEGIN words END``, filled up.
        kinds: (N, T) parts of speech.
    """
    here, word = kinds[:, :-1], kinds[:, :-1] != NONE
    third = word & (torch.arange(ids.shape[1] - 1) >= 3)  # so that the first word and the one before are two
    before, first = F.pad(ids[:, :-2], (1, 0)), ids[:, 1:2].expand(-1, ids.shape[1] - 1)
    return {
        TAG: here,
        NEXT: torch.where(word, kinds[:, 1:], NONE),
        BEFORE: torch.where(third, before, NONE),
        FIRST: torch.where(third, first, NONE),
    }


def probe(states: Tensor, answers: Tensor, classes: int) -> Tensor:
    """Weights (D + 1, C) of a linear probe: ridge regression of the answers, one number a class, on states (N, D)."""
    x = F.pad(states.double(), (0, 1), value=1.0)
    inner = x.T @ x
    ridge = 1e-3 * inner.diagonal().mean() * torch.eye(len(inner), dtype=torch.float64)
    return torch.linalg.solve(inner + ridge, x.T @ F.one_hot(answers, classes).double())


def read(weights: Tensor, states: Tensor) -> Tensor:
    """What a probe tells from states (N, D): (N,) classes."""
    return (F.pad(states.double(), (0, 1), value=1.0) @ weights).argmax(1)


def readable(model: DecoderOnly, count: int) -> list[dict[str, float]]:
    """For each layer, as it enters the first and after each: the share that a probe tells rightly on the test split.

    Args:
        model: whose states are read.
        count: sentences of the training split that the probe learns from.
    """
    splits = {split: (sentences(split)[1].ids, tags(split)) for split in ("train", "test")}
    (taught, kinds), (asked, asked_kinds) = splits["train"], splits["test"]
    taught, kinds = taught[:count], kinds[:count]
    classes = len(sentences("train")[1].names)
    learn_from, ask = questions(taught, kinds), questions(asked, asked_kinds)
    found = []
    for here, there in zip(layer_states(model, taught[:, :-1]), layer_states(model, asked[:, :-1]), strict=True):
        shares = {}
        for question in QUESTIONS:
            known, wanted = learn_from[question] != NONE, ask[question] != NONE
            weights = probe(here[known], learn_from[question][known], classes)
            shares[question] = float((read(weights, there[wanted]) == ask[question][wanted]).double().mean())
        found.append(shares)
    return found


def run(effort: Effort, seed: int) -> Figures:
    """Train language models of both kinds, and probe every layer."""
    size = SIZES[effort]
    vocabulary = len(sentences("train")[1].names)
    configs = equal_decoders(KINDS, width=size.width, vocabulary=vocabulary, layers=LAYERS, max_length=LONGEST + 2)
    train, dev, test = (sentences(split)[1].ids for split in ("train", "dev", "test"))
    seeds = range(seed, seed + size.seeds)
    losses: dict[str, list[float]] = {}
    found: dict[str, list[list[dict[str, float]]]] = {}
    rates: dict[str, float] = {}
    with Progress(len(KINDS), "kinds of network", "probes") as progress:
        for kind, config in configs.items():
            learnt = learn(
                partial(made, config),
                draw_from(train, next_words, size.rows),
                steps=size.steps,
                rates=size.rates,
                seeds=seeds,
                score=lambda model: -loss_on(model, dev, next_words),
            )
            rates[kind] = learnt.rate
            losses[kind] = [loss_on(model, test, next_words) for model in learnt.models]
            found[kind] = [readable(model, size.read) for model in learnt.models]
            found[f"{kind}, untrained"] = [readable(made(config, each), size.read) for each in seeds]
            progress.update()
    return Figures(
        setup=(
            f"Language models of the built-in corpus's English sentences, {LAYERS} layers each. Matched: parameters: "
            f"{sizes_in_words(configs)}; {size.steps} steps of {size.rows} sentences, Adam; rates tried: {size.rates}, the "
            "best by validation for the first seed: " + ", ".join(f"{kind} {rate}" for kind, rate in rates.items()) + ".",
            "Not matched: the width of the states, which is the number of features that a probe has.",
            f"A probe is a ridge regression from the states of {size.read:,} sentences of the training split, the models "
            "fixed; its share of right answers is that on the test split. It is asked, at each word, for the word's part of "
            "speech, for that of the next word, and, from the third word on, for the word before and the first word.",
            f"{size.seeds} seeds; differences are taken seed by seed, each kind at its last layer.",
        ),
        panels=(
            *(
                Panel(
                    f"A probe for {question}",
                    "states after",
                    "share right",
                    tuple(Series(kind, _points(runs, question)) for kind, runs in found.items()),
                )
                for question in QUESTIONS
            ),
            Panel("Loss of the language models", "network", "nats a word", (Series("test split", _named(losses)),)),
        ),
        judged=judged(losses, {kind: [layers[-1] for layers in found[kind]] for kind in KINDS}),
    )


def _named(losses: Mapping[str, list[float]]) -> dict[Place, list[float]]:
    return dict(losses.items())


def _points(runs: list[list[dict[str, float]]], question: str) -> dict[Place, list[float]]:
    names = ["embedding", *(f"layer {number}" for number in range(1, LAYERS + 1))]
    return {name: [layers[number][question] for layers in runs] for number, name in enumerate(names)}


def judged(losses: Mapping[str, list[float]], last: Mapping[str, list[dict[str, float]]]) -> dict[str, list[float]]:
    """What the rule reads, from the losses and the shares at the last layer, seed by seed."""
    both = list(zip(*(last[kind] for kind in KINDS), strict=True))
    return {
        **{f"{kind}: {LEARNT}": losses[kind] for kind in KINDS},
        **{f"{question}: {MORE}": [one[question] - other[question] for one, other in both] for question in QUESTIONS},
    }


LEARNT = "loss (nats a word)"
MORE = "more told rightly from the Transformer than from the LSTM"

EXPERIMENT = Experiment(
    name="probes",
    claim="A Transformer's representations are more informative than those of a recurrent network of the same size: a linear "
    "probe reads more from them.",
    rule=Rule(
        (
            *(Line(f"{kind}: {LEARNT}", "at most", WORTH_A_LOOK, needed=True) for kind in KINDS),
            *(Line(f"{question}: {MORE}", "at least", 0.02) for question in QUESTIONS),
        )
    ),
    run=run,
    reading=("What a probe reads is there; whether the network makes use of it, a probe does not tell.",),
)
