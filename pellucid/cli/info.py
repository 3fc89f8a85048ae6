"""``pellucid info``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pellucid.cli.options import common

if TYPE_CHECKING:
    from pellucid.base.config import ModelConfig, RunConfig


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@common
def info(path: Path | None) -> None:
    """Say what PATH is (a recipe, a run or a model), or without PATH what this machine offers."""
    if path is None:
        lines = _machine()
    elif path.suffix in (".yaml", ".yml"):
        lines = _recipe(path)
    else:
        lines = _model(path)
    for name, value in lines:
        click.echo(f"{name:<14}{value}")


def _machine() -> list[tuple[str, str]]:
    import platform
    import shutil
    from importlib import metadata

    from pellucid import __version__
    from pellucid.base import runtime
    from pellucid.base.config import RuntimeConfig

    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "tokenizers", "safetensors", "sacrebleu")]
    return [
        ("pellucid", __version__),
        ("python", platform.python_version()),
        ("packages", ", ".join(versions)),
        ("training", runtime.describe(runtime.settle(RuntimeConfig()))),
        ("disk", f"{shutil.disk_usage('.').free / 2**30:.1f} GiB free here"),
    ]


def _recipe(path: Path) -> list[tuple[str, str]]:
    from dataclasses import replace

    import torch

    from pellucid.base.recipe import read
    from pellucid.model.build import build_any

    config = read(path)
    size = config.text.vocabulary
    with torch.device("meta"):  # counted without memory
        buckets = config.word_vectors.buckets if config.task == "word_vectors" else 0
        model = build_any(replace(config.model, source_vocabulary=size + buckets, target_vocabulary=size))
    return [
        ("recipe", str(path)),
        ("model", _shape(config.model)),
        ("parameters", f"{sum(weight.numel() for weight in model.parameters()):,} with a vocabulary of {size:,}"),
        (
            "training",
            f"{config.training.steps:,} steps of {config.training.batch_tokens * config.training.accumulate:,} padded tokens",
        ),
    ]


def _model(path: Path) -> list[tuple[str, str]]:
    from pellucid.tasks.load import load
    from pellucid.tasks.model_directory import find
    from pellucid.training.checkpoints import newest_progress

    loaded = load(path, device="cpu")
    config, model = loaded.config, loaded.model
    lines = [
        ("model", str(find(path))),
        ("task", config.task + (f", {config.data.source} to {config.data.target}" if config.task == "translation" else "")),
        ("shape", _shape(config.model)),
        ("parameters", f"{sum(weight.numel() for weight in model.parameters()):,}"),
        ("inputs", _inputs(config)),
        ("decoding", f"{config.decoding.beams} beams, {config.decoding.length_penalty} penalty, alpha {config.decoding.alpha}"),
    ]
    if config.task == "word_vectors":
        lines.pop()
    progress = newest_progress(path)
    if progress is not None:
        state = "finished" if progress.finished else f"of {config.training.steps:,}, not finished"
        lines.append(("training", f"step {progress.step:,} {state}, {progress.tokens:,} target tokens"))
        if progress.best is not None:
            lines.append(("best", f"dev {config.metric} {progress.best:.2f} at step {progress.best_step:,}"))
    return lines


def _inputs(config: RunConfig) -> str:
    model = config.model
    if model.picture.patch:
        picture = model.picture
        return f"pictures, {picture.height} x {picture.width}, squares of {picture.patch}; {model.target_vocabulary:,} outputs"
    if config.task == "word_vectors":
        how = config.word_vectors
        return f"{model.target_vocabulary:,} words, {how.objective}, window {how.window}, {how.buckets:,} buckets for parts"
    return f"{config.text.tokenizer} tokens, {model.source_vocabulary:,} and {model.target_vocabulary:,} entries"


def _shape(model: ModelConfig) -> str:
    if model.architecture == "vectors":
        return f"vectors, d_model {model.d_model}"
    layers = " + ".join(str(stack.n_layers) for stack in model.stacks().values())
    own = model.recurrent
    if own.cell != "none":
        ways = ", read both ways" if own.bidirectional and "encoder" in model.architecture else ""
        attention = f", attention {own.attention}" if model.architecture == "encoder-decoder" else ""
        width = own.width(model.d_model)
        return f"{own.cell} {model.architecture}, {layers} layers, d_model {model.d_model}, states of {width}{ways}{attention}"
    return (
        f"{model.architecture}, {layers} layers, d_model {model.d_model}, "
        f"{model.norm}-norm, {model.activation}, {model.positions} positions"
    )
