"""``pellucid.load``: from a directory to the object that a user calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from pellucid.base import runtime
from pellucid.base.config import RuntimeConfig
from pellucid.base.errors import UsageError
from pellucid.model.packed import quantised
from pellucid.tasks.model_directory import find, read_config
from pellucid.tasks.registry import using_side

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.float32}  # of all that is not a product


def load(path: str | Path, precision: str = "float32", *, device: str = "auto") -> Any:
    """Load a model for use. Nothing in its directory is executed.

    Nothing of the calling process is changed. PyTorch keeps its number of threads (``torch.set_num_threads``), and freed memory
    goes back to the system as it did; a program that works for long on a processor can keep it, as the commands do, with
    ``pellucid.base.runtime.keep_memory()``: translating then takes about a tenth less time.

    Args:
        path: a model directory, or the directory of a run.
        precision: of the weights while they are used; ``"int8"``: of the matrices in products, on a CPU.
        device: ``"cpu"``, ``"cuda"``, ...; ``"auto"``: a GPU if there is one.

    Returns:
        The using side of the model's task: a ``Translator``, ``Classifier``, ``LanguageModel``, ...

    Raises:
        ModelError: no model there, or one that is damaged, incomplete, pickled or of another format.
        UsageError: no such precision or device.
    """
    if precision not in PRECISIONS:
        raise UsageError("no such precision", where="precision", expected=" or ".join(PRECISIONS), found=precision)
    directory = find(path)
    config = read_config(directory)
    settled = runtime.settle(RuntimeConfig(precision="float32", device=device))
    loaded = using_side(config.task).open(directory, config).to(settled.device, PRECISIONS[precision])
    if precision == "int8":
        loaded.model = quantised(loaded.model)
    loaded.prepares = True
    return loaded
