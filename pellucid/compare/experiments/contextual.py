"""Does the same word have other vectors in another sentence, layer by layer?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.base.config import ModelConfig, StackConfig
from pellucid.base.progress import Progress
from pellucid.compare.corpus import (
    FILL,
    LONGEST,
    Translator,
    draw_from,
    loss_on,
    pairs_side_by_side,
    sentences,
    translations,
    translator,
)
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.learner import learn
from pellucid.compare.rule import Line, Rule

LAYERS = 3


@dataclass(frozen=True)
class Size:
    """How much is done."""

    width: int
    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int
    read: int  # sentences of the test split that are looked at


SIZES: dict[Effort, Size] = {
    "smallest": Size(8, 3, 4, (0.01,), 2, 60),
    "quick": Size(32, 500, 32, (0.003,), 3, 400),
    "full": Size(64, 1000, 64, (0.001, 0.003), 5, 400),
}


def configuration(width: int) -> ModelConfig:
    """A small translator."""
    french, english = sentences("train")
    stack = StackConfig(LAYERS, 4, 4 * width)
    return ModelConfig(
        d_model=width,
        encoder=stack,
        decoder=stack,
        norm="pre",
        dropout=0.0,
        tie="decoder",
        max_length=LONGEST + 2,
        source_vocabulary=len(french.names),
        target_vocabulary=len(english.names),
    )


@torch.no_grad()
def layers_of(model: Translator, ids: Tensor) -> list[Tensor]:
    """The vectors (N, S, D) of French sentences (N, S): as they enter the first layer, and after each layer."""
    inner = model.model.eval()
    entering: list[Tensor] = []
    hook = inner.encoder.layers[0].register_forward_pre_hook(lambda _, arguments: entering.append(arguments[0]))
    memory = inner.encode(ids, ids != FILL)
    hook.remove()
    return [entering[0], *memory.states]


def cosines(vectors: Tensor, ids: Tensor) -> tuple[float, float]:
    """Mean cosine of vectors (N, S, D) at the same place of two sentences (N, S): of the same word, and of different ones.

    With place and word the same, what enters the first layer is the same, and any difference afterwards is the context.
    """
    same_sum = other_sum = 0.0
    same_count = other_count = 0
    for place in range(1, ids.shape[1]):
        rows = (ids[:, place] > 2).nonzero()[:, 0]  # real words there
        unit = F.normalize(vectors[rows, place].double(), dim=1)
        products, words = unit @ unit.T, ids[rows, place]
        same = words.unsqueeze(0) == words.unsqueeze(1)
        pair = torch.ones_like(same).triu(1)
        same_sum += float(products[same & pair].sum())
        other_sum += float(products[~same & pair].sum())
        same_count += int((same & pair).sum())
        other_count += int((~same & pair).sum())
    return same_sum / max(1, same_count), other_sum / max(1, other_count)


def run(effort: Effort, seed: int) -> Figures:
    """Train translators, and look into their encoders."""
    size = SIZES[effort]
    train, dev = pairs_side_by_side("train"), pairs_side_by_side("dev")
    french = torch.unique(sentences("test")[0].ids[: size.read], dim=0)
    make = partial(translator, configuration(size.width))
    seeds = range(seed, seed + size.seeds)
    learnt = learn(
        make,
        draw_from(train, translations, size.rows),
        steps=size.steps,
        rates=size.rates,
        seeds=seeds,
        score=lambda model: -loss_on(model, dev, translations),
    )
    found: dict[str, list[list[tuple[float, float]]]] = {"untrained": [], "trained": []}
    losses: list[float] = []
    with Progress(size.seeds, "translators", "contextual") as progress:
        for number, model in zip(seeds, learnt.models, strict=True):
            losses.append(loss_on(model, dev, translations))
            for state, each in (("untrained", make(number)), ("trained", model)):
                found[state].append([cosines(vectors, french) for vectors in layers_of(each, french)])
            progress.update()
    trained = found["trained"]
    return Figures(
        setup=(
            f"A translator from French to English, {LAYERS} layers a side, width {size.width}, pre-norm, trained in the run on "
            f"the built-in corpus: {size.steps} steps of {size.rows} pairs, Adam; rates tried: {size.rates}.",
            f"Looked at: the encoder's vectors of {len(french)} French sentences of the test split, at the embedding (with its "
            "position, as it enters the first layer) and after each layer.",
            "Matched: pairs of the same word at the same place of two sentences, which enter as the same vector: whatever "
            "differs afterwards is due to the context. Beside them, different words at the same place.",
            f"{size.seeds} seeds.",
        ),
        panels=tuple(
            Panel(
                f"Cosine of the vectors at the same place of two sentences, {state}",
                "layer",
                "cosine",
                (Series("same word", _points(runs, 0)), Series("different words", _points(runs, 1))),
            )
            for state, runs in found.items()
        ),
        judged={
            STATIC: [layers[0][0] for layers in trained],
            CONTEXTUAL: [layers[-1][0] for layers in trained],
            APART: [layers[-1][0] - layers[-1][1] for layers in trained],
            LEARNT: losses,
        },
    )


def _points(runs: list[list[tuple[float, float]]], which: int) -> dict[Place, list[float]]:
    names = ["embedding", *(f"layer {number}" for number in range(1, LAYERS + 1))]
    return {name: [layers[number][which] for layers in runs] for number, name in enumerate(names)}


STATIC = "same word, two sentences: cosine at the embedding"
CONTEXTUAL = "same word, two sentences: cosine after the last layer"
APART = "the same, above the cosine of different words"
LEARNT = "validation loss of the translator (nats a word)"

EXPERIMENT = Experiment(
    name="contextual",
    claim="An embedding is static, an encoding is contextual: a word has one vector in the table, and after the layers another "
    "one in every sentence.",
    rule=Rule(
        (
            Line(LEARNT, "at most", 3.0, needed=True),
            Line(STATIC, "at least", 0.9999),
            Line(CONTEXTUAL, "at most", 0.95),
            Line(APART, "at least", 0.1),
        )
    ),
    run=run,
    reading=("That a vector depends on its sentence is not yet that it tells the meanings of a word apart.",),
)
