"""Are the digits that a language model draws those that it was asked for? ``python -m benchmarks.pixels DRAWER CLASSIFIER``.

DRAWER is a run of ``recipes/mnist-pixels.yaml``, CLASSIFIER one of ``recipes/mnist.yaml``, which judges the drawings, brought
to its own size. Test digits in the same few pixels and greys, judged in the same way, say how much of it the judge can see.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import pellucid
from benchmarks import machine
from pellucid.tasks.picture_classification import PictureClassifier
from pellucid.tasks.pixels import as_picture, open_texts, save_drawings

Drawings = Sequence[npt.NDArray[np.uint8]]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pixels", description=__doc__.split("\n")[0])
    parser.add_argument("drawer", type=Path, help="directory of a run that draws digits")
    parser.add_argument("classifier", type=Path, help="directory of a run that classifies them")
    parser.add_argument("--n", type=int, default=50, help="drawings of each digit, with the seeds 0, 1, ...")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--picture", type=Path, help="write the first ten of each digit here")
    given = parser.parse_args()
    drawer, judge = pellucid.load(given.drawer), pellucid.load(given.classifier)
    size = drawer.config.model.picture
    asked = [label for label in judge.labels for _ in range(given.n)]
    seeds = [seed for _ in judge.labels for seed in range(given.n)]
    texts = drawer.generate(asked, temperature=given.temperature, beams=1, seed=seeds)
    drawn = [as_picture(text, size) for text in texts]
    if given.picture is not None:
        shown = min(10, given.n)
        first = [drawn[given.n * row + column] for row in range(len(judge.labels)) for column in range(shown)]
        save_drawings(first, given.picture, shown)
    right = np.array([found == label for found, label in zip(judged(judge, drawn), asked, strict=True)])
    real = [text for (text,) in open_texts(drawer.config, "test")]
    answers = judged(judge, [as_picture(text, size) for text in real])
    record = {
        "drawings": len(drawn),
        "temperature": given.temperature,
        "whole pictures, %": share([is_whole(text, size.height // 2, size.width // 2) for text in texts]),
        "classified as asked, %": share(right),
        "by digit, %": {label: share(right[number * given.n :][: given.n]) for number, label in enumerate(judge.labels)},
        "test digits in the same pixels, %": share([a == t.split("\n")[0] for a, t in zip(answers, real, strict=True)]),
        "drawer, test": drawer.evaluate_split("test").to_dict(),
        "machine": machine.describe(),
        "versions": machine.versions(("torch", "pillow")),
    }
    print(json.dumps(record, indent=2))


def judged(judge: PictureClassifier, drawings: Drawings) -> list[str]:
    """The class of each drawing, brought to the judge's size."""
    size = judge.config.model.picture
    images = [Image.fromarray(drawing).resize((size.width, size.height), Image.Resampling.BILINEAR) for drawing in drawings]
    return [found.label for found in judge.classify([np.asarray(image) for image in images])]


def is_whole(text: str, height: int, width: int) -> bool:
    """Whether a text is a label and all rows of a picture, nothing missing and nothing too much."""
    rows = text.split("\n")[1:]
    return [len(row) for row in rows] == [width] * height


def share(right: Sequence[bool] | npt.NDArray[np.bool_]) -> float:
    """In percent."""
    return round(100 * float(np.mean(right)), 2)


if __name__ == "__main__":
    main()
