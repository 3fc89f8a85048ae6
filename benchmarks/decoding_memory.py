"""Memory that decoding takes, here and in CTranslate2: ``python -m benchmarks.decoding_memory``.

The paper's base model in float32, 32 sentences at a time, five beams. Of each engine, in a process of its own: its resident
size when the model is loaded, and the largest one while it decodes, in MiB.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks import machine
from benchmarks.peers import decoders
from benchmarks.turns import ask, settings

SIZE, BEAMS, ROWS, THREADS = "base", 5, 32, 2


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
        return
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / SIZE
        ask("benchmarks.peers.decoders", ["make", SIZE, str(folder)], settings(THREADS, None))
        found = {
            engine: ask("benchmarks.decoding_memory", [engine, str(folder)], settings(THREADS, None))
            for engine in ("ours", "ctranslate2")
        }
    ratio = found["ours"]["growth"] / found["ctranslate2"]["growth"]
    record = {**found, "ratio of growth": round(ratio, 2), "unit": "MiB", **machine.describe()}
    print(json.dumps(record | {"versions": machine.versions(("torch", "ctranslate2"))}, indent=1))


def measure(engine: str, folder: Path) -> dict[str, float]:
    """MiB when idle, and most of them while decoding."""
    if engine == "ours":
        decode = decoders.ours(SIZE, folder, "float32", compiled=False, threads=THREADS)
    else:
        decode = decoders.ctranslate2(SIZE, folder, "float32", threads=THREADS, workers=1)
    sources = json.loads((folder / "sources.json").read_text(encoding="utf-8"))
    decode(sources[:1], 1)  # what is read or laid out when it is first used belongs to the model
    idle = _resident()
    for _ in range(3):
        decode(sources[:ROWS], BEAMS)
    peak = _resident("VmHWM")
    return {"idle": idle, "peak": peak, "growth": round(peak - idle, 1)}


def _resident(field: str = "VmRSS") -> float:
    for line in Path(f"/proc/{os.getpid()}/status").read_text(encoding="ascii").split("\n"):
        if line.startswith(field):
            return round(int(line.split()[1]) / 1024, 1)
    raise SystemExit(f"no {field} here")


if __name__ == "__main__":
    main()
