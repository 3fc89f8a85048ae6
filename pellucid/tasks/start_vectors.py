"""An embedding that begins with word vectors from a file."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import torch
from torch import Tensor

from pellucid.base.config import RunConfig
from pellucid.base.errors import DataError, UsageError
from pellucid.base.files import write_atomically
from pellucid.base.progress import say
from pellucid.data.vector_files import read_vectors
from pellucid.model.transformer import Transformer
from pellucid.tasks.framing import AnyTokenizer
from pellucid.tasks.model_directory import load_tokenizers
from pellucid.tasks.word_vectors import load_vectors
from pellucid.text.vectors import Vectors
from pellucid.training.checkpoints import has_checkpoints

RECORD = "vectors.json"


def open_vectors(path: str | Path, wanted: Collection[str] | None = None) -> Vectors:
    """The vectors of a file, or of a run or model of the task ``word_vectors``.

    Args:
        path: of either.
        wanted: the words to keep; ``None``: all. A run that learnt parts of words has a vector for any word.

    Raises:
        DataError: see :func:`pellucid.data.vector_files.read_vectors`.
        ModelError, UsageError: the model is damaged, or of another task.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return read_vectors(path, wanted)
    loaded = load_vectors(path)
    if wanted is None:
        return loaded.vectors
    rows = {word: vector for word in dict.fromkeys(wanted) if (vector := loaded.vector(word)) is not None}
    matrix = [torch.from_numpy(row) for row in rows.values()]
    return Vectors(list(rows), torch.stack(matrix).numpy() if matrix else loaded.vectors.matrix[:0])


def whole_words(tokenizer: AnyTokenizer, kind: str) -> dict[int, str]:
    """The tokens that are whole words, by number: all of a word vocabulary; of one of pieces those that begin with the space
    before a word (a word that begins with such a piece and goes on is none), and punctuation."""
    words: dict[int, str] = {}
    controls = {tokenizer.pad, tokenizer.unknown, tokenizer.start, tokenizer.end}
    for token in range(tokenizer.vocabulary_size):
        if token in controls:
            continue
        # Decoding takes away the space before a text; between two pieces it stays.
        text = tokenizer.decode([token, token])
        word = tokenizer.decode([token]).strip(" ")
        begins = text.strip(" ") == f"{word} {word}"
        if word.split() == [word] and "\ufffd" not in word and (kind == "word" or begins or not any(map(str.isalnum, word))):
            words[token] = word
    return words


def take_vectors(model: Transformer, config: RunConfig, directory: Path) -> None:
    """Put the vectors of ``start.vectors`` into the embeddings of a model that has been initialised, and freeze them if asked.

    All are multiplied with one number, so that the embedding is as large as one that begins at random: the rest of the model is
    made for that. A word that the file has not is looked up in lower case; what is not found keeps its random vector.

    Args:
        model: of whichever task.
        config: of the run.
        directory: of the run; what was found is said and kept there, in ``vectors.json``.

    Raises:
        DataError: the file is missing or damaged, or has none of the words.
        UsageError: its vectors are not as wide as the model.
    """
    start = config.start
    if start.vectors is None:
        return
    tables = {role: model.roles[role] for role in ("source", "target") if role in model.roles}
    if start.freeze_vectors:
        for name in tables.values():
            model.weights[name].requires_grad_(False)
    if has_checkpoints(directory):
        return  # a run that goes on has its embedding, learnt further or not
    tokenizers = load_tokenizers(directory / "data", config)
    assert tokenizers is not None, "the task has just made them"
    words = {tables[role]: whole_words(tokenizers[role == "target"], config.text.tokenizer) for role in tables}
    looked_up = {form for found in words.values() for word in found.values() for form in (word, word.lower())}
    vectors = open_vectors(start.vectors, looked_up)
    _check_width(vectors, config)
    record = {name: _fill(model.weights[name], found, vectors, start.vectors) for name, found in words.items()}
    for name, (found, known) in record.items():
        share = f"{found:,} of {known:,} words ({100 * found / known:.1f} %)"
        say(f"{name} embedding: {share} begin with their vector in {start.vectors}")
    content = {name: {"found": found, "words": known, "share": found / known} for name, (found, known) in record.items()}
    whole = {"vectors": start.vectors, "frozen": start.freeze_vectors, "embeddings": content}
    write_atomically(directory / RECORD, (json.dumps(whole, indent=2, ensure_ascii=False) + "\n").encode())


def _check_width(vectors: Vectors, config: RunConfig) -> None:
    width = config.model.d_model
    if len(vectors) and vectors.width != width:
        raise UsageError(
            "the vectors are not as wide as the model",
            where="start.vectors",
            expected=f"{width} numbers (model.d_model)",
            found=f"{vectors.width} in {config.start.vectors}",
            advice=f"set model.d_model to {vectors.width} (n_heads must divide it), or give vectors of {width} numbers",
        )


@torch.no_grad()
def _fill(weight: Tensor, words: dict[int, str], vectors: Vectors, path: str) -> tuple[int, int]:
    """Set the rows whose words are known; how many these are, and how many words there are."""
    found = {token: row for token, word in words.items() if (row := vectors.get(word)) is not None}
    if not found:
        advice = "are they words of the same language, in the same spelling?"
        raise DataError("no word of the vocabulary has a vector", where=path, found=f"0 of {len(words):,} words", advice=advice)
    rows = torch.stack([torch.from_numpy(row.copy()) for row in found.values()])  # (found, D)
    size = rows.double().square().mean().sqrt().item()
    weight[list(found)] = rows * (weight.shape[1] ** -0.5 / size if size else 1.0)
    return len(found), len(words)
