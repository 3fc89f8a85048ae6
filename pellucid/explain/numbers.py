"""What the formulas of :mod:`.formulas` read: the taps before, the weights, the input; and where each step gets its vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pellucid.base.config import ModelConfig
from pellucid.explain.trace import Array


class MissingTapError(LookupError):
    """A formula needs a tap, or a weight, that is not there."""


@dataclass(frozen=True)
class Numbers:
    """What formulas read.

    Args:
        taps: the arrays of the trace by name.
        weights: of the model by name.
        roles: which matrix serves as "source", "target" and "output".
        inputs: what the model was given.
        config: its shape.
    """

    taps: Mapping[str, Array]
    weights: Callable[[str], Array | None]
    roles: Mapping[str, str]
    inputs: Mapping[str, Array]
    config: ModelConfig

    def tap(self, name: str) -> Array:
        """A tap that came before, in float64; masks stay boolean."""
        if name not in self.taps:
            raise MissingTapError(name)
        array = self.taps[name]
        return array if array.dtype == bool else array.astype(np.float64)

    def maybe(self, name: str) -> Array | None:
        """The same, or ``None`` where the model has none."""
        return self.tap(name) if name in self.taps else None

    def linear(self, place: str, x: Array) -> Array:
        """``x W^T + b`` with the weights of a projection."""
        weight, bias = self.weights(f"{place}.weight"), self.weights(f"{place}.bias")
        if weight is None:  # another kind of product stands here
            raise MissingTapError(f"{place}.weight")
        return x @ weight.T if bias is None else x @ weight.T + bias

    def matrix(self, role: str) -> Array:
        """The embedding or output matrix."""
        weight = self.weights(f"weights.{self.roles[role]}")
        assert weight is not None
        return weight

    @property
    def pre(self) -> bool:
        """Whether norms come before their sublayers."""
        return self.config.norm == "pre"


@dataclass(frozen=True)
class Place:
    """Where a tap is: ``decoder.layers.1.cross_attn.q`` has stack "decoder", layer 1, part "cross_attn", step "q"."""

    name: str
    stack: str
    layer: int
    part: str
    step: str

    @classmethod
    def of(cls, name: str) -> Place:
        """Take a name apart; without a layer it is -1."""
        words = name.split(".")
        layer = int(words[2]) if words[1:2] == ["layers"] else -1
        rest = words[3:] if layer >= 0 else words[1:]
        return cls(name, words[0], layer, ".".join(rest[:-1]), rest[-1] if rest else "")

    @property
    def home(self) -> str:
        """The layer, or the stack where there is none."""
        return f"{self.stack}.layers.{self.layer}" if self.layer >= 0 else self.stack

    @property
    def keys(self) -> str:
        """Whose mask says what is real: that of the source or of the target."""
        return "source" if self.stack == "encoder" or self.part == "cross_attn" else "target"


Formula = Callable[[Numbers, Place], Array]


# Where the numbers of a sublayer come from: names of taps


def stack_input(at: Place) -> str:
    """What a layer receives."""
    return f"{at.stack}.embed.out" if at.layer == 0 else f"{at.stack}.layers.{at.layer - 1}.out"


def before(n: Numbers, at: Place, sublayer: str) -> str:
    """The vectors that a sublayer's residual adds to."""
    order = ["self_attn", *(["cross_attn"] if reads(n, at) else []), "ffn"]
    number = order.index(sublayer)
    if number == 0:
        return stack_input(at)
    return f"{at.home}.{order[number - 1]}_residual" if n.pre else f"{at.home}.{order[number - 1]}_norm.out"


def into(n: Numbers, at: Place, sublayer: str) -> str:
    """The vectors that a sublayer itself receives."""
    return f"{at.home}.{sublayer}_norm.out" if n.pre else before(n, at, sublayer)


def reads(n: Numbers, at: Place) -> bool:
    return at.stack == "decoder" and n.config.architecture == "encoder-decoder"


def memory(n: Numbers, at: Place) -> str:
    """What cross-attention reads: the encoder's output, or another layer's."""
    chosen, last = n.config.decoder.reads, n.config.encoder.n_layers - 1
    layer = last if chosen is None else chosen[at.layer]
    return "encoder.out" if layer == last else f"encoder.layers.{layer}.out"


def norm_input(n: Numbers, at: Place) -> str:
    """What a norm receives; the sum of an embedding, which is no tap of its own, has no name."""
    if at.part == "embed.norm":
        return ""
    if at.stack == "head":
        return "head.hidden"
    if at.layer < 0:
        return f"{at.stack}.layers.{n.config.stacks()[at.stack].n_layers - 1}.out"
    sublayer = at.part.removesuffix("_norm")
    return before(n, at, sublayer) if n.pre else f"{at.home}.{sublayer}_residual"


def norm_module(at: Place) -> str:
    """The module that normalises at this place."""
    if at.stack == "head":
        return "head.transform.norm"
    if at.layer < 0:
        return f"{at.stack}.{at.part}"
    return f"{at.home}.{at.part.removesuffix('_norm').replace('ffn', 'feed_forward')}_residual.norm"


def embedded(n: Numbers, at: Place) -> list[str]:
    """Everything that the embedding box adds up."""
    first = "patches" if n.config.picture.patch and at.stack == "encoder" else "scaled"
    names = [f"{at.stack}.embed.{part}" for part in (first, "positions", "types")]
    return [name for name in names if name == names[0] or name in n.taps]


def features(n: Numbers) -> str:
    """The last vectors, before the head's own layer."""
    if n.config.head.pool != "none":
        return "pooled"
    return "encoder.out" if n.config.architecture == "encoder" else "decoder.out"


def scored(n: Numbers) -> str:
    """What the output matrix is multiplied with."""
    return {"none": features(n), "dense": "head.hidden", "norm": "head.norm.out"}[n.config.head.transform]


def places(n: Numbers, side: str, length: int) -> Array:
    """The position of each token, counted from the first real one."""
    mask = n.inputs.get(f"{side}_mask")
    return np.arange(length) if mask is None else np.maximum(mask.cumsum() - 1, 0)
