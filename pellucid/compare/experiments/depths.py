"""May the decoder read the encoder at different depths?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from pellucid.base.config import ModelConfig, StackConfig
from pellucid.base.progress import Progress
from pellucid.compare.corpus import LONGEST, draw_from, loss_on, pairs_side_by_side, sentences, translations, translator
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.learner import learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import parameters

LAYERS = 3
READS = {"last layer": None, "aligned layers": (0, 1, 2), "first layer": (0, 0, 0)}


@dataclass(frozen=True)
class Size:
    """How much is done."""

    width: int
    steps: int
    rows: int
    rates: tuple[float, ...]
    seeds: int


SIZES: dict[Effort, Size] = {
    "smallest": Size(8, 3, 4, (0.01,), 2),
    "quick": Size(32, 500, 32, (0.003,), 3),
    "full": Size(128, 4000, 64, (0.0005, 0.001), 5),
}


def configurations(width: int) -> dict[str, ModelConfig]:
    """Translators that differ only in what the decoder's layers read; all have the same weights."""
    french, english = sentences("train")
    stack = StackConfig(LAYERS, 4, 4 * width)
    config = ModelConfig(
        d_model=width,
        encoder=stack,
        decoder=stack,
        dropout=0.0,
        tie="decoder",
        max_length=LONGEST + 2,
        source_vocabulary=len(french.names),
        target_vocabulary=len(english.names),
    )
    return {name: replace(config, decoder=replace(stack, reads=reads)) for name, reads in READS.items()}


def run(effort: Effort, seed: int) -> Figures:
    """Train a translator for each way to read."""
    size = SIZES[effort]
    configs = configurations(size.width)
    train, dev, test = (pairs_side_by_side(split) for split in ("train", "dev", "test"))
    losses: dict[Place, list[float]] = {}
    rates: dict[str, float] = {}
    with Progress(len(configs), "ways to read", "depths") as progress:
        for name, config in configs.items():
            learnt = learn(
                partial(translator, config),
                draw_from(train, translations, size.rows),
                steps=size.steps,
                rates=size.rates,
                seeds=range(seed, seed + size.seeds),
                score=lambda model: -loss_on(model, dev, translations),
            )
            rates[name] = learnt.rate
            losses[name] = [loss_on(model, test, translations) for model in learnt.models]
            progress.update()
    last = losses["last layer"]
    return Figures(
        setup=(
            f"Translation from French to English of the built-in corpus, sentences of at most {LONGEST} words: loss on "
            f"{len(test)} pairs of the test split, in nats a word.",
            f"{LAYERS} layers a side, post-norm. Each layer of the decoder reads the encoder's last layer (as in the paper), "
            "the encoder layer of its own number, or the first layer.",
            f"Matched: parameters: {parameters(configs['last layer']):,}, the same ones to begin with for each seed; batches; "
            f"operations; {size.steps} steps of {size.rows} pairs, Adam; rates tried: {size.rates}, the best by validation "
            "for the first seed: " + ", ".join(f"{name} {rate}" for name, rate in rates.items()) + ".",
            f"{size.seeds} seeds; differences are taken seed by seed.",
        ),
        panels=(Panel("Loss by what the decoder reads", "reads", "loss (nats a word)", (Series("test split", losses),)),),
        judged={
            LEARNT: last,
            ALIGNED: [a - b for a, b in zip(losses["aligned layers"], last, strict=True)],
        },
    )


LEARNT = "loss of the translator that reads the last layer (nats a word)"
ALIGNED = "loss with aligned layers, above that with the last (nats a word)"

EXPERIMENT = Experiment(
    name="depths",
    claim="The decoder need not read the encoder's last layer: with each layer reading the encoder layer of its own number it "
    "learns as well.",
    rule=Rule(
        (
            Line(LEARNT, "at most", 3.0, needed=True),
            Line(ALIGNED, "at most", 0.1),
        )
    ),
    run=run,
    reading=("Small networks, trained for a short time: which way is better at the end of a long training is not asked.",),
)
