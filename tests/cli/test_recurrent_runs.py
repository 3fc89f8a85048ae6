"""Recurrent networks through the same commands: trained, gone on with, used, scored, looked into; what does not apply is
said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pellucid import load
from pellucid.base.config import DataConfig, HeadConfig, ModelConfig, OptimizerConfig, RunConfig, StackConfig, StartConfig, Task
from pellucid.base.errors import UsageError
from pellucid.base.recurrent import RecurrentConfig
from pellucid.tasks.train import train

Run = Callable[..., int]
Lines = Callable[[str], Path]
Capture = pytest.CaptureFixture[str]


def short(config: RunConfig, cell: str, attention: str = "none", **changes: object) -> RunConfig:
    """A run of 60 steps of a small network."""
    model = ModelConfig(
        architecture=cell,  # type: ignore[arg-type]
        d_model=24,
        encoder=StackConfig(1),
        decoder=StackConfig(2),
        dropout=0.1,
        max_length=32,
        recurrent=RecurrentConfig(attention=attention),  # type: ignore[arg-type]
    )
    training = replace(config.training, steps=60, batch_tokens=256, accumulate=1, validate_every=30)
    optimizer = OptimizerConfig(schedule="cosine", learning_rate=0.02, warmup=5, clip=1.0)
    parts = {"model": model, "training": training, "optimizer": optimizer, "checkpoints": replace(config.checkpoints, every=10)}
    return replace(config, **{**parts, **changes})


@pytest.fixture(scope="module")
def attending(shared_config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GRU with additive attention; for reading only."""
    run = tmp_path_factory.mktemp("attending") / "run"
    train(short(shared_config, "gru", "additive"), run)
    return run


@pytest.fixture(scope="module")
def without(shared_config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An LSTM without attention; for reading only."""
    run = tmp_path_factory.mktemp("without") / "run"
    train(short(shared_config, "lstm"), run)
    return run


@pytest.mark.parametrize(("cell", "attention"), [("gru", "additive"), ("lstm", "none")])
def test_going_on_gives_the_same_bits(cell: str, attention: str, shared_config: RunConfig, tmp_path: Path) -> None:
    config = short(shared_config, cell, attention)
    still = OptimizerConfig(schedule="constant", learning_rate=0.01, warmup=0, clip=1.0)
    config = replace(config, optimizer=still, training=replace(config.training, steps=8, validate_every=0))
    config = replace(config, checkpoints=replace(config.checkpoints, every=4))
    train(config, tmp_path / "whole")
    train(replace(config, training=replace(config.training, steps=4)), tmp_path / "halves")
    train(config, tmp_path / "halves")
    whole, halves = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("whole", "halves"))
    assert whole.keys() == halves.keys()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    """A file with a text in it."""

    def write(text: str) -> Path:
        (tmp_path / "text.txt").write_text(f"{text}\n", encoding="utf-8")
        return tmp_path / "text.txt"

    return write


def test_a_recipe_says_architecture_and_translates(
    pellucid: Run, lines: Lines, config: RunConfig, tmp_path: Path, capsys: Capture
) -> None:
    """From a file with nothing else about the model than that, to lines."""
    folder = config.data.directory
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"""model: {{architecture: lstm, d_model: 16, encoder: {{n_layers: 1}}, decoder: {{n_layers: 1}}, max_length: 32}}
text: {{tokenizer: word, vocabulary: 40, min_frequency: 1}}
data: {{directory: {folder}, source: x, target: y}}
training: {{steps: 4, batch_tokens: 64, validate_every: 2, validate_sentences: 2}}
checkpoints: {{every: 2}}
runtime: {{precision: float32, device: cpu, threads: 1}}
""",
        encoding="utf-8",
    )
    assert pellucid("info", recipe) == 0
    assert (
        "lstm encoder-decoder, 1 + 1 layers, d_model 16, states of 16, read both ways, attention none"
        in capsys.readouterr().out
    )
    assert pellucid("train", recipe, "--out", tmp_path / "run") == 0
    assert "architecture: encoder-decoder" in (tmp_path / "run" / "config.yaml").read_text()
    assert "A recurrent network (LSTM) trained" in (tmp_path / "run" / "model" / "README.md").read_text()
    assert pellucid("train", recipe, "--out", tmp_path / "run") == 0  # finished, and the same settings
    assert pellucid("translate", tmp_path / "run", lines("a b c")) == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_alone_and_in_a_batch_it_writes_the_same(attending: Path, without: Path) -> None:
    texts = ["a b c d", "h", "", "c c a", "f e d c b a"]
    for run in (attending, without):
        translator = load(run)
        for beams in (1, 3):
            together = translator.translate(texts, beams=beams)
            assert together == [translator.translate([text], beams=beams)[0] for text in texts]
            assert together[2] == ""
        assert translator.score("a b", "B A").log_probability < 0.0


def test_every_precision(pellucid: Run, lines: Lines, attending: Path, capsys: Capture) -> None:
    outputs = []
    for precision in ("float32", "bfloat16", "int8"):
        assert pellucid("translate", attending, lines("a b c d"), "--precision", precision) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[2]
    assert all(text.strip() for text in outputs)


def test_compiled_steps_are_refused(pellucid: Run, lines: Lines, attending: Path, capsys: Capture) -> None:
    assert pellucid("translate", attending, lines("a b"), "--compile") == 2
    assert "steps of a recurrent network are not compiled" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["huggingface", "ctranslate2", "onnx"])
def test_other_programs_have_no_place_for_it(
    pellucid: Run, attending: Path, program: str, tmp_path: Path, capsys: Capture
) -> None:
    assert pellucid("export", attending, tmp_path / "out", "--to", program) == 2
    assert "recurrent networks cannot be written for other programs" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_evaluated_and_described(pellucid: Run, attending: Path, capsys: Capture) -> None:
    assert pellucid("evaluate", attending, "--split", "test") == 0
    assert "BLEU" in capsys.readouterr().out
    assert pellucid("info", attending) == 0
    out = capsys.readouterr().out
    assert "gru encoder-decoder, 1 + 2 layers, d_model 24, states of 24, read both ways, attention additive" in out
    assert "step 60 finished" in out


def test_the_alignment_map_is_the_attention(
    pellucid: Run, lines: Lines, attending: Path, tmp_path: Path, capsys: Capture
) -> None:
    translator = load(attending)
    source, target, weights = translator.attention("a b c d")
    assert weights.shape == (1, 1, len(target), len(source))
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1, len(target)))
    trace = translator.explain("a b c d", beams=2)
    torch.testing.assert_close(torch.from_numpy(trace["decoder.layers.1.cross_attn.weights"].array), weights[0])
    assert pellucid("plot", attending, "--attention", "a b c d", "--out", tmp_path / "map.png") == 0
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert translator.align("a b", "B A", (0, 0)) is not None
    with pytest.raises(UsageError, match="no such layer or head"):
        translator.align("a b", "B A", (1, 0))
    best = translator.best_head([("a b", "B A")], ["0-1 1-0"])
    assert (best.layer, best.head) == (0, 0)
    capsys.readouterr()
    assert pellucid("translate", attending, lines("a b"), "--align", "0.0") == 0
    assert "-" in capsys.readouterr().out


def test_without_attention_there_is_no_map(pellucid: Run, lines: Lines, without: Path, tmp_path: Path, capsys: Capture) -> None:
    assert pellucid("plot", without, "--attention", "a b", "--out", tmp_path / "map.png") == 2
    assert "this model has no attention" in capsys.readouterr().err
    assert pellucid("translate", without, lines("a b"), "--align", "0.0") == 2
    assert "this model has no attention" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no attention"):
        load(without).best_head([("a b", "B A")], ["0-1 1-0"])
    assert pellucid("explain", without, "a b", "--save", tmp_path / "trace.svg") == 2


@pytest.mark.parametrize("which", ["attending", "without"])
def test_explained_and_checked(
    pellucid: Run, which: str, request: pytest.FixtureRequest, tmp_path: Path, capsys: Capture
) -> None:
    run = request.getfixturevalue(which)
    assert pellucid("explain", run, "a b c", "--check", "--plain") == 0
    out = capsys.readouterr().out
    assert "decoder.layers.0.forward.hidden" in out
    assert "encoder.layers.0.backward.gates" in out
    difference = float(out.rpartition("largest difference ")[2].split()[0])
    assert difference <= 1e-5
    assert "not compared" not in out
    for ending in ("npz", "json", "html"):
        assert pellucid("explain", run, "a b c", "--save", tmp_path / f"trace.{ending}") == 0


def test_it_starts_from_its_own_kind_alone(attending: Path, shared_config: RunConfig, tmp_path: Path) -> None:
    start = StartConfig(model=str(attending))
    config = short(shared_config, "gru", start=start)
    config = replace(config, training=replace(config.training, steps=2, validate_every=0))
    train(config, tmp_path / "run")
    assert load(tmp_path / "run").config.model.recurrent.attention == "additive"
    with pytest.raises(UsageError, match="another architecture") as refused:
        train(short(shared_config, "lstm", start=start), tmp_path / "other")
    assert "gru encoder-decoder" in str(refused.value)


LINES: dict[Task, list[str]] = {
    "classification": ["a good film\tpos", "a bad film\tneg", "good\tpos", "so bad a plot\tneg"] * 10,
    "language_modelling": ["a good film", "the bad plot"] * 20,
    "tagging": ["a good film\tD A N", "the film\tD N"] * 20,
}


def other_run(config: RunConfig, task: Task, directory: Path, cell: str, **model: object) -> Path:
    """A small network of another task, trained for 60 steps."""
    lines = LINES[task]
    ending = "tsv" if "\t" in lines[0] else "txt"
    for split in ("train", "dev"):
        (directory / f"{split}.{ending}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    places = {split: (str(directory / f"{split}.txt"),) for split in ("train", "dev")}
    data = DataConfig(directory=str(directory)) if ending == "tsv" else DataConfig(**places)  # type: ignore[arg-type]
    shape = {"d_model": 24, "encoder": StackConfig(1), "decoder": StackConfig(1), "dropout": 0.0, "max_length": 24}
    network = ModelConfig(architecture=cell, **shape, **model)  # type: ignore[arg-type]
    training = replace(config.training, steps=60, batch_tokens=128, accumulate=1, validate_every=30, label_smoothing=0.0)
    train(short(config, cell, task=task, data=data, model=network, training=training), directory / "run")
    return directory / "run"


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_a_classifier(pellucid: Run, config: RunConfig, pool: str, tmp_path: Path, capsys: Capture) -> None:
    """A sequence to a vector: the last state, or the mean of all."""
    head = HeadConfig(pool=pool, bias=True)  # type: ignore[arg-type]
    run = other_run(config, "classification", tmp_path, "lstm", tie="none", head=head)
    texts = ["a good film", "a bad film", "good plot"]
    together = load(run).classify(texts)
    assert [one.label for one in together[:2]] == ["pos", "neg"]
    for text, one in zip(texts, together, strict=True):
        assert load(run).classify([text])[0].probabilities == pytest.approx(one.probabilities, abs=1e-6)
    assert pellucid("info", run) == 0
    assert "lstm encoder, 1 layers, d_model 24, states of 24, read both ways\n" in capsys.readouterr().out
    assert pellucid("explain", run, "a good film", "--check", "--plain") == 0
    assert "pooled" in capsys.readouterr().out


def test_a_language_model(pellucid: Run, config: RunConfig, tmp_path: Path, capsys: Capture) -> None:
    """A sequence to its next word; its memory has no end, so that neither has what it writes."""
    run = other_run(config, "language_modelling", tmp_path, "gru")
    model = load(run)
    prompts = ["a good", "the", "the bad plot a good"]
    together = model.generate(prompts, tokens=6, beams=1)
    assert together == [model.generate([prompt], tokens=6, beams=1)[0] for prompt in prompts]
    assert together[0].startswith("a good film")
    assert len(model.generate(["a"], tokens=60, beams=1)[0].split()) > 24
    assert pellucid("generate", run, "the bad", "--tokens", "3") == 0
    assert "the bad plot" in capsys.readouterr().out
    assert pellucid("explain", run, "a good", "--check", "--plain") == 0
    assert "decoder.layers.0.forward.hidden" in capsys.readouterr().out


def test_a_tagger(pellucid: Run, config: RunConfig, tmp_path: Path) -> None:
    run = other_run(config, "tagging", tmp_path, "rnn", tie="none", head=HeadConfig(bias=True))
    assert load(run).tag(["a good film"])[0] == [("a", "D"), ("good", "A"), ("film", "N")]
