"""From a directory to the first logits, in a process that has imported everything and touched nothing else:
``python -m benchmarks.peers.loaders NAME DIRECTORY``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

PROMPT = torch.arange(16)[None]


def ours(directory: Path) -> Tensor:
    import pellucid

    return pellucid.load(directory, device="cpu").logits(PROMPT)


def transformers(directory: Path) -> Tensor:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory).eval()
    with torch.inference_mode():
        return model(PROMPT).logits


def _import(name: str) -> None:
    """What loading will import, so that it is not counted."""
    if name == "ours":
        import pellucid.tasks.language_model
        import pellucid.tasks.load  # noqa: F401
    else:
        from transformers import AutoModelForCausalLM, GPT2LMHeadModel  # noqa: F401
    torch.ones(64, 64) @ torch.ones(64, 64)  # threads and libraries of the products


def _memory(field: str) -> float:
    """Of this process, in MB of a million bytes. Pages of a file count when they are mapped and have been touched."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").split("\n")
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024 / 1e6


def main() -> None:
    name, directory = sys.argv[1], Path(sys.argv[2])
    load: Callable[[Path], Tensor] = {"ours": ours, "transformers": transformers}[name]
    _import(name)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before, begun = _memory("VmRSS"), time.perf_counter()
    logits = load(directory)
    seconds = time.perf_counter() - begun
    print(json.dumps({"seconds": seconds, "peak MB": _memory("VmHWM") - before, "logits": logits[0, -1, :100].tolist()}))


if __name__ == "__main__":
    main()
