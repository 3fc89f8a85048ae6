"""Parameters, operations and seconds of a Transformer and of an LSTM: at equal width, and at equal quality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pellucid.base.progress import Progress
from pellucid.compare.corpus import LONGEST, draw_from, loss_on, next_words, sentences
from pellucid.compare.cost import Work, clock_in_words, ratios, seconds
from pellucid.compare.curves import reached_at
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.learner import learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import decoder, made
from pellucid.compare.translating import WORTH_A_LOOK
from pellucid.model.transformer import DecoderOnly

KINDS = ("Transformer", "LSTM")
LAYERS = 2
COSTS = ("parameters", "operations", "seconds")


@dataclass(frozen=True)
class Size:
    """How much is done."""

    widths: tuple[int, ...]
    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int
    rounds: int
    least: float  # seconds of one measurement


SIZES: dict[Effort, Size] = {
    "smallest": Size((4, 8), 3, 4, (0.01,), 2, 2, 0.0),
    "quick": Size((8, 16, 32, 64), 500, 32, (0.003, 0.01, 0.03), 3, 5, 0.1),
    "full": Size((16, 32, 64, 128), 2000, 64, (0.001, 0.003, 0.01, 0.03), 5, 10, 0.5),
}


def layer_weights(model: DecoderOnly) -> int:
    """Number of weights but for embedding and output, which are the same for both."""
    return sum(weight.numel() for weight in model.decoder.parameters())


def operations(model: DecoderOnly, ids: Tensor) -> int:
    """Multiplications and additions in products of matrices, forward.

    In the form of the definition, which a tap asks for: the quick form of a recurrent layer hides them in one.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(ids, tap=lambda name, tensor: tensor)
    return int(counter.get_total_flops())


def training_step(model: DecoderOnly, ids: Tensor) -> Work:
    """Forward, loss of every next word, backward."""
    batch = next_words(ids)

    def work() -> None:
        loss = F.cross_entropy(model(batch.ids, wanted=batch.wanted), batch.answers)
        loss.backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)

    return work


def run(effort: Effort, seed: int) -> Figures:
    """Train both at growing widths, and count and time what they cost."""
    size = SIZES[effort]
    train, dev, test = (sentences(split)[1].ids for split in ("train", "dev", "test"))
    of = partial(decoder, vocabulary=len(sentences("train")[1].names), layers=LAYERS, max_length=LONGEST + 2)
    losses: dict[str, dict[Place, list[float]]] = {kind: {} for kind in KINDS}
    spent: dict[str, dict[str, dict[Place, list[float]]]] = {cost: {kind: {} for kind in KINDS} for cost in COSTS}
    with Progress(len(size.widths) * len(KINDS), "networks", "cost") as progress:
        for width in size.widths:
            works = {kind: training_step(made(of(kind, width=width), seed), train[: size.rows]) for kind in KINDS}
            times = seconds(works, rounds=size.rounds, least=size.least)
            for kind in KINDS:
                make = partial(made, of(kind, width=width))
                learnt = learn(
                    make,
                    draw_from(train, next_words, size.rows),
                    steps=size.steps,
                    rates=size.rates,
                    seeds=range(seed, seed + size.seeds),
                    score=lambda model: -loss_on(model, dev, next_words),
                )
                losses[kind][width] = [loss_on(model, test, next_words) for model in learnt.models]
                spent["parameters"][kind][width] = [layer_weights(make(seed))]
                spent["operations"][kind][width] = [operations(make(seed), train[: size.rows, :-1])]
                spent["seconds"][kind][width] = times[kind]
                progress.update()
    return Figures(
        setup=(
            f"Language models of the built-in corpus's English sentences, {LAYERS} layers each: a pre-norm Transformer with 4 "
            "heads and an LSTM. Loss on the test split, in nats a word.",
            f"Matched: width, at first; {size.steps} steps of {size.rows} sentences, Adam; rates tried: {size.rates}, the best "
            f"by validation for the first seed, for each kind and width. {size.seeds} seeds.",
            "Parameters without embedding and output, which are the same at equal width. Operations of the products of "
            f"matrices, forward, of a batch of {size.rows} sentences. Seconds of a training step; {clock_in_words()}, the two "
            f"take turns, {size.rounds} rounds.",
            "Equal quality: the loss that the less lucky of the two had at its best, for each seed; what either spends to come "
            "to it, by a straight line between the measured widths in the logarithm of the cost. As many steps for both, so "
            "that a step's costs compare as the training's do.",
        ),
        panels=(
            *(
                Panel(f"Equal width: {cost}", "width", _UNITS[cost], _by_width(spent[cost]), log_x=True, log_y=True)
                for cost in COSTS
            ),
            Panel("Loss by width", "width", "loss (nats a word)", _by_width(losses), log_x=True),
            Panel("Loss by operations", "million operations", "loss (nats a word)", _by_cost(losses, spent["operations"])),
        ),
        judged=judged(losses, spent),
    )


_UNITS = {"parameters": "weights", "operations": "operations of a batch", "seconds": "seconds of a training step"}


def _by_width(found: Mapping[str, Mapping[Place, list[float]]]) -> tuple[Series, ...]:
    return tuple(Series(kind, points) for kind, points in found.items())


def _by_cost(
    losses: Mapping[str, Mapping[Place, list[float]]], spent: Mapping[str, Mapping[Place, list[float]]]
) -> tuple[Series, ...]:
    def points(kind: str) -> dict[Place, list[float]]:
        return {round(spent[kind][width][0] / 1e6, 2): numbers for width, numbers in losses[kind].items()}

    return tuple(Series(kind, points(kind)) for kind in losses)


def judged(
    losses: Mapping[str, Mapping[Place, list[float]]], spent: Mapping[str, Mapping[str, Mapping[Place, list[float]]]]
) -> dict[str, list[float]]:
    """What the rule reads.

    Args:
        losses: by kind and width, one a seed.
        spent: by cost, kind and width: a count, or one number a round.
    """
    ours, theirs = KINDS
    widest = max(losses[ours], key=float)
    found = {f"{kind}: {LEARNT}": losses[kind][widest] for kind in KINDS}
    for cost in COSTS:
        found[f"{cost}: {WIDTH}"] = ratios(spent[cost][ours][widest], spent[cost][theirs][widest])
        found[f"{cost}: {QUALITY}"] = []
        for seed in range(len(losses[ours][widest])):
            curves = {
                kind: {_mean(spent[cost][kind][width]): numbers[seed] for width, numbers in losses[kind].items()}
                for kind in KINDS
            }
            target = max(min(curve.values()) for curve in curves.values())
            found[f"{cost}: {QUALITY}"].append(reached_at(curves[ours], target) / reached_at(curves[theirs], target))
    return found


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


LEARNT = "loss at the greatest width (nats a word)"
WIDTH = "the Transformer's at the greatest width, times the LSTM's"
QUALITY = "the Transformer's at equal quality, times the LSTM's"

EXPERIMENT = Experiment(
    name="cost",
    claim="At equal width a Transformer has more parameters than a recurrent network and takes more operations and time; at "
    "equal quality it takes less of each.",
    rule=Rule(
        (
            *(Line(f"{kind}: {LEARNT}", "at most", WORTH_A_LOOK, needed=True) for kind in KINDS),
            *(Line(f"{cost}: {WIDTH}", "at least", 1.2) for cost in COSTS),
            *(Line(f"{cost}: {QUALITY}", "at most", 0.8) for cost in COSTS),
        )
    ),
    run=run,
    clocked=True,
)
