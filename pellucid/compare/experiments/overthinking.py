"""What would each layer answer, and does a model that went on thinking leave right answers behind?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.base.config import ModelConfig
from pellucid.base.progress import Progress
from pellucid.compare.corpus import LONGEST, draw_from, loss_on, next_words, sentences
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.learner import Batch, learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import decoder, made, parameters
from pellucid.compare.states import layer_states
from pellucid.model.transformer import DecoderOnly


@dataclass(frozen=True)
class Size:
    """How much is done."""

    layers: int
    width: int
    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int


SIZES: dict[Effort, Size] = {
    "smallest": Size(2, 8, 3, 4, (0.01,), 2),
    "quick": Size(6, 32, 300, 32, (0.003, 0.01), 3),
    "full": Size(12, 64, 3000, 32, (0.0003, 0.001, 0.003), 5),
}


@torch.no_grad()
def answers(model: DecoderOnly, batch: Batch) -> Tensor:
    """Logits (layers, N, V): what the embedding and each layer would answer if the last norm and the output came after it.

    The last one is the model's own. (Known as the logit lens, nostalgebraist, 2020.)
    """
    norm = model.decoder.norm
    vectors = [state[batch.wanted] for state in layer_states(model, batch.ids)]  # (N, D) each
    return torch.stack([model.head(x if norm is None else norm(x), model.weight("output")) for x in vectors])


def shares(right: Tensor) -> tuple[float, float]:
    """Of answers (layers, N), True where right: the share that is right at an earlier layer and wrong in the end
    ("destructive", Kaya et al., "Shallow-Deep Networks: Understanding and Mitigating Network Overthinking", 2019), and the
    share that is right in the end and was at no earlier layer."""
    earlier, end = right[:-1].any(0), right[-1]
    return float((earlier & ~end).double().mean()), float((end & ~earlier).double().mean())


def configuration(size: Size) -> ModelConfig:
    """A language model of English."""
    vocabulary = len(sentences("train")[1].names)
    return decoder("Transformer", width=size.width, vocabulary=vocabulary, layers=size.layers, max_length=LONGEST + 2)


def run(effort: Effort, seed: int) -> Figures:
    """Train language models, and ask every layer."""
    size = SIZES[effort]
    config = configuration(size)
    train, dev, test = (sentences(split)[1].ids for split in ("train", "dev", "test"))
    learnt = learn(
        partial(made, config),
        draw_from(train, next_words, size.rows),
        steps=size.steps,
        rates=size.rates,
        seeds=range(seed, seed + size.seeds),
        score=lambda model: -loss_on(model, dev, next_words),
    )
    asked = next_words(test)
    right: dict[Place, list[float]] = {}
    losses: dict[Place, list[float]] = {}
    spoilt: list[float] = []
    late: list[float] = []
    with Progress(size.seeds, "models", "overthinking") as progress:
        for model in learnt.models:
            logits = answers(model, asked)
            correct = logits.argmax(-1) == asked.answers  # (layers, N)
            for name, layer, each in zip(_names(size.layers), logits, correct, strict=True):
                right.setdefault(name, []).append(float(each.double().mean()))
                losses.setdefault(name, []).append(F.cross_entropy(layer, asked.answers).item())
            left, gained = shares(correct)
            spoilt.append(left)
            late.append(gained)
            progress.update()
    return Figures(
        setup=(
            f"A language model of the built-in corpus's English sentences, {size.layers} layers, width {size.width}, pre-norm, "
            f"{parameters(config):,} parameters; {size.steps} steps of {size.rows} sentences, Adam; rates tried: {size.rates}, "
            f"the best by validation for the first seed ({learnt.rate}). {size.seeds} seeds.",
            f"Asked: the next word at {len(asked.answers):,} places of the test split. What a layer would answer is read with "
            "the model's own last norm and output matrix, as if no layer came after it; nothing is trained for it.",
            "Matched: model, places and readout; only the layer differs.",
        ),
        panels=(
            Panel("Answers by layer", "after", "share right", (Series("test split", right),)),
            Panel("Loss by layer", "after", "loss (nats a word)", (Series("test split", losses),)),
            Panel(
                "Earlier and in the end",
                "answers",
                "share of all",
                (Series("test split", {"right earlier, wrong in the end": spoilt, "right in the end alone": late}),),
            ),
        ),
        judged=judged(right[_names(size.layers)[-1]], spoilt),
        remarks=(
            "Earlier layers were never asked to answer. That one of them happens to be right says that the answer was within "
            "reach, not that the model could have known when to stop.",
        ),
    )


def _names(layers: int) -> list[str]:
    return ["embedding", *(f"layer {number}" for number in range(1, layers + 1))]


def judged(right: list[float], spoilt: list[float]) -> dict[str, list[float]]:
    """What the rule reads: shares that are right in the end, and that were right earlier alone."""
    return {LEARNT: right, SPOILT: spoilt}


LEARNT = "answers that are right in the end"
SPOILT = "answers that are right at an earlier layer and wrong in the end"

EXPERIMENT = Experiment(
    name="overthinking",
    claim="A model can overthink: an answer that was right after some layer is wrong after the last.",
    rule=Rule((Line(LEARNT, "at least", 0.2, needed=True), Line(SPOILT, "at least", 0.02))),
    run=run,
)
