"""``pellucid.load``: from a directory to the object that a user calls."""

from __future__ import annotations

from pathlib import Path

import torch

from pellucid.base import runtime
from pellucid.base.config import RuntimeConfig
from pellucid.base.errors import UsageError
from pellucid.model.transformer import EncoderDecoder
from pellucid.tasks.model_directory import check_vocabularies, find, load_model, load_tokenizers, read_config
from pellucid.tasks.translator import Translator

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def load(path: str | Path, precision: str = "float32", *, device: str = "auto") -> Translator:
    """Load a model for use. Nothing in its directory is executed.

    Args:
        path: a model directory, or the directory of a run.
        precision: of the weights while they are used.
        device: ``"cpu"``, ``"cuda"``, ...; ``"auto"``: a GPU if there is one.

    Raises:
        ModelError: no model there, or one that is damaged, incomplete, pickled or of another format.
        UsageError: no such precision or device.
    """
    if precision not in PRECISIONS:
        raise UsageError("no such precision", where="precision", expected=" or ".join(PRECISIONS), found=precision)
    directory = find(path)
    config = read_config(directory)
    settled = runtime.settle(RuntimeConfig(precision="float32", device=device))
    tokenizers = load_tokenizers(directory, config)
    check_vocabularies(directory, config, tokenizers)
    model = load_model(directory, config).to(settled.device, PRECISIONS[precision])
    assert isinstance(model, EncoderDecoder)
    return Translator(model, tokenizers, config)
