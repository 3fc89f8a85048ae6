"""What becomes of a deep stack without residual connections, and without norms?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.base.config import ModelConfig
from pellucid.base.progress import Progress
from pellucid.base.taps import Tap
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.experiments.distance import QUESTION, batch
from pellucid.compare.learner import TEST, accuracy, learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import decoder, made, parameters
from pellucid.model.block import Block
from pellucid.model.transformer import DecoderOnly

LONG = "long skips alone"
VARIANTS = ("whole", "no residual", LONG, "no norm", "neither")


@dataclass(frozen=True)
class Size:
    """How much is done."""

    depths: tuple[int, ...]
    width: int
    distance: int  # of the recall
    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int


SIZES: dict[Effort, Size] = {
    "smallest": Size((1, 2), 8, 4, 3, 4, (0.01,), 2),
    "quick": Size((2, 8, 24), 16, 8, 120, 16, (0.003, 0.01), 3),
    "full": Size((2, 8, 24), 32, 16, 300, 16, (0.0003, 0.001, 0.003), 5),
}


class Around(nn.Module):
    """What stands around a sublayer, with a part left out; takes the place of :class:`pellucid.model.residual.Residual`.

    Args:
        norm: before the sublayer; ``None``: none.
        sums: whether the sublayer's output is added to what goes in.
    """

    def __init__(self, norm: nn.Module | None, *, sums: bool) -> None:
        super().__init__()
        self.norm, self.sums = norm, sums

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor], tap: Tap | None = None, name: str = "") -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        out = sublayer(x if self.norm is None else self.norm(x))
        return x + out if self.sums else out


class Joined(nn.Module):
    """A stack whose early outputs skip to its late layers, as in a U-Net (Ronneberger et al., 2015): what the first layer gives
    is joined to what the last one receives, and so on inwards.

    Args:
        layers: in order.
        generator: of the joints' weights, each 2 D -> D, Xavier uniform.
    """

    def __init__(self, layers: Sequence[nn.Module], width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = layers[0]
        self.inner = Joined(layers[1:-1], width, generator) if len(layers) > 2 else None
        self.last = layers[-1] if len(layers) > 1 else None
        self.joint = nn.Linear(2 * width, width) if self.last is not None else None
        if self.joint is not None:
            nn.init.xavier_uniform_(self.joint.weight, generator=generator)
            nn.init.zeros_(self.joint.bias)

    def forward(self, x: Tensor, *arguments: Any, **named: Any) -> Tensor:
        """(B, T, D) -> (B, T, D), in the place of one layer."""
        early: Tensor = self.first(x, *arguments, **named)
        if self.last is None or self.joint is None:
            return early
        late = early if self.inner is None else self.inner(early, *arguments, **named)
        out: Tensor = self.last(self.joint(torch.cat((late, early), dim=-1)), *arguments, **named)
        return out


def variant(name: str, depth: int, size: Size, seed: int) -> DecoderOnly:
    """A pre-norm decoder in which every residual connection, every norm inside the blocks, or both are left out; or in which
    long skips across the stack take the place of the residual connections."""
    model = made(_config(depth, size), seed)
    for block in blocks(model):
        for place in ("self_attn_residual", "feed_forward_residual"):
            norm = None if name in ("no norm", "neither") else getattr(block, place).norm
            setattr(block, place, Around(norm, sums=name in ("whole", "no norm")))
    if name == LONG:
        generator = torch.Generator().manual_seed(seed)
        model.decoder.layers = nn.ModuleList([Joined(list(model.decoder.layers), size.width, generator)])
    return model


def blocks(model: DecoderOnly) -> list[Block]:
    """The layers in order, also where they stand inside each other."""

    def inside(layer: nn.Module | None) -> list[Block]:
        if isinstance(layer, Joined):
            return [*inside(layer.first), *inside(layer.inner), *inside(layer.last)]
        return [layer] if isinstance(layer, Block) else []

    return [block for layer in model.decoder.layers for block in inside(layer)]


def _config(depth: int, size: Size) -> ModelConfig:
    return decoder("Transformer", width=size.width, vocabulary=QUESTION + 1, layers=depth, max_length=size.distance + 1)


def layer_gradients(model: DecoderOnly, size: Size, seed: int) -> list[float]:
    """Norm of the loss's gradient with respect to the weights of each layer, the first one first."""
    drawn = batch(torch.Generator().manual_seed(seed), distance=size.distance, rows=size.rows)
    F.cross_entropy(model(drawn.ids, wanted=drawn.wanted), drawn.answers).backward()  # type: ignore[no-untyped-call]
    norms = []
    for block in blocks(model):
        gradients = [weight.grad.square().sum() for weight in block.parameters() if weight.grad is not None]
        norms.append(float(torch.stack(gradients).sum().sqrt()))
    return norms


def run(effort: Effort, seed: int) -> Figures:
    """Gradients before training by layer of the deepest stack, and recall after training by depth."""
    size = SIZES[effort]
    seeds = range(seed, seed + size.seeds)
    deepest = max(size.depths)
    task = partial(batch, distance=size.distance, rows=size.rows)
    gradients: dict[str, dict[Place, list[float]]] = {}
    right: dict[str, dict[Place, list[float]]] = {name: {} for name in VARIANTS}
    rates = []
    with Progress(len(VARIANTS) * len(size.depths), "stacks", "residual") as progress:
        for name in VARIANTS:
            by_seed = [layer_gradients(variant(name, deepest, size, each), size, each) for each in seeds]
            gradients[name] = {layer + 1: [norms[layer] for norms in by_seed] for layer in range(deepest)}
            for depth in size.depths:
                make = partial(variant, name, depth, size)
                learnt = learn(make, task, steps=size.steps, rates=size.rates, seeds=seeds)
                right[name][depth] = [accuracy(model, task, batches=4, seed=TEST) for model in learnt.models]
                rates.append(f"{name}, {depth}: {learnt.rate}")
                progress.update()
    return Figures(
        setup=(
            f"Recall of one of 16 symbols after {size.distance} steps, as in `distance`; chance is 0.0625. Pre-norm decoders "
            f"of width {size.width}; every residual connection, every norm inside the blocks, or both left out. The last norm, "
            "before the logits, stays.",
            f"*{LONG.capitalize()}*: no residual connections, but as in a U-Net what the first layer gives is joined, by "
            "concatenation and a matrix, to what the last one receives, what the second gives to the last but one, and so on.",
            f"Matched: parameters: {parameters(_config(deepest, size)):,} at {deepest} layers, less the norms' own where they "
            "are left out, and more by the long skips' matrices.",
            f"Matched: {size.steps} steps of {size.rows} sequences, rates tried: {size.rates}, the best by validation for the "
            f"first seed ({'; '.join(rates)}). {size.seeds} seeds.",
        ),
        panels=(
            Panel(
                f"Gradient by layer before training, {deepest} layers",
                "layer (1: next to the embedding)",
                "norm",
                tuple(Series(name, points) for name, points in gradients.items()),
                log_y=True,
            ),
            Panel(
                "Recall after training", "layers", "share right", tuple(Series(name, points) for name, points in right.items())
            ),
        ),
        judged={
            WHOLE: right["whole"][deepest],
            SHALLOW: right["whole"][min(size.depths)],
            NO_RESIDUAL: _less(right["whole"][deepest], right["no residual"][deepest]),
            NO_NORM: _less(right["whole"][deepest], right["no norm"][deepest]),
        },
    )


def _less(whole: list[float], part: list[float]) -> list[float]:
    return [there - here for there, here in zip(whole, part, strict=True)]


WHOLE = "whole: right at the greatest depth"
SHALLOW = "whole: right at the least depth"
NO_RESIDUAL = "no residual: lost at the greatest depth"
NO_NORM = "no norm: lost at the greatest depth"

EXPERIMENT = Experiment(
    name="residual",
    claim="Residual connections and norms are what makes deep stacks trainable: without either, a deep one does not learn what "
    "the whole one does.",
    rule=Rule(
        (
            Line(SHALLOW, "at least", 0.9, needed=True),
            Line(WHOLE, "at least", 0.9),
            Line(NO_RESIDUAL, "at least", 0.3),
            Line(NO_NORM, "at least", 0.3),
        )
    ),
    run=run,
    reading=("Long skips across the stack are shown beside the residual connections, and not judged.",),
)
