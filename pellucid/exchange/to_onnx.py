"""Our models as ONNX graphs, which onnxruntime and many other programs run without PyTorch.

An encoder-decoder becomes three graphs, a decoder two, an encoder one. Nothing is left out: they are traced from the modules
that we run ourselves, with the cache of keys and values as plain inputs and outputs.

``encoder``: ``source`` and ``source_mask`` (B, S), or ``pixels`` (B, channels, height, width), give ``memory.E`` (B, S, D) for
each layer E of the encoder that is read.

``decoder_first``: ``ids`` (B, T), ``source_mask`` and ``memory.E`` give ``logits`` (B, T, V), and of each layer N what the next
step needs: ``source.N.key`` and ``source.N.value`` (B, G, S, K), ``past.N.key`` and ``past.N.value`` (B, G, T, K). A decoder
alone reads ``ids`` and ``mask`` (B, T), and has no ``source``.

``decoder_step``: ``ids`` (B, 1), ``source_mask``, or for a decoder alone ``mask`` (B, P + 1), and those of ``source`` and
``past`` (B, G, P, K) give ``logits`` (B, 1, V) and ``present.N.key``, ``present.N.value`` (B, G, P + 1, K), the next ``past``.

``model``, of an encoder alone: ``ids`` and ``mask`` (B, S), and ``types`` where there are types of tokens, or ``pixels``, give
``logits`` (B, S, V) or (B, V).

B batch, S source positions, T target positions, P positions so far, D width of the model, G heads of keys and values, K width
of a head, V vocabulary or classes. Ids are int64, masks boolean (True = real token), all else float32. Pictures have no mask.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.base.config import ModelConfig
from pellucid.base.errors import UsageError
from pellucid.base.progress import Progress
from pellucid.model.block import KeyValue
from pellucid.model.cache import KeyValueCache
from pellucid.model.transformer import DecoderOnly, EncoderDecoder, EncoderOnly, Transformer

OPSET = 18  # of the operators: what onnxruntime has understood since 1.14
_LIMIT = 2**31 - 1  # bytes that one file of the format can hold


@dataclass(frozen=True)
class Graph:
    """One graph to be written.

    Args:
        name: of the file, without its ending.
        module: what it computes, tensors in and tensors out.
        inputs: an example of each, by name, in order.
        axes: the axes that may have any length, by number, with a name for each, of every input.
        outputs: names.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    axes: Mapping[str, Mapping[int, str]]
    outputs: Sequence[str]


def need_onnx() -> None:
    """See that what writes the format is installed.

    Raises:
        UsageError: it is not.
    """
    if missing := [name for name in ("onnx", "onnxscript") if find_spec(name) is None]:
        advice = 'pip install "pellucid[onnx]"'
        raise UsageError(f"writing for ONNX needs {' and '.join(missing)}", where="--to", advice=advice)


class _Past(KeyValueCache):
    """A cache that is only what a graph can hold: one tensor of keys and one of values, (B, G, P, K), longer at each step."""

    def __init__(self, key: Tensor | None = None, value: Tensor | None = None) -> None:
        super().__init__()
        self.key, self.value = key, value
        self.length = 0 if key is None else key.shape[2]

    def update(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if self.key is not None and self.value is not None:
            key, value = torch.cat((self.key, key), dim=2), torch.cat((self.value, value), dim=2)
        self.key, self.value = key, value
        return key, value


def _flat(pairs: Sequence[KeyValue]) -> list[Tensor]:
    return [tensor for pair in pairs for tensor in pair]


def _pairs(flat: Sequence[Tensor]) -> list[KeyValue]:
    return [(flat[index], flat[index + 1]) for index in range(0, len(flat), 2)]


def _names(prefix: str, n_layers: int) -> list[str]:
    return [f"{prefix}.{layer}.{what}" for layer in range(n_layers) for what in ("key", "value")]


class _Encode(nn.Module):
    """The states that the decoder reads."""

    def __init__(self, model: EncoderDecoder, layers: Sequence[int]) -> None:
        super().__init__()
        self.model, self.layers = model, layers

    def forward(self, source: Tensor, mask: Tensor | None = None) -> tuple[Tensor, ...]:
        states = self.model.encode(source, mask).states
        return tuple(states[layer] for layer in self.layers)


class _First(nn.Module):
    """The first tokens of a decoder that reads a source."""

    def __init__(self, model: EncoderDecoder, layers: Sequence[int], masked: bool) -> None:
        super().__init__()
        self.model, self.layers, self.masked = model, layers, masked

    def forward(self, ids: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        mask, states = (rest[0], rest[1:]) if self.masked else (None, rest)
        decoder, by_layer = self.model.decoder, dict(zip(self.layers, states, strict=True))
        source = [
            layer.cross_attn.project(by_layer[read])  # type: ignore[operator, union-attr]  # a list of modules forgets what they are
            for layer, read in zip(decoder.layers, _read(self.model), strict=True)
        ]
        past = [_Past() for _ in decoder.layers]
        x = decoder(ids, self.model.weight("target"), source, memory_keys=mask, caches=past)
        return (self.model.head(x, self.model.weight("output")), *_flat(source), *_cached(past))


class _Step(nn.Module):
    """One more token of a decoder, with a source or without one, of which ``mask`` then says what is real so far."""

    def __init__(self, model: EncoderDecoder | DecoderOnly, masked: bool) -> None:
        super().__init__()
        self.model, self.masked = model, masked

    def forward(self, ids: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        mask, tensors = (rest[0], rest[1:]) if self.masked else (None, rest)
        decoder = self.model.decoder
        own = 2 * len(decoder.layers)
        source, past = _pairs(tensors[:-own]), [_Past(*pair) for pair in _pairs(tensors[-own:])]
        masks = {"memory_keys" if source else "keys": mask}
        x = decoder(ids, self.model.weight("target"), source, caches=past, **masks)
        return (self.model.head(x, self.model.weight("output")), *_cached(past))


class _Prompt(nn.Module):
    """The first tokens of a decoder that stands alone."""

    def __init__(self, model: DecoderOnly) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        past = [_Past() for _ in self.model.decoder.layers]
        x = self.model.decoder(ids, self.model.weight("target"), keys=mask, caches=past)
        return (self.model.head(x, self.model.weight("output")), *_cached(past))


class _Whole(nn.Module):
    """An encoder with its head."""

    def __init__(self, model: EncoderOnly) -> None:
        super().__init__()
        self.model = model

    def forward(self, source: Tensor, mask: Tensor | None = None, types: Tensor | None = None) -> Tensor:
        logits: Tensor = self.model(source, source_mask=mask, types=types)
        return logits


def _cached(past: Sequence[_Past]) -> list[Tensor]:
    return [tensor for cache in past for tensor in (cache.key, cache.value) if tensor is not None]


def _read(model: EncoderDecoder) -> list[int]:
    """The encoder layer that each decoder layer reads, from 0."""
    return [read % len(model.encoder.layers) for read in model.decoder.reads]


def graphs(model: Transformer, config: ModelConfig) -> list[Graph]:
    """The graphs of a model, with small examples of what goes in; an axis of 1 would be taken for a fixed one.

    Args:
        model: in evaluation mode, in float32.
        config: its shape.
    """
    if isinstance(model, EncoderDecoder):
        return _with_source(model, config)
    if isinstance(model, DecoderOnly):
        return _alone(model)
    assert isinstance(model, EncoderOnly)
    inputs, axes = _source(config, "ids", "mask")
    if config.embedding.types:
        inputs["types"], axes["types"] = torch.zeros_like(inputs["ids"]), axes["ids"]
    return [Graph("model", _Whole(model), inputs, axes, ["logits"])]


def _source(config: ModelConfig, ids: str, mask: str) -> tuple[dict[str, Tensor], dict[str, dict[int, str]]]:
    """What an encoder reads: two texts of 3 tokens, or two pictures."""
    if config.picture.patch:
        picture = config.picture
        return {"pixels": torch.zeros(2, picture.channels, picture.height, picture.width)}, {"pixels": {0: "batch"}}
    axes = {0: "batch", 1: "source"}
    return {ids: torch.zeros(2, 3, dtype=torch.int64), mask: torch.ones(2, 3, dtype=torch.bool)}, {ids: axes, mask: axes}


def _with_source(model: EncoderDecoder, config: ModelConfig) -> list[Graph]:
    layers, n_layers = sorted(set(_read(model))), len(model.decoder.layers)
    inputs, axes = _source(config, "source", "source_mask")
    masked = "source_mask" in inputs
    memory = [f"memory.{layer}" for layer in layers]
    encode, first, step = _Encode(model, layers), _First(model, layers, masked), _Step(model, masked)
    mask = {"source_mask": inputs["source_mask"]} if masked else {}
    mask_axes = {"source_mask": axes["source_mask"]} if masked else {}
    squares = {} if config.picture.patch else {1: "source"}  # of a picture there are always as many
    with torch.no_grad():
        states = encode(*inputs.values())
        ids = torch.zeros(2, 4, dtype=torch.int64)
        first_inputs = {"ids": ids, **mask, **dict(zip(memory, states, strict=True))}
        _, *cache = first(*first_inputs.values())
    source, past = _names("source", n_layers), _names("past", n_layers)
    step_inputs = {"ids": ids[:, :1], **mask, **dict(zip([*source, *past], cache, strict=True))}
    first_axes = {"ids": {0: "batch", 1: "target"}, **mask_axes, **{name: {0: "batch", **squares} for name in memory}}
    source_axes: dict[int, str] = {0: "batch", **({2: "source"} if squares else {})}
    step_axes = {"ids": {0: "batch"}, **mask_axes, **dict.fromkeys(source, source_axes)}
    step_axes |= {name: {0: "batch", 2: "past"} for name in past}
    return [
        Graph("encoder", encode, inputs, axes, memory),
        Graph("decoder_first", first, first_inputs, first_axes, ["logits", *source, *past]),
        Graph("decoder_step", step, step_inputs, step_axes, ["logits", *_names("present", n_layers)]),
    ]


def _alone(model: DecoderOnly) -> list[Graph]:
    n_layers, first = len(model.decoder.layers), _Prompt(model)
    ids, mask = torch.zeros(2, 4, dtype=torch.int64), torch.ones(2, 5, dtype=torch.bool)
    first_inputs = {"ids": ids, "mask": mask[:, :4]}
    with torch.no_grad():
        _, *cache = first(*first_inputs.values())
    past = _names("past", n_layers)
    step_inputs = {"ids": ids[:, :1], "mask": mask, **dict(zip(past, cache, strict=True))}
    both = {0: "batch", 1: "target"}
    step_axes = {"ids": {0: "batch"}, "mask": {0: "batch", 1: "all"}, **{name: {0: "batch", 2: "past"} for name in past}}
    return [
        Graph("decoder_first", first, first_inputs, {"ids": both, "mask": both}, ["logits", *past]),
        Graph("decoder_step", _Step(model, True), step_inputs, step_axes, ["logits", *_names("present", n_layers)]),
    ]


def write_graphs(some: Sequence[Graph], directory: Path) -> None:
    """Write each as ``NAME.onnx`` into a directory that exists; weights beyond two gigabytes go into a file beside it."""
    with Progress(len(some), "graphs", "writing") as progress:
        for graph in some:
            _write(graph, directory / f"{graph.name}.onnx")
            progress.update(1)


def _write(graph: Graph, path: Path) -> None:
    size = sum(weight.nbytes for weight in graph.module.state_dict().values())
    # Positional arguments of ``*rest`` are one of its arguments, a tuple.
    axes = tuple(dict(graph.axes[name]) for name in graph.inputs)
    shapes: Any = (axes[0], axes[1:]) if isinstance(graph.module, (_First, _Step)) else axes
    with _in_silence(), torch.no_grad():
        program: Any = torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        program.save(path, external_data=size > _LIMIT)


@contextmanager
def _in_silence() -> Iterator[None]:
    """Without what PyTorch's exporter has to say to its developers."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
