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
from pellucid.compare.reviews import SENTIMENT, reviews, sentiment_cosines, sentiment_vectors
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
# Opposites stand in the same company, too. In the reviews an example that is often given: quick is near fast, not slow.
PAIRS = (("fast", "slow"), ("happy", "sad"), ("big", "small"), ("mother", "father"), ("fast", "cheese"), ("happy", "london"))
IN_REVIEWS = (("quick", "fast"), ("quick", "slow"), ("fast", "slow"))


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
    """Sentences to learn from.

    Args:
        ids: (N,) words by number, BREAK between sentences.
        names: of the words.
        windows: makes batches of it.
    """

    ids: Tensor
    names: list[str]
    windows: Windows


@dataclass(frozen=True)
class Taught:
    """Vectors (V, D).

    Args:
        before: at random.
        after: of the training.
        gradients: of the loss with respect to them, after a tenth of the training.
    """

    before: Tensor
    after: Tensor
    gradients: Tensor


def text(lines: list[list[str]]) -> Text:
    """All of it. A corpus this small needs fewer of its frequent words left out than the usual share does."""
    counts = Counter(word for line in lines for word in line)
    names = [word for word, _ in counts.most_common()]
    number = {word: place for place, word in enumerate(names)}
    ids = torch.tensor([token for line in lines for token in (*(number[word] for word in line), BREAK)])
    config = WordVectorsConfig(subsample=1e-3)
    return Text(ids, names, Windows(torch.tensor([counts[word] for word in names]), Parts(names, config), config))


def trained(size: Size, corpus: Text, seed: int) -> Taught:
    """Trained by skip-gram, with Adam and a rate that falls to 0 in a line."""
    model = WordVectors(len(corpus.names), len(corpus.names), size.width)
    initialise(model, seed)
    before = model.input.detach().clone()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=size.rate)
    gradients = torch.zeros_like(before)
    for step in range(size.steps):
        if step == max(1, size.steps // 10):  # at first there is none: the vectors that words are told by begin with zeros
            batch = corpus.windows.batch(corpus.ids[: 16 * size.words], generator)
            (gradients,) = torch.autograd.grad(model(batch), (model.input,))
        optimizer.param_groups[0]["lr"] = size.rate * (1 - step / size.steps)
        begin = int(torch.randint(len(corpus.ids) - size.words, (), generator=generator))
        batch = corpus.windows.batch(corpus.ids[begin : begin + size.words], generator)
        optimizer.zero_grad()
        (model(batch) / max(1, batch.pairs)).backward()
        optimizer.step()
    return Taught(before, model.input.detach(), gradients)


def cosines(vectors: Tensor, names: list[str], pairs: tuple[tuple[str, str], ...]) -> dict[str, float]:
    """Of two words each."""
    unit = F.normalize(vectors.double(), dim=1)
    return {f"{one}, {other}": float(unit[names.index(one)] @ unit[names.index(other)]) for one, other in pairs}


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
    size, corpus, read = SIZES[effort], text(english_lines()), reviews()
    film = None if read is None else text([words for words, _ in read])
    close: dict[str, list[tuple[dict[str, float], float]]] = {BEFORE: [], AFTER: [], GRADIENTS: []}
    pairs: dict[str, list[dict[str, float]]] = {BEFORE: [], AFTER: []}
    told: dict[str, list[dict[str, float]]] = {BEFORE: [], AFTER: []}
    in_reviews: dict[str, list[dict[str, float]]] = {BEFORE: [], AFTER: []}
    with Progress(size.seeds, "seeds", "words") as progress:
        for each in range(seed, seed + size.seeds):
            taught = trained(size, corpus, each)
            for name, vectors in ((BEFORE, taught.before), (AFTER, taught.after), (GRADIENTS, taught.gradients)):
                close[name].append(closeness(vectors, corpus.names))
            for name, vectors in ((BEFORE, taught.before), (AFTER, taught.after)):
                pairs[name].append(cosines(vectors, corpus.names, PAIRS))
            if read is not None and film is not None:
                first, last, names = sentiment_vectors(read, size.width, size.steps, each)
                seen = trained(size, film, each)
                for name, vectors, other in ((BEFORE, first, seen.before), (AFTER, last, seen.after)):
                    told[name].append(sentiment_cosines(vectors, names))
                    in_reviews[name].append(cosines(other, film.names, IN_REVIEWS))
            progress.update()
    return Figures(
        setup=(
            f"Skip-gram with negative sampling on the {len(english_lines()):,} English sentences of the built-in corpus, which "
            f"have {len(corpus.names)} words; {size.width} numbers a word, windows of {corpus.windows.config.window} words.",
            "Groups: " + "; ".join(f"{group}: {words.replace(' ', ', ')}" for group, words in GROUPS.items()) + ".",
            "Measured: the mean cosine of two different words of a group, and of two words of different groups; and the same "
            "of the gradients of the loss with respect to their vectors, after a tenth of the steps.",
            "Matched: the same words and measures before and after training.",
            f"{size.steps} steps of {size.words} words, Adam at {size.rate}, falling to 0 in a line. {size.seeds} seeds.",
            *(_OF_REVIEWS if read is not None else ()),
        ),
        panels=(
            Panel("Cosine of two words", "words of", "cosine", tuple(Series(name, _points(close[name])) for name in close)),
            _pairs_panel("Cosine of these two", pairs),
            *(
                [_pairs_panel("SST-2, told the sentiment", told), _pairs_panel("SST-2, skip-gram", in_reviews)]
                if read is not None
                else []
            ),
        ),
        judged=judged(close),
    )


_OF_REVIEWS = (
    "SST-2's training split, which was there: vectors that learn to tell a sentence's sentiment by the mean of its words, and "
    "by skip-gram as above; as many steps. Ten frequent words of praise and ten of blame: "
    + "; ".join(f"{side}: {words.replace(' ', ', ')}" for side, words in SENTIMENT.items())
    + ".",
)


def _pairs_panel(title: str, found: dict[str, list[dict[str, float]]]) -> Panel:
    def points(runs: list[dict[str, float]]) -> dict[Place, list[float]]:
        return {name: [run[name] for run in runs] for name in runs[0]}

    return Panel(title, "words", "cosine", tuple(Series(name, points(runs)) for name, runs in found.items()))


def _points(found: list[tuple[dict[str, float], float]]) -> dict[Place, list[float]]:
    points: dict[Place, list[float]] = {group: [within[group] for within, _ in found] for group in GROUPS}
    return {**points, "two groups": [across for _, across in found]}


def judged(close: dict[str, list[tuple[dict[str, float], float]]]) -> dict[str, list[float]]:
    """What the rule reads: cosines inside groups and across them, by what they are of, one pair a seed."""
    return {f"{GAP}, {name}": [_gap(each) for each in runs] for name, runs in close.items()}


def _gap(found: tuple[dict[str, float], float]) -> float:
    within, across = found
    return sum(within.values()) / len(within) - across


GAP = "cosine inside a group above that across groups"
BEFORE, AFTER, GRADIENTS = "before training", "after training", "of gradients"

EXPERIMENT = Experiment(
    name="words",
    claim="Vectors of words start at random; training on plain text alone brings words of similar meaning close to each other, "
    "since words in similar company receive similar gradients.",
    rule=Rule(
        (
            Line(f"{GAP}, {BEFORE}", "at most", 0.1),
            Line(f"{GAP}, {AFTER}", "at least", 0.2),
            Line(f"{GAP}, {GRADIENTS}", "at least", 0.1),
        )
    ),
    run=run,
    reading=(
        "Close are words that stand in the same company; in a text from a grammar that is more regular than elsewhere. Words "
        "of opposite meaning do, too.",
    ),
)
