"""The shape of a model: its part of the configuration, see :mod:`pellucid.base.config`, from where it is imported."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pellucid.base import recurrent
from pellucid.base.config_rules import Rules
from pellucid.base.recurrent import CELLS, RecurrentConfig

Architecture = Literal["encoder-decoder", "encoder", "decoder", "rnn", "gru", "lstm", "vectors"]
NormOrder = Literal["post", "pre"]
Activation = Literal["relu", "gelu", "gelu_tanh", "silu", "glu", "reglu", "geglu", "geglu_tanh", "swiglu"]
Attention = Literal["dot", "dot-unscaled", "additive"]
Positions = Literal["sinusoidal", "learned", "rotary", "alibi", "relative", "none"]
Tie = Literal["all", "decoder", "embeddings", "none"]


def per_layer(value: int | tuple[int, ...], n_layers: int) -> tuple[int, ...]:
    """A single number means "all layers the same"."""
    return (value,) * n_layers if isinstance(value, int) else value


@dataclass(frozen=True)
class StackConfig:
    """One stack of layers, encoder or decoder."""

    n_layers: int = 6  # number of layers
    n_heads: int | tuple[int, ...] = 8  # heads in every layer, or one number a layer
    d_ff: int | tuple[int, ...] = 2048  # width of the feed-forward hidden layer, or one number a layer
    reads: tuple[int, ...] | None = None  # decoder: the encoder layer that each layer reads, from 0; null: the last
    n_kv_heads: int | tuple[int, ...] | None = None  # heads of keys and values, each shared by some query heads; null: n_heads
    d_head: int | None = None  # width of a head; null: d_model / n_heads
    attention_bias: bool | None = None  # biases in the attention projections; null: as model.bias

    def __post_init__(self) -> None:
        rules = Rules()
        rules.at_least(self, 1, "n_layers")
        rules.at_most(self, 1000, "n_layers")  # a file that says more wants the reader's memory, not a model
        rules.finish()
        for name in ("n_heads", "n_kv_heads", "d_head", "d_ff", "reads"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != self.n_layers:
                rules.require(False, name, f"needs n_layers = {self.n_layers} numbers, has {len(value)}")
            elif value is not None and name != "reads":
                fits = all(1 <= number <= 100_000_000 for number in per_layer(value, 1))
                rules.require(fits, name, "must be at least 1 and at most 100,000,000")
        rules.finish()
        if self.n_kv_heads is not None:
            pairs = zip(per_layer(self.n_heads, self.n_layers), per_layer(self.n_kv_heads, self.n_layers), strict=True)
            text = f"must divide n_heads = {self.n_heads}, is {self.n_kv_heads}"
            rules.require(all(heads % shared == 0 for heads, shared in pairs), "n_kv_heads", text)
        rules.finish()

    def head_width(self, d_model: int) -> tuple[int, ...]:
        """d_head of every layer."""
        return tuple(self.d_head or d_model // n_heads for n_heads in per_layer(self.n_heads, self.n_layers))


@dataclass(frozen=True)
class EmbeddingConfig:
    """Details of the embedding box in which the families differ."""

    scale: bool = True  # multiply the token vectors by sqrt(d_model) (section 3.4)
    types: int = 0  # kinds of tokens (segments), each with a vector to add; 0: none
    norm: bool = False  # normalise the sum


@dataclass(frozen=True)
class RotaryConfig:
    """Rotary positions."""

    base: float = 10_000.0  # the slowest wave is nearly base times as long as the quickest
    scaling: Literal["none", "linear", "llama3"] = "none"  # how waves are stretched for longer texts than trained on
    factor: float = 1.0  # by how much
    low_frequency: float = 1.0  # llama3: waves that fit less often into original_length are stretched in full
    high_frequency: float = 4.0  # llama3: waves that fit more often are left
    original_length: int = 8192  # llama3: the length trained on

    def __post_init__(self) -> None:
        rules = Rules()
        rules.require(self.base > 1.0, "base", f"must be above 1, is {self.base}")
        rules.at_least(self, 1.0, "factor", "original_length")
        text = f"must be above low_frequency = {self.low_frequency}, is {self.high_frequency}"
        rules.require(self.high_frequency > self.low_frequency, "high_frequency", text)
        rules.finish()


@dataclass(frozen=True)
class RelativeConfig:
    """Learned relative positions."""

    buckets: int = 32  # rows of the table
    max_distance: int = 128  # from here on all distances are the same

    def __post_init__(self) -> None:
        rules = Rules()
        rules.at_least(self, 4, "buckets")
        text = f"must be above buckets / 2 = {self.buckets // 2}, is {self.max_distance}"
        rules.require(self.max_distance > self.buckets // 2, "max_distance", text)
        rules.finish()


@dataclass(frozen=True)
class PositionalConfig:
    """Details of the position schemes."""

    halves: bool = False  # sinusoidal: all sines, then all cosines; false: in turn, as in the paper
    rotary: RotaryConfig = field(default_factory=RotaryConfig)
    relative: RelativeConfig = field(default_factory=RelativeConfig)


@dataclass(frozen=True)
class PictureConfig:
    """Pictures as the source: cut into squares that take the place of tokens."""

    patch: int = 0  # side of a square, in pixels; 0: the source is text
    height: int = 0  # of a picture, in pixels; language models: pictures are learnt as text, a character a pixel, halved
    width: int = 0  # the same
    channels: int = 3  # 1: grey, 3: red, green, blue

    def __post_init__(self) -> None:
        rules = Rules()
        rules.at_least(self, 0, "patch")
        rules.require(self.channels in (1, 3), "channels", f"must be 1 or 3, is {self.channels}")
        for name in ("height", "width"):
            size, text = getattr(self, name), f"must be a multiple of patch = {self.patch}"
            rules.require(self.patch < 1 or (size > 0 and size % self.patch == 0), name, f"{text}, is {size}")
        rules.finish()

    @property
    def n_patches(self) -> int:
        """Squares of a picture."""
        return (self.height // self.patch) * (self.width // self.patch)


@dataclass(frozen=True)
class HeadConfig:
    """What turns the last vectors into logits."""

    pool: Literal["none", "class", "mean", "last"] = "none"  # one vector a sequence: its first, the mean; recurrent: last state
    transform: Literal["none", "dense", "norm"] = "none"  # one more layer before the logits, and with a norm after it
    activation: Literal["tanh", "relu", "gelu", "gelu_tanh", "silu"] = "tanh"  # of that layer
    dropout: float = 0.0  # before the logits
    scale: bool = False  # divide the vectors by sqrt(d_model)
    bias: bool = False  # add a learned number to each logit

    def __post_init__(self) -> None:
        rules = Rules()
        rules.between(self, 0.0, 1.0, "dropout")
        rules.finish()


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the model. The defaults are the paper's base model (section 3, Table 3)."""

    architecture: Architecture = "encoder-decoder"
    d_model: int = 512  # width of every vector between the sublayers
    encoder: StackConfig = field(default_factory=StackConfig)
    decoder: StackConfig = field(default_factory=StackConfig)
    dropout: float = 0.1  # on the embedding sums and on each sublayer's output, as in the paper
    attention_dropout: float = 0.0  # on the attention weights
    activation_dropout: float = 0.0  # inside the feed-forward
    norm: NormOrder = "post"  # post: norm after the residual sum (the paper); pre: before the sublayer, and once at the end
    norm_kind: Literal["layer", "rms"] = "layer"  # rms: without the mean and without a bias
    norm_epsilon: float = 1e-5
    activation: Activation = "relu"
    bias: bool = True  # in attention projections and feed-forward
    attention: Attention = "dot"
    positions: Positions = "sinusoidal"
    positional: PositionalConfig = field(default_factory=PositionalConfig)
    recurrent: RecurrentConfig = field(default_factory=RecurrentConfig)
    embedding: EmbeddingConfig = field(default_factory=EmbeddingConfig)
    picture: PictureConfig = field(default_factory=PictureConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    max_length: int = 1024  # longest sequence, in tokens
    tie: Tie = "all"  # which of source embedding, target embedding and output projection are one matrix
    source_vocabulary: int = 0  # set from the tokenizer
    target_vocabulary: int = 0

    def __post_init__(self) -> None:
        if self.architecture in CELLS and self.recurrent.cell == "none":
            cell: Any = self.architecture
            object.__setattr__(self, "recurrent", replace(self.recurrent, cell=cell))
        rules = Rules()
        rules.at_least(self, 1, "d_model", "max_length")
        rules.at_most(self, 1_000_000, "d_model", "max_length")
        rules.at_most(self, 100_000_000, "source_vocabulary", "target_vocabulary")
        rules.at_least(self, 0, "source_vocabulary", "target_vocabulary")
        rules.between(self, 0.0, 1.0, "dropout", "attention_dropout", "activation_dropout")
        rules.require(self.norm_epsilon > 0, "norm_epsilon", f"must be above 0, is {self.norm_epsilon}")
        rules.broken += recurrent.problems(self)
        if self.recurrent.cell == "none":
            self._check_blocks(rules)
        elif not rules.broken:
            object.__setattr__(self, "positions", "none")  # a recurrent network reads in order: it needs no others
        same = self.source_vocabulary == self.target_vocabulary
        rules.require(self.tie != "all" or same, "tie", '"all" needs one vocabulary for both sides (text.joint: true)')
        rules.finish()

    def _check_blocks(self, rules: Rules) -> None:
        """What the Transformer's blocks ask for."""
        for name, stack in self.stacks().items():
            for heads in per_layer(stack.n_heads, stack.n_layers):
                text = f"must divide d_model = {self.d_model} (or set {name}.d_head), is {heads}"
                rules.require(stack.d_head is not None or self.d_model % heads == 0, f"{name}.n_heads", text)
            text = 'not with attention: "additive"'
            rules.require(stack.n_kv_heads is None or self.attention != "additive", f"{name}.n_kv_heads", text)
            if self.positions == "rotary":
                text = f"must be even for rotary positions: {name}.n_heads with d_model = {self.d_model}, or {name}.d_head"
                rules.require(all(width % 2 == 0 for width in stack.head_width(self.d_model)), f"{name}.d_head", text)
            elif self.positions in ("alibi", "relative"):
                same_heads = len(set(per_layer(stack.n_heads, stack.n_layers))) == 1
                rules.require(same_heads, f"{name}.n_heads", f"must be one number with positions: {self.positions}")
        rules.require(self.encoder.reads is None, "encoder.reads", "belongs to the decoder")
        text = "there is no encoder to read"
        rules.require(self.decoder.reads is None or self.architecture != "decoder", "decoder.reads", text)
        for layer in self.decoder.reads or ():
            text = f"the encoder has layers 0 to {self.encoder.n_layers - 1}, not {layer}"
            rules.require(0 <= layer < self.encoder.n_layers, "decoder.reads", text)
        if self.picture.patch and self.positions in ("sinusoidal", "learned"):
            squares = self.picture.n_patches + (self.head.pool == "class")
            text = f"must be at least {squares}: the squares of a picture (picture.patch) and the class token (head.pool)"
            rules.require(self.max_length >= squares, "max_length", f"{text}, is {self.max_length}")
        if self.positions == "sinusoidal" and self.stacks():
            rules.require(self.d_model % 2 == 0, "d_model", "must be even for sinusoidal positions")

    @property
    def output_width(self) -> int:
        """Of the vectors that the head makes logits of."""
        if self.recurrent.cell == "none":
            return self.d_model
        own = self.recurrent
        return own.memory_width(self.d_model) if self.architecture == "encoder" else own.width(self.d_model)

    @property
    def cross_heads(self) -> tuple[int, ...]:
        """Heads of each attention of the decoder to the encoder, in their order; a recurrent network has one at most."""
        if self.architecture != "encoder-decoder":
            return ()
        if self.recurrent.cell != "none":
            return () if self.recurrent.attention == "none" else (1,)
        return per_layer(self.decoder.n_heads, self.decoder.n_layers)

    def stacks(self) -> dict[str, StackConfig]:
        """The stacks that the architecture has, by name."""
        both = {"encoder": self.encoder, "decoder": self.decoder}
        return {name: stack for name, stack in both.items() if name in self.architecture}
