"""An example computed: the shipped boxes with the learner's numbers in them, and the learner's results beside them.

Shapes: T words, D numbers a word, H heads, K width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from pellucid.base.config import ModelConfig, StackConfig
from pellucid.base.errors import UsageError
from pellucid.base.taps import Tap, within
from pellucid.explain.example_file import Example, Matrix, Mine, Row
from pellucid.explain.forward import described
from pellucid.explain.recording import Recorder
from pellucid.explain.terminal import Look, as_text, matches, of_tap, padded
from pellucid.explain.trace import Tapped, Trace
from pellucid.model.attention import DotProduct, MultiHeadAttention, attend_in_steps
from pellucid.model.block import Block
from pellucid.model.decoder import Decoder
from pellucid.model.dropout import Dropout
from pellucid.model.embedding import TokenEmbedding
from pellucid.model.encoder import Encoder
from pellucid.model.feed_forward import ACTIVATIONS, FeedForward
from pellucid.model.masks import Mask
from pellucid.model.positions import Positions, SinusoidalPositions
from pellucid.model.residual import LayerNorm, Residual

OFF = Dropout(0.0)
Sublayer = Callable[[Tensor], Tensor]


class _NoNorm(nn.Module):
    """In the place of a norm that is off."""

    def forward(self, x: Tensor, tap: Tap | None = None) -> Tensor:
        return x


class _NoSum(nn.Module):
    """In the place of add & norm where there is nothing to add: the sublayer, and the norm where there is one."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, x: Tensor, sublayer: Sublayer, tap: Tap | None = None, name: str = "") -> Tensor:
        found: Tensor = self.norm(sublayer(x), within(tap, f"{name}_norm"))
        return found


class _LeftOut(nn.Module):
    """In the place of a sublayer that is off, with all that stands around it."""

    def forward(self, x: Tensor, sublayer: Sublayer, tap: Tap | None = None, name: str = "") -> Tensor:
        return x


def _linear(matrix: Matrix | float | None, width: int, bias: Row | float | None = None) -> nn.Module:
    """``x W + b`` with W as typed; without one, x itself."""
    if matrix is None:
        return nn.Identity()
    weight = torch.tensor(matrix, dtype=torch.float64)
    weight = weight * torch.eye(width, dtype=torch.float64) if weight.ndim == 0 else weight
    module = nn.Linear(weight.shape[0], weight.shape[1], bias=bias is not None, dtype=torch.float64)
    module.weight.data = weight.T
    if bias is not None:
        module.bias.data = torch.as_tensor(bias, dtype=torch.float64).expand(weight.shape[1]).clone()
    return module


def _inner(example: Example) -> int:
    """H * K."""
    matrix = example.query or example.key or example.value
    return example.width if matrix is None else len(matrix[0])


def _around(example: Example) -> nn.Module:
    """Add & norm, each on or off."""
    norm = LayerNorm(example.width, dtype=torch.float64) if example.norm else _NoNorm()
    return Residual(norm, OFF, "post") if example.residual else _NoSum(norm)  # type: ignore[arg-type]


def _block(example: Example) -> Block:
    width, inner, typed = example.width, _inner(example), example.feed_forward
    attention = MultiHeadAttention(
        query=_linear(example.query, width),
        key=_linear(example.key, width),
        value=_linear(example.value, width),
        output=_linear(example.output, inner),
        score=DotProduct(inner // example.heads, scaled=example.scale),
        n_heads=example.heads,
        n_kv_heads=example.heads,
        dropout=OFF,
    )
    hidden = None if typed is None else _linear(typed.hidden, width, typed.hidden_bias)
    middle = hidden.out_features if isinstance(hidden, nn.Linear) else width
    feed_forward = FeedForward(
        hidden=hidden or nn.Identity(),
        gate=None,
        output=nn.Identity() if typed is None else _linear(typed.output, middle, typed.output_bias),
        activation=ACTIVATIONS["relu"],
        dropout=OFF,
    )
    return Block(
        self_attn=attention,
        self_attn_residual=_around(example),  # type: ignore[arg-type]
        feed_forward=feed_forward,
        feed_forward_residual=_LeftOut() if typed is None else _around(example),  # type: ignore[arg-type]
    )


def compute(example: Example) -> Trace:
    """The trace of an example, in float64: of an encoder, or where no word sees a later one, of a decoder.

    Raises:
        UsageError: the numbers do not go together.
    """
    words, width = list(example.words), example.width
    if example.positions and width % 2:
        raise UsageError("positions need vectors of an even number of numbers", where="words", found=width)
    embed = TokenEmbedding(scale=1.0, types=0, d_model=width, norm=None, dropout=OFF)
    positions = SinusoidalPositions(len(words), width).double() if example.positions else Positions()
    if isinstance(positions, SinusoidalPositions):
        positions.initialise()
    layers = [_block(example) for _ in range(example.layers)]
    weight = torch.tensor(list(example.words.values()), dtype=torch.float64)
    ids, recorder = torch.arange(len(words))[None], Recorder()
    side = "decoder" if example.mask else "encoder"
    try:
        with torch.inference_mode():
            if example.mask:
                decoder = Decoder(embed=embed, positions=positions, layers=layers, norm=None)
                decoder(ids, weight, tap=Tap(recorder, "decoder."))
            else:
                Encoder(embed=embed, positions=positions, layers=layers, norm=None)(
                    ids, weight, None, tap=Tap(recorder, "encoder.")
                )
    except RuntimeError as error:
        raise UsageError("the matrices do not go together", found=str(error).split("\n")[0]) from None
    stack = StackConfig(example.layers, example.heads, width, d_head=_inner(example) // example.heads)
    config = ModelConfig(architecture="decoder" if example.mask else "encoder", d_model=width, encoder=stack, decoder=stack)
    key = "target" if example.mask else "source"
    trace = Trace(example.title, {}, {key: np.arange(len(words))}, {key: tuple(words)})
    trace.taps = {name: described(name, array, config, trace) for name, array in recorder.finish().items()}
    for mine in example.mine:
        _find(mine, trace, side)
    return trace


@dataclass(frozen=True)
class Mark:
    """One number of the learner's beside the computed one."""

    mine: float
    computed: float
    right: bool


def marks(example: Example, trace: Trace, tap: Tapped) -> Iterator[tuple[Mine, list[Mark]]]:
    """The learner's rows of a tap, number by number."""
    for mine in example.mine:
        if not matches(tap.name, mine.tap):
            continue
        computed = _find(mine, trace, tap.name.partition(".")[0])
        pairs = zip(mine.values, computed, strict=True)
        yield mine, [Mark(own, right, abs(own - right) <= example.tolerance) for own, right in pairs]


def _find(mine: Mine, trace: Trace, side: str) -> Row:
    """The computed row that belongs to one of the learner's."""
    name = next((name for name in trace if matches(name, mine.tap)), None)
    if name is None:
        raise UsageError("the example has no such step", where=mine.place, found=mine.tap, advice="see docs/reference/taps.md")
    tap, words = trace[name], next(iter(trace.names.values()))
    if mine.row not in words:
        raise UsageError("the example has no such word", where=mine.place, found=mine.row, expected=", ".join(words))
    array = tap.array
    if array.ndim == 3 and mine.head >= len(array):
        raise UsageError("the example has no such head", where=mine.place, found=mine.head, expected=f"below {len(array)}")
    row = (array[mine.head] if array.ndim == 3 else array)[words.index(mine.row)]
    if len(row) != len(mine.values):
        raise UsageError("another number of numbers", where=mine.place, found=len(mine.values), expected=len(row))
    return tuple(map(float, row))


def lines(example: Example, look: Look) -> Iterator[str]:
    """The whole example: every step, and beside it what the learner got.

    Raises:
        UsageError: no such step.
    """
    yield example.title
    right = off = 0
    if example.walk is not None:
        from pellucid.explain.walk import walk

        yield from walk(example)
    if not example.words:
        return
    trace = compute(example)
    yield f"words: {' '.join(example.words)}"
    yield "parts: " + ", ".join(f"{name} {'on' if on else 'off'}" for name, on in _parts(example).items())
    shown = [_with_formula(tap, example, trace) for tap in trace.taps.values() if _is_shown(tap, example, look)]
    if not shown:
        raise UsageError("the example has no such step", where="--step", found=look.step)
    one_by_one = iter(_one_at_a_time(example, trace)) if example.one_at_a_time else iter(())
    for tap in shown:
        if tap.name.endswith("layers.0.self_attn.scores"):
            yield from one_by_one
        yield ""
        yield from of_tap(tap, trace, Look(look.width, look.ink, tap.name))
        for mine, row in marks(example, trace, tap):
            right, off = right + sum(mark.right for mark in row), off + sum(not mark.right for mark in row)
            yield from _marked(mine, row)
    if example.mine:
        yield ""
        yield f"yours: {right} right, {off} off (more than {example.tolerance:g} away)"


def _is_shown(tap: Tapped, example: Example, look: Look) -> bool:
    """What is asked for; else what does something, or what the learner computed."""
    if look.step is not None:
        return matches(tap.name, look.step)
    idle = {"*.embed.scaled": True, "*_projected": True, "*.self_attn.scaled": not example.scale}
    idle |= {"*.self_attn.concat": example.heads == 1, "*.self_attn.out": example.output is None and example.heads == 1}
    if any(matches(tap.name, mine.tap) for mine in example.mine):
        return True
    return not any(off and matches(tap.name, name) for name, off in idle.items())


def _with_formula(tap: Tapped, example: Example, trace: Trace) -> Tapped:
    """Nothing rotates queries and keys here: they are what was projected, or where there is no matrix, the vectors."""
    step = tap.name.rpartition(".")[2]
    if f"{tap.name}_projected" not in trace:
        return tap
    typed = {"q": example.query, "k": example.key, "v": example.value}[step]
    row = trace[f"{tap.name}_projected"].row
    return replace(tap, row=replace(tap.row, formula=row.formula if typed is not None else "x"))


def _marked(mine: Mine, row: list[Mark]) -> Iterator[str]:
    yield f"  yours, {mine.row}:"
    for mark in row:
        verdict = "right" if mark.right else f"off: {as_text(mark.computed)}"
        yield f"    {padded(as_text(mark.mine), 10, right=True)}  {verdict}"


def _parts(example: Example) -> dict[str, bool]:
    return {
        "scale": example.scale,
        "mask": example.mask,
        "positions": example.positions,
        "residual": example.residual,
        "norm": example.norm,
        "W^Q": example.query is not None,
        "W^K": example.key is not None,
        "W^V": example.value is not None,
        "W^O": example.output is not None,
        "feed-forward": example.feed_forward is not None,
    }


def _one_at_a_time(example: Example, trace: Trace) -> Iterator[str]:
    """Each word's query by itself, through the same steps: what the product of matrices then does at once."""
    side = "decoder" if example.mask else "encoder"
    place = f"{side}.layers.0.self_attn"
    query, key, value = (torch.from_numpy(trace[f"{place}.{step}"].array)[None] for step in "qkv")
    words, score = list(example.words), DotProduct(query.shape[-1], scaled=example.scale)
    for at, word in enumerate(words):
        seen = Recorder()
        until = at + 1 if example.mask else len(words)
        mask = Mask().resolve(1, until, like=query)
        attend_in_steps(query[:, :, at : at + 1], key[:, :, :until], value[:, :, :until], score, mask, OFF, Tap(seen))
        steps = seen.finish()
        yield ""
        yield f"{word} asks"
        for head in range(example.heads):
            if example.heads > 1:
                yield f"  head {head}"
            for other in range(until):
                products = zip(query[0, head, at].tolist(), key[0, head, other].tolist(), strict=True)
                terms = " + ".join(f"{as_text(left)}·{as_text(right)}" for left, right in products)
                yield f"  {padded(words[other], 12)} q·k = {terms} = {as_text(float(steps['scores'][head, 0, other]))}"
            if example.scale:
                yield f"  divided by sqrt({query.shape[-1]}): {_row_text(steps['scaled'][head, 0])}"
            yield f"  softmax: {_row_text(steps['weights'][head, 0])}"
            yield f"  z, the values in these shares: {_row_text(steps['z'][head, 0])}"
        same = np.allclose(steps["z"][:, 0], trace[f"{place}.z"].array[:, at], rtol=1e-12, atol=1e-12)
        yield f"  the product of all queries at once, below, gives {'the same' if same else 'ANOTHER Z: a bug'}"
    yield ""
    yield "all queries at once, one row each"


def _row_text(row: np.ndarray) -> str:
    return "  ".join(as_text(float(number)) for number in row)
