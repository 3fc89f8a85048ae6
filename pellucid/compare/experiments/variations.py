"""The rows of the paper's Table 3 in small: heads, width of keys, size, dropout, positions, each changed by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from pellucid.base.config import ModelConfig, StackConfig
from pellucid.base.progress import Progress
from pellucid.compare.corpus import LONGEST, translator
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import parameters
from pellucid.compare.translating import WORTH_A_LOOK, Budget, above, taught, transformer

BASE = "base"
ROWS = {  # of Table 3; its row (E) is learned positions, the rest of (D), label smoothing, is left out
    "A: heads": ("1 head", "2 heads", "8 heads"),
    "B: width of keys": ("d_k / 4", "d_k / 2"),
    "C: size": ("half the layers", "twice the layers", "d_model / 2", "d_model x 2", "d_ff / 4", "d_ff x 4"),
    "D: dropout": ("no dropout", "dropout 0.2"),
    "E: positions": ("learned positions",),
}


@dataclass(frozen=True)
class Size:
    """How much is done."""

    width: int
    budget: Budget


SIZES: dict[Effort, Size] = {
    "smallest": Size(16, Budget(2, 4, (0.01,), 2)),
    "quick": Size(32, Budget(200, 32, (0.01,), 3)),
    "full": Size(64, Budget(1000, 32, (0.003, 0.01), 5)),
}


def configurations(width: int) -> dict[str, ModelConfig]:
    """The base, and every row with its one change."""
    base = replace(transformer(width, 2), dropout=0.1)
    stack = base.encoder

    def both(**changes: int) -> ModelConfig:
        changed: StackConfig = replace(stack, **changes)  # type: ignore[arg-type]
        return replace(base, encoder=changed, decoder=changed)

    return {
        BASE: base,
        **{f"{heads} head{'s' * (heads > 1)}": both(n_heads=heads) for heads in (1, 2, 8)},
        **{f"d_k / {part}": both(d_head=width // 4 // part) for part in (4, 2)},
        "half the layers": both(n_layers=1),
        "twice the layers": both(n_layers=4),
        "d_model / 2": replace(base, d_model=width // 2),
        "d_model x 2": replace(base, d_model=2 * width),
        "d_ff / 4": both(d_ff=width),
        "d_ff x 4": both(d_ff=16 * width),
        "no dropout": replace(base, dropout=0.0),
        "dropout 0.2": replace(base, dropout=0.2),
        "learned positions": replace(base, positions="learned"),
    }


def run(effort: Effort, seed: int) -> Figures:
    """Train a translator for each row."""
    size = SIZES[effort]
    configs = configurations(size.width)
    losses: dict[str, list[float]] = {}
    rates: dict[str, float] = {}
    with Progress(len(configs), "variations", "variations") as progress:
        for name, config in configs.items():
            learnt, losses[name] = taught(partial(translator, config), size.budget, seed)
            rates[name] = learnt.rate
            progress.update()
    base = configs[BASE]
    return Figures(
        setup=(
            f"Translation from French to English of the built-in corpus, sentences of at most {LONGEST} words: loss on the "
            "test split, in nats a word.",
            f"The base: {base.encoder.n_layers} layers a side, d_model {size.width}, d_ff {4 * size.width}, 4 heads of "
            f"{size.width // 4}, dropout {base.dropout}, sinusoidal positions, pre-norm. Each row changes one of these; where "
            "d_model or heads change, the width of a head is d_model / heads.",
            f"Matched: {size.budget}: " + ", ".join(f"{name} {rate}" for name, rate in rates.items()) + ".",
            "Parameters: "
            + ", ".join(f"{name} {parameters(config):,}" for name, config in configs.items())
            + ": as in the paper equal in row A alone. Not matched: operations and seconds.",
            f"{size.budget.seeds} seeds; differences are taken seed by seed.",
        ),
        panels=tuple(
            Panel(row, "change", "loss (nats a word)", (Series("test split", _points(losses, (BASE, *names))),))
            for row, names in ROWS.items()
        ),
        judged=judged(losses),
    )


def _points(losses: Mapping[str, list[float]], names: tuple[str, ...]) -> dict[Place, list[float]]:
    return {name: losses[name] for name in names}


def judged(losses: Mapping[str, list[float]]) -> dict[str, list[float]]:
    """What the rule reads."""
    changes = {name: above(numbers, losses[BASE]) for name, numbers in losses.items() if name != BASE}
    return {LEARNT: losses[BASE], **{f"{name}: {MORE}": numbers for name, numbers in changes.items()}}


LEARNT = "base: loss (nats a word)"
MORE = "loss above the base's (nats a word)"
WORSE = ("1 head", "d_k / 4", "half the layers", "d_model / 2", "d_ff / 4", "no dropout")  # as the paper reads its table
BETTER = ("d_model x 2", "d_ff x 4")

EXPERIMENT = Experiment(
    name="variations",
    claim="What the paper reads from its Table 3: one head is worse than several, narrower keys hurt, bigger models are "
    "better, dropout helps, and learned positions do as well as sinusoids.",
    rule=Rule(
        (
            Line(LEARNT, "at most", WORTH_A_LOOK, needed=True),
            *(Line(f"{name}: {MORE}", "at least", 0.02) for name in WORSE),
            *(Line(f"{name}: {MORE}", "at most", -0.02) for name in BETTER),
            Line(f"learned positions: {MORE}", "at most", 0.05),
        )
    ),
    run=run,
    reading=(
        "Dropout is for long training on little data, and a short training does not come to where it could help: it is judged "
        "all the same, since the claim names it.",
    ),
)
