"""How long until the first view of a model stands on the page: ``python -m benchmarks.first_view``.

An encoder-decoder of 6 + 6 layers, 8 heads and d_model 512, 30 tokens on either side: a page with the whole trace in it, opened
from its file, and one of the server, which first computes the trace. Each beside what it cannot be faster than: an empty page,
and for the server the trace alone besides. In turns, in one headless Chromium.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import sync_playwright

from benchmarks import machine
from pellucid import load
from pellucid.base.config import StackConfig
from pellucid.base.recipe import read
from pellucid.explain.page import html
from pellucid.look.desk import Desk
from pellucid.look.server import Server
from pellucid.tasks.train import train

TOKENS = 30
LAYERS = StackConfig(n_layers=6, n_heads=8, d_ff=2048)
DRAWN = "#main:not([aria-busy]) h2"


def make(folder: Path) -> Any:
    """A model of that size, trained for one step on the built-in corpus."""
    recipe = read("recipes/demo.yaml")
    model = replace(recipe.model, d_model=512, encoder=LAYERS, decoder=LAYERS, max_length=64)
    training = replace(recipe.training, steps=1, validate_every=1, validate_sentences=1)
    train(replace(recipe, model=model, training=training), folder / "run")
    return load(folder / "run")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.first_view", description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    with TemporaryDirectory() as place, sync_playwright() as playwright:
        folder = Path(place)
        loaded = make(folder)
        words = ["la"] * (TOKENS - 1)
        text, output = " ".join(words), " ".join(["the"] * (TOKENS - 1))
        trace = loaded.explain(text, output=output)
        (folder / "empty.html").write_text("<!doctype html><main id=main><h2>empty</h2></main>", encoding="utf-8")
        (folder / "trace.html").write_text(html(trace), encoding="utf-8")
        found = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        with Server(Desk(loaded)) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()

            def opened(url: str) -> Callable[[], None]:
                def call() -> None:
                    page = browser.new_page()
                    page.goto(url)
                    page.wait_for_selector(DRAWN)
                    page.close()

                return call

            asked = f"{server.url}#text={text.replace(' ', '+')}&output={output.replace(' ', '+')}"
            calls: dict[str, Callable[[], object]] = {
                "an empty page": opened((folder / "empty.html").as_uri()),
                "the trace alone": lambda: loaded.explain(text, output=output),
                "a page from its file": opened((folder / "trace.html").as_uri()),
                "a page of the server": opened(asked),
            }
            seconds: dict[str, list[float]] = {name: [] for name in calls}
            for number in range(given.rounds + 1):
                for name, call in calls.items():
                    began = time.perf_counter()
                    call()
                    if number:  # the first round only fills caches
                        seconds[name].append(time.perf_counter() - began)
            server.shutdown()
        size = (folder / "trace.html").stat().st_size
        rows = {name: {"median": statistics.median(taken), "to": max(taken)} for name, taken in seconds.items()}
        record = {
            "tokens": {"source": len(trace.names["source"]), "target": len(trace.names["target"])},
            "megabytes of the file": round(size / 1e6, 1),
            "seconds": rows,
            "machine": machine.describe(),
            "versions": machine.versions(("torch", "playwright")) | {"chromium": browser.version},
        }
        browser.close()
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
