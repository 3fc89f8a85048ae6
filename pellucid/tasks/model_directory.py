"""The model directory: ``config.json``, ``model.safetensors``, ``tokenizer.json``. Loading one runs no code from it.

A run directory serves wherever a model directory does: its model is in ``model/``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pellucid.base.config import FORMAT_VERSION, KINDS, RunConfig
from pellucid.base.errors import ModelError
from pellucid.base.files import write_atomically
from pellucid.base.recipe import from_dict, to_dict
from pellucid.model.build import build
from pellucid.model.positions import SinusoidalPositions
from pellucid.model.transformer import Transformer
from pellucid.tasks.framing import AnyTokenizer
from pellucid.tasks.labels import LABELS, Labels
from pellucid.text.imported import ImportedTokenizer, controls_file
from pellucid.text.tokenizer import Tokenizer

WEIGHTS = "model.safetensors"
JOINT = "tokenizer.json"
SEPARATE = ("tokenizer.source.json", "tokenizer.target.json")
PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")

Tokenizers = tuple[AnyTokenizer, AnyTokenizer]  # of source and target; one and the same when the vocabulary is joint


def find(path: str | Path) -> Path:
    """The model directory at ``path``, which may also be a run directory.

    Raises:
        ModelError: there is none; the message says what was found instead. Or something in it is neither file nor directory.
    """
    path = Path(path)
    for candidate in (path, path / "model"):
        if (candidate / "config.json").is_file():
            _check_entries(candidate)
            return candidate
    found = "a file" if path.is_file() else "no such directory"
    if path.is_dir():
        found = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) or "an empty directory"
    advice = "give the directory of a run or of a model"
    if (path / "checkpoints").is_dir():
        advice = "this run has not written a model yet: let it train to its first validation"
    raise ModelError("not a model directory", where=path, expected="config.json in it", found=found, advice=advice)


def _check_entries(directory: Path) -> None:
    """Refuse devices, pipes and links to them: reading one may never end."""
    for entry in sorted(directory.iterdir()):
        if entry.exists() and not entry.is_file() and not entry.is_dir():
            advice = "take an undamaged copy, and ask where this one came from"
            raise ModelError("the model directory holds something to read without end", where=entry, advice=advice)


def save_model(
    directory: Path,
    config: RunConfig,
    tokenizers: Tokenizers | None,
    weights: dict[str, Tensor],
    card: str,
    labels: Labels | None = None,
) -> None:
    """Write weights, configuration, tokenizers, labels and model card, each file whole or not at all; the weights last."""
    directory.mkdir(parents=True, exist_ok=True)
    if tokenizers is not None:
        save_tokenizers(directory, config, tokenizers)
    if labels is not None:
        labels.save(directory)
    content = {"format_version": FORMAT_VERSION, **to_dict(config)}
    write_atomically(directory / "config.json", (json.dumps(content, indent=2) + "\n").encode())
    write_atomically(directory / "README.md", card.encode())
    write_atomically(directory / WEIGHTS, save({name: weight.contiguous() for name, weight in weights.items()}))


def save_tokenizers(directory: Path, config: RunConfig, tokenizers: Tokenizers) -> None:
    """Write ``tokenizer.json``, or one file a side where the vocabularies are separate."""
    directory.mkdir(parents=True, exist_ok=True)
    for path, tokenizer in dict(zip(_tokenizer_files(directory, config), tokenizers, strict=True)).items():
        tokenizer.save(path)


def run_tokenizer(config: RunConfig, directory: Path, texts: Iterable[str]) -> AnyTokenizer:
    """The one tokenizer of a run, of the model that it starts from, or trained on ``texts`` when there is none yet."""
    begun = begun_tokenizers(directory, config)
    if begun is not None:
        return begun[0]
    tokenizer = Tokenizer.train(texts, config.text)
    save_tokenizers(directory, config, (tokenizer, tokenizer))
    return tokenizer


def begun_tokenizers(directory: Path, config: RunConfig) -> Tokenizers | None:
    """Those that a run has already, or those of the model that it starts from, which it then has; ``None``: neither.

    Raises:
        ModelError: the model to start from has none, or they are damaged.
    """
    if has_tokenizers(directory, config):
        return load_tokenizers(directory, config)
    if config.start.model is None:
        return None
    tokenizers = load_tokenizers(find(config.start.model), config)
    if tokenizers is None:
        raise ModelError("the model to start from has no tokenizer", where=config.start.model)
    save_tokenizers(directory, config, tokenizers)
    return tokenizers


def run_labels(directory: Path, names: Iterable[str], *, degrees: bool = False) -> Labels:
    """The classes of a run: those found in ``names`` when it begins."""
    if (directory / LABELS).is_file():
        return Labels.load(directory)
    labels = Labels.of(names, degrees=degrees)
    directory.mkdir(parents=True, exist_ok=True)
    labels.save(directory)
    return labels


def read_config(directory: Path) -> RunConfig:
    """The configuration in ``config.json``.

    Raises:
        ModelError: it is damaged or of another format version.
    """
    path = directory / "config.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError("the configuration cannot be read", where=path, found=error, advice="copy the model anew") from None
    if not isinstance(content, dict) or "format_version" not in content:
        advice = "give the directory of a model that pellucid has trained"
        raise ModelError("not the configuration of a pellucid model", where=path, expected="a format_version", advice=advice)
    version = content.pop("format_version")
    if version != FORMAT_VERSION:
        advice = "load it with the version of pellucid that wrote it"
        raise ModelError("another format", where=path, expected=f"version {FORMAT_VERSION}", found=version, advice=advice)
    return from_dict(RunConfig, content, path)


def has_tokenizers(directory: Path, config: RunConfig) -> bool:
    """Whether all the tokenizers of ``config`` are there."""
    return all(path.is_file() for path in _tokenizer_files(directory, config))


def has_begun(directory: Path, config: RunConfig) -> bool:
    """Whether a run has learnt its vocabulary or classes, which binds all that follows."""
    return has_tokenizers(directory, config) or (directory / LABELS).is_file()


def _tokenizer_files(directory: Path, config: RunConfig) -> tuple[Path, Path]:
    """The files of the tokenizers of source and target: one and the same when the vocabulary is joint."""
    source, target = (JOINT, JOINT) if config.text.joint else SEPARATE
    return directory / source, directory / target


def load_tokenizers(directory: Path, config: RunConfig) -> Tokenizers | None:
    """The tokenizers of source and target; ``None`` for a model that came without.

    Raises:
        ModelError: they are damaged, or a model trained here has lost them.
    """
    source_file, target_file = _tokenizer_files(directory, config)
    if not source_file.exists() and not target_file.exists() and _may_lack_tokenizers(directory, config):
        return None
    source = _load_tokenizer(source_file)
    return source, source if source_file == target_file else _load_tokenizer(target_file)


def _may_lack_tokenizers(directory: Path, config: RunConfig) -> bool:
    return config.text.tokenizer == "imported" or config.task == "picture_classification"


def _load_tokenizer(path: Path) -> AnyTokenizer:
    return ImportedTokenizer.load(path) if controls_file(path).exists() else Tokenizer.load(path)


def check_vocabularies(directory: Path, config: RunConfig, tokenizers: Tokenizers) -> None:
    """See that each tokenizer has an embedding for every token, and none too many.

    Raises:
        ModelError: a tokenizer and the model come from different runs.
    """
    paths, model = _tokenizer_files(directory, config), config.model
    kind = KINDS[config.task]
    sizes = (
        None if kind.pictures or kind.architecture == "decoder" else model.source_vocabulary,
        None if kind.classes else model.target_vocabulary,
    )
    for path, tokenizer, size in zip(paths, tokenizers, sizes, strict=True):
        # The tables of public models are often rounded up beyond their vocabularies.
        spare = isinstance(tokenizer, ImportedTokenizer) and size is not None and tokenizer.vocabulary_size < size
        if size is not None and tokenizer.vocabulary_size != size and not spare:
            raise ModelError(
                "the tokenizer does not belong to this model",
                where=path,
                expected=f"{size:,} tokens (config.json)",
                found=f"{tokenizer.vocabulary_size:,} tokens",
                advice="tokenizer, config.json and model.safetensors must come from the same model",
            )


def load_model(directory: Path, config: RunConfig) -> Transformer:
    """The model with its weights, in evaluation mode, in float32. Raises as :func:`fill`."""
    with torch.device("meta"):
        model = build(config.model)
    fill(model, directory)
    return model.eval()


def fill(model: nn.Module, directory: Path) -> None:
    """Give a model that was built without memory its weights, in float32.

    Raises:
        ModelError: the weights are missing, pickled, damaged, or of another shape than the configuration says.
    """
    path = directory / WEIGHTS
    if not path.is_file():
        pickled = sorted(entry.name for entry in directory.iterdir() if entry.suffix in PICKLED)
        advice = "pickled weights can run code and are never loaded: convert them to safetensors" if pickled else None
        raise ModelError("the weights are missing", where=path, found=", ".join(pickled) or None, advice=advice)
    weights = read_weights(path, model)
    # What safetensors gives is mapped from the file, privately: pages are read when they are touched, and writing to a
    # parameter leaves the file alone. The tensors become the parameters as they are, never a second copy of them.
    # (`to_empty` would besides import torch's compiler, for a third of a second.)
    model.load_state_dict({name: weight.to(torch.float32) for name, weight in weights.items()}, assign=True)
    for module in model.modules():
        if isinstance(module, SinusoidalPositions):  # computed, not saved
            module.table = torch.empty(module.table.shape)
            module.initialise()


def read_weights(path: Path, model: nn.Module) -> dict[str, Tensor]:
    """The weights in a file, if they are those of a model of this shape.

    Raises:
        ModelError: they are damaged, or of another shape.
    """
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError("the weights are damaged", where=path, found=error, advice="copy the model anew") from error
    _check_weights(model, weights, path)
    return weights


def _check_weights(model: nn.Module, weights: dict[str, Tensor], path: Path) -> None:
    expected = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    found = {name: tuple(weight.shape) for name, weight in weights.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ModelError(
                f"the weights do not fit the configuration at {name}",
                where=path,
                expected=expected.get(name, "no such weight"),
                found=found.get(name, "no such weight"),
                advice="config.json and model.safetensors must come from the same model",
            )
