"""Does the gradient fade with distance in recurrent networks, and not in attention?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.base.progress import Progress
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Series
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import equal_decoders, made, sizes_in_words
from pellucid.model.transformer import DecoderOnly

KINDS = ("Transformer", "LSTM", "GRU", "RNN")
VOCABULARY = 32


@dataclass(frozen=True)
class Size:
    """How much is done."""

    length: int
    width: int
    rows: int  # random sequences, each with a random direction of the output
    seeds: int


SIZES: dict[Effort, Size] = {
    "smallest": Size(9, 8, 2, 2),
    "quick": Size(257, 64, 8, 5),
    "full": Size(1025, 128, 16, 10),
}


def norms(model: DecoderOnly, ids: Tensor, directions: Tensor) -> Tensor:
    """Norm of the gradient with respect to the vector that enters at each position, of the last logits along a direction.

    Args:
        ids: (B, T).
        directions: (B, V), one a row.

    Returns:
        (T,): the root of the mean square over rows.
    """
    model.eval()
    rows, length = ids.shape
    vectors = model.weight("target").detach()[ids.flatten()].requires_grad_()  # (B * T, D): each position has one of its own
    x = model.decoder(torch.arange(rows * length).view(rows, length), vectors)  # (B, T, D)
    logits = model.read_out(x[:, -1:], None, None, None, None)[:, 0]  # (B, V)
    (gradient,) = torch.autograd.grad((logits * directions).sum(), vectors)
    return gradient.view(rows, length, -1).square().sum(-1).mean(0).sqrt()


def _measure(model: DecoderOnly, size: Size, seed: int) -> list[float]:
    """By distance: 0 is the last position itself."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VOCABULARY, (size.rows, size.length), generator=generator)
    directions = torch.randn(size.rows, VOCABULARY, generator=generator, dtype=torch.float64)
    return [float(number) for number in norms(model, ids, directions).flip(0)]


def run(effort: Effort, seed: int) -> Figures:
    """Untrained networks of each kind: what the first step of training would see."""
    size = SIZES[effort]
    configs = equal_decoders(KINDS, width=size.width, vocabulary=VOCABULARY, max_length=size.length)
    seeds = range(seed, seed + size.seeds)
    found: dict[str, list[list[float]]] = {}
    with Progress(len(KINDS), "kinds of network", "gradients") as progress:
        for kind, config in configs.items():
            found[kind] = [_measure(made(config, each).double(), size, each) for each in seeds]
            progress.update()
    far = size.length - 1
    shown = [1 << power for power in range(far.bit_length()) if 1 << power <= far]
    series = tuple(
        Series(kind, {distance: [norm[distance] / norm[1] for norm in runs] for distance in shown})
        for kind, runs in found.items()
    )
    return Figures(
        setup=(
            f"Sequences of {size.length} random tokens; the logits of the last position along a random direction; the norm of "
            "the gradient with respect to the vector that enters at each position, as the root of the mean square over "
            f"{size.rows} sequences.",
            "Divided by the norm at distance 1, so that only the course counts and not the scale. Networks are untrained, with "
            "the package's initialisation: what the first step of training would see.",
            "Computed in float64, which holds numbers down to 1e-308.",
            f"Two layers each, pre-norm and sinusoidal positions in the Transformer. Matched: parameters: "
            f"{sizes_in_words(configs)}.",
            f"Not matched: operations and seconds. {size.seeds} seeds.",
        ),
        panels=(
            Panel(
                "Gradient by distance, as a share of that at distance 1",
                "distance (steps back)",
                "norm (share)",
                series,
                log_x=True,
                log_y=True,
            ),
        ),
        judged={f"{kind}: {NAMED}": [_decades(norm[far], norm[1]) for norm in runs] for kind, runs in found.items()},
    )


NAMED = "gradient at the farthest position, decades above that at distance 1"


def _decades(far: float, near: float) -> float:
    """log10 of the ratio; what is smaller than float64 can hold is the smallest that it can."""
    return math.log10(max(far, 5e-324)) - math.log10(near)


EXPERIMENT = Experiment(
    name="gradients",
    claim="Gradients vanish on their way back through a recurrent network, so that it hardly learns from what lies far back; "
    "attention has no such problem.",
    rule=Rule(
        (
            Line(f"Transformer: {NAMED}", "at least", -1),
            Line(f"LSTM: {NAMED}", "at most", -3),
            Line(f"GRU: {NAMED}", "at most", -3),
            Line(f"RNN: {NAMED}", "at most", -3),
        )
    ),
    run=run,
    reading=("At the start only: training can teach a gate to stay open, and whether it does is what `distance` asks.",),
)
