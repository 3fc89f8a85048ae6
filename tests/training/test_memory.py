"""What a run is said to need, against what it takes: the most that tensors hold at once in two steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pellucid.base.config import (
    CheckpointConfig,
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    PictureConfig,
    Positions,
    Precision,
    RunConfig,
    RuntimeConfig,
    StackConfig,
    TextConfig,
    TrainingConfig,
    WordVectorsConfig,
)
from pellucid.base.recurrent import RecurrentConfig
from pellucid.compare.cost import peak_bytes
from pellucid.model.build import build, initialise
from pellucid.model.word_vectors import build_word_vectors
from pellucid.tasks.word_windows import Parts, Windows
from pellucid.training.loss import smoothed_cross_entropy
from pellucid.training.memory import BatchShape, Memory, checkpoint_bytes, largest_batch, needed
from pellucid.training.step import arithmetic, make_optimizer, set_up_blocks

FACTOR = 1.3
ROWS, SOURCE, TARGET = 24, 44, 60
TWO = StackConfig(2, 4, 192)
PAPER = ModelConfig(d_model=48, encoder=TWO, decoder=TWO, source_vocabulary=900, target_vocabulary=900)
DECODER = replace(PAPER, architecture="decoder", norm="pre", activation="gelu")
RECURRENT = replace(PAPER, d_model=48, encoder=StackConfig(2), decoder=StackConfig(2))

TRANSLATORS = {
    "as in the paper": PAPER,
    "all dropouts": replace(PAPER, attention_dropout=0.1, activation_dropout=0.1),
    "without dropout": replace(PAPER, dropout=0.0),
    "a large vocabulary": replace(PAPER, source_vocabulary=20_000, target_vocabulary=20_000),
    "lstm, additive": replace(RECURRENT, recurrent=RecurrentConfig(cell="lstm", attention="additive")),
    "gru, dot": replace(RECURRENT, recurrent=RecurrentConfig(cell="gru", attention="dot")),
}
DECODERS = {
    "decoder": DECODER,
    "gated, rotary, rms": replace(DECODER, activation="swiglu", positions="rotary", norm_kind="rms", dropout=0.0),
    "shared heads": replace(DECODER, decoder=replace(TWO, n_kv_heads=2)),
    "rnn": replace(RECURRENT, architecture="decoder", recurrent=RecurrentConfig(cell="rnn")),
    "lstm": replace(RECURRENT, architecture="decoder", recurrent=RecurrentConfig(cell="lstm")),
}
ENCODERS = {
    "classes": replace(PAPER, architecture="encoder", tie="none", target_vocabulary=5, head=HeadConfig(pool="mean")),
    "relative": replace(PAPER, architecture="encoder", positions="relative"),
}


def run_config(
    model: ModelConfig, precision: Precision = "float32", accumulate: int = 1, *, recompute: bool = False
) -> RunConfig:
    """Whatever the task: only these sections count here."""
    config = object.__new__(RunConfig)
    for name, value in vars(RunConfig()).items():
        object.__setattr__(config, name, value)
    runtime = RuntimeConfig(precision=precision, device="cpu", threads=1)
    training = TrainingConfig(accumulate=accumulate, recompute=recompute)
    for name, value in {"model": model, "training": training, "runtime": runtime}.items():
        object.__setattr__(config, name, value)
    return config


def trained(config: RunConfig, shape: BatchShape) -> int:
    """Two steps, each of ``training.accumulate`` batches of this shape; gives the number of weights."""
    model = build(config.model)
    initialise(model, 1)
    set_up_blocks(model, config.training)
    optimizer = make_optimizer(model, OptimizerConfig())
    for _ in range(2):
        optimizer.zero_grad(set_to_none=True)
        for _ in range(config.training.accumulate):
            with arithmetic(config.runtime.precision, "cpu"):
                loss = loss_of(model, config.model, shape)
            loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return sum(weight.numel() for weight in model.parameters())


def loss_of(model: torch.nn.Module, config: ModelConfig, shape: BatchShape) -> Tensor:
    rows, source, target = shape
    picture, outputs = config.picture, rows if config.head.pool != "none" else rows * target
    wanted = torch.randint(0, config.target_vocabulary, (outputs,))

    def readout(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return smoothed_cross_entropy(x.reshape(-1, x.shape[-1]), weight, wanted, 0.1, bias)

    if config.architecture == "decoder":
        return model(torch.randint(0, config.target_vocabulary, (rows, target)), readout=readout)
    if picture.patch:
        return model(torch.randn(rows, picture.channels, picture.height, picture.width), readout=readout)
    ids, mask = torch.randint(0, config.source_vocabulary, (rows, source)), torch.ones(rows, source, dtype=torch.bool)
    mask[0, -1] = False
    if config.architecture == "encoder":
        return model(ids, source_mask=mask, readout=readout)
    fed, real = torch.randint(0, config.target_vocabulary, (rows, target)), torch.ones(rows, target, dtype=torch.bool)
    return model(ids, fed, source_mask=mask, wanted=real, readout=readout)


def assert_told(config: RunConfig, shape: BatchShape) -> None:
    """The estimate is within the factor of what is measured."""
    counted: list[int] = []
    measured = peak_bytes(lambda: counted.append(trained(config, shape)))
    told = needed(config, counted[0], shape).total
    assert measured / FACTOR < told < measured * FACTOR, f"{told:,} told, {measured:,} measured"


@pytest.mark.parametrize("name", TRANSLATORS)
def test_translators(name: str) -> None:
    assert_told(run_config(TRANSLATORS[name]), BatchShape(ROWS, SOURCE, TARGET))


@pytest.mark.parametrize("name", DECODERS)
def test_decoders(name: str) -> None:
    assert_told(run_config(DECODERS[name]), BatchShape(ROWS, 0, 2 * TARGET))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["decoder", "gated, rotary, rms"])
def test_long_texts_of_decoders(name: str, precision: Precision) -> None:
    """Of whose scores a part is never computed."""
    model = replace(DECODERS[name], attention_dropout=0.1)
    assert_told(run_config(model, precision), BatchShape(ROWS // 3, 0, 5 * TARGET))


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders(name: str) -> None:
    assert_told(run_config(ENCODERS[name]), BatchShape(2 * ROWS, SOURCE, SOURCE))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("positions", ["relative", "alibi"])
def test_long_texts_with_a_bias(positions: Positions, precision: Precision) -> None:
    model = replace(ENCODERS["classes"], positions=positions)
    assert_told(run_config(model, precision), BatchShape(ROWS, 4 * SOURCE, 4 * SOURCE))


def test_pictures() -> None:
    picture = PictureConfig(patch=7, height=28, width=35, channels=1)
    model = replace(ENCODERS["classes"], picture=picture, positions="learned", head=HeadConfig(pool="class"))
    assert_told(run_config(model), BatchShape(4 * ROWS, 21, 21))


@pytest.mark.parametrize("model", [PAPER, DECODER], ids=["translator", "decoder"])
def test_bfloat16(model: ModelConfig) -> None:
    source = SOURCE if model is PAPER else 0
    assert_told(run_config(model, "bfloat16"), BatchShape(ROWS, source, TARGET))


@pytest.mark.parametrize("model", [PAPER, DECODER], ids=["translator", "decoder"])
def test_recomputed_blocks(model: ModelConfig) -> None:
    six = StackConfig(6, 4, 192)
    deep = replace(model, encoder=six, decoder=six)
    shape = BatchShape(ROWS, SOURCE if model is PAPER else 0, TARGET)
    assert_told(run_config(deep, recompute=True), shape)
    kept, recomputed = (needed(run_config(deep, recompute=flag), 1, shape).activations for flag in (False, True))
    assert recomputed < kept / 2


def test_word_vectors() -> None:
    """More roughly, since a word has as many neighbours as its line allows: within a factor of 2."""
    n_words, how = 3000, WordVectorsConfig(subsample=0.0)
    shape, counts = BatchShape(16, 256, 256), torch.ones(n_words, dtype=torch.float64)
    windows = Windows(counts, Parts([f"word{number}" for number in range(n_words)], how), how)
    text = torch.randint(0, n_words, (shape.rows * shape.target,))
    config = run_config(
        ModelConfig(architecture="vectors", d_model=80, tie="none", source_vocabulary=n_words, target_vocabulary=n_words)
    )

    def work() -> None:
        model = build_word_vectors(config.model)
        model.initialise(torch.Generator().manual_seed(1))
        optimizer = make_optimizer(model, OptimizerConfig())
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            model(windows.batch(text)).backward()
            optimizer.step()

    measured, told = peak_bytes(work), needed(config, 2 * n_words * 80, shape).total
    assert measured / 2 < told < measured * 2, f"{told:,} told, {measured:,} measured"


def test_short_sentences_and_several_batches_a_step() -> None:
    assert_told(run_config(PAPER, accumulate=3), BatchShape(3 * ROWS, 21, 17))


def test_parts_are_what_they_say() -> None:
    """Four bytes a number; Adam has two for each weight that learns; an average has all; processes share out what can be."""
    config = replace(RunConfig(), training=TrainingConfig(ema=0.9), runtime=RuntimeConfig(precision="float32", device="cpu"))
    alone = needed(config, 1000, BatchShape(2, 3, 4), learning=700)
    assert alone == Memory(4000, 2800, 5600, 4000, alone.activations)
    assert alone.total == 16_400 + alone.activations
    shared = needed(config, 1000, BatchShape(2, 3, 4), learning=700, sharers=2)
    assert (shared.weights, shared.gradients, shared.moments) == (2000, 1400, 2800)
    assert shared.activations == alone.activations


def test_in_words() -> None:
    words = Memory(weights=4_000_000, gradients=4_000_000, moments=8_000_000, average=0, activations=1_284_000_000).in_words()
    assert words == (
        "about 1.3 GB (weights 4.0 MB, gradients 4.0 MB, Adam's moments 8.0 MB, activations of the largest batch 1.3 GB)"
    )


class TestLargestBatch:
    """Rows and lengths from the configuration, for sizes worked out by hand."""

    def test_of_texts(self) -> None:
        config = replace(RunConfig(), training=TrainingConfig(batch_tokens=4096))  # data.max_length 256, and the end token
        assert largest_batch(config) == (15, 257, 257)
        assert largest_batch(config, rows=100) == (100, 40, 40)

    def test_of_windows(self) -> None:
        model = ModelConfig(architecture="decoder", max_length=212)
        config = RunConfig(task="language_modelling", model=model, training=TrainingConfig(batch_tokens=6784))
        assert largest_batch(config) == (32, 0, 212)

    def test_of_pictures(self) -> None:
        picture = PictureConfig(patch=7, height=28, width=28, channels=1)
        shape = ModelConfig(architecture="encoder", tie="none", head=HeadConfig(pool="class"), picture=picture)
        config = RunConfig(task="picture_classification", model=shape, training=TrainingConfig(batch_tokens=2176))
        assert largest_batch(config) == (128, 17, 17)

    def test_of_texts_that_are_read_twice(self) -> None:
        shape = ModelConfig(architecture="encoder", tie="none", head=HeadConfig(pool="mean"), max_length=32)
        config = RunConfig(task="classification", model=shape, training=TrainingConfig(batch_tokens=320, r_drop=2.0))
        assert largest_batch(config) == (20, 32, 32)
        assert largest_batch(config, rows=16) == (32, 20, 20)


def test_room_for_checkpoints() -> None:
    """Two kept and one being written, with moments; three averaged and one; ten for later; two of the model."""
    config = RunConfig(
        text=TextConfig(),
        training=TrainingConfig(steps=1000),
        checkpoints=CheckpointConfig(every=50, keep=2, average=3, keep_every=100),
    )
    assert checkpoint_bytes(config, 1000) == 4 * 1000 * (3 * 3 + 4 + 10 + 2)
    assert checkpoint_bytes(config, 1000, learning=10) == 3 * (4000 + 80) + 4000 * (4 + 10 + 2)
