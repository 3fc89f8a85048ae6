"""How much memory a run needs, from its configuration alone: before a weight is made.

What a step keeps for its way back is counted product by product, as the layers save it (:mod:`pellucid.model`): the inputs of
projections, queries, keys and values, attention weights where they exist, hidden layers, inputs of norms, the noise of dropout.
The sum lies within a factor of 1.3 of what is measured, for word vectors of 2 (``tests/training/test_memory.py``). What a batch
meets on its way to the device and the program itself, some hundred MB, come on top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pellucid.base.config import ModelConfig, RunConfig, StackConfig, per_layer
from pellucid.base.machine import in_bytes
from pellucid.model.attention import LONG, WIDE
from pellucid.model.feed_forward import GATED
from pellucid.training.loss import CHUNK, FEW, group_size

FLOAT = 4  # bytes
_KEPT_OF_RECURRENCE = {"rnn": 1, "gru": 7, "lstm": 16}  # vectors of a state's width that each position leaves for the way back
_SCORES_OF_A_WORD = 300  # of word vectors: with its neighbours and with noise


class BatchShape(NamedTuple):
    """The largest batch of a step on one process."""

    rows: int
    source: int  # positions; 0: the model has no encoder
    target: int  # positions that are predicted or decoded


@dataclass(frozen=True)
class Memory:
    """Bytes that training holds at its peak."""

    weights: int
    gradients: int
    moments: int  # of the optimizer, two numbers a weight
    average: int  # moving average of the weights
    activations: int  # of the largest batch

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.moments + self.average + self.activations

    def in_words(self) -> str:
        """``about 1.2 GB (weights 0.2 GB, ..., activations of the largest batch 0.5 GB)``."""
        names = {"moments": "Adam's moments", "average": "moving average", "activations": "activations of the largest batch"}
        parts = ", ".join(f"{names.get(name, name)} {in_bytes(value)}" for name, value in vars(self).items() if value)
        return f"about {in_bytes(self.total)} ({parts})"


def largest_batch(config: RunConfig, rows: int | None = None) -> BatchShape:
    """The shape of the largest batch that ``training.batch_tokens`` allows; with R-Drop a batch is read twice at once.

    Args:
        config: of the run.
        rows: how many examples it has; ``None``: not known yet, as many as fit when all are as long as they may be.
    """
    model, tokens = config.model, config.training.batch_tokens
    longest = model.max_length if model.architecture == "decoder" else min(config.data.max_length + 1, model.max_length)
    squares = model.picture.n_patches + 1 if model.picture.patch else 0
    rows = rows or max(1, tokens // (squares or longest))
    length = max(1, min(tokens // rows, longest))
    source = 0 if model.architecture == "decoder" else squares or length
    target = min(longest, config.data.max_length + 1) if squares and model.architecture == "encoder-decoder" else length
    readings = 2 if config.training.r_drop else 1
    return BatchShape(rows * readings, source, source if model.architecture == "encoder" else target)


def needed(config: RunConfig, n_weights: int, shape: BatchShape, *, learning: int | None = None, sharers: int = 1) -> Memory:
    """What a run holds at its peak.

    Args:
        config: of the run, with vocabulary sizes filled in.
        n_weights: numbers that the model has.
        shape: of the largest batch.
        learning: those of them that learn; ``None``: all.
        sharers: processes among which weights, gradients and moments are shared out.
    """
    learning = n_weights if learning is None else learning
    half = config.runtime.precision == "bfloat16"
    activations = _activations(config, shape) + n_weights * half // 2  # bfloat16 multiplies with copies of the matrices
    return Memory(
        weights=FLOAT * n_weights // sharers,
        gradients=FLOAT * learning // sharers,
        moments=2 * FLOAT * learning // sharers,
        average=FLOAT * n_weights // sharers if config.training.ema else 0,
        activations=FLOAT * activations,
    )


def checkpoint_bytes(config: RunConfig, n_weights: int, learning: int | None = None) -> int:
    """What a run's checkpoints and its model take on the disk at most, one that is being written included."""
    kept, weights = config.checkpoints, FLOAT * n_weights
    whole = weights * (2 if config.training.ema else 1) + 2 * FLOAT * (n_weights if learning is None else learning)
    for_later = config.training.steps // kept.keep_every if kept.keep_every else 0
    averaged = kept.average + 1 if kept.average > 1 else 0
    return whole * (kept.keep + 1) + weights * (averaged + for_later + 2)


def _activations(config: RunConfig, shape: BatchShape) -> int:
    """Numbers that a forward keeps for the way back, and what the way back needs besides at its beginning."""
    model, (rows, source, target) = config.model, shape
    if model.architecture == "vectors":
        return rows * target * (6 * model.d_model + _SCORES_OF_A_WORD)
    cost = _Cost(config)
    kept, again = 0.0, 0.0
    if source:
        of_each, of_one = cost.stack(model.encoder, source, 0)
        kept, again = rows * source * (of_each + cost.bias(model.encoder, source)), rows * source * of_one
    if model.architecture != "encoder":
        of_each, of_one = cost.stack(model.decoder, target, source, causal=True)
        kept, again = kept + rows * target * of_each, max(again, rows * target * of_one)
        if source:
            kept += rows * source * cost.memory()
    outputs = rows if model.head.pool != "none" else rows * target
    # The logits are gone when the first block is computed again.
    return int(kept + max(again, _loss(model, outputs, cost.product)))


def _loss(model: ModelConfig, outputs: int, product: float) -> float:
    """Logits and their gradients, all at once where they are few, else chunk by chunk: see :mod:`pellucid.training.loss`."""
    vocabulary, width = model.target_vocabulary, model.output_width
    if outputs * vocabulary <= FEW:
        return outputs * (3 * vocabulary + width)
    gradients = min(outputs, group_size(vocabulary)) * vocabulary * product
    return 2 * outputs * width + vocabulary * width + 2 * CHUNK * vocabulary + gradients


def _seen(positions: int) -> float:
    """The share of all scores that causal attention computes: see ``_attend_by_halves`` in :mod:`pellucid.model.attention`."""
    return 1.0 if positions < WIDE else 0.5 + _seen(positions // 2) / 4


class _Cost:
    """Numbers (of four bytes) that each position leaves behind in the parts of a model.

    Args:
        config: of the run.
    """

    def __init__(self, config: RunConfig) -> None:
        self.model = config.model
        self.recompute = config.training.recompute
        self.half = config.runtime.precision == "bfloat16"
        self.cpu = config.runtime.device == "cpu"
        self.product = 0.5 if self.half else 1.0  # of a number that is multiplied with a matrix
        self.cast = 0.5 if self.half else 0.0  # of a copy that is made for that, beside the original
        self.noise = 1.0 if self.cpu else 0.25

    def stack(self, stack: StackConfig, positions: int, memory: int, *, causal: bool = False) -> tuple[float, float]:
        """Of all the layers and the embedding below them; and of one block that is computed again on the way back, if any is.

        ``memory`` positions are read by a decoder that has an encoder.
        """
        model = self.model
        embedding = model.d_model * (2 + self.noise * (model.dropout > 0))
        if model.recurrent.cell != "none":
            return embedding + self._recurrent(stack, memory), 0.0
        layers = zip(
            per_layer(stack.n_heads, stack.n_layers),
            per_layer(stack.n_kv_heads or stack.n_heads, stack.n_layers),
            stack.head_width(model.d_model),
            per_layer(stack.d_ff, stack.n_layers),
            strict=True,
        )
        costs = []
        for heads, shared, width, d_ff in layers:
            cost = self._attention(heads, width, positions, causal=causal) + 2 * shared * width * self.product
            cost += self._attention(heads, width, memory) if memory else 0.0
            costs.append(cost + self._feed_forward(d_ff))
        if self.recompute:  # only what goes into each is kept
            return embedding + len(costs) * model.d_model, max(costs)
        return embedding + sum(costs), 0.0

    def memory(self) -> float:
        """Of keys and values that all decoder layers make of each position of the encoder's output."""
        model, stack = self.model, self.model.decoder
        if model.recurrent.cell != "none":
            return 2.0 * model.recurrent.memory_width(model.d_model)
        shared = per_layer(stack.n_kv_heads or stack.n_heads, stack.n_layers)
        widths = stack.head_width(model.d_model)
        return self.cast * model.d_model + sum(2 * n * width * self.product for n, width in zip(shared, widths, strict=True))

    def bias(self, stack: StackConfig, positions: int) -> float:
        """Of the bias of scores that all layers of an encoder share: it differs from row to row where there is padding."""
        # With padding hidden and, for a while or as it was learnt, as it was; of what learns, a gradient.
        maps = {"alibi": 1.5, "relative": 3.0}.get(self.model.positions, 0.0)
        return maps * max(per_layer(stack.n_heads, stack.n_layers)) * positions

    def _attention(self, heads: int, width: int, keys: int, *, causal: bool = False) -> float:
        """Queries, weights, what comes out, add & norm."""
        model, dropped = self.model, self.model.attention_dropout > 0
        weights = heads * keys * (self.product + dropped * (self.noise + self.product))
        plain = model.attention == "dot" and model.positions != "relative" and model.decoder.n_kv_heads is None
        if self.cpu and not self.half and not dropped and plain and keys >= LONG:
            weights = heads  # torch's fused attention keeps none
        elif causal and self.cpu and model.positions not in ("alibi", "relative"):
            weights *= _seen(keys)
        if model.attention == "additive":
            weights += heads * keys * width
        return 2 * heads * width * self.product + weights + self._residual() + self.cast * model.d_model

    def _feed_forward(self, d_ff: int) -> float:
        model, gated = self.model, self.model.activation in GATED
        inside = {"relu": 1, "reglu": 3, "glu": 3}.get(model.activation, 4 if gated else 2)
        dropped = (self.noise + 1.0) * (model.activation_dropout > 0)
        return d_ff * self.product * (inside + dropped) + self._residual() + self.cast * model.d_model * (1 + gated)

    def _residual(self) -> float:
        """The norm's input and output, and the noise."""
        return self.model.d_model * (2 + self.noise * (self.model.dropout > 0))

    def _recurrent(self, stack: StackConfig, memory: int) -> float:
        own, width = self.model.recurrent, self.model.recurrent.width(self.model.d_model)
        ways = 2 if own.bidirectional and not memory and self.model.architecture != "decoder" else 1
        layers = stack.n_layers * width * ways * (_KEPT_OF_RECURRENCE[own.cell] + 1)
        scored = {"none": 0, "dot": 2 * memory, "additive": 2 * memory * width}[own.attention] if memory else 0
        return layers + scored
