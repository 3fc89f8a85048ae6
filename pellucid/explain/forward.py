"""One forward with all taps: the matrices of a trace.

Shapes: S source positions, T target positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.base.config import ModelConfig
from pellucid.base.errors import UsageError
from pellucid.base.recipe import to_dict
from pellucid.base.taps import TABLE, Tapper, TapRow
from pellucid.explain.edits import Edit
from pellucid.explain.recording import MAX_BYTES, Recorder, as_array
from pellucid.explain.subject import AnyModel
from pellucid.explain.trace import Array, Tapped, Trace
from pellucid.model.transformer import EncoderDecoder, EncoderOnly

ROWS = {row.name: row for row in TABLE}


@dataclass(frozen=True)
class Inputs:
    """What one forward is given: one row, and which of it is real.

    Args:
        source: (1, S) ids or (1, channels, height, width) pixels; ``None`` for a decoder that stands alone.
        target: (1, T) ids that the decoder reads; ``None`` for an encoder that stands alone.
        source_mask, target_mask: (1, S), (1, T) True = real token; ``None``: no padding.
    """

    source: Tensor | None = None
    target: Tensor | None = None
    source_mask: Tensor | None = None
    target_mask: Tensor | None = None

    def arrays(self) -> dict[str, Array]:
        """What there is, without the batch."""
        return {name: as_array(tensor) for name, tensor in vars(self).items() if tensor is not None}


def trace_forward(
    model: AnyModel,
    config: ModelConfig,
    inputs: Inputs,
    *,
    text: str = "",
    names: Mapping[str, Sequence[str]] | None = None,
    vocabulary: Sequence[str] = (),
    taps: Sequence[str] = ("*",),
    edits: Sequence[Edit] = (),
    max_bytes: int = MAX_BYTES,
) -> Trace:
    """Run a model once and keep its taps.

    Args:
        model, config: of any architecture, and its shape. Evaluation mode holds for the time of the forward.
        inputs: of one row.
        text: what the reader will see as the input.
        names: of the positions of ``source`` and ``target``; default: their numbers.
        vocabulary: names of the outputs.
        taps: globs of the names to keep.
        edits: what to change on the way.
        max_bytes: of what is kept.

    Raises:
        TraceTooLargeError: that is not enough.
        UsageError: a glob or an edit names nothing that is there, or there is more than one row.
    """
    for name, tensor in vars(inputs).items():
        if tensor is not None and tensor.shape[0] != 1:
            raise UsageError("a trace is of one row", where=name, expected=1, found=tensor.shape[0])
    recorder = Recorder(taps, edits, max_bytes)
    with looking(model):
        run(model, inputs, recorder)
    arrays = recorder.finish()
    trace = Trace(
        text,
        {},
        inputs.arrays(),
        {name: tuple(some) for name, some in (names or {}).items()},
        tuple(vocabulary),
        edits=tuple(map(str, edits)),
        edited=tuple(dict.fromkeys(name for name, _ in recorder.edited)),
        about=to_dict(config),
        model=model,
    )
    trace.taps = {name: described(name, array, config, trace) for name, array in arrays.items()}
    return trace


def run(model: AnyModel, inputs: Inputs, tap: Tapper | None) -> Tensor:
    """The forward of whatever architecture, on the device of the model."""
    device = model.weight("output").device

    def at(tensor: Tensor | None) -> Any:
        return None if tensor is None else tensor.to(device)

    source, target = at(inputs.source), at(inputs.target)
    source_mask, target_mask = at(inputs.source_mask), at(inputs.target_mask)
    if isinstance(model, EncoderDecoder):
        return model(source, target, source_mask=source_mask, target_mask=target_mask, tap=tap)
    if isinstance(model, EncoderOnly):
        return model(source, source_mask=source_mask, tap=tap)
    return model(target, mask=target_mask, tap=tap)


@contextmanager
def looking(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients, and afterwards the mode that was."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)


def row_of(name: str) -> TapRow:
    """The row of the table that a tap belongs to."""
    return ROWS[re.sub(r"\.layers\.\d+\.", ".layers.N.", name)]


def described(name: str, array: Array, config: ModelConfig, trace: Trace) -> Tapped:
    """The array with its axes, and what stands along them."""
    row = row_of(name)
    axes = _axes(name, row, array, config)
    stack, cross = name.partition(".")[0], ".cross_attn." in name
    own = "target" if stack == "decoder" or (stack != "encoder" and "target" in trace.inputs) else "source"
    keys = "source" if cross else own
    step = name.rpartition(".")[2]
    positions = keys if cross and step in ("k", "v", "k_projected", "v_projected") else own
    labels = {
        "position": trace.names.get(positions),
        "query": trace.names.get(own),
        "key": trace.names.get(keys),
        "target position": trace.names.get(own),
        "vocabulary": trace.vocabulary,
        "class": trace.vocabulary,
    }
    found = [labels.get(axis) for axis in axes]
    fits = [some if some and len(some) == size else None for some, size in zip(found, array.shape, strict=True)]
    return Tapped(name, row, axes, tuple(fits), array)


def _axes(name: str, row: TapRow, array: Array, config: ModelConfig) -> tuple[str, ...]:
    """As the table says; what comes after pooling has no positions, and encoders that stand alone no target."""
    axes = row.axes
    if name in ("logits", "probs"):
        tokens = config.architecture != "encoder" or config.source_vocabulary == config.target_vocabulary
        axes = ("target position" if config.architecture != "encoder" else "position", "vocabulary" if tokens else "class")
    if len(axes) == array.ndim + 1:
        axes = axes[1:]
    return axes
