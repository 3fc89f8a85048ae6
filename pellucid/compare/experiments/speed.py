"""Is a recurrent network slower to train than attention of equal size, and what makes attention quick?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.base.progress import Progress
from pellucid.compare.cost import Work, clock_in_words, peak_bytes, ratios, seconds
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import equal_decoders, made, sizes_in_words
from pellucid.model.attention import DotProduct, attend
from pellucid.model.dropout import Dropout
from pellucid.model.masks import Mask
from pellucid.model.transformer import DecoderOnly

KINDS = ("Transformer", "LSTM")
VOCABULARY = 64


@dataclass(frozen=True)
class Size:
    """How much is done."""

    lengths: tuple[int, ...]
    width: int
    tokens: int  # of a training step
    prefixes: int  # length at which passes over all prefixes are compared with one pass
    rounds: int
    least: float  # seconds of one measurement


SIZES: dict[Effort, Size] = {
    "smallest": Size((4, 8), 8, 16, 4, 2, 0.0),
    "quick": Size((16, 64, 256, 1024), 64, 2048, 64, 5, 0.02),
    "full": Size((16, 32, 64, 128, 256, 512, 1024), 256, 8192, 256, 10, 0.5),
}


def training_step(model: DecoderOnly, ids: Tensor) -> Work:
    """Forward, loss of every next token, backward."""

    def work() -> None:
        logits = model(ids[:, :-1])
        F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)

    return work


def prefix_passes(model: DecoderOnly, ids: Tensor) -> Work:
    """The same gradients from one pass for every prefix, as without a causal mask it would have to be done."""

    def work() -> None:
        count = ids.shape[1] - 1
        for length in range(1, count + 1):
            logits = model(ids[:, :length])[:, -1]
            (F.cross_entropy(logits, ids[:, length]) / count).backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)

    return work


def _attentions(length: int, width: int, generator: torch.Generator) -> dict[str, Work]:
    """All queries in one product of matrices, and one query after the other."""
    query, key, value = (torch.randn(1, 4, length, width // 4, generator=generator) for _ in range(3))
    score, keep = DotProduct(width // 4), Dropout(0.0)
    mask = Mask(causal=True).resolve(length, length, like=query)

    def one() -> Tensor:
        return attend(query, key, value, score, mask, keep)

    def loop() -> Tensor:
        rows = [
            attend(query[:, :, at : at + 1], key[:, :, : at + 1], value[:, :, : at + 1], score, None, keep)
            for at in range(length)
        ]
        return torch.cat(rows, dim=2)

    return {"one product": one, "a loop over queries": loop}


def run(effort: Effort, seed: int) -> Figures:
    """Time and memory of training steps, of attention in two forms, and of training in two forms."""
    size = SIZES[effort]
    configs = equal_decoders(KINDS, width=size.width, vocabulary=VOCABULARY, max_length=max(size.lengths))
    models = {kind: made(config, seed) for kind, config in configs.items()}
    generator = torch.Generator().manual_seed(seed)
    steps: dict[Place, dict[str, list[float]]] = {}
    memory: dict[str, dict[Place, list[float]]] = {kind: {} for kind in KINDS}
    loops: dict[Place, dict[str, list[float]]] = {}
    with Progress(len(size.lengths) + 1, "measurements", "speed") as progress:
        for length in size.lengths:
            ids = torch.randint(VOCABULARY, (max(1, size.tokens // length), length + 1), generator=generator)
            works = {kind: training_step(model, ids) for kind, model in models.items()}
            steps[length] = seconds(works, rounds=size.rounds, least=size.least)
            for kind, work in works.items():
                memory[kind][length] = [peak_bytes(work) / 2**20]
            with torch.no_grad():
                loops[length] = seconds(_attentions(length, size.width, generator), rounds=size.rounds, least=size.least)
            progress.update()
        ids = torch.randint(VOCABULARY, (1, size.prefixes + 1), generator=generator)
        transformer = models["Transformer"]
        ways = {"one masked pass": training_step(transformer, ids), "a pass for every prefix": prefix_passes(transformer, ids)}
        passes = seconds(ways, rounds=size.rounds, least=size.least)
        progress.update()
    far = max(size.lengths)
    speeds = _by_name(steps, lambda each: size.tokens / each)
    return Figures(
        setup=(
            "A training step is forward, loss of every next token, backward; random tokens, no dropout, float32. "
            f"{size.tokens:,} tokens a step whatever the length. {clock_in_words()}; the contenders take turns, {size.rounds} "
            "rounds; spread over rounds, ratios within a round.",
            f"Two layers each. Matched: parameters: {sizes_in_words(configs)}, and tokens a step. Not matched: operations.",
            "Memory is the most that tensors held at once during a step, beyond weights.",
            f"Attention alone: 4 heads, width {size.width}, one sequence; all queries in one masked product, and a loop that "
            "takes one query after the other with the keys before it.",
            f"One masked pass over {size.prefixes} tokens, and a pass for each of their prefixes: the same gradients.",
        ),
        panels=(
            _panel("Training speed", "tokens a second", speeds),
            Panel("Memory of a training step", X, "MiB", tuple(Series(kind, memory[kind]) for kind in KINDS), True, True),
            _panel("Attention alone", "milliseconds", _by_name(loops, lambda each: each * 1000)),
            Panel(
                f"Gradients of all prefixes of {size.prefixes} tokens",
                "way",
                "milliseconds",
                (Series("Transformer", {way: [each * 1000 for each in found] for way, found in passes.items()}),),
            ),
        ),
        judged={
            "Transformer: training speed at the longest sequence, times the LSTM's": ratios(
                steps[far]["LSTM"], steps[far]["Transformer"]
            ),
            "a loop over queries at the longest sequence, times one product": ratios(
                loops[far]["a loop over queries"], loops[far]["one product"]
            ),
            "a pass for every prefix, times one masked pass": ratios(
                passes["a pass for every prefix"], passes["one masked pass"]
            ),
        },
        remarks=(
            "What takes all positions at once gains most where much can run at once. This ran on the threads named below; of "
            "a GPU it says nothing.",
            "Attention's own work grows with the square of the length, and a recurrent network's does not (`scaling`): at a "
            "fixed number of tokens a step its speed falls with the length.",
        ),
    )


X = "length (tokens)"


def _by_name(found: dict[Place, dict[str, list[float]]], turn: Callable[[float], float]) -> dict[str, dict[Place, list[float]]]:
    names = next(iter(found.values()))
    return {name: {length: [turn(each) for each in by[name]] for length, by in found.items()} for name in names}


def _panel(title: str, y: str, found: dict[str, dict[Place, list[float]]]) -> Panel:
    series = tuple(Series(name, points) for name, points in found.items())
    return Panel(title, X, y, series, log_x=True, log_y=True)


EXPERIMENT = Experiment(
    name="speed",
    claim="A recurrent network works through a sequence one position after the other, which makes its training slow; attention "
    "takes all positions at once, as one product of matrices, and a causal mask lets it learn from all prefixes in one pass.",
    rule=Rule(
        (
            Line("Transformer: training speed at the longest sequence, times the LSTM's", "at least", 1.2),
            Line("a loop over queries at the longest sequence, times one product", "at least", 2.0),
            Line("a pass for every prefix, times one masked pass", "at least", 5.0),
        )
    ),
    run=run,
    clocked=True,
)
