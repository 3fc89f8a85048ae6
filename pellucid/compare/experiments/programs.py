"""Can one Transformer copy, reverse, sort and add?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pellucid.base.progress import Progress
from pellucid.compare.curves import training_panel
from pellucid.compare.experiment import Effort, Experiment, Figures, Panel, Place, Series
from pellucid.compare.learner import TEST, VALIDATION, Batch, Learnt, learn
from pellucid.compare.rule import Line, Rule
from pellucid.compare.sizes import equal_decoders, made, sizes_in_words
from pellucid.compare.whole import share_right
from pellucid.model.transformer import DecoderOnly

PROGRAMS = ("copy", "reverse", "sort", "add")
DIGITS = 10  # tokens 0 to 9; after them one a program, and two more
GIVES, END = DIGITS + len(PROGRAMS), DIGITS + len(PROGRAMS) + 1
KINDS = ("Transformer", "LSTM")


@dataclass(frozen=True)
class Size:
    """How much is done."""

    trained: int  # the longest input in training
    beyond: int  # tested with so many more digits
    width: int
    steps: int
    rows: int  # of each program in a batch
    rates: tuple[float, ...]
    seeds: int
    tested: int  # rows of the test, of each program and length


SIZES: dict[Effort, Size] = {
    "smallest": Size(2, 1, 8, 4, 2, (0.01,), 2, 8),
    "quick": Size(5, 2, 64, 1200, 16, (0.003,), 3, 200),
    "full": Size(10, 5, 128, 10000, 32, (0.001, 0.003), 5, 1000),
}


def answer(program: str, question: Tensor) -> Tensor:
    """What the program makes of digits (R, Q): (R, Q), or for ``add``, which adds two numbers of Q / 2 digits, (R, Q / 2 + 1).

    Numbers have their ones first, so that what is carried is known by the time it is needed.
    """
    if program == "copy":
        return question
    if program == "reverse":
        return question.flip(1)
    if program == "sort":
        return question.sort(1).values
    digits = question.shape[1] // 2
    powers = 10 ** torch.arange(digits + 1)
    total = ((question[:, :digits] + question[:, digits:]) * powers[:-1]).sum(1, keepdim=True)
    return total // powers % 10


def rows_of(program: str, length: int, rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Examples ``program question = answer end`` (R, L), and where the token that follows is wanted (R, L)."""
    question = torch.randint(DIGITS, (rows, length * (1 + (program == "add"))), generator=generator)
    right = answer(program, question)
    begin = torch.full((rows, 1), DIGITS + PROGRAMS.index(program))
    gives, end = torch.full((rows, 1), GIVES), torch.full((rows, 1), END)
    ids = torch.cat((begin, question, gives, right, end), dim=1)
    places = torch.arange(ids.shape[1])
    wanted = (places > question.shape[1]) & (places < ids.shape[1] - 1)
    return ids, wanted.expand_as(ids)


def joined(parts: list[tuple[Tensor, Tensor]]) -> Batch:
    """Examples of several lengths as one batch, filled up with END."""
    longest = max(ids.shape[1] for ids, _ in parts)
    fill = torch.nn.functional.pad
    ids = torch.cat([fill(each, (0, longest - each.shape[1]), value=END) for each, _ in parts])
    wanted = torch.cat([fill(each, (0, longest - each.shape[1]), value=False) for _, each in parts])[:, :-1]
    return Batch(ids[:, :-1], wanted, ids[:, 1:][wanted])


def drawn(generator: torch.Generator, *, size: Size) -> Batch:
    """A batch of training: of each program as many rows, of one length that is drawn for it."""
    lengths = torch.randint(1, size.trained + 1, (len(PROGRAMS),), generator=generator).tolist()
    return joined([rows_of(program, n, size.rows, generator) for program, n in zip(PROGRAMS, lengths, strict=True)])


def tested(model: DecoderOnly, program: str, length: int, rows: int, seed: int) -> float:
    """Share of answers that are right from the first digit to the end."""
    generator = torch.Generator().manual_seed(seed + length)
    return share_right(model, joined([rows_of(program, length, rows, generator)]))


def run(effort: Effort, seed: int) -> Figures:
    """Train one network of each kind on all programs at once."""
    size = SIZES[effort]
    longest = 3 * (size.trained + size.beyond) + 4
    configs = equal_decoders(KINDS, width=size.width, vocabulary=END + 1, max_length=longest)
    inside = range(1, size.trained + 1)

    def score(model: DecoderOnly) -> float:
        return sum(tested(model, program, n, size.rows, VALIDATION) for program in PROGRAMS for n in inside)

    found: dict[str, dict[str, dict[Place, list[float]]]] = {}
    trained: dict[str, Learnt[DecoderOnly]] = {}
    with Progress(len(KINDS), "kinds of network", "programs") as progress:
        for kind, config in configs.items():
            seeds = range(seed, seed + size.seeds)
            learnt = trained[kind] = learn(
                partial(made, config), partial(drawn, size=size), steps=size.steps, rates=size.rates, seeds=seeds, score=score
            )
            found[kind] = {
                program: {
                    n: [tested(model, program, n, size.tested, TEST) for model in learnt.models]
                    for n in range(1, size.trained + size.beyond + 1)
                }
                for program in PROGRAMS
            }
            progress.update()
    return Figures(
        setup=(
            "One network is told by its first token to copy, reverse or sort n digits, or to add two numbers of n digits (ones "
            "first). Every answer ends in a token that says so, and is right only as a whole.",
            f"Trained on n from 1 to {size.trained}, all programs in each batch; tested up to {size.trained + size.beyond}, "
            f"on {size.tested} inputs of each program and length.",
            f"Two layers each, sinusoidal positions in the Transformer. Matched: parameters: {sizes_in_words(configs)}.",
            f"Matched: {size.steps} steps of {len(PROGRAMS) * size.rows} examples, Adam; rates tried: {size.rates}, the best "
            "by validation for the first seed: " + ", ".join(f"{kind} {each.rate}" for kind, each in trained.items()) + ".",
            f"Not matched: operations and seconds. {size.seeds} seeds.",
        ),
        panels=(
            *(Panel(f"{kind}: answers that are right", "n (digits)", "share right", _series(found[kind])) for kind in KINDS),
            training_panel(trained),
        ),
        judged={
            f"{kind}: {program}, {LONGEST}": [float(share) for share in found[kind][program][size.trained]]
            for kind in KINDS
            for program in PROGRAMS
        },
        remarks=(f"From n = {size.trained + 1} on inputs are longer than any in training.",),
    )


def _series(found: dict[str, dict[Place, list[float]]]) -> tuple[Series, ...]:
    return tuple(Series(program, points) for program, points in found.items())


LONGEST = "right at the longest trained length"

EXPERIMENT = Experiment(
    name="programs",
    claim="A Transformer is a general-purpose computer that gradients can program: one network learns different algorithms "
    "from examples alone.",
    rule=Rule(tuple(Line(f"Transformer: {program}, {LONGEST}", "at least", 0.9) for program in PROGRAMS)),
    run=run,
    reading=(
        "The verdict is about lengths that training has shown. A program that had been found in full would go on to longer "
        "inputs, too: the figures go beyond the trained lengths to show whether it does.",
    ),
)
