"""Write the models that later versions must still load: ``python -m tests.golden.make``, once for each format version.

Beside each model lie sentences and the logits that it had for them when it was written.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from pellucid import load
from pellucid.base.config import FORMAT_VERSION, ModelConfig, StackConfig
from pellucid.tasks.train import train
from pellucid.tasks.translator import Translator
from tests.conftest import config_for, write_corpus

PLACE = Path(__file__).parent / f"format-{FORMAT_VERSION}"
SOURCES = ["a b c", "h g"]
TARGETS = ["C B A", "G H"]
STACK = StackConfig(1, 2, 12)
MODELS = {
    "transformer": ModelConfig(d_model=8, encoder=STACK, decoder=STACK, max_length=32),
    "gru": ModelConfig(architecture="gru", d_model=8, encoder=StackConfig(1), decoder=StackConfig(1), max_length=32),
}


def logits(model: Path) -> torch.Tensor:
    """(all positions, vocabulary): what the model finds for the targets after the sources."""
    translator = load(model, device="cpu")
    rows = []
    for source, target in zip(SOURCES, TARGETS, strict=True):
        ids, fed = translator.ids(source), torch.tensor([[translator.source_tokenizer.start, *_tokens(translator, target)]])
        rows.append(translator.logits(ids, target_ids=fed)[0])
    return torch.cat(rows)


def _tokens(translator: Translator, target: str) -> list[int]:
    return list(translator.target_tokenizer.encode(target))


def main() -> None:
    for name, shape in MODELS.items():
        with tempfile.TemporaryDirectory() as directory:
            config = config_for(write_corpus(Path(directory) / "corpus"))
            config = replace(config, model=shape, training=replace(config.training, steps=10, validate_every=0))
            train(config, Path(directory) / "run")
            shutil.copytree(Path(directory) / "run" / "model", PLACE / name, dirs_exist_ok=True)
        save_file({"logits": logits(PLACE / name)}, PLACE / f"{name}.safetensors")


if __name__ == "__main__":
    main()
