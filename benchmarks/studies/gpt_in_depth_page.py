"""What the page about a small GPT says of its figures."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.studies import report
from pellucid.explain.trace import Trace

PROMPT = "ROMEO:\nMy l"
TOKENS = 12
TEMPERATURE, TOP_K, SEED = 0.8, 5, 1
LAYER, HEAD = 0, 0
SHOWN = 6  # positions in tables of attention
WINDOWS = 200  # of the held-out text, for the loss of each layer


@dataclass(frozen=True)
class Step:
    """One step of writing with a cache.

    Args:
        read: id of the token that was read.
        length: positions in the cache after it.
        logits: (V,) float32.
        left: (V,) probabilities after temperature and top-k.
        uniform: the random number, from 0 to below 1.
        chosen: id of the token drawn.
    """

    read: int
    length: int
    logits: Tensor
    left: Tensor
    uniform: float
    chosen: int


def kept(step: Step) -> list[int]:
    """What is left after top-k, the most probable first."""
    some = step.left.argsort(descending=True, stable=True).tolist()
    return [token for token in some if step.left[token] > 0.0]


def seen(name: str) -> str:
    """A token as it can be seen."""
    return name if name.strip() else "␣"


def values(loaded: Any, trace: Trace, steps: Sequence[Step], figures: dict[str, Any]) -> dict[str, object]:
    """For the names in the page."""
    model, shape, same = loaded.config.model, loaded.config.model.decoder, figures["equalities"]
    begun = len(trace.names["target"]) - len(steps) + 1
    width = model.d_model // shape.n_heads
    return {
        "layers": shape.n_layers,
        "heads": shape.n_heads,
        "d_model": model.d_model,
        "context": model.max_length,
        "parameters": f"{sum(weight.numel() for weight in loaded.model.parameters()):,}",
        "vocabulary": model.target_vocabulary,
        "prompt": report.code(PROMPT),
        "tokens": len(steps),
        "written": report.code(figures["written"]),
        "embedded": _embedded(trace, begun),
        "layer": LAYER,
        "head": HEAD,
        "last": begun - 1,
        "last_name": report.code(seen(trace.names["target"][begun - 1])),
        "width": width,
        "root": f"{width**0.5:.3f}",
        "row": _row(trace, begun),
        "z": _some(np.asarray(trace[f"decoder.layers.{LAYER}.self_attn.z"])[HEAD, begun - 1, :3]),
        "logits": len(steps[0].logits),
        "temperature": TEMPERATURE,
        "top_k": TOP_K,
        **_first(loaded, steps[0]),
        "steps": _steps(loaded, steps, 2 * shape.n_layers * shape.n_heads * width),
        "computed": begun - 1 + len(steps),
        "without": sum(range(begun, begun + len(steps))),
        "same": _same(same, begun, len(steps)),
        "largest": f"{same['largest logit']:.1f}",
        "equal": "the same" if same["the same text"] else "NOT the same",
        "check": same["float64 check"],
        "windows": WINDOWS,
        **_lens(figures, trace.names["target"][begun - 1 :]),
    }


def _some(numbers: Any) -> str:
    return " ".join(f"{number:.3f}" for number in numbers)


def _embedded(trace: Trace, begun: int) -> list[str]:
    rows = []
    for at in range(begun - SHOWN, begun):
        parts = [_some(np.asarray(trace[f"decoder.embed.{part}"])[at, :4]) for part in ("scaled", "positions", "out")]
        rows.append([at, report.code(seen(trace.names["target"][at])), trace.inputs["target"][at], *parts])
    return report.table(["position", "character", "id", "E[token]", "P[position]", "their sum, x"], rows, text_columns=2)


def _row(trace: Trace, begun: int) -> list[str]:
    """The last row of attention of the prompt, number by number."""
    taps = [
        np.asarray(trace[f"decoder.layers.{LAYER}.self_attn.{name}"])[HEAD] for name in ("scores", "scaled", "weights", "v")
    ]
    scores, scaled, weights = (tap[begun - 1, :begun] for tap in taps[:3])
    powers = np.exp(scaled - scaled.max())
    rows = [
        [at, report.code(seen(trace.names["target"][at])), *_some(numbers).split(), _some(taps[3][at, :3])]
        for at, numbers in enumerate(zip(scores, scaled, powers, weights, strict=True))
    ]
    head = ["position", "character", "q k", "/ sqrt(d_head)", "e^(x - max)", "weight", "v, first three"]
    return report.table(head, rows, text_columns=2)


def _first(loaded: Any, step: Step) -> dict[str, object]:
    """From the logits of the first step to its token."""

    def name(token: int) -> str:
        return report.code(seen(loaded.tokenizer.tokens([token])[0]))

    columns = [step.logits, step.logits.softmax(0), (step.logits / TEMPERATURE).softmax(0), step.left]
    best = step.logits.argsort(descending=True)[:8].tolist()
    rows = [[name(token), *(f"{column[token].item():.3f}" for column in columns)] for token in best]
    left = [token for token in range(len(step.left)) if step.left[token] > 0]
    sums = torch.cumsum(step.left[left], 0).tolist()
    return {
        "filtered": report.table(["character", "logit", "softmax", f"at {TEMPERATURE}", f"top {TOP_K}"], rows),
        "stairs": ", ".join(f"{name(token)} up to {total:.3f}" for token, total in zip(left, sums, strict=True)),
        "uniform": f"{step.uniform:.3f}",
        "drawn": name(step.chosen),
    }


def _steps(loaded: Any, steps: Sequence[Step], each: int) -> list[str]:
    rows = []
    for number, step in enumerate(steps):
        some = [step.read, step.chosen, *kept(step)]
        read, chosen, *left = (report.code(seen(name)) for name in loaded.tokenizer.tokens(some))
        shares = " ".join(f"{name} {step.left[token].item():.2f}" for name, token in zip(left, kept(step), strict=True))
        rows.append([number, read, shares, f"{step.uniform:.3f}", chosen, step.length, f"{each * step.length:,}"])
    return report.table(
        ["step", "reads", "left, with probability", "random number", "draws", "cache", "numbers"], rows, text_columns=5
    )


def _same(found: dict[str, Any], begun: int, steps: int) -> list[str]:
    logits = f"logits of each step, and rows {begun - 1} to {begun + steps - 2} of the forward"
    rows = {
        logits: found["logits, step against row"],
        "keys in the cache, and in the forward": found["keys, cache against forward"],
        "all rows but the last, when the last character is another": found["rows before a changed last token"],
    }
    return report.table(["computed two ways", "largest difference"], [[name, f"{gap:.1e}"] for name, gap in rows.items()])


def _lens(figures: dict[str, Any], read: Sequence[str]) -> dict[str, object]:
    by_layer, reads = figures["loss of each layer"], figures["readings"]
    names = ["embedded", *(f"layer {layer}" for layer in range(len(by_layer) - 1))]
    agree = [sum(row[layer][0] == row[-1][0] for row in reads) for layer in range(len(names))]
    rows = [[name, f"{loss:.3f}", f"{same} of {len(reads)}"] for name, loss, same in zip(names, by_layer, agree, strict=True)]
    gains = [before - after for before, after in itertools.pairwise(by_layer)]
    falls = "The loss falls with every layer" if min(gains) > 0 else "The loss does not fall with every layer"
    return {
        "lens": report.table(["read after", "loss, nats a character", "first choice as the last layer's"], rows),
        "falls": f"{falls}, most in {names[gains.index(max(gains)) + 1]}.",
        "repeats": sum(row[0][0] == name for row, name in zip(reads, read, strict=True)),
    }
