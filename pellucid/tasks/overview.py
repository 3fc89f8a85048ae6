"""What a recipe, a run, a model or a folder of runs is, in lines: ``pellucid info``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pellucid.base import runtime
from pellucid.base.config import KINDS, DataConfig, ModelConfig, RunConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.base.files import directory_size
from pellucid.base.machine import in_bytes, in_time
from pellucid.base.recipe import read
from pellucid.base.sense import odd_settings
from pellucid.data.store import Store
from pellucid.model.build import build_any
from pellucid.model.lora import lora
from pellucid.tasks.history import calls
from pellucid.tasks.load import load
from pellucid.tasks.model_directory import find
from pellucid.tasks.train import RESOLVED
from pellucid.training.checkpoints import Progress, newest_progress
from pellucid.training.memory import largest_batch, needed
from pellucid.training.record import read_rows

Lines = list[tuple[str, str]]

_SCORE = re.compile(r"(?m)^\| (?P<name>[^|]+?) \| (?P<score>[\d.]+) \|")  # a row of a model card's table


def of_recipe(path: Path) -> Lines:
    """What a recipe will train, and what that will take.

    Raises:
        UsageError: naming every mistake of the recipe.
    """
    config = read(path)
    try:
        config = replace(config, runtime=runtime.settle(config.runtime))
    except UsageError:  # for another machine
        config = replace(config, runtime=replace(config.runtime, precision="float32", threads=1))
    n_weights, in_words = _parameters(config)
    memory = needed(config, n_weights, largest_batch(config))
    batch = config.training.batch_tokens * config.training.accumulate
    return [
        ("recipe", str(path)),
        ("task", config.task),
        ("data", _place(config.data)),
        ("model", shape(config.model)),
        ("parameters", in_words),
        ("training", f"{config.training.steps:,} steps of {batch:,} padded tokens"),
        ("memory", f"{memory.in_words()}: an estimate for {config.runtime.precision} on {config.runtime.device}"),
        *(("warning", line) for line in odd_settings(config)),
    ]


def _parameters(config: RunConfig) -> tuple[int, str]:
    """How many weights a recipe's model has; where the outputs are classes these are not known yet, nor counted."""
    kind, size = KINDS[config.task], config.text.vocabulary
    buckets = config.word_vectors.buckets if config.task == "word_vectors" else 0
    source, target = size + buckets, 0 if kind.classes else size
    with torch.device("meta"):  # counted without memory
        whole = replace(config.model, source_vocabulary=source, target_vocabulary=target)
        model = build_any(whole, lora(config.start.lora_rank, config.start.lora_alpha))
    count = sum(weight.numel() for weight in model.parameters())
    parts = [f"{count:,}"]
    if not (kind.pictures and kind.classes):
        parts.append(f"with a vocabulary of {size:,}")
    if kind.classes:
        parts.append(f"and {whole.output_width + whole.head.bias:,} for each class")
    return count, " ".join(parts)


def of_run_or_model(path: Path) -> Lines:
    """What a run or a model is: shape, settings, scores, and where they come from.

    Raises:
        ModelError: it is neither, or damaged.
    """
    begun = (path / RESOLVED).is_file()
    if begun and not (path / "model").is_dir():
        return [("run", str(path)), ("model", "none yet: the first validation writes it"), *_run(path, read(path / RESOLVED))]
    loaded = load(path, device="cpu")
    config, model, directory = loaded.config, loaded.model, find(path)
    lines = [
        ("model", str(directory)),
        ("task", config.task + (f", {config.data.source} to {config.data.target}" if config.task == "translation" else "")),
        ("shape", shape(config.model)),
        ("parameters", f"{sum(weight.numel() for weight in model.parameters()):,}"),
        ("inputs", _inputs(config)),
    ]
    if config.task != "word_vectors":
        decoding = config.decoding
        how = f"{decoding.beams} beams, {decoding.length_penalty} penalty, alpha {decoding.alpha}"
        lines.append(("decoding", how))
    if begun:
        return lines + _run(path, config)
    return [*lines, *_settings(config), *_card_scores(directory)]


def _run(path: Path, config: RunConfig) -> Lines:
    """What a run directory knows beyond its model."""
    progress = newest_progress(path)
    return [*_standing(config, progress), *_settings(config), *_last_scores(path), *_prepared(path, config), *_provenance(path)]


def _standing(config: RunConfig, progress: Progress | None) -> Lines:
    if progress is None:
        return [("training", "no checkpoint yet")]
    state = "finished" if progress.finished else f"of {config.training.steps:,}, not finished"
    spent = f", {in_time(progress.seconds)} in steps"
    lines = [("training", f"step {progress.step:,} {state}, {progress.tokens:,} target tokens{spent}")]
    if progress.best is not None:
        lines.append(("best", f"dev {config.metric} {progress.best:.4g} at step {progress.best_step:,}"))
    return lines


def _settings(config: RunConfig) -> Lines:
    training, optimizer = config.training, config.optimizer
    batch = f"{training.batch_tokens:,} tokens" + (f" x {training.accumulate}" if training.accumulate > 1 else "")
    schedule = f"{optimizer.schedule} schedule, rate {optimizer.learning_rate:g}, warmup {optimizer.warmup:,}"
    noise = f"dropout {config.model.dropout:g}, label smoothing {training.label_smoothing:g}"
    machine = f"{config.runtime.precision} on {config.runtime.device}"
    lines = [("settings", f"batches of {batch}, {schedule}, {noise}, seed {config.seed}, {machine}")]
    if config.start.model or config.start.vectors:
        lines.append(("start", f"from {config.start.model or config.start.vectors}"))
    return lines


def _last_scores(run: Path) -> Lines:
    """The newest validation, every metric of it."""
    rows = [row for row in read_rows(run / "metrics.jsonl") if "dev_loss" in row]
    if not rows:
        return []
    newest = rows[-1]
    scores = ", ".join(f"{name[4:]} {value:.4g}" for name, value in newest.items() if name.startswith("dev_"))
    average = f", the average of {newest['averaged']} checkpoints" if "averaged" in newest else ""
    return [("scores", f"dev {scores} (step {newest['step']:,}{average})")]


def _card_scores(directory: Path) -> Lines:
    """Those on the card of a model."""
    card = directory / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    scores = ", ".join(f"{match['name']} {match['score']}" for match in _SCORE.finditer(text))
    return [("scores", f"dev {scores} (README.md)")] if scores else []


def _prepared(run: Path, config: RunConfig) -> Lines:
    """Where the data came from, and the checksums of what they were."""
    lines = [("data", _place(config.data))]
    for split in ("train", "dev"):
        if not (run / "data" / split).is_dir():
            continue
        try:
            store = Store.open(run / "data" / split)
        except DataError as error:
            lines.append((f"  {split}", f"damaged: {error.what}"))
            continue
        checksums = ", ".join(str(checksum)[:12] for checksum in store.fingerprint.get("input", []))
        lines.append((f"  {split}", f"{store.report.lines()[0]}, SHA-256 {checksums}"))
    return lines


def _provenance(run: Path) -> Lines:
    """When, by which command and with which versions: what runs of earlier versions of pellucid have not kept."""
    known = calls(run)
    if not known:
        return []
    first, last = known[0], known[-1]
    lines = [("begun", str(first.get("time"))), ("command", " ".join(map(str, first.get("command") or ["called from Python"])))]
    if len(known) > 1:
        lines.append(("continued", f"{len(known) - 1} times, last {last.get('time')}"))
    versions: dict[str, Any] = last.get("versions") or {}
    lines.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return [*lines, ("disk", in_bytes(directory_size(run)))]


def _place(data: DataConfig) -> str:
    files = [name for names in (data.train, data.dev, data.test) for name in names]
    return data.corpus or data.directory or ", ".join(files) or "not said"


def _inputs(config: RunConfig) -> str:
    model = config.model
    if model.picture.patch:
        picture = model.picture
        return f"pictures, {picture.height} x {picture.width}, squares of {picture.patch}; {model.target_vocabulary:,} outputs"
    if config.task == "word_vectors":
        how = config.word_vectors
        return f"{model.target_vocabulary:,} words, {how.objective}, window {how.window}, {how.buckets:,} buckets for parts"
    return f"{config.text.tokenizer} tokens, {model.source_vocabulary:,} and {model.target_vocabulary:,} entries"


def shape(model: ModelConfig) -> str:
    """Architecture, layers and widths, in one line."""
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


def machine_lines() -> Iterator[tuple[str, str]]:
    """Devices, and what training would settle on."""
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    others = gpus or (["mps"] if torch.backends.mps.is_available() else [])
    yield "devices", ", ".join([f"cpu with {runtime.available_cores()} cores", *others])
    yield "training", runtime.describe(runtime.settle(RunConfig().runtime))
    if not others:
        build = "this torch has no CUDA: see pytorch.org for one that has" if torch.version.cuda is None else "none was found"
        yield "missing", f"GPU: without one, models beyond some ten million parameters train for days ({build})"


def folder_of_runs(path: Path) -> list[Path]:
    """The runs and models that stand side by side in a folder; none where it is one itself."""
    if not path.is_dir() or _is_one(path):
        return []
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and _is_one(entry))


def _is_one(path: Path) -> bool:
    return any((path / name).exists() for name in (RESOLVED, "config.json", "model/config.json", "checkpoints"))
