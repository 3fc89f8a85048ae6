"""Small translators, made, trained and measured alike: what experiments on translation share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch.nn.functional as F
from torch import Tensor

from pellucid.base.config import ModelConfig, StackConfig
from pellucid.base.recurrent import RecurrentConfig
from pellucid.compare.corpus import (
    BUILTIN,
    Corpus,
    Translator,
    draw_from,
    loss_on,
    pairs_side_by_side,
    sentences,
    translations,
)
from pellucid.compare.cost import Work
from pellucid.compare.learner import Learnt, learn
from pellucid.compare.sizes import matched, parameters

LEARNT_SOMETHING = 4.0  # nats a word, of any corpus: above it a translator knows little but which words are frequent
WORTH_A_LOOK = 3.0  # nats a word: above it a translator has hardly learnt which words there are, and differences say nothing


@dataclass(frozen=True)
class Budget:
    """How long translators are trained, and how many of them.

    Args:
        steps, rows: of each training; rows are sentence pairs.
        rates: to choose from, the same for all that are compared.
        seeds: number of them.
    """

    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int

    def __str__(self) -> str:
        return (
            f"{self.steps} steps of {self.rows} pairs, Adam; rates tried: {self.rates}, the best by validation for the first "
            "seed"
        )


def transformer(width: int, layers: int, heads: int | tuple[int, ...] = 4, corpus: Corpus = BUILTIN) -> ModelConfig:
    """A pre-norm Transformer for a corpus; embedding and output of the target are tied."""
    source, target = sentences("train", corpus)
    stack = StackConfig(layers, heads, 4 * width)
    return ModelConfig(
        d_model=width,
        encoder=stack,
        decoder=stack,
        norm="pre",
        dropout=0.0,
        tie="decoder",
        max_length=corpus.longest + 2,
        source_vocabulary=len(source.names),
        target_vocabulary=len(target.names),
    )


def lstm(width: int, layers: int, corpus: Corpus = BUILTIN) -> ModelConfig:
    """An LSTM with Luong's attention for a corpus: the encoder reads both ways, embedding and output are tied as above."""
    stack = StackConfig(layers)
    return replace(
        transformer(4 * width, layers, corpus=corpus),
        d_model=width,
        encoder=stack,
        decoder=stack,
        norm="post",
        recurrent=RecurrentConfig(cell="lstm", attention="dot"),
    )


TRANSFORMER, LSTM = "Transformer", "LSTM with attention"


def equal_translators(width: int, layers: int, dropout: float = 0.0, corpus: Corpus = BUILTIN) -> dict[str, ModelConfig]:
    """Both, the LSTM with as many weights as a Transformer of this width, as nearly as whole widths allow."""
    ours = replace(transformer(width, layers, corpus=corpus), dropout=dropout)
    other = matched(lambda wide: replace(lstm(wide, layers, corpus), dropout=dropout), parameters(ours))
    return {TRANSFORMER: ours, LSTM: other}


def training_step(model: Translator, pairs: Tensor) -> Work:
    """Forward, loss of every target word of these pairs, backward."""
    batch = translations(pairs)

    def work() -> None:
        loss = F.cross_entropy(model(batch.ids, wanted=batch.wanted), batch.answers)
        loss.backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)

    return work


def wider(config: ModelConfig, d_ff: int) -> ModelConfig:
    """The same with feed-forward layers of this width."""
    return replace(config, encoder=replace(config.encoder, d_ff=d_ff), decoder=replace(config.decoder, d_ff=d_ff))


def taught(
    make: Callable[[int], Translator], budget: Budget, seed: int, train: Tensor | None = None, corpus: Corpus = BUILTIN
) -> tuple[Learnt[Translator], list[float]]:
    """Translators of these seeds, and their losses on the test split, in nats a word.

    Args:
        make: an untrained one, from a seed.
        budget: of the training.
        seed: the first.
        train: pairs to train on, as :func:`pairs_side_by_side` gives them; ``None``: all of the training split.
        corpus: that they are of.
    """
    dev, test = pairs_side_by_side("dev", corpus), pairs_side_by_side("test", corpus)
    learnt = learn(
        make,
        draw_from(pairs_side_by_side("train", corpus) if train is None else train, translations, budget.rows),
        steps=budget.steps,
        rates=budget.rates,
        seeds=range(seed, seed + budget.seeds),
        score=lambda model: -loss_on(model, dev, translations),
    )
    return learnt, [loss_on(model, test, translations) for model in learnt.models]


def above(losses: list[float], others: list[float]) -> list[float]:
    """By how much, seed by seed."""
    return [loss - other for loss, other in zip(losses, others, strict=True)]
