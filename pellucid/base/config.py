"""Configuration: small frozen dataclasses, one a concern. Derived values and contradictions are settled here, once.

A recipe (YAML) becomes a :class:`RunConfig`; the same values are saved beside the weights. The comment after a field is
its help text. ``__post_init__`` raises :class:`ConfigProblems` with every mistake of the dataclass at once; the reader
of recipes (:mod:`pellucid.base.recipe`) adds file and line.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

FORMAT_VERSION = 1  # of config.json and of checkpoints; raised when an older reader could no longer understand them

Norm = Literal["post", "pre"]
Activation = Literal["relu", "gelu", "glu", "reglu", "geglu", "swiglu"]
Attention = Literal["dot", "additive"]
Positions = Literal["sinusoidal", "learned"]
Tie = Literal["all", "decoder", "none"]
TokenizerKind = Literal["bpe", "unigram", "word", "character", "byte"]
Schedule = Literal["paper", "inverse_sqrt", "cosine", "constant"]
Penalty = Literal["gnmt", "power", "none"]
Precision = Literal["auto", "float32", "bfloat16"]
OnBadText = Literal["error", "skip", "replace"]
OnLongText = Literal["error", "skip", "crop"]


class ConfigProblems(ValueError):
    """Every mistake found in one dataclass: ``(field name, what is wrong and what would be right)`` pairs.

    The text names every other field that the rule depends on: the reader of recipes leaves out what only follows from a
    field that it could not read.
    """

    def __init__(self, problems: list[tuple[str, str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{name}: {text}" for name, text in problems))


class _Rules:
    """Collects broken rules, to be raised together."""

    def __init__(self) -> None:
        self.broken: list[tuple[str, str]] = []

    def require(self, holds: bool, name: str, text: str) -> None:
        if not holds:
            self.broken.append((name, text))

    def between(self, config: Any, low: float, high: float, *names: str) -> None:
        """``low <= value < high`` for each named field."""
        for name in names:
            value = getattr(config, name)
            self.require(low <= value < high, name, f"must be at least {low} and below {high}, is {value}")

    def at_least(self, config: Any, low: float, *names: str) -> None:
        for name in names:
            value = getattr(config, name)
            self.require(value >= low, name, f"must be at least {low}, is {value}")

    def finish(self) -> None:
        if self.broken:
            raise ConfigProblems(self.broken)


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

    def __post_init__(self) -> None:
        rules = _Rules()
        rules.at_least(self, 1, "n_layers")
        for name in ("n_heads", "d_ff", "reads"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != self.n_layers:
                rules.require(False, name, f"needs n_layers = {self.n_layers} numbers, has {len(value)}")
            elif value is not None and name != "reads":
                rules.require(all(number >= 1 for number in per_layer(value, 1)), name, "must be at least 1")
        rules.finish()


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the model. The defaults are the paper's base model (section 3, Table 3)."""

    architecture: Literal["encoder-decoder"] = "encoder-decoder"
    d_model: int = 512  # width of every vector between the sublayers
    encoder: StackConfig = field(default_factory=StackConfig)
    decoder: StackConfig = field(default_factory=StackConfig)
    dropout: float = 0.1  # on the embedding sums and on each sublayer's output, as in the paper
    attention_dropout: float = 0.0  # on the attention weights
    activation_dropout: float = 0.0  # inside the feed-forward
    norm: Norm = "post"  # post: norm after the residual sum (the paper); pre: before the sublayer, and once at the end
    norm_epsilon: float = 1e-5
    activation: Activation = "relu"
    bias: bool = True  # in attention projections and feed-forward
    attention: Attention = "dot"
    positions: Positions = "sinusoidal"
    max_length: int = 1024  # longest sequence, in tokens
    tie: Tie = "all"  # which of source embedding, target embedding and output projection are one matrix
    source_vocabulary: int = 0  # set from the tokenizer
    target_vocabulary: int = 0

    def __post_init__(self) -> None:
        rules = _Rules()
        rules.at_least(self, 1, "d_model", "max_length")
        rules.at_least(self, 0, "source_vocabulary", "target_vocabulary")
        rules.between(self, 0.0, 1.0, "dropout", "attention_dropout", "activation_dropout")
        rules.require(self.norm_epsilon > 0, "norm_epsilon", f"must be above 0, is {self.norm_epsilon}")
        for name, stack in (("encoder", self.encoder), ("decoder", self.decoder)):
            for heads in per_layer(stack.n_heads, stack.n_layers):
                text = f"must divide d_model = {self.d_model}, is {heads}"
                rules.require(self.d_model % heads == 0, f"{name}.n_heads", text)
        rules.require(self.encoder.reads is None, "encoder.reads", "belongs to the decoder")
        for layer in self.decoder.reads or ():
            text = f"the encoder has layers 0 to {self.encoder.n_layers - 1}, not {layer}"
            rules.require(0 <= layer < self.encoder.n_layers, "decoder.reads", text)
        same = self.source_vocabulary == self.target_vocabulary
        rules.require(self.tie != "all" or same, "tie", '"all" needs one vocabulary for both sides (text.joint: true)')
        if self.positions == "sinusoidal":
            rules.require(self.d_model % 2 == 0, "d_model", "must be even for sinusoidal positions")
        rules.finish()


@dataclass(frozen=True)
class TextConfig:
    """The tokenizer, trained on the training split and saved with the model."""

    tokenizer: TokenizerKind = "bpe"
    vocabulary: int = 8000  # largest number of tokens, control tokens included; of each side when not joint
    joint: bool = True  # one vocabulary for source and target
    lowercase: bool = False  # fold case before splitting
    min_frequency: int = 2  # pieces seen less often get no entry (words: become unknown)

    def __post_init__(self) -> None:
        rules = _Rules()
        rules.at_least(self, 5, "vocabulary")
        rules.at_least(self, 1, "min_frequency")
        if self.tokenizer in ("bpe", "unigram", "byte"):
            text = f"must hold 256 bytes and 4 control tokens with tokenizer {self.tokenizer}: at least 260"
            rules.require(self.vocabulary >= 260, "vocabulary", text)
        rules.finish()


@dataclass(frozen=True)
class DataConfig:
    """Where the sentence pairs come from and what becomes of bad ones.

    Either ``corpus`` (``"builtin"`` or a public set by name), or ``directory`` (with ``train.*``, ``dev.*`` and
    ``test.*``), or files: a split is one file (tab-separated or JSON Lines) or two aligned files, plain or ``.gz``.
    """

    corpus: str | None = None
    directory: str | None = None
    train: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    source: str = "source"  # language: suffix of aligned files, key of JSON Lines, built-in language
    target: str = "target"
    max_length: int = 256  # longest side of a training pair, in tokens
    on_long: OnLongText = "skip"
    on_empty: Literal["error", "skip"] = "skip"
    on_bad_utf8: OnBadText = "error"

    def __post_init__(self) -> None:
        rules = _Rules()
        rules.at_least(self, 1, "max_length")
        given = [bool(self.corpus), bool(self.directory), bool(self.train)]
        rules.require(sum(given) <= 1, "corpus", "give one of corpus, directory and train, not several")
        for name in ("train", "dev", "test"):
            rules.require(len(getattr(self, name)) <= 2, name, "takes one file, or two aligned files (source, target)")
        rules.require(self.source != self.target, "target", f"is the same as source: {self.source!r}")
        rules.finish()


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam and its schedule. The defaults are the paper's (section 5.3)."""

    schedule: Schedule = "paper"  # paper: d_model^-0.5 min(step^-0.5, step warmup^-1.5); others: from learning_rate
    learning_rate: float = 1.0  # paper: a factor on the formula; else the peak rate
    warmup: int = 4000  # steps of linear warm-up
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-9
    weight_decay: float = 0.0  # on matrices only, never on norms, biases or embeddings
    clip: float = 0.0  # largest norm of the whole gradient; 0: no clipping

    def __post_init__(self) -> None:
        rules = _Rules()
        rules.require(self.learning_rate > 0, "learning_rate", f"must be above 0, is {self.learning_rate}")
        rules.require(self.epsilon > 0, "epsilon", f"must be above 0, is {self.epsilon}")
        rules.at_least(self, 0, "warmup", "weight_decay", "clip")
        rules.between(self, 0.0, 1.0, "beta1", "beta2")
        text = "must be at least 1, since the paper's schedule divides by it"
        rules.require(self.schedule != "paper" or self.warmup != 0, "warmup", text)
        rules.finish()


@dataclass(frozen=True)
class TrainingConfig:
    """The loop: how long, how large a step, which loss, what is watched on the way."""

    steps: int = 100_000  # the step to stop at
    batch_tokens: int = 4096  # padded tokens of a batch: rows times its longest side
    accumulate: int = 1  # batches added up in one step
    label_smoothing: float = 0.1  # share of the target spread evenly over the whole vocabulary
    ema: float = 0.0  # decay of an exponential moving average of the weights; 0: none
    log_every: int = 50
    validate_every: int = 1000  # steps between validations; 0: only at the end
    validate_sentences: int = 500  # dev sentences that a validation decodes
    metric: Literal["bleu", "chrf", "loss"] = "bleu"  # what "best" means
    patience: int = 0  # validations without improvement before stopping; 0: never
    compile: bool = False  # torch.compile the model's training step

    def __post_init__(self) -> None:
        rules = _Rules()
        rules.at_least(self, 1, "steps", "batch_tokens", "accumulate", "log_every")
        rules.at_least(self, 0, "validate_every", "validate_sentences", "patience")
        rules.between(self, 0.0, 1.0, "label_smoothing", "ema")
        text = f"to be scored by {self.metric}, validations must decode at least 1 sentence"
        rules.require(self.metric == "loss" or self.validate_sentences > 0, "validate_sentences", text)
        rules.finish()


@dataclass(frozen=True)
class CheckpointConfig:
    """What is kept of a run."""

    every: int = 1000  # steps between checkpoints
    keep: int = 2  # resumable checkpoints kept, at least two
    average: int = 1  # weights of this many checkpoints averaged into the model; 1: no averaging
    average_of: Literal["last", "best"] = "last"
    keep_every: int = 0  # steps between weights kept for looking at later; 0: none

    def __post_init__(self) -> None:
        rules = _Rules()
        rules.at_least(self, 1, "every", "average")
        rules.at_least(self, 2, "keep")
        rules.at_least(self, 0, "keep_every")
        text = f"must be a multiple of checkpoints.every = {self.every}"
        rules.require(self.every < 1 or self.keep_every % self.every == 0, "keep_every", text)
        rules.finish()


@dataclass(frozen=True)
class DecodingConfig:
    """How sentences are searched for (section 6.1 of the paper)."""

    beams: int = 4  # 1: greedy
    length_penalty: Penalty = "gnmt"  # gnmt: ((5+n)/6)^alpha; power: n^alpha; n counts the end token
    alpha: float = 0.6
    max_extra: int = 50  # longest output: source length plus this, in tokens
    batch_tokens: int = 4096  # padded source tokens of a batch, times beams

    def __post_init__(self) -> None:
        rules = _Rules()
        rules.at_least(self, 1, "max_extra", "batch_tokens")
        rules.require(1 <= self.beams <= 1000, "beams", f"must be between 1 and 1000, is {self.beams}")
        rules.require(0.0 <= self.alpha <= 10.0, "alpha", f"must be between 0 and 10, is {self.alpha}")
        rules.finish()


@dataclass(frozen=True)
class RuntimeConfig:
    """The machine: settled when a run starts and kept when it goes on."""

    precision: Precision = "auto"  # of training; auto: bfloat16 where the processor or GPU has instructions for it
    device: str = "auto"
    threads: int = 0  # 0: as many as there are cores

    def __post_init__(self) -> None:
        rules = _Rules()
        rules.at_least(self, 0, "threads")
        rules.finish()


@dataclass(frozen=True)
class RunConfig:
    """A whole run: what a recipe file says."""

    task: Literal["translation"] = "translation"
    seed: int = 1  # decides everything random
    model: ModelConfig = field(default_factory=ModelConfig)
    text: TextConfig = field(default_factory=TextConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        rules = _Rules()
        rules.at_least(self, 0, "seed")
        best = self.checkpoints.average > 1 and self.checkpoints.average_of == "best"
        text = f'"best" needs validations at checkpoints: training.validate_every a multiple of {self.checkpoints.every}'
        validated = self.training.validate_every and self.training.validate_every % self.checkpoints.every == 0
        rules.require(not best or bool(validated), "checkpoints.average_of", text)
        rules.require(self.model.tie != "all" or self.text.joint, "model.tie", '"all" needs text.joint: true')
        rules.finish()
