"""What the tests of searches share: a toy model, and the same searches written another way.

The toy is a table of logits for every beginning of an output. The other searches are exhaustive, or go without cache, batch
and stop rule.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.base.config import DecodingConfig, ModelConfig, Penalty, StackConfig
from pellucid.decoding.hypothesis import Hypothesis
from pellucid.decoding.search import search
from pellucid.model.build import build, initialise
from pellucid.model.transformer import EncoderDecoder

Ids = tuple[int, ...]
Table = Callable[[Ids, Ids], Sequence[float]]  # source tokens, output tokens so far (without start) -> logits of the next

START, END = 0, 3
SOURCES: list[Ids] = [(5, 6, 7), (8,), (9, 9, 9, 9, 4), (6,), (7, 7), (5, 5, 4), (4,)]
LIMITS = [9, 4, 12, 1, 7, 9, 6]


class ToyState:
    """Remembers whole beginnings, so that a beam continued from the wrong row gets another beginning's logits."""

    def __init__(self, sources: list[Ids], beams: int) -> None:
        self.beams = beams
        self.sources = [source for source in sources for _ in range(beams)]
        self.tokens: list[Ids] = [() for _ in self.sources]

    @property
    def length(self) -> int:
        return len(self.tokens[0])

    def select(self, rows: Tensor) -> None:
        chosen = rows.tolist()
        for at in range(0, len(chosen), self.beams):
            owners = {row // self.beams for row in chosen[at : at + self.beams]}
            assert len(owners) == 1, "the beams of a sentence were separated"
        assert chosen, "a state without rows was asked for"
        self.sources = [self.sources[row] for row in chosen]
        self.tokens = [self.tokens[row] for row in chosen]

    def truncate(self, length: int) -> None:
        self.tokens = [tokens[:length] for tokens in self.tokens]


class Toy:
    """A model whose logits stand in a table."""

    def __init__(self, table: Table, dtype: torch.dtype = torch.float32) -> None:
        self.table, self.dtype = table, dtype
        self.rows: list[int] = []  # of every step

    def encode(self, source: Tensor, mask: Tensor) -> list[Ids]:
        return [tuple(row[keep].tolist()) for row, keep in zip(source, mask, strict=True)]

    def start(self, memory: list[Ids], beams: int = 1) -> ToyState:
        return ToyState(memory, beams)

    def step(self, ids: Tensor, state: ToyState) -> tuple[Tensor, ToyState]:
        self.rows.append(len(ids))
        logits = []
        for row, new in enumerate(ids.tolist()):
            before = len(state.tokens[row])
            state.tokens[row] += tuple(new)
            ends = range(before + 1, before + len(new) + 1)
            logits.append([self.logits(state.sources[row], state.tokens[row][:end]) for end in ends])
        return torch.tensor(logits, dtype=self.dtype), state

    def logits(self, source: Ids, fed: Ids) -> Sequence[float]:
        assert fed[0] == START
        return self.table(source, fed[1:])


class PromptToy(Toy):
    """A decoder-only one: the prompt but its last token is the source, that token is fed first, the table gets both as one."""

    def logits(self, source: Ids, fed: Ids) -> Sequence[float]:
        return self.table((*source, fed[0]), fed[1:])


class Bigrams:
    """A fast toy: each sentence has a table of its own, and the logits of the next token depend on the last one alone.

    The source of a sentence is its number among the tables (N, V, V).
    """

    def __init__(self, tables: Tensor) -> None:
        self.tables = tables

    def encode(self, source: Tensor, mask: Tensor) -> Tensor:
        return source[:, 0]

    def start(self, memory: Tensor, beams: int = 1) -> BigramState:
        return BigramState(memory.repeat_interleave(beams))

    def step(self, ids: Tensor, state: BigramState) -> tuple[Tensor, BigramState]:
        return self.tables[state.sentences[:, None], ids], state


class BigramState:
    def __init__(self, sentences: Tensor) -> None:
        self.sentences = sentences

    length = 0

    def select(self, rows: Tensor) -> None:
        self.sentences = self.sentences[rows]

    def truncate(self, length: int) -> None:
        raise AssertionError("never asked for")


def random_table(seed: int, vocabulary: int = 4, spread: float = 1.5, towards_end: float = 0.0) -> Table:
    @cache
    def logits(source: Ids, tokens: Ids) -> tuple[float, ...]:
        numbers = random.Random(f"{seed} {source} {tokens}")  # a string seeds alike in every process
        values = [numbers.gauss(0.0, spread) for _ in range(vocabulary)]
        values[END] += towards_end
        return tuple(values)

    return logits


def untrained(seed: int, n_layers: int, d_model: int, architecture: Any = "encoder-decoder", noise: float = 0.0) -> Any:
    """A transformer of 11 tokens; noise, the same for every model of a shape, makes one that is similar."""
    config = ModelConfig(
        architecture=architecture,
        d_model=d_model,
        encoder=StackConfig(n_layers=1, n_heads=2, d_ff=20),
        decoder=StackConfig(n_layers=n_layers, n_heads=2, d_ff=16),
        dropout=0.0,
        norm="pre",
        tie="none",
        source_vocabulary=11,
        target_vocabulary=11,
        max_length=40,
    )
    model = build(config)
    initialise(model, seed=seed)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=noise)
    return model.eval()


def log_softmax(logits: Sequence[float]) -> list[float]:
    total = math.log(sum(math.exp(value) for value in logits))
    return [value - total for value in logits]


def penalised(kind: Penalty, alpha: float, n: int) -> float:
    return {"gnmt": math.pow((5 + n) / 6, alpha), "power": math.pow(n, alpha), "none": 1.0}[kind]


def exhaustive(table: Table, source: Ids, limit: int, penalty: tuple[Penalty, float]) -> list[tuple[float, Ids]]:
    """Score and tokens of every possible output, best first. With 3 tokens that go on: 1 + 3 + ... + 3^4 end, 3^5 are cut."""
    outputs = []
    going_on = [token for token in range(4) if token != END]
    for n in range(1, limit + 1):
        for body in product(going_on, repeat=n - 1):
            for last in [END, *going_on] if n == limit else [END]:
                tokens = (*body, last)
                total = sum(log_softmax(table(source, tokens[:at]))[tokens[at]] for at in range(n))
                outputs.append((total / penalised(*penalty, n), tokens))
    return sorted(outputs, reverse=True)


def plain_beam_search(
    next_logits: Callable[[Ids], Sequence[float]],
    limit: int,
    config: DecodingConfig,
    n_best: int,
    forbidden: Sequence[int] = (),
    permitted: Callable[[Ids, int], bool] = lambda tokens, token: True,
) -> list[tuple[float, Ids]]:
    """Beam search of one sentence that keeps nothing between steps, and always searches up to the limit."""
    alive: list[tuple[float, Ids]] = [(0.0, ())]
    done: list[tuple[float, Ids]] = []
    for n in range(1, limit + 1):
        extended = [
            (total + value, (*tokens, token))
            for total, tokens in alive
            for token, value in enumerate(log_softmax(next_logits(tokens)))
            if token not in forbidden and permitted(tokens, token)
        ]
        extended.sort(key=lambda one: -one[0])
        for total, tokens in extended[: config.beams]:
            if tokens[-1] == END or n == limit:
                done.append((total / penalised(config.length_penalty, config.alpha, n), tokens))
        alive = [one for one in extended[: 2 * config.beams] if one[1][-1] != END][: config.beams]
    return sorted(done, reverse=True)[:n_best]


def padded(sources: Sequence[Ids], pad: int = 0) -> tuple[Tensor, Tensor]:
    longest = max(map(len, sources))
    source = torch.tensor([[*ids, *[pad] * (longest - len(ids))] for ids in sources], dtype=torch.int64)
    return source, torch.arange(longest) < torch.tensor([[len(ids)] for ids in sources])


def run(
    model: Toy | EncoderDecoder, sources: Sequence[Ids], config: DecodingConfig, limits: Sequence[int], **options: object
) -> list[list[Hypothesis]]:
    return search(model, *padded(sources), config, start=START, end=END, limits=torch.tensor(limits), **options)  # type: ignore[arg-type, misc]


def whole(hypothesis: Hypothesis) -> Ids:
    return (*hypothesis.ids, END) if hypothesis.reason == "end" else hypothesis.ids


def assert_same(found: list[Hypothesis], expected: list[tuple[float, Ids]], tolerance: float = 1e-5) -> None:
    assert [whole(one) for one in found] == [tokens for _, tokens in expected]
    assert [one.score for one in found] == pytest.approx([score for score, _ in expected], abs=tolerance)
