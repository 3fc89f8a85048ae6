"""Do similar words end up close to each other?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.base.config import WordVectorsConfig
from pellucid.base.progress import Progress
from pellucid.compare.corpus import english_lines
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.rule import Line, Rule
from pellucid.model.build import initialise
from pellucid.model.word_vectors import WordVectors
from pellucid.tasks.word_windows import BREAK, Parts, Windows

# Words that people would put together, each frequent in the corpus. Chosen before any vector was looked at.
GROUPS = {
    "animals": "cat dog horse rabbit turtle elephant giraffe monkey",
    "colours": "red blue green yellow black gray white",
    "family": "mother father sister brother aunt uncle",
    "professions": "doctor nurse teacher farmer baker pilot singer actress",
    "cities": "london brussels vienna geneva berlin rome lisbon athens",
    "food": "soup pizza cake salad bread cheese rice meat",
}


@dataclass(frozen=True)
class Size:
    """How much is done."""

    width: int
    steps: int
    words: int  # of the text in a step
    rate: float
    seeds: int


SIZES: dict[Effort, Size] = {
    "smallest": Size(4, 2, 64, 0.01, 2),
    "quick": Size(32, 300, 4096, 0.01, 5),
    "full": Size(64, 2000, 8192, 0.01, 10),
}


@dataclass(frozen=True)
class Text:
    """The English training sentences.

    Args:
        ids: (N,) words by number, BREAK between sentences.
        names: of the words.
        windows: makes batches of it.
    """

    ids: Tensor
    names: list[str]
    windows: Windows


def text() -> Text:
    """All of it. A corpus this small needs fewer of its frequent words left out than the usual share does."""
    lines = english_lines()
    counts = Counter(word for line in lines for word in line)
    names = [word for word, _ in counts.most_common()]
    number = {word: place for place, word in enumerate(names)}
    ids = torch.tensor([token for line in lines for token in (*(number[word] for word in line), BREAK)])
    config = WordVectorsConfig(subsample=1e-3)
    return Text(ids, names, Windows(torch.tensor([counts[word] for word in names]), Parts(names, config), config))


def trained(size: Size, corpus: Text, seed: int) -> tuple[Tensor, Tensor]:
    """Vectors (V, D) before and after training by skip-gram, with Adam and a rate that falls to 0 in a line."""
    model = WordVectors(len(corpus.names), len(corpus.names), size.width)
    initialise(model, seed)
    before = model.input.detach().clone()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=size.rate)
    for step in range(size.steps):
        optimizer.param_groups[0]["lr"] = size.rate * (1 - step / size.steps)
        begin = int(torch.randint(len(corpus.ids) - size.words, (), generator=generator))
        batch = corpus.windows.batch(corpus.ids[begin : begin + size.words], generator)
        optimizer.zero_grad()
        (model(batch) / max(1, batch.pairs)).backward()
        optimizer.step()
    return before, model.input.detach()


def closeness(vectors: Tensor, names: list[str]) -> tuple[dict[str, float], float]:
    """Mean cosine of two different words of each group, and of two words of different groups.

    Args:
        vectors: (V, D).
        names: of the words.
    """
    members = [(group, word) for group, words in GROUPS.items() for word in words.split()]
    chosen = F.normalize(vectors[[names.index(word) for _, word in members]].double(), dim=1)
    cosines = chosen @ chosen.T
    number = torch.tensor([list(GROUPS).index(group) for group, _ in members])
    same, other = number.unsqueeze(0) == number.unsqueeze(1), ~torch.eye(len(members), dtype=torch.bool)
    within = {group: float(cosines[same & other & (number == place).unsqueeze(1)].mean()) for place, group in enumerate(GROUPS)}
    return within, float(cosines[~same].mean())


def run(effort: Effort, seed: int) -> Figures:
    """Vectors of several seeds, before and after."""
    size, corpus = SIZES[effort], text()
    before: list[tuple[dict[str, float], float]] = []
    after: list[tuple[dict[str, float], float]] = []
    with Progress(size.seeds, "seeds", "words") as progress:
        for each in range(seed, seed + size.seeds):
            first, last = trained(size, corpus, each)
            before.append(closeness(first, corpus.names))
            after.append(closeness(last, corpus.names))
            progress.update()
    return Figures(
        setup=(
            f"Skip-gram with negative sampling on the {len(english_lines()):,} English sentences of the built-in corpus, which "
            f"have {len(corpus.names)} words; {size.width} numbers a word, windows of {corpus.windows.config.window} words.",
            "Groups: " + "; ".join(f"{group}: {words.replace(' ', ', ')}" for group, words in GROUPS.items()) + ".",
            "Measured: the mean cosine of two different words of a group, and of two words of different groups.",
            "Matched: the same words and measures before and after training.",
            f"{size.steps} steps of {size.words} words, Adam at {size.rate}, falling to 0 in a line. {size.seeds} seeds.",
        ),
        panels=(
            Panel(
                "Cosine of two words",
                "words of",
                "cosine",
                (Series("before training", _points(before)), Series("after training", _points(after))),
            ),
        ),
        judged={
            f"{GAP}, before training": [_gap(each) for each in before],
            f"{GAP}, after training": [_gap(each) for each in after],
        },
    )


def _points(found: list[tuple[dict[str, float], float]]) -> dict[Place, list[float]]:
    points: dict[Place, list[float]] = {group: [within[group] for within, _ in found] for group in GROUPS}
    return {**points, "two groups": [across for _, across in found]}


def _gap(found: tuple[dict[str, float], float]) -> float:
    within, across = found
    return sum(within.values()) / len(within) - across


GAP = "cosine inside a group above that across groups"

EXPERIMENT = Experiment(
    name="words",
    claim="Vectors of words start at random; training on plain text alone brings words of similar meaning close to each other.",
    rule=Rule((Line(f"{GAP}, before training", "at most", 0.1), Line(f"{GAP}, after training", "at least", 0.2))),
    run=run,
    reading=("Close are words that stand in the same company; in a text from a grammar that is more regular than elsewhere.",),
)
