"""Configuration: small frozen dataclasses, one a concern. Derived values and contradictions are settled here, once.

A recipe (YAML) becomes a :class:`RunConfig`; the same values are saved beside the weights. The comment after a field is
its help text. ``__post_init__`` raises :class:`ConfigProblems` with every mistake of the dataclass at once; the reader
of recipes (:mod:`pellucid.base.recipe`) adds file and line.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from pellucid.base.config_rules import ConfigProblems, Rules
from pellucid.base.model_config import (
    Activation,
    Architecture,
    Attention,
    EmbeddingConfig,
    HeadConfig,
    ModelConfig,
    NormOrder,
    PictureConfig,
    PositionalConfig,
    Positions,
    RelativeConfig,
    RotaryConfig,
    StackConfig,
    Tie,
    per_layer,
)
from pellucid.base.recurrent import CELLS

# The whole configuration is imported from here.
__all__ = [
    "Activation",
    "Architecture",
    "Attention",
    "ConfigProblems",
    "EmbeddingConfig",
    "HeadConfig",
    "ModelConfig",
    "NormOrder",
    "PictureConfig",
    "PositionalConfig",
    "Positions",
    "RelativeConfig",
    "RotaryConfig",
    "StackConfig",
    "Tie",
    "per_layer",
]

FORMAT_VERSION = 1  # of config.json and of checkpoints; raised when an older reader could no longer understand them

Task = Literal[
    "translation",
    "classification",
    "masked_lm",
    "tagging",
    "language_modelling",
    "denoising",
    "picture_classification",
    "captioning",
    "word_vectors",
]
TokenizerKind = Literal["bpe", "unigram", "word", "character", "byte", "imported"]
Schedule = Literal["paper", "inverse_sqrt", "cosine", "constant"]
Penalty = Literal["gnmt", "power", "none"]
Precision = Literal["auto", "float32", "bfloat16"]
Metric = Literal["auto", "loss", "bleu", "chrf", "accuracy", "error", "exact"]
OnBadText = Literal["error", "skip", "replace"]
OnLongText = Literal["error", "skip", "crop"]


@dataclass(frozen=True)
class TextConfig:
    """The tokenizer, trained on the training split and saved with the model."""

    tokenizer: TokenizerKind = "bpe"
    vocabulary: int = 8000  # largest number of tokens, control tokens included; of each side when not joint
    joint: bool = True  # one vocabulary for source and target
    lowercase: bool = False  # fold case before splitting
    prefix_space: bool = True  # a word is the same piece at the start of a text as inside it; false: for running text
    mask: bool = False  # a control token <mask>, for a model that fills gaps
    sentinels: int = 0  # control tokens <extra_0>, <extra_1>, ... that stand for removed spans
    min_frequency: int = 2  # pieces seen less often get no entry (words: become unknown)

    def __post_init__(self) -> None:
        rules = Rules()
        rules.at_least(self, 5, "vocabulary")
        rules.at_least(self, 1, "min_frequency")
        rules.at_least(self, 0, "sentinels")
        controls = 4 + self.mask + self.sentinels
        held, what = (256, "256 bytes") if self.tokenizer in ("bpe", "unigram", "byte") else (1, "an entry")
        text = f"must hold {what} and {controls} control tokens with tokenizer {self.tokenizer}: at least {held + controls}"
        rules.require(self.vocabulary >= held + controls, "vocabulary", text)
        rules.finish()


@dataclass(frozen=True)
class DataConfig:
    """Where the examples come from and what becomes of bad ones.

    Either ``corpus`` (``"builtin"`` or a public set by name), or ``directory`` (with ``train.*``, ``dev.*`` and
    ``test.*``), or files. The task says what an example is and so what a file holds: pairs of texts, or texts with labels or
    tags (tab-separated, JSON Lines or two aligned files); single texts, or running text; pictures with their texts (``.npz``,
    or a tab-separated list of picture files). Files of text are plain or ``.gz``.
    """

    corpus: str | None = None
    directory: str | None = None
    train: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    source: str = "source"  # ending of aligned files, key of JSON Lines, or language of a corpus that has several
    target: str = "target"
    max_length: int = 256  # longest text of a training example, in tokens; running text is cut by model.max_length
    on_long: OnLongText = "skip"
    labels: Literal["classes", "degrees"] = "classes"  # of labelled texts; degrees: numbers in an order, 0 to n, at most 9,999
    on_empty: Literal["error", "skip"] = "skip"
    on_bad_utf8: OnBadText = "error"
    holdout: float = 0.0  # running text: the last share of the training text is the dev split, where none is given; .npz also
    on_bad_picture: Literal["error", "skip"] = "error"  # what becomes of a line whose picture cannot be read
    shift: int = 0  # pictures, while training: moved at random by up to so many pixels, down or up and sideways
    flip: bool = False  # pictures, while training: half of them mirrored, left for right

    def __post_init__(self) -> None:
        rules = Rules()
        rules.at_least(self, 1, "max_length")
        rules.at_least(self, 0, "shift")
        rules.between(self, 0.0, 1.0, "holdout")
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
        rules = Rules()
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
    r_drop: float = 0.0  # classification: texts are read twice, by chance differently; weight of how far the answers are apart
    ema: float = 0.0  # decay of an exponential moving average of the weights; 0: none
    log_every: int = 50
    validate_every: int = 1000  # steps between validations; 0: only at the end
    validate_sentences: int = 500  # dev sentences that a validation decodes
    metric: Metric = "auto"  # what "best" means; auto: bleu, accuracy, exact or loss, as the task is
    patience: int = 0  # validations without improvement before stopping; 0: never
    compile: bool = False  # torch.compile each block: the first steps take minutes, all others less; made for GPUs
    recompute: bool = False  # compute what is inside a block again on the way back instead of keeping it: memory for time
    skip_bad_steps: int = 0  # steps without a finite loss or gradient that a run may leave out; the next one stops it
    divergence: float = 2.0  # stop when the loss of 10 steps is this many times that of the first step; 0: never

    def __post_init__(self) -> None:
        rules = Rules()
        rules.at_least(self, 1, "steps", "batch_tokens", "accumulate", "log_every")
        rules.at_least(self, 0, "validate_every", "validate_sentences", "patience", "skip_bad_steps", "divergence", "r_drop")
        rules.between(self, 0.0, 1.0, "label_smoothing", "ema")
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
        rules = Rules()
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
    temperature: float = 0.0  # 0: search; above: draw each token, from probabilities flatter above 1 and sharper below
    top_k: int = 0  # when drawing, only among the k most probable tokens; 0: among all
    top_p: float = 1.0  # when drawing, only among the most probable tokens that together reach this probability
    min_p: float = 0.0  # when drawing, only tokens with at least this share of the largest probability; 0: all
    repetition_penalty: float = 1.0  # logits of tokens already written are divided by it if positive, else multiplied; 1: none
    no_repeat_ngram: int = 0  # no n tokens in a row come twice in an output; 0: they may
    min_length: int = 0  # no end before an output has as many tokens

    def __post_init__(self) -> None:
        rules = Rules()
        rules.at_least(self, 1, "max_extra", "batch_tokens")
        rules.at_least(self, 0, "temperature", "top_k", "no_repeat_ngram", "min_length")
        rules.require(0.0 < self.top_p <= 1.0, "top_p", f"must be above 0 and at most 1, is {self.top_p}")
        rules.require(0.0 <= self.min_p <= 1.0, "min_p", f"must be between 0 and 1, is {self.min_p}")
        text = f"must be above 0 and at most 100, is {self.repetition_penalty}"
        rules.require(0.0 < self.repetition_penalty <= 100.0, "repetition_penalty", text)
        rules.require(1 <= self.beams <= 1000, "beams", f"must be between 1 and 1000, is {self.beams}")
        rules.require(0.0 <= self.alpha <= 10.0, "alpha", f"must be between 0 and 10, is {self.alpha}")
        text = f"must be 1 to draw tokens (temperature {self.temperature}), is {self.beams}"
        rules.require(self.temperature == 0.0 or self.beams == 1, "beams", text)
        rules.finish()


@dataclass(frozen=True)
class CorruptionConfig:
    """What is done to a source text while training, for models that learn to undo it or to bear it."""

    objective: Literal["mask", "spans", "infilling"] = "mask"  # mask: BERT's single tokens; spans: T5's; infilling: BART's
    share: float = 0.15  # of the tokens that are hidden
    mean_span: float = 3.0  # mean number of tokens hidden together (spans, infilling)
    drop: float = 0.0  # classification, tagging: share of the tokens made unknown; captioning: of those that the decoder reads

    def __post_init__(self) -> None:
        rules = Rules()
        rules.require(0.0 < self.share < 1.0, "share", f"must be above 0 and below 1, is {self.share}")
        rules.at_least(self, 1.0, "mean_span")
        rules.between(self, 0.0, 1.0, "drop")
        rules.finish()


@dataclass(frozen=True)
class WordVectorsConfig:
    """One vector a word, learnt from plain text (Mikolov et al., 2013), or from its parts too (Bojanowski et al., 2017)."""

    objective: Literal["skip_gram", "cbow"] = "skip_gram"  # skip_gram: a word tells its neighbours; cbow: their mean tells it
    window: int = 5  # farthest neighbour, in words; for each word drawn anew, from 1 up to this
    negatives: int = 5  # noise words for each neighbour
    noise: float = 0.75  # noise words are drawn by their counts to this power
    subsample: float = 1e-4  # words with a larger share f of the text stay with probability sqrt(subsample / f); 0: all stay
    buckets: int = 0  # rows of the table that parts of words (n-grams of characters) share by their hash; 0: whole words only
    shortest: int = 3  # characters of a part, the marks < and > around a word included
    longest: int = 6  # the same, at most

    def __post_init__(self) -> None:
        rules = Rules()
        rules.at_least(self, 1, "window", "negatives", "shortest")
        rules.at_least(self, 0, "noise", "subsample", "buckets")
        text = f"must be at least shortest = {self.shortest}, is {self.longest}"
        rules.require(self.longest >= self.shortest, "longest", text)
        rules.finish()


@dataclass(frozen=True)
class StartConfig:
    """What a run begins from: nothing, a model that has been trained or imported, or word vectors for its embedding."""

    model: str | None = None  # directory of a model or run, whose weights and tokenizer are taken; null: begin from nothing
    freeze: tuple[str, ...] = ()  # weights that stay as they are, by name, with * and ?: "encoder.*"
    lora_rank: int = 0  # train only two thin matrices beside each projection, this wide; 0: train the weights themselves
    lora_alpha: float = 16.0  # their product counts alpha / rank times
    vectors: str | None = None  # word vectors that the embedding begins with: a file, or a run of the task word_vectors
    freeze_vectors: bool = False  # the embedding stays as it begins

    def __post_init__(self) -> None:
        rules = Rules()
        rules.at_least(self, 0, "lora_rank")
        rules.require(self.lora_alpha > 0, "lora_alpha", f"must be above 0, is {self.lora_alpha}")
        text = "there is nothing to adapt or to keep without start.model"
        rules.require(self.model is not None or not (self.freeze or self.lora_rank), "model", text)
        text = "not with start.model, which brings its own embedding"
        rules.require(self.vectors is None or self.model is None, "vectors", text)
        text = "there are none to freeze without start.vectors"
        rules.require(self.vectors is not None or not self.freeze_vectors, "freeze_vectors", text)
        rules.finish()


@dataclass(frozen=True)
class RuntimeConfig:
    """The machine: settled when a run starts and kept when it goes on."""

    precision: Precision = "auto"  # of training; auto: bfloat16 where the processor or GPU has instructions for it
    device: str = "auto"
    threads: int = 0  # of all processes of the run on one machine; 0: as many as there are cores
    shard: Literal["none", "full", "hybrid"] = "none"  # of many processes (FSDP2); hybrid: each machine holds the whole
    timeout: int = 600  # seconds that a process may let the others wait

    def __post_init__(self) -> None:
        rules = Rules()
        rules.at_least(self, 0, "threads")
        rules.at_least(self, 1, "timeout")
        rules.finish()


@dataclass(frozen=True)
class RunConfig:
    """A whole run: what a recipe file says."""

    task: Task = "translation"
    seed: int = 1  # decides everything random
    model: ModelConfig = field(default_factory=ModelConfig)
    text: TextConfig = field(default_factory=TextConfig)
    data: DataConfig = field(default_factory=DataConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    corruption: CorruptionConfig = field(default_factory=CorruptionConfig)
    word_vectors: WordVectorsConfig = field(default_factory=WordVectorsConfig)
    start: StartConfig = field(default_factory=StartConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    checkpoints: CheckpointConfig = field(default_factory=CheckpointConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)

    def __post_init__(self) -> None:
        rules = Rules()
        rules.at_least(self, 0, "seed")
        if self.model.architecture in CELLS:
            self._settle_stacks(rules)
        best = self.checkpoints.average > 1 and self.checkpoints.average_of == "best"
        text = f'"best" needs validations at checkpoints: training.validate_every a multiple of {self.checkpoints.every}'
        validated = self.training.validate_every and self.training.validate_every % self.checkpoints.every == 0
        rules.require(not best or bool(validated), "checkpoints.average_of", text)
        joint = self.text.joint or self.text.tokenizer == "imported"  # Marian cuts each language by itself, into one list
        rules.require(self.model.tie != "all" or joint, "model.tie", '"all" needs text.joint: true')
        blocks = self.model.recurrent.cell == "none" and self.task != "word_vectors"
        text = "works block by block, and there are none in recurrent networks and word vectors"
        for key in ("compile", "recompute"):
            rules.require(blocks or not getattr(self.training, key), f"training.{key}", text)
        self._check_task(rules)
        self._check_vectors(rules)
        rules.finish()

    @property
    def metric(self) -> str:
        """The one that says which weights are best."""
        chosen = self.training.metric
        return KINDS[self.task].metrics[0] if chosen == "auto" else chosen

    def _settle_stacks(self, rules: Rules) -> None:
        """Which stacks a recurrent network has follows from the task."""
        try:
            object.__setattr__(self, "model", replace(self.model, architecture=KINDS[self.task].architecture))
        except ConfigProblems as error:
            rules.broken += [(f"model.{name}", text) for name, text in error.problems]
            rules.finish()

    def _check_task(self, rules: Rules) -> None:
        """What the task asks of the model, the vocabulary and the metric."""
        kind, task, model = KINDS[self.task], self.task, self.model
        text = f'the task {task} needs "{kind.architecture}"'
        rules.require(model.architecture == kind.architecture, "model.architecture", text)
        known = (*kind.metrics, "loss")
        rules.require(self.metric in known, "training.metric", f"the task {task} has {' and '.join(known)}, not {self.metric}")
        sampled = kind.samples and self.metric != "loss" and self.training.validate_sentences == 0
        text = f"to be scored by {self.metric} (training.metric), validations must decode at least 1 sentence"
        rules.require(not sampled, "training.validate_sentences", text)
        rules.require((model.picture.patch > 0) == kind.pictures, "model.picture.patch", _NEEDS_PICTURES[kind.pictures])
        pools = model.head.pool != "none"
        some = '"class" or "mean"' if model.recurrent.cell == "none" else '"last" or "mean"'
        text = f"the task {task} needs " + (some if kind.pools else '"none"')
        rules.require(pools == kind.pools, "model.head.pool", text)
        of_texts = task == "classification" and self.data.labels != "degrees"
        text = "compares the probabilities of a text's classes: it is for the task classification, without degrees"
        rules.require(of_texts or not self.training.r_drop, "training.r_drop", text)
        if kind.classes:
            rules.require(model.tie == "none", "model.tie", f'the task {task} needs "none": its outputs are no words')

    def _check_vectors(self, rules: Rules) -> None:
        """What word vectors ask for, those that are learnt and those that an embedding begins with."""
        kind, model, start = KINDS[self.task], self.model, self.start
        if kind.architecture == "vectors":
            rules.require(model.tie == "none", "model.tie", f'the task {self.task} needs "none": it learns two tables')
            rules.require(self.text.tokenizer == "word", "text.tokenizer", f'the task {self.task} needs "word"')
            nothing = start.model is None and start.vectors is None
            rules.require(nothing, "start", f"the task {self.task} begins from nothing: leave out start.model, start.vectors")
        if start.vectors is None:
            return
        text = f"the task {self.task} embeds no words"
        rules.require(not (kind.pictures and kind.classes), "start.vectors", text)
        text = f"no piece of a vocabulary of text.tokenizer {self.text.tokenizer} is a word"
        rules.require(self.text.tokenizer in ("word", "bpe", "unigram"), "start.vectors", text)
        tied = model.tie == "all" or (model.tie == "decoder" and model.architecture != "encoder")
        text = f'with model.tie: {model.tie} the embedding is the output matrix too: set model.tie to "embeddings" or "none"'
        rules.require(not (start.freeze_vectors and tied), "start.freeze_vectors", text)


@dataclass(frozen=True)
class TaskKind:
    """What a task asks for, whatever its data are."""

    architecture: Architecture
    metrics: tuple[str, ...]  # the first is the one meant by "auto"; loss is always there
    pools: bool = False  # one vector for the whole source
    classes: bool = False  # the outputs are classes, not words
    pictures: bool = False  # the source is a picture
    samples: bool = False  # a validation decodes


KINDS: dict[str, TaskKind] = {
    "translation": TaskKind("encoder-decoder", ("bleu", "chrf"), samples=True),
    "classification": TaskKind("encoder", ("accuracy", "error"), pools=True, classes=True),
    "masked_lm": TaskKind("encoder", ("loss", "accuracy")),
    "tagging": TaskKind("encoder", ("accuracy",), classes=True),
    "language_modelling": TaskKind("decoder", ("loss",)),
    "denoising": TaskKind("encoder-decoder", ("loss",)),
    "picture_classification": TaskKind("encoder", ("accuracy",), pools=True, classes=True, pictures=True),
    "captioning": TaskKind("encoder-decoder", ("exact", "bleu"), pictures=True, samples=True),
    "word_vectors": TaskKind("vectors", ("loss",)),
}
_NEEDS_PICTURES = {True: "must be above 0: the task reads pictures", False: "must be 0: the task reads text"}
