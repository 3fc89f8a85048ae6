"""Models by their name on the Hugging Face hub, copied to this machine."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from pellucid.base.errors import DataError, UsageError
from pellucid.data.public_sets import data_home

# Never code, never weights in formats that can run code.
_WANTED = ["*.json", "*.safetensors", "*.model", "*.spm", "*.txt"]


def fetch(name: str) -> Path:
    """The directory of a model, fetched unless it is there: files, not links, below the data home.

    Args:
        name: as ``openai-community/gpt2``.

    Raises:
        UsageError: the package huggingface-hub is not installed.
        DataError: there is no such model, no network, or no permission.
    """
    if find_spec("huggingface_hub") is None:
        advice = 'pip install "pellucid[hub]", or give the directory of a model'
        raise UsageError("fetching models needs huggingface-hub", where=name, advice=advice)
    from huggingface_hub import snapshot_download

    directory = data_home() / "models" / name.replace("/", "--")
    try:
        snapshot_download(name, local_dir=directory, allow_patterns=_WANTED, ignore_patterns=["*/*"])
    except Exception as error:  # of its own and of the library for HTTP, which changes with its releases
        found = (str(error) or type(error).__name__).splitlines()[0]
        advice = "look at the name and the network; or copy the model's directory here by other means and give its path"
        raise DataError("no such directory, and the model cannot be fetched", where=name, found=found, advice=advice) from None
    return directory
